"""The child's side of `child.py`: runs one module's function and reports to its parent over a pipe.

Started by its path, so that nothing of ours is imported before the parent's `sys.path` is in place.
Every report is a frame: one line of JSON whose `bytes` says how many bytes follow it.
"""

from __future__ import annotations

import _thread
import ast
import contextlib
import io
import json
import os
import pickle
import pkgutil
import select
import signal
import sys
import threading
import time
import traceback
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FLUSH_BYTES = 8 << 10
QUIET_S = 0.02
"""After so much silence a line is sent at once; in a flood of them, with its neighbours."""
POLL_S = 0.2
"""Unfinished lines and progress are sent this often."""
DELIVERY_S = 0.3
"""A main thread that has not noticed an interrupt by then sits in a system call, and is woken."""
ORPHAN_S = 10.0
"""Time to unwind once the parent is gone."""
_DESCRIPTORS = {"stdout": 1, "stderr": 2}
_LOCALS = "_gpupredict_locals"
_KEEP = "_gpupredict_keep"


class Reports:
    """The way to the parent; frames from any thread come whole, and no interrupt tears one."""

    def __init__(self, fd: int, requests: int, interrupt: Interrupt) -> None:
        self._fd = fd
        self._requests = requests
        self._interrupt = interrupt
        self._lock = threading.RLock()
        self._stream = "stdout"
        self._waiting = bytearray()
        """What was written to that stream, and is not sent yet."""
        self._sent_s = 0.0
        os.register_at_fork(after_in_child=self._in_fork)

    def _in_fork(self) -> None:
        """Write to the process's own descriptors from now on: two writers would tear frames.

        Whatever has kept `sys.stdout`, such as a logging handler, keeps this object.
        """
        self._lock = threading.RLock()  # another thread may have held it
        self._waiting = bytearray()  # what waits is the forking process's
        fds, self._fd, self._requests = (self._fd, self._requests), -1, -1
        for fd in fds:
            if fd >= 0:  # once: a fork of this fork may have a file of its own there
                with contextlib.suppress(OSError):  # the cell has closed all that it found
                    os.close(fd)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def send(self, kind: str, payload: bytes = b"", **facts: Any) -> None:
        """Send a frame, after the output that was written before it."""
        with self._interrupt.held(), self._lock:
            self._flush()
            self._send(kind, payload, facts)

    def write(self, stream: str, data: bytes) -> None:
        """Take output; it is sent soon after the end of a line, and before the other stream's."""
        with self._interrupt.held(), self._lock:
            if stream != self._stream:
                self._flush()
            self._stream = stream
            self._waiting += data
            due = b"\n" in data and (self._fd < 0 or time.monotonic() - self._sent_s > QUIET_S)
            if due or len(self._waiting) >= FLUSH_BYTES:
                self._flush()

    def flush(self) -> None:
        """Send the output that is waiting."""
        with self._interrupt.held(), self._lock:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            data, self._waiting = bytes(self._waiting), bytearray()
            self._sent_s = time.monotonic()
            self._send("out", data, {"stream": self._stream})

    def _send(self, kind: str, payload: bytes, facts: dict[str, Any]) -> None:
        fd = self._fd
        if fd >= 0:
            head = json.dumps({"kind": kind, "bytes": len(payload), **facts}) + "\n"
            payload = head.encode() + payload
        elif kind == "out":
            fd = _DESCRIPTORS[facts["stream"]]
        else:
            return
        with contextlib.suppress(OSError):  # the parent is gone; `listen` sees to the rest
            left = memoryview(payload)
            while left:
                left = left[os.write(fd, left) :]


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`; what a program below writes has a pipe of its own."""

    def __init__(self, reports: Reports, stream: str) -> None:
        super().__init__()
        self._reports = reports
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        taken = bytes(data)
        self._reports.write(self._stream, taken)
        return len(taken)

    def flush(self) -> None:
        self._reports.flush()

    def fileno(self) -> int:
        return _DESCRIPTORS[self._stream]

    def close(self) -> None:
        """Stay open: the cell may let go of a wrapper of its own, and write on."""


class Interrupt:
    """Raises KeyboardInterrupt in the main thread, without a signal from outside."""

    def __init__(self) -> None:
        self.asked = False
        self.armed = False
        """The user's code runs; nothing is raised before and after it."""
        self._delivered = threading.Event()
        self._asked_s = 0.0
        self._held = 0
        self._due = False
        signal.signal(signal.SIGINT, self._raise)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Put off an interrupt of the main thread until the block is through."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self._due and not self._held:
                self._due = False
                if self.armed:
                    raise KeyboardInterrupt

    def ask(self) -> None:
        """Raise it at the next bytecode."""
        self.asked = True
        self._asked_s = time.monotonic()
        self._delivered.clear()
        if self.armed:
            _thread.interrupt_main()

    @property
    def noticed(self) -> bool:
        """Whether the main thread has noticed what was asked; native code may keep it from that."""
        return self.asked and self._delivered.is_set()

    def wake(self) -> None:
        """Get the main thread out of a system call in which it has not noticed."""
        waiting = self.asked and self.armed and not self._delivered.is_set()
        if waiting and time.monotonic() - self._asked_s > DELIVERY_S:
            self._asked_s = time.monotonic()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _raise(self, *_: object) -> None:
        self._delivered.set()
        if self._held:
            self._due = True
        elif self.armed:
            raise KeyboardInterrupt


class _Session:
    """One run of one function."""

    def __init__(self, request: dict[str, Any], reports: Reports, interrupt: Interrupt) -> None:
        self._request, self.reports, self.interrupt = request, reports, interrupt
        self._unwinding = False
        self._go, self._over = threading.Event(), threading.Event()
        self._module = types.ModuleType(request["module"])
        self._kept: dict[str, Any] = {}
        self._value: Any = None
        self._marks: Callable[[], Iterable[dict[str, Any]]] = tuple
        """What is new of the progress; nothing until somebody reports it."""

    def run(self) -> None:
        """Get ready, wait for the parent's word, call the function and say how it ended."""
        request = self._request
        if request["progress"]:
            try:
                self._marks = pkgutil.resolve_name(request["progress"])().poll
            except Exception as error:  # noqa: BLE001 - border: the cell runs without hints
                self._without_progress(error)
        path = Path(request["folder"], f"{request['module']}.py")
        self._go.wait()
        began_s = time.monotonic()
        self.reports.send("began", time_s=began_s)
        outcome, fault = "completed", None
        try:
            self.interrupt.armed = True
            if self.interrupt.asked:
                raise KeyboardInterrupt  # noqa: TRY301 - asked before the code was reached
            try:
                self._value = self._call(path)
                _synchronize()
            finally:
                self.interrupt.armed = False
        except BaseException as raised:  # noqa: BLE001 - whatever the cell raises is reported
            self.interrupt.armed = False
            asked = self.interrupt.asked and isinstance(raised, KeyboardInterrupt)
            outcome, fault = "interrupted" if asked else "failed", raised
        took_s = time.monotonic() - began_s
        self.poll()
        if fault is not None:
            with contextlib.suppress(BaseException):
                _synchronize()  # unwound, and idle before anybody ends this process
            self.reports.send("error", _pickled(fault), **_described(fault, path))
        self.reports.send("ended", outcome=outcome, took_s=took_s, sm_count=self._sm_count())
        self._over.set()

    def poll(self) -> None:
        """Tell what has come up; on the listener's thread, and at the end."""
        self.interrupt.wake()
        if self.interrupt.noticed and not self._unwinding:
            self._unwinding = True
            self.reports.send("unwinding")
        self.reports.flush()
        try:
            for mark in self._marks():
                self.reports.send("mark", **mark)
        except Exception as error:  # noqa: BLE001 - border: a hint of ours or a third party's
            self._without_progress(error)

    def _without_progress(self, error: Exception) -> None:
        self._marks = tuple
        self.reports.send("note", text=f"no progress: {type(error).__name__}: {error}")

    def listen(self, requests: io.FileIO) -> None:
        """Do what the parent asks, and report progress meanwhile, until it says `quit` or is gone.

        On a thread of its own: the main one runs the function.
        """
        more = True
        while more:
            ready, _, _ = select.select([requests], [], [], POLL_S)
            self.poll()
            if ready:
                asked = _next(requests)
                more = self._end() if asked is None else self._obey(asked)

    def _obey(self, asked: dict[str, Any]) -> bool:
        """Do one thing; returns whether to go on listening."""
        match asked["do"]:
            case "go":
                self._go.set()
            case "interrupt":
                self.interrupt.ask()
            case "fetch":
                self._over.wait()
                known = vars(self._module) | self._kept | {"": self._value}
                for name in asked["names"]:
                    if name in known:
                        self._send_pickled(name, known[name])
                    else:
                        self.reports.send("result", name=name, reason="the cell has not bound it")
            case "show":
                self._over.wait()
                self._send_shown(*asked["names"])
            case "quit":
                if not self._over.is_set():
                    self._unwind()
                return False
        return True

    def _unwind(self, limit_s: float = float("inf")) -> None:
        self.interrupt.ask()
        self._go.set()
        until_s = time.monotonic() + limit_s
        while not self._over.wait(POLL_S) and time.monotonic() < until_s:
            self.poll()

    def _end(self) -> NoReturn:
        """Unwind, as the parent is gone, then end with everything that was started here."""
        self._unwind(ORPHAN_S)
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    def _call(self, path: Path) -> Any:
        request, module = self._request, self._module
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        _keep_names(tree, request["keep_of"])
        vars(module).update({"__file__": str(path), _KEEP: self._kept.update, _LOCALS: locals})
        sys.modules[module.__name__] = module
        exec(compile(tree, str(path), "exec"), vars(module))  # noqa: S102 - the user's own cell
        return getattr(module, request["entry"])(request["params"])

    def _send_shown(self, name: str) -> None:
        """Send the value as it is, where it is plain data, else what it prints."""
        if not _is_plain(self._value):
            with contextlib.suppress(Exception):
                text = repr(self._value).encode("utf-8", "replace")
                self.reports.send("result", text, name=name, reason="text")
                return
        self._send_pickled(name, self._value)

    def _send_pickled(self, name: str, value: Any) -> None:
        try:
            payload = pickle.dumps(value)
        except Exception as error:  # noqa: BLE001 - objects raise what they like
            reason = f"cannot be pickled: {type(error).__name__}: {error}"
            self.reports.send("result", name=name, reason=reason[:500])
        else:
            self.reports.send("result", payload, name=name)

    def _sm_count(self) -> int | None:
        """Return how many SMs this process was given; None where CUDA is not in use."""
        with contextlib.suppress(Exception):  # nobody counts them, or there are none to count
            return int(pkgutil.resolve_name(self._request["sm_count"])())
        return None


def _keep_names(tree: ast.Module, function: str) -> None:
    """Have a function's names kept when it ends, however it ends; its lines stay as they are."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
            own = {name for one in node.body if isinstance(one, ast.Global) for name in one.names}
            of_module = "".join(f", {name}=globals().get({name!r})" for name in own)
            keep = ast.parse(f"{_KEEP}({_LOCALS}(){of_module})").body[0]
            for part in ast.walk(keep):
                ast.copy_location(part, node.body[0])
            whole = ast.Try(body=node.body, handlers=[], orelse=[], finalbody=[keep])
            node.body = [ast.copy_location(whole, node.body[0])]


def _synchronize() -> None:
    """Let queued GPU work finish; frameworks that have not started CUDA are left alone."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    cupy: Any = sys.modules.get("cupy")
    if cupy is not None and getattr(cupy, "_environment", None) is not None:
        cupy.cuda.Device().synchronize()


def _described(error: BaseException, path: Path) -> dict[str, Any]:
    """Return an exception's name, words and traceback, without the frames that are ours."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    try:
        lines = traceback.format_exception(type(error), error, trace)
    except Exception as fault:  # noqa: BLE001 - an exception's own __str__ may raise
        lines = [f"{type(error).__name__} (not to be shown: {fault!r})\n"]
    message = ""
    with contextlib.suppress(Exception):  # as above
        message = str(error)
    kinds = [f"{one.__module__}.{one.__qualname__}" for one in type(error).__mro__]
    text = "".join(lines).replace(f"{path.parent}{os.sep}", "")
    return {"name": type(error).__name__, "kinds": kinds, "message": message, "traceback": text}


def _pickled(error: BaseException) -> bytes:
    """Return the exception, if it comes out of a pickle as it went in."""
    with contextlib.suppress(Exception):  # those with arguments of their own often do not
        data = pickle.dumps(error)
        pickle.loads(data)  # noqa: S301 - our own, a line above
        return data
    return b""


def _is_plain(value: Any) -> bool:
    """Whether a value is plain data, and not much of it: some 100 kB."""
    room, waiting = 10_000, [value]
    while waiting and room > 0:
        one = waiting.pop()
        room -= 1
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif type(one) in (list, tuple, set, frozenset):
            waiting += one
        elif type(one) in (str, bytes):
            room -= len(one) // 10
        elif one is not None and type(one) not in (bool, int, float, complex):
            return False
    return room > 0


def _next(requests: io.FileIO) -> dict[str, Any] | None:
    """Return what the parent asks for next, a line of JSON; None when it is gone."""
    line = requests.readline()
    return json.loads(line) if line.endswith(b"\n") else None


def main() -> None:
    """Run what the parent sends; returns when it says `quit`."""
    requests, reports_fd = int(sys.argv[1]), int(sys.argv[2])
    for fd in (requests, reports_fd):
        os.set_inheritable(fd, False)
    asked = io.FileIO(requests, closefd=False)
    request = _next(asked)
    if request is None:
        sys.exit(1)
    sys.argv[:] = [""]
    sys.path[:] = [request["folder"], *request["path"]]
    interrupt = Interrupt()
    reports = Reports(reports_fd, requests, interrupt)
    for stream in _DESCRIPTORS:  # what is written to both arrives in one order
        raw: Any = _Bytes(reports, stream)
        text = io.TextIOWrapper(raw, "utf-8", "backslashreplace", newline="", write_through=True)
        setattr(sys, stream, text)
    session = _Session(request, reports, interrupt)
    listener = threading.Thread(
        target=session.listen, args=(asked,), name="gpupredict-listener", daemon=True
    )
    listener.start()
    session.run()
    listener.join()
    reports.send("bye")


if __name__ == "__main__":
    main()
