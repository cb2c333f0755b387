"""How the code that is measured reports its progress, and the hooks that hear libraries' loops.

A library that is imported already is hooked at once; one that the cell imports, right after its
module has run. For that a finder stands in `sys.meta_path` which finds nothing itself: it asks the
others, and has the loader that they name call us when it is done. What an import hook can miss (a
lazy loader, an import that another thread is in the middle of) the next `poll` finds.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.progress import Mark, Phase, Progress
from jupyter_gpupredict.core.protocols import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.protocols import Clock, HintSource, ProgressSink

MAX_QUEUED = 10_000
"""Marks kept for a sampler that hangs; what does not fit is lost, oldest first."""
STEP_EVERY_S = 0.2
"""Marks of steps are thinned to this: a fast loop makes thousands a second."""
MAX_PROBLEMS = 100
"""Lines kept for a session that does not fetch them."""
WAIT_S = 0.5
"""For another thread that is at the hooks: a hint that hangs in its library keeps them for good."""


class ProgressHub:
    """Stamps what hints report and passes it to every session that measures.

    Reporting is cheap, and free while nothing is measured.

    Appending to a deque is atomic, so that any thread may report without a lock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._queues: tuple[deque[Mark], ...] = ()
        self._step_due_s: dict[str, float] = {}
        self.joined_count = 0
        """Sessions that have listened so far, to distinguish one from the next."""
        self._joined_s = 0.0

    @property
    def listening(self) -> bool:
        """Whether any session would hear a report."""
        return bool(self._queues)

    def join(self) -> deque[Mark]:
        """Return a new queue that gets every mark from now on; empty it with `popleft`."""
        queue: deque[Mark] = deque(maxlen=MAX_QUEUED)
        self._queues = (*self._queues, queue)
        self.joined_count += 1
        self._joined_s = self._clock.monotonic_s()
        return queue

    def leave(self, queue: deque[Mark]) -> None:
        """Stop filling a queue; may be called twice."""
        self._queues = tuple(other for other in self._queues if other is not queue)
        if not self._queues:
            self._step_due_s = {}

    def progress(self, unit: Unit, done: float, total: float | None, hint: str) -> None:
        """Say that so many epochs or steps are complete now."""
        if not self._queues:
            return
        now_s = self._clock.monotonic_s()
        if unit == "step":
            last = total is not None and done >= total
            if now_s < self._step_due_s.get(hint, 0.0) and not last:
                return
            self._step_due_s[hint] = now_s + STEP_EVERY_S
        whole = None if total is None else float(total)
        self.relay(Progress(now_s, unit, float(done), whole, hint))

    def begin(self, total: float | None, hint: str) -> None:
        """Say, later, that the epochs began with the newest session."""
        if self._queues:
            self.relay(Progress(self._joined_s, "epoch", 0.0, total, hint))

    def phase(self, name: str, hint: str) -> None:
        """Say that a phase begins now; `other` ends the current one."""
        if self._queues:
            self.relay(Phase(self._clock.monotonic_s(), name, hint))

    def relay(self, mark: Mark) -> None:
        """Pass on a mark with the time that it has, such as one of another process."""
        for queue in self._queues:
            queue.append(mark)


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
        self._slots: list[_Slot] | None = None
        self._queues: tuple[deque[str], ...] = ()
        self._finder: _Finder | None = None

    def join(self) -> deque[str]:
        """Hook in, unless another session has; return the queue of this one's problems."""
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
        """Stop filling a queue; with the last session every hook goes. May be called twice."""
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
            for slot in self._live:
                if slot.attached:
                    self._guarded(slot, slot.hint.poll)
                elif _is_ready(slot.hint.module):
                    self._attach(slot)
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
            self._slots = []
            for name in self._names():
                try:
                    self._slots.append(_Slot(name, self._make(name)))
                except Exception as error:  # noqa: BLE001 - border: a third party's hint
                    self._report(name, error)
        for slot in self._slots:
            slot.failed = False
            if not slot.attached and _is_ready(slot.hint.module):
                self._attach(slot)
        waiting = {slot.hint.module for slot in self._live if not slot.attached}
        if waiting:
            self._finder = _Finder(waiting, self._imported)
            sys.meta_path.insert(0, self._finder)

    def _close(self) -> None:
        if self._finder is not None:
            with contextlib.suppress(ValueError):  # somebody has put back an older list
                sys.meta_path.remove(self._finder)
            self._finder = None
        for slot in self._live:
            if slot.attached:
                slot.attached = False
                self._guarded(slot, slot.hint.detach)

    @property
    def _live(self) -> list[_Slot]:
        return [slot for slot in self._slots or () if not slot.failed]

    def _imported(self, module: str) -> None:
        """Hook a module that has just run, on the thread that imports it."""
        if os.getpid() != self._pid:
            return
        with self._held() as held:
            for slot in self._live if self._queues and held else ():
                if slot.hint.module == module and not slot.attached:
                    self._attach(slot)

    def _attach(self, slot: _Slot) -> None:
        slot.attached = True
        self._guarded(slot, lambda: slot.hint.attach(self._sink))

    def _guarded(self, slot: _Slot, call: Callable[[], None]) -> None:
        """Call a hint; one that fails is reported, and taken out for this session."""
        try:
            call()
        except Exception as error:  # noqa: BLE001 - border: neither import nor loop may fail
            slot.failed = True
            self._report(slot.name, error)
            if slot.attached:
                slot.attached = False
                with contextlib.suppress(Exception):
                    slot.hint.detach()

    def _report(self, name: str, error: Exception) -> None:
        for queue in self._queues:
            queue.append(f"no progress from {name}: {type(error).__name__}: {error}")


@dataclass(slots=True)
class _Slot:
    """A hint and whether it is in its library."""

    name: str
    hint: HintSource
    attached: bool = False
    failed: bool = False


class _Finder:
    """Finds nothing itself; has `imported` called after one of the modules has run."""

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
            for finder in list(sys.meta_path):
                find = getattr(finder, "find_spec", None)
                if finder is not self and find is not None:
                    spec: ModuleSpec | None = find(fullname, path, target)
                    if spec is not None:
                        _call_after(spec.loader, fullname, self._imported)
                        return spec
        finally:
            self._asking.discard(asking)
        return None


def _call_after(loader: Any, name: str, imported: Callable[[str], None]) -> None:
    """Have this loader call `imported` when it has run the module.

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


_hub = ProgressHub()


def progress_hub() -> ProgressHub:
    """Return the hub of this process; free to call while nothing is measured."""
    return _hub


@functools.cache
def progress_hooks() -> Hooks:
    """Return the hints of this process; none is made before the first session starts."""
    return Hooks(
        lambda: registry.names("hints"), lambda name: registry.load("hints", name)(), progress_hub()
    )
