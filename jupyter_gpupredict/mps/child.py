"""A function in a child process: its output live, its end as it was, and no end without the ladder.

The child is asked to stop by a line on its pipe. A signal goes to it only when that did not help,
and only after `before_signal` has taken it from the MPS server: ending a client with work under way
leaves the server and every other client undefined (MPS documentation, "Client termination").
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.mps.directory import Patience, members
from jupyter_gpupredict.mps.reading import TICK_S, Reader
from jupyter_gpupredict.mps.states import Ended, Fault, Fetched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jupyter_gpupredict.core.progress import Mark

INSIDE = Path(__file__).with_name("inside.py")
_SHOWN = "shown value"
"""What an answer to `show` is called; no name of Python's."""
Stream = Literal["stdout", "stderr"]
Rung = Literal["by itself", "when asked", "SIGTERM", "SIGKILL", "left running"]


@dataclass(frozen=True, slots=True)
class Program:
    """What a child runs."""

    text: str
    """The source of a module."""
    entry: str = "train"
    """Its function of one argument, the parameters."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Plain data."""
    module: str = "train_fn"
    keep_of: str = ""
    """The function whose names can be fetched; empty: its value alone."""
    progress: str = ""
    """`module:function` that makes what reports progress in the child; empty: nothing does."""
    sm_count: str = ""
    """`module:function` that counts the SMs the child was given; empty: nobody asks."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds that each rung of the ladder is given; the defaults are gpu.md's, rule 9."""

    asked_s: float = 10.0
    unnoticed_s: float = 0.5
    """Instead, for one that has not noticed an interrupt: it is in native code, as in `cuInit`."""
    terminated_s: float = 5.0
    killed_s: float = 5.0


class ChildFailed(GpuPredictError):
    """A child process could not be started, or did not answer."""


