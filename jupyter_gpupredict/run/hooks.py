"""Keeps the progress hints in their libraries while at least one session measures.

A library that is imported already is hooked at once; one that the cell imports, right after its
module has run. For that a finder stands in `sys.meta_path` which finds nothing itself: it asks the
others, and has the loader that they name tell us when it is done. What an import hook can miss (a
lazy loader, an import that another thread is in the middle of) the next `poll` finds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from jupyter_gpupredict.core.protocols import HintSource, ProgressSink

MAX_PROBLEMS = 100
"""Lines kept for a session that does not fetch them."""
WAIT_S = 0.5
"""For another thread that is at the hooks: a hint that hangs in its library keeps them for good."""


class Hooks:
    """The hints of this process. No call raises; every one is cheap.

    Hints are made when the first session joins, and kept: one that failed is tried again for the
    next session. A forked child, where nobody polls, leaves them as they are.
    """

    def __init__(
        self,
        names: Callable[[], Iterable[str]],
        make: Callable[[str], HintSource],
        sink: ProgressSink,
    ) -> None:
        self._names = names
        self._make = make
        self._sink = sink
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._slots: dict[str, _Slot] | None = None
        self._queues: tuple[deque[str], ...] = ()
        self._finder: _Finder | None = None

    def join(self) -> deque[str]:
        """Hook in, unless another session has; return where this one's problems will be told."""
        queue: deque[str] = deque(maxlen=MAX_PROBLEMS)
        if os.getpid() != self._pid:  # a forked child that measures itself: the lock may be held
            self._pid, self._lock, self._queues = os.getpid(), threading.RLock(), ()
        with self._held() as held:
            first = not self._queues
            self._queues = (*self._queues, queue)
            if first and held:
                self._open()
        return queue

    def leave(self, queue: deque[str]) -> None:
        """Stop telling; with the last session every hook goes. May be called twice."""
        if os.getpid() != self._pid:
            return
        with self._held() as held:
            others = tuple(other for other in self._queues if other is not queue)
            if self._queues and not others and held:
                self._close()
            self._queues = others

    def poll(self) -> None:
        """Let every hint look at its loop, and hook what was imported unnoticed."""
        if not self._lock.acquire(blocking=False):
            return  # an import, or another session's sampler, is at it
        try:
            for name, slot in self._live():
                if slot.attached:
                    self._guarded(name, slot, slot.hint.poll)
                elif _is_ready(slot.hint.module):
                    self._attach(name, slot)
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _held(self) -> Iterator[bool]:
        """Hold the lock; gives whether it could be had in time."""
        held = self._lock.acquire(timeout=WAIT_S)
        try:
            yield held
        finally:
            if held:
                self._lock.release()

    def _open(self) -> None:
        if self._slots is None:
            self._slots = self._make_all()
        for name, slot in self._slots.items():
            slot.failed = False
            if not slot.attached and _is_ready(slot.hint.module):
                self._attach(name, slot)
        waiting = {slot.hint.module for _, slot in self._live() if not slot.attached}
        if waiting:
            self._finder = _Finder(waiting, self._imported)
            sys.meta_path.insert(0, self._finder)

    def _close(self) -> None:
        if self._finder is not None:
            with contextlib.suppress(ValueError):  # somebody has put back an older list
                sys.meta_path.remove(self._finder)
            self._finder = None
        for name, slot in self._live():
            if slot.attached:
                slot.attached = False
                self._guarded(name, slot, slot.hint.detach)

    def _make_all(self) -> dict[str, _Slot]:
        slots = {}
        for name in self._names():
            try:
                slots[name] = _Slot(self._make(name))
            except Exception as error:  # noqa: BLE001 - border: a third party's hint
                self._tell(name, error)
        return slots

    def _live(self) -> Sequence[tuple[str, _Slot]]:
        return [(name, slot) for name, slot in (self._slots or {}).items() if not slot.failed]

    def _imported(self, module: str) -> None:
        """Hook a module that has just run, on the thread that imports it."""
        if os.getpid() != self._pid:
            return
        with self._held() as held:
            for name, slot in self._live() if self._queues and held else ():
                if slot.hint.module == module and not slot.attached:
                    self._attach(name, slot)

    def _attach(self, name: str, slot: _Slot) -> None:
        slot.attached = True
        self._guarded(name, slot, lambda: slot.hint.attach(self._sink))

    def _guarded(self, name: str, slot: _Slot, call: Callable[[], None]) -> None:
        """Call a hint; one that fails is told of, and taken out for this session."""
        try:
            call()
        except Exception as error:  # noqa: BLE001 - border: neither import nor loop may fail
            slot.failed = True
            self._tell(name, error)
            if slot.attached:
                slot.attached = False
                with contextlib.suppress(Exception):
                    slot.hint.detach()

    def _tell(self, name: str, error: Exception) -> None:
        for queue in self._queues:
            queue.append(f"no progress from {name}: {type(error).__name__}: {error}")


class _Slot:
    """A hint and whether it is in its library."""

    def __init__(self, hint: HintSource) -> None:
        self.hint = hint
        self.attached = False
        self.failed = False


class _Finder:
    """Says nothing of its own; has `imported` called after one of the modules has run."""

    def __init__(self, modules: set[str], imported: Callable[[str], None]) -> None:
        self._modules = modules
        self._imported = imported
        self._asking: set[tuple[int, str]] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders return."""
        if fullname not in self._modules:
            return None
        asking = (threading.get_ident(), fullname)
        if asking in self._asking:  # another finder like us asks everyone, too
            return None
        self._asking.add(asking)
        try:
            spec = self._ask_others(fullname, path, target)
        finally:
            self._asking.discard(asking)
        if spec is not None:
            _call_after(spec.loader, fullname, self._imported)
        return spec

    def _ask_others(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None:
                spec: ModuleSpec | None = find(fullname, path, target)
                if spec is not None:
                    return spec
        return None


def _call_after(loader: Any, name: str, imported: Callable[[str], None]) -> None:
    """Have this loader tell when it has run the module.

    The loader keeps its type and identity: one attribute of this very object hides the method, and
    goes when it is called. A loader that takes no attribute is left alone.
    """
    if loader is None or isinstance(loader, type):  # built-in and frozen modules share a class
        return
    run = getattr(loader, "exec_module", None)
    if run is None:
        return

    def exec_module(module: ModuleType) -> None:
        vars(loader).pop("exec_module", None)
        run(module)
        if not _is_lazy(module) and module.__name__ == name:
            imported(name)

    with contextlib.suppress(AttributeError, TypeError):
        loader.exec_module = exec_module


def _is_lazy(module: ModuleType) -> bool:
    """Whether a module has yet to run; asking it for anything would make it."""
    return type(module) is getattr(importlib.util, "_LazyModule", None)


def _is_ready(name: str) -> bool:
    """Whether a module has been imported to its end."""
    module = sys.modules.get(name)
    if module is None or _is_lazy(module):
        return False
    return not getattr(getattr(module, "__spec__", None), "_initializing", False)
