"""Reads what a child reports and writes, on a thread of its own, until the child is gone."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import json
import os
import queue
import selectors
import signal
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.progress import Mark, Phase, Progress
from jupyter_gpupredict.mps.states import Ended, Fault

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

CHUNK = 64 << 10
QUEUED = 64
"""Chunks of output that wait for the reader: beyond 4 MiB the child waits in its write."""
TICK_S = 0.25


class Reader(threading.Thread):
    """Reads until the child is gone, and collects it after `finish`."""

    def __init__(self, process: subprocess.Popen[bytes], reports: int) -> None:
        super().__init__(name="gpupredict-child", daemon=True)
        self.news: queue.Queue[Any] = queue.Queue(QUEUED)
        """Output, marks and results, in order; None at the end."""
        self.dead = threading.Event()
        self.ended: Ended | None = None
        self._process = process
        self._reports = reports
        self._finishing = threading.Event()
        self._left = False
        self._status = 0
        self._error: Fault | None = None
        self._began_s = time.monotonic()
        self._data = bytearray()
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}

    def run(self) -> None:
        """Read until the process is dead and its pipes are empty."""
        assert self._process.stdout is not None  # noqa: S101 - as it was started
        assert self._process.stderr is not None  # noqa: S101
        pipes = {
            self._reports: "",
            self._process.stdout.fileno(): "stdout",
            self._process.stderr.fileno(): "stderr",
        }
        with selectors.DefaultSelector() as selector:
            for fd in pipes:
                selector.register(fd, selectors.EVENT_READ)
            while not self._is_dead():
                if not selector.get_map():
                    time.sleep(0.01)  # between closing its files and being dead
                    continue
                for key, _ in selector.select(TICK_S):
                    self._read(selector, key.fd, pipes[key.fd])
            for fd, stream in pipes.items():  # what it has left there; others may go on writing
                left = _bytes_in(fd)
                while left > 0 and fd in selector.get_map():
                    left -= self._read(selector, fd, stream)
            if self.ended is None:
                self.ended = self._died(self._cause())
            self.dead.set()
            self._put(None)
            while selector.get_map() and (self._left or not self._finishing.is_set()):
                for key, _ in selector.select(TICK_S):  # a closed pipe would end who writes
                    if not os.read(key.fd, CHUNK):
                        selector.unregister(key.fd)
        self._finishing.wait()
        os.close(self._reports)
        self._process.stdout.close()
        self._process.stderr.close()
        self._process.wait()

    def finish(self, *, left: bool) -> None:
        """End, and wait for nobody to take the news; what is `left` running is read to its end."""
        self._left = left
        self._finishing.set()
        self.join(2 * TICK_S + 1.0)

    def _read(self, selector: selectors.BaseSelector, fd: int, stream: str) -> int:
        """Take what is there; returns how many bytes that was."""
        data = os.read(fd, CHUNK)
        if not data:
            selector.unregister(fd)
        elif stream:
            self._put_output(stream, data, f"{stream} below")
        else:
            self._data += data
            try:
                self._take_frames()
            except (ValueError, KeyError, TypeError) as error:  # something else has written there
                selector.unregister(fd)
                self.ended = self._died(f"the cell's process broke its pipe: {error}")
                self._put(("ended",))
        return len(data)

    def _take_frames(self) -> None:
        while True:
            end = self._data.find(b"\n")
            if end < 0:
                return
            head = json.loads(self._data[:end])
            last = end + 1 + head["bytes"]
            if len(self._data) < last:
                return
            payload = bytes(self._data[end + 1 : last])
            del self._data[:last]
            self._take(head, payload)

    def _take(self, head: dict[str, Any], payload: bytes) -> None:
        match head["kind"]:
            case "out":
                self._put_output(head["stream"], payload, head["stream"])
            case "mark":
                self._put(("mark", _mark(head)))
            case "note":
                self._put(("note", head["text"]))
            case "unwinding":
                self._put(("unwinding",))
            case "began":
                self._put(("began", head["time_s"]))
            case "error":
                kinds = tuple(head["kinds"])
                facts = (head["name"], head["message"], head["traceback"], kinds, payload)
                self._error = Fault(*facts)
            case "ended":
                self.ended = Ended(head["outcome"], head["took_s"], self._error, head["sm_count"])
                self._put(("ended",))
            case "result":
                self._put(("result", head["name"], payload, head.get("reason", "")))

    def _put_output(self, stream: str, data: bytes, channel: str) -> None:
        fresh = codecs.getincrementaldecoder("utf-8")("replace")
        text = self._decoders.setdefault(channel, fresh).decode(data)
        if text:
            self._put(("out", stream, text))

    def _put(self, news: tuple[Any, ...] | None) -> None:
        """Queue news; while nobody takes them the child is held up, unless we are finishing."""
        while True:
            with contextlib.suppress(queue.Full):
                self.news.put(news, timeout=TICK_S)
                return
            if self._finishing.is_set():
                return

    def _is_dead(self) -> bool:
        """Whether the process has ended.

        It is not collected yet: while it is a zombie, nobody else can get its group's number, by
        which what it has left behind is ended.
        """
        try:
            found = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # somebody collects every child of this process
            return True
        if found is None:
            return False
        status = found.si_status
        self._status = status if found.si_code == os.CLD_EXITED else -status
        return True

    def _died(self, message: str) -> Ended:
        fault = Fault("ProcessDied", message, f"ProcessDied: {message}\n")
        return Ended("died", time.monotonic() - self._began_s, fault)

    def _cause(self) -> str:
        status = self._status
        if status >= 0:
            return f"the cell's process ended itself with status {status}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        killed = "; when nobody did it, the machine ran out of memory"
        by_kernel = killed if -status == signal.SIGKILL else ""
        return f"the cell's process was ended by {name}{by_kernel}"


def _bytes_in(pipe: int) -> int:
    """Return how many bytes can be read at once: FIONREAD, pipe(7)."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def _mark(head: Mapping[str, Any]) -> Mark:
    if head["mark"] == "phase":
        return Phase(head["time_s"], head["name"], head["hint"])
    return Progress(head["time_s"], head["unit"], head["done"], head["total"], head["hint"])
