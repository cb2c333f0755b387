"""The child's side of `child.py`: runs one module's function and tells its parent over a pipe.

Started by its path, so that nothing of ours is imported before the parent's `sys.path` is in place.
Everything told is a frame: one line of JSON whose `bytes` says how many bytes follow it.
"""

from __future__ import annotations

import _thread
import ast
import builtins
import contextlib
import importlib
import io
import json
import os
import pickle
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
    from collections.abc import Iterator

FLUSH_BYTES = 8 << 10
QUIET_S = 0.02
"""After so much silence a line is sent at once; in a flood of them, with its neighbours."""
POLL_S = 0.2
"""Unfinished lines and progress are told this often."""
DELIVERY_S = 0.3
"""A main thread that has not noticed an interrupt by then sits in a system call, and is woken."""
ORPHAN_S = 10.0
"""Time to unwind once the parent is gone."""
_DESCRIPTORS = {"stdout": 1, "stderr": 2}
_LOCALS = "_gpupredict_locals"
_KEEP = "_gpupredict_keep"


class Reports:
    """The way to the parent; frames from any thread come whole, and no interrupt tears one."""

    def __init__(self, fd: int, interrupt: Interrupt) -> None:
        self._fd = fd
        self._interrupt = interrupt
        self._lock = threading.RLock()
        self._pending: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self._size = 0
        self._sent_s = 0.0

    def in_fork(self) -> None:
        """Write to the process's own descriptors from now on, and tell the parent nothing.

        Two writers would tear each other's frames. Whatever has kept `sys.stdout`, such as a
        logging handler, keeps this object, so it is the object that changes.
        """
        self._lock = threading.RLock()  # another thread may have held it
        self._pending = {"stdout": [], "stderr": []}  # what waits is the forking process's
        self._size = 0
        fd, self._fd = self._fd, -1
        if fd >= 0:  # once: a fork of this fork may have a file of its own there
            with contextlib.suppress(OSError):  # the cell has closed all that it found
                os.close(fd)

    def tell(self, kind: str, payload: bytes = b"", **facts: Any) -> None:
        """Send a frame, after the output that was written before it."""
        with self._interrupt.held(), self._lock:
            self._flush()
            self._send(kind, payload, facts)

    def write(self, stream: str, data: bytes) -> None:
        """Take output; it is sent soon after the end of a line, and before the other stream's."""
        other = "stderr" if stream == "stdout" else "stdout"
        with self._interrupt.held(), self._lock:
            if self._pending[other]:
                self._flush()
            self._pending[stream].append(data)
            self._size += len(data)
            due = b"\n" in data and (self._fd < 0 or time.monotonic() - self._sent_s > QUIET_S)
            if due or self._size >= FLUSH_BYTES:
                self._flush()

    def flush(self) -> None:
        """Send the output that is waiting."""
        with self._interrupt.held(), self._lock:
            self._flush()

    def _flush(self) -> None:
        for stream, parts in self._pending.items():
            if parts:
                data = b"".join(parts)
                parts.clear()
                self._size = 0
                self._sent_s = time.monotonic()
                self._send("out", data, {"stream": stream})

    def _send(self, kind: str, payload: bytes, facts: dict[str, Any]) -> None:
        fd = self._fd
        if fd >= 0:
            head = json.dumps({"kind": kind, "bytes": len(payload), **facts}) + "\n"
            payload = head.encode() + payload
        elif kind == "out":
            fd = _DESCRIPTORS[facts["stream"]]
        else:
            return
        left = memoryview(payload)
        while left:
            try:
                left = left[os.write(fd, left) :]
            except OSError:  # the parent is gone; `Listener` sees to the rest
                return


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`."""

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


class _Text(io.TextIOBase):
    """`sys.stdout` and `sys.stderr`: in one order. What a program below writes has its own pipe."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, reports: Reports, stream: str) -> None:
        super().__init__()
        self.buffer = _Bytes(reports, stream)
        self._fd = _DESCRIPTORS[stream]

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.buffer.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        self.buffer.flush()

    def fileno(self) -> int:
        return self._fd


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


class Listener(threading.Thread):
    """Reads what the parent asks for, and tells it of progress meanwhile."""

    def __init__(self, fd: int, rest: bytes, session: _Session) -> None:
        super().__init__(name="gpupredict-listener", daemon=True)
        self._fd = fd
        self._rest = rest
        self._session = session

    def run(self) -> None:
        """Listen until the parent says `quit`, or is gone."""
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                if not self._session.obey(json.loads(line)):
                    return
            ready, _, _ = select.select([self._fd], [], [], POLL_S)
            self._session.poll()
            if ready:
                data = os.read(self._fd, 65536)
                if not data:
                    self._session.orphaned()
                self._rest += data


class _Session:
    """One run of one function."""

    def __init__(self, request: dict[str, Any], reports: Reports, interrupt: Interrupt) -> None:
        self.reports = reports
        self.interrupt = interrupt
        self._unwinding = False
        self._request = request
        self._go = threading.Event()
        self._over = threading.Event()
        self._module = types.ModuleType(request["module"])
        self._kept: dict[str, Any] = {}
        self._value: Any = None
        self._progress: Any = None

    def run(self) -> None:
        """Get ready, wait for the parent's word, call the function and say how it ended."""
        request = self._request
        if request["progress"]:
            module, _, name = request["progress"].partition(":")
            try:
                self._progress = getattr(importlib.import_module(module), name)()
            except Exception as error:  # noqa: BLE001 - border: the cell runs without hints
                self.reports.tell("note", text=f"no progress: {type(error).__name__}: {error}")
        path = Path(request["folder"], f"{request['module']}.py")
        self._go.wait()
        began_s = time.monotonic()
        self.reports.tell("began", time_s=began_s)
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
        except BaseException as raised:  # noqa: BLE001 - whatever the cell raises is told
            self.interrupt.armed = False
            asked = self.interrupt.asked and isinstance(raised, KeyboardInterrupt)
            outcome, fault = "interrupted" if asked else "failed", raised
        took_s = time.monotonic() - began_s
        self.poll()
        if fault is not None:
            with contextlib.suppress(BaseException):
                _synchronize()  # unwound, and idle before anybody ends this process
            self.reports.tell("error", _pickled(fault), **_described(fault, path))
        self.reports.tell("ended", outcome=outcome, took_s=took_s, sm_count=self._sm_count())
        self._over.set()

    def poll(self) -> None:
        """Tell what has come up; on the listener's thread, and at the end."""
        self.interrupt.wake()
        if self.interrupt.noticed and not self._unwinding:
            self._unwinding = True
            self.reports.tell("unwinding")
        self.reports.flush()
        progress = self._progress
        if progress is None:
            return
        try:
            for mark in progress.poll():
                self.reports.tell("mark", **mark)
        except Exception as error:  # noqa: BLE001 - border: a hint of ours or a third party's
            self._progress = None
            self.reports.tell("note", text=f"no progress: {type(error).__name__}: {error}")

    def obey(self, asked: dict[str, Any]) -> bool:
        """Do what the parent asks; returns whether to go on listening."""
        match asked["do"]:
            case "go":
                self._go.set()
            case "interrupt":
                self.interrupt.ask()
            case "fetch":
                self._over.wait()
                for name in asked["names"]:
                    self._send_result(name)
            case "show":
                self._over.wait()
                self._send_shown(*asked["names"])
            case "quit":
                if not self._over.is_set():
                    self.interrupt.ask()
                    self._go.set()
                    while not self._over.wait(POLL_S):
                        self.poll()
                return False
        return True

    def orphaned(self) -> NoReturn:
        """The parent is gone: unwind, then end with everything that was started here."""
        self.interrupt.ask()
        self._go.set()
        until_s = time.monotonic() + ORPHAN_S
        while not self._over.wait(POLL_S) and time.monotonic() < until_s:
            self.interrupt.wake()
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    def _call(self, path: Path) -> Any:
        request = self._request
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        if request["keep_of"]:
            _keep_names(tree, request["keep_of"])
        module = self._module
        module.__file__ = str(path)
        vars(module)[_KEEP] = self._kept.update
        vars(module)[_LOCALS] = builtins.locals
        sys.modules[module.__name__] = module
        exec(compile(tree, str(path), "exec"), vars(module))  # noqa: S102 - the user's own cell
        return getattr(module, request["entry"])(request["params"])

    def _send_result(self, name: str) -> None:
        """Send one name of the function; the empty name is its value."""
        known = vars(self._module) | self._kept | {"": self._value}
        if name not in known:
            self.reports.tell("result", name=name, reason="the cell has not bound it")
            return
        self._send_pickled(name, known[name])

    def _send_shown(self, name: str) -> None:
        """Send the value as it is, where it is plain data, else what it prints."""
        if not _is_plain(self._value):
            with contextlib.suppress(Exception):
                text = repr(self._value).encode("utf-8", "replace")
                self.reports.tell("result", text, name=name, reason="text")
                return
        self._send_pickled(name, self._value)

    def _send_pickled(self, name: str, value: Any) -> None:
        try:
            payload = pickle.dumps(value)
        except Exception as error:  # noqa: BLE001 - objects raise what they like
            reason = f"cannot be pickled: {type(error).__name__}: {error}"
            self.reports.tell("result", name=name, reason=reason[:500])
        else:
            self.reports.tell("result", payload, name=name)

    def _sm_count(self) -> int | None:
        """Return how many SMs this process was given; None where CUDA is not in use."""
        if not self._request["sm_count"]:
            return None
        module, _, name = self._request["sm_count"].partition(":")
        with contextlib.suppress(Exception):
            count = getattr(importlib.import_module(module), name)()
            return None if count is None else int(count)
        return None


def _keep_names(tree: ast.Module, function: str) -> None:
    """Have a function's names kept when it ends, however it ends; its lines stay as they are."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
            call = ast.Expr(
                ast.Call(ast.Name(_KEEP, ast.Load()), [_call_of(_LOCALS)], []),
            )
            declared = [one for one in node.body if isinstance(one, ast.Global)]
            for name in (name for one in declared for name in one.names):
                call = _with_global(call, name)
            whole = ast.Try(body=node.body, handlers=[], orelse=[], finalbody=[call])
            ast.copy_location(whole, node.body[0])
            node.body = [whole]
    ast.fix_missing_locations(tree)


def _with_global(call: ast.Expr, name: str) -> ast.Expr:
    """Return the call with one of the module's names beside the function's own."""
    inner = call.value
    assert isinstance(inner, ast.Call)  # noqa: S101 - as made above
    read = ast.Call(
        ast.Attribute(ast.Call(ast.Name("globals", ast.Load()), [], []), "get", ast.Load()),
        [ast.Constant(name)],
        [],
    )
    inner.keywords.append(ast.keyword(name, read))
    return call


def _call_of(name: str) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), [], [])


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
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - as above
        message = ""
    kinds = [f"{one.__module__}.{one.__qualname__}" for one in type(error).__mro__]
    text = "".join(lines).replace(f"{path.parent}{os.sep}", "")
    return {"name": type(error).__name__, "kinds": kinds, "message": message, "traceback": text}


def _pickled(error: BaseException) -> bytes:
    """Return the exception, if it comes out of a pickle as it went in."""
    try:
        data = pickle.dumps(error)
        pickle.loads(data)  # noqa: S301 - our own, a line above
    except Exception:  # noqa: BLE001 - exceptions with arguments of their own often do not
        return b""
    return data


def _is_plain(value: Any, room: int = 10_000) -> bool:
    """Whether a value is plain data, and not much of it: some 100 kB."""
    waiting: list[Any] = [value]
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


def _read_request(fd: int) -> tuple[dict[str, Any], bytes]:
    data = b""
    while b"\n" not in data:
        more = os.read(fd, 65536)
        if not more:
            sys.exit(1)
        data += more
    line, _, rest = data.partition(b"\n")
    request: dict[str, Any] = json.loads(line)
    return request, rest


def _part_in_forks(reports: Reports, requests: int) -> None:
    """Keep forked processes from speaking to the parent, and from hearing it."""
    heard = [requests]

    def after() -> None:
        reports.in_fork()
        if heard:
            with contextlib.suppress(OSError):
                os.close(heard.pop())
        signal.signal(signal.SIGINT, signal.default_int_handler)

    os.register_at_fork(after_in_child=after)


def main() -> None:
    """Run what the parent sends; returns when it says `quit`."""
    requests, told = int(sys.argv[1]), int(sys.argv[2])
    for fd in (requests, told):
        os.set_inheritable(fd, False)
    request, rest = _read_request(requests)
    sys.argv[:] = [""]
    sys.path[:] = [request["folder"], *request["path"]]
    interrupt = Interrupt()
    reports = Reports(told, interrupt)
    sys.stdout, sys.stderr = _Text(reports, "stdout"), _Text(reports, "stderr")
    _part_in_forks(reports, requests)
    session = _Session(request, reports, interrupt)
    listener = Listener(requests, rest, session)
    listener.start()
    session.run()
    listener.join()
    reports.tell("bye")


if __name__ == "__main__":
    main()