@dataclass(eq=False)
class Child:
    """One function in one child process: `start`, `go`, `wait`, perhaps `fetch`; always `stop`.

    A thread reads what the child reports, so that an interrupt here cannot tear a frame; `wait`
    calls the callbacks on the caller's thread.
    """

    program: Program
    environ: Mapping[str, str]
    """The child's whole environment."""
    _: KW_ONLY
    on_output: Callable[[Stream, str], None]
    """Takes each piece of output and the stream it was written to."""
    on_mark: Callable[[Mark], None] = lambda _: None
    """Takes each mark of progress; its time is this machine's monotonic clock."""
    on_note: Callable[[str], None] = lambda _: None
    """Takes what is to be said about the child's own machinery."""
    before_signal: Callable[[int], str] | None = None
    """Takes the process group before a signal goes to it; returns why none may be sent, or an
    empty string. None: the child is not a client of MPS."""
    waits: Waits | None = None
    """Patience of the ladder."""

    def __post_init__(self) -> None:
        """Begin with nothing started."""
        self._waits = self.waits or Waits()
        self._process: subprocess.Popen[bytes] | None = None
        self._requests = -1
        self._folder = ""
        self._reader: Reader | None = None
        self._rung: Rung | None = None
        self._left = False
        """Whether something of it is left running."""
        self._failure: ChildFailed | None = None
        self._starting = threading.Lock()
        self._cancelled = False
        self._interrupted = False
        self.unwinding = False
        """Whether the function has noticed an interrupt, and may be cleaning up."""
        self.began_s: float | None = None
        """When the function was entered, on the monotonic clock; None before."""

    @property
    def pid(self) -> int:
        """The child's process id, and its group's; 0 before `start`."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the process; it gets ready and waits for `go`.

        On a thread of its own, which no interrupt can stop between a pipe and who is to close it.

        Raises:
            ChildFailed: No process could be started.
        """
        starter = threading.Thread(target=self._start, name="gpupredict-child-start")
        try:
            starter.start()
            starter.join()
        except BaseException:
            with self._starting:  # it is through, or finds that it need not begin
                self._cancelled = True
            self.stop()
            raise
        if self._failure is not None:
            self.stop()
            raise self._failure

    def _start(self) -> None:
        with self._starting:
            if not self._cancelled:
                self._launch()

    def _launch(self) -> None:
        ends: list[int] = []
        try:
            self._folder = tempfile.mkdtemp(prefix="gpupredict-child-")
            program = self.program
            Path(self._folder, f"{program.module}.py").write_text(program.text, encoding="utf-8")
            ends += os.pipe()
            ends += os.pipe()
            requests, self._requests, reports, childs = ends
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(INSIDE), str(requests), str(childs)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environ,
                pass_fds=(requests, childs),
                process_group=0,  # an interrupt of the kernel's group must not reach it
            )
            os.close(ends.pop(3))
            os.close(ends.pop(0))
            self._reader = Reader(self._process, reports)
            ends.remove(reports)  # the reader's from here on
            self._reader.start()
            path = [one for one in sys.path if isinstance(one, str)]  # others find nothing
            facts = asdict(program)
            del facts["text"]  # it is in the folder
            self._send(path=path, folder=self._folder, **facts)
        except (OSError, ValueError, TypeError) as error:  # resources, text or parameters
            for fd in ends:  # without our end of its pipe, a child ends itself
                os.close(fd)
            self._requests = -1
            if self._process is not None and self._reader is None:
                self._process.communicate()
                self._process = None
            self._failure = ChildFailed(f"no child process can be started: {error}")
            self._failure.__cause__ = error

    def go(self) -> None:
        """Have it call the function."""
        self._send(do="go")

    def raised(self, fault: Fault, namespace: Mapping[str, Any]) -> BaseException | None:
        """Return the exception itself; None where it cannot be made here."""
        found = self._unpacked(fault.pickled, "" if fault.pickled else "none", namespace)
        return found.value if isinstance(found.value, BaseException) else None

    def wait(
        self, until_s: float | None = None, enough: Callable[[], bool] = lambda: False
    ) -> Ended | None:
        """Hand on output and progress until the function has ended; returns how.

        Args:
            until_s: Monotonic time at which to give up; None: never.
            enough: Asked after each piece of news; True ends the waiting.

        Returns:
            None when the time was up, or it was enough.
        """
        reader = self._reader
        if reader is None:
            raise ChildFailed("the child was never started")
        while True:
            left_s = TICK_S if until_s is None else min(TICK_S, until_s - time.monotonic())
            if left_s <= 0.0:
                return None
            news: tuple[Any, ...] | None = ("nothing",)
            with contextlib.suppress(queue.Empty):
                news = _next(reader, left_s)
            if news is None:
                return reader.ended
            self._hand_on(news)
            if news[0] == "ended":
                return reader.ended
            if enough():
                return None

    def interrupt(self) -> None:
        """Have the child raise KeyboardInterrupt in itself; returns at once."""
        self._interrupted = True
        self._send(do="interrupt")

    def fetch(
        self, names: Iterable[str], namespace: Mapping[str, Any], limit_s: float = 60.0
    ) -> dict[str, Fetched]:
        """Bring names of the function back, or say why not; the empty name is its value.

        `namespace` holds here what classes and functions of the child's module are called.
        """
        return self._answers("fetch", list(names), namespace, limit_s)

    def shown(self, namespace: Mapping[str, Any], limit_s: float = 60.0) -> Fetched:
        """Bring the function's value as a notebook shows it: plain data, else its repr."""
        return self._answers("show", [_SHOWN], namespace, limit_s)[_SHOWN]

    def _answers(
        self, do: str, wanted: list[str], namespace: Mapping[str, Any], limit_s: float
    ) -> dict[str, Fetched]:
        found: dict[str, Fetched] = {}
        reader = self._reader
        if reader is None or reader.ended is None or reader.ended.outcome == "died":
            return {name: Fetched(reason="its process has ended") for name in wanted}
        self._send(do=do, names=wanted)
        until_s = time.monotonic() + limit_s
        while len(found) < len(wanted) and time.monotonic() < until_s:
            try:
                news = _next(reader, TICK_S)
            except queue.Empty:
                continue
            if news is None:
                break
            if news[0] == "result":
                found[news[1]] = self._unpacked(news[2], news[3], namespace)
            else:
                self._hand_on(news)
        for name in wanted:
            found.setdefault(name, Fetched(reason="its process did not answer in time"))
        return found

    def stop(self) -> Rung:
        """End the process, gently first, with all that it started; returns what was needed.

        An interrupt meanwhile goes on to the next rung. May be called twice.
        """
        try:
            if self._rung is None:
                self._rung = self._ladder()
        finally:
            if self._reader is not None:
                self._reader.finish(left=self._left)
                self._drain()
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
        return self._rung

    # ---- the ladder ---------------------------------------------------------------------------

    def _ladder(self) -> Rung:
        process = self._process
        if process is None:
            return "by itself"
        over = self._reader is not None and self._reader.ended is not None
        self._send(do="quit")
        requests, self._requests = self._requests, -1
        if requests >= 0:
            os.close(requests)
        stuck = self._interrupted and not self.unwinding
        if self._gone(self._waits.unnoticed_s if stuck else self._waits.asked_s):
            self._end_rest(process.pid)
            return "by itself" if over else "when asked"
        refusal = self._leave_to_signal(process.pid)
        if refusal:
            self._left = True
            self.on_note(f"process {process.pid} does not end, and is left running: {refusal}")
            return "left running"
        rungs: tuple[tuple[Rung, float], ...] = (
            ("SIGTERM", self._waits.terminated_s),
            ("SIGKILL", self._waits.killed_s),
        )
        for rung, patience_s in rungs:
            _signal_group(process.pid, signal.Signals[rung])
            if self._gone(patience_s):
                _signal_group(process.pid, signal.SIGKILL)  # what did not end with it
                return rung
        self._left = True
        self.on_note(f"process {process.pid} does not end, not even killed")
        return "left running"

    def _end_rest(self, group: int) -> None:
        """End what an ended process has left in its group, which may be clients of MPS, too."""
        rest = members(group)
        if not rest:
            return
        refusal = self._leave_to_signal(group)
        if refusal:
            self._left = True
            pids = ", ".join(map(str, sorted(rest)))
            self.on_note(f"what the cell has started, {pids}, is left running: {refusal}")
        else:
            _signal_group(group, signal.SIGKILL)

    def _leave_to_signal(self, group: int) -> str:
        """Return why no signal may be sent; an empty string when one may."""
        if self.before_signal is None:
            return ""
        try:
            return self.before_signal(group)
        except GpuPredictError as error:
            return str(error)
        except KeyboardInterrupt:
            return "the MPS server was not waited for"

    def _gone(self, patience_s: float) -> bool:
        """Return whether the process is gone, after at most so long; output goes on meanwhile."""
        patience = Patience(patience_s, "the cell's process to end")
        try:
            while not self._drain(time.monotonic() + patience.step_s()):
                if patience.over:
                    return False
        except KeyboardInterrupt:
            pass
        return self._reader is not None and self._reader.dead.is_set()

    def _drain(self, until_s: float = 0.0) -> bool:
        """Hand on what is there; returns whether the reader is at its end."""
        reader = self._reader
        if reader is None:
            return True
        while True:
            try:
                news = _next(reader, until_s - time.monotonic())
            except queue.Empty:
                return False
            if news is None:
                return True
            with contextlib.suppress(Exception):  # whoever took the output has failed before
                self._hand_on(news)

    def _send(self, **asked: Any) -> None:
        if self._requests < 0:
            return
        left = json.dumps(asked).encode() + b"\n"
        try:
            while left:
                left = left[os.write(self._requests, left) :]
        except BrokenPipeError:  # it is gone: `wait` returns how it ended
            return

    def _hand_on(self, news: tuple[Any, ...]) -> None:
        match news:
            case ("out", stream, text):
                self.on_output(stream, text)
            case ("mark", mark):
                self.on_mark(mark)
            case ("note", text):
                self.on_note(text)
            case ("unwinding",):
                self.unwinding = True
            case ("began", time_s):
                self.began_s = time_s

    def _unpacked(self, payload: bytes, reason: str, namespace: Mapping[str, Any]) -> Fetched:
        if reason == "text":
            return Fetched(payload.decode("utf-8", "replace"), reason)
        if reason:
            return Fetched(reason=reason)
        try:
            return Fetched(_Unpickler(payload, self.program.module, namespace).load())
        except Exception as error:  # noqa: BLE001 - classes raise what they like when made again
            return Fetched(reason=f"cannot be read here: {type(error).__name__}: {error}")


def _next(reader: Reader, limit_s: float) -> tuple[Any, ...] | None:
    """Return the next news; None at the end, also to whoever asks again.

    Raises:
        queue.Empty: There is none for so long.
    """
    news: tuple[Any, ...] | None = reader.news.get(limit_s > 0, limit_s)
    if news is None:
        reader.news.put(None)
    return news


class _Unpickler(pickle.Unpickler):
    """Reads what our own child has pickled; its module's names are the notebook's."""

    def __init__(self, payload: bytes, module: str, namespace: Mapping[str, Any]) -> None:
        super().__init__(io.BytesIO(payload))
        self._module = module
        self._namespace = namespace

    def find_class(self, module: str, name: str) -> Any:
        if module != self._module:
            return super().find_class(module, name)
        first, _, rest = name.partition(".")
        if first not in self._namespace:
            raise AttributeError(f"{first} is not defined in this notebook")
        found = self._namespace[first]
        for part in rest.split(".") if rest else ():
            found = getattr(found, part)
        return found


def _signal_group(group: int, number: signal.Signals) -> None:
    """Signal a process group; its number is nobody else's while its first process is a zombie."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
