"""Commands to a daemon of our own, by the standard input of nvidia-cuda-mps-control.

Exit status 0 proves nothing: unknown commands and faults have it, too. Every command has a time
limit, and every answer is parsed whole: what is not a known answer is an error, never a guess.
Source: the replies of the programs of four driver branches (docs/mps.md), and for what needs a GPU
the MPS documentation, tools and interface reference.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import ControlTimeout, DaemonNotRunning, ServerFault
from jupyter_gpupredict.mps.directory import Patience

if TYPE_CHECKING:
    from jupyter_gpupredict.mps.directory import OwnDirectory

PROGRAM = "nvidia-cuda-mps-control"
LIMIT_S = 3.0
"""NVIDIA's daemons answer in milliseconds, or, halted, never."""
TERMINATE_LIMIT_S = 8.0
"""`terminate_client` answers when the server has destroyed the client's contexts."""
MEMORY_COMMAND = "get_default_device_pinned_mem_limit"
"""Stands for memory limits of clients: they came with it."""
OPTIONAL = ("get_server_status", "terminate_client", MEMORY_COMMAND)
"""Commands that some drivers lack."""
_KNOWN: dict[int, tuple[str, ...]] = {470: (), 535: OPTIONAL[1:], 550: OPTIONAL, 555: OPTIONAL}
"""Driver branch -> what NVIDIA's own daemon of it knew; `tests/fake_mps/record.py` asks again."""
_VERSION_FILE = Path("/proc/driver/nvidia/version")
SERVER_LIMIT_S = 10.0
LOOK_S = 0.3
"""Between two looks at the servers: one that dies at once may be in the list for a moment."""
_LARGEST_ANSWER_BYTES = 1 << 18
_NO_DAEMON = "Cannot find MPS control daemon process"
_UNKNOWN = re.compile(r'Unknown command "[^"]*"')
_NOTHING_THERE = re.compile(r"Server( \d+)? not found!?")
_STATES = ("INITIALIZING", "ACTIVE", "FAULT")
_EXITED = re.compile(r"Server \d+ exited with status \d+")
_HEAD = re.compile(r"^\[[^\]]*\] ")


def program() -> str:
    """Return the path of the control program.

    Raises:
        DaemonNotRunning: It is not installed.
    """
    path = shutil.which(PROGRAM)
    if path is None:
        raise DaemonNotRunning(
            f"{PROGRAM} is not installed", "it comes with the driver: nvidia-compute-utils"
        )
    return path


def environment(directory: OwnDirectory) -> dict[str, str]:
    """Return the environment of the daemon and of commands to it: nothing inherited about MPS."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CUDA_MPS_")}
    return kept | {
        "CUDA_MPS_PIPE_DIRECTORY": str(directory.pipe),
        "CUDA_MPS_LOG_DIRECTORY": str(directory.log),
        "CUDA_VISIBLE_DEVICES": directory.gpu_uuid,
    }


@dataclass(frozen=True, slots=True)
class Control:
    """The daemon in one directory of ours.

    Every method raises:
        DaemonNotRunning: There is none, or no program.
        ControlTimeout: No answer in time.
        ServerFault: An answer that is not a known one.
    """

    directory: OwnDirectory
    limit_s: float = LIMIT_S
    """For an answer."""

    def commands(self) -> frozenset[str]:
        """Ask which of `OPTIONAL` the daemon knows; there is no server that they could act on."""
        arguments = {"get_server_status": "0", "terminate_client": "0 0"}
        lines = {one: self._ask(f"{one} {arguments.get(one, '0')}") for one in OPTIONAL}
        known = (one for one, said in lines.items() if not any(map(_UNKNOWN.fullmatch, said)))
        return frozenset(known)

    def get_server_list(self) -> list[int]:
        """Return the PIDs of the servers."""
        return self._numbers("get_server_list")

    def get_server_status(self, server_pid: int) -> str:
        """Return `INITIALIZING`, `ACTIVE` or `FAULT`; empty where it is not known."""
        if "get_server_status" not in self.directory.commands:
            return ""
        command = f"get_server_status {server_pid}"
        lines = self._ask(command)
        if _is(_NOTHING_THERE, lines):
            return ""
        if len(lines) != 1 or lines[0] not in _STATES:
            raise _strange(command, lines)
        return lines[0]

    def start_server(self, uid: int) -> None:
        """Ask for the server of a user, which its first client would start otherwise.

        The answer says nothing: whether the server lives shows in `get_server_list`.
        """
        self._numbers(f"start_server -uid {uid}", silent_failure=True)

    def clients(self) -> dict[int, list[int]]:
        """Return the PID of each server, and those of its clients."""
        servers = self.get_server_list()
        return {server: self._numbers(f"get_client_list {server}") for server in servers}

    def client_pids(self) -> list[int]:
        """Return the PIDs of all clients, in order."""
        return sorted({pid for pids in self.clients().values() for pid in pids})

    def terminate_client(self, server_pid: int, client_pid: int) -> None:
        """End a client's contexts, so that its process can be ended without harm to the others."""
        command = f"terminate_client {server_pid} {client_pid}"
        if "terminate_client" not in self.directory.commands:
            raise ServerFault("this driver's MPS cannot end one client", "a newer driver can")
        lines = self._ask(command, max(self.limit_s, TERMINATE_LIMIT_S))
        if lines != ["0"] and not any(map(_NOTHING_THERE.fullmatch, lines)):  # CUDA_SUCCESS
            raise _strange(command, lines)

    def quit(self, timeout_s: int) -> None:
        """Tell the daemon to end; after `timeout_s` it ends its servers by force.

        It is gone one to two seconds after the answer.
        """
        self._ask(f"quit -t {timeout_s}", silent_failure=True)

    def _numbers(self, command: str, *, silent_failure: bool = False) -> list[int]:
        lines = self._ask(command, silent_failure=silent_failure)
        if _is(_NOTHING_THERE, lines):
            return []
        if not all(re.fullmatch(r"\d{1,10}", line) for line in lines):
            raise _strange(command, lines)
        return [int(line) for line in lines]

    def _ask(
        self, command: str, limit_s: float | None = None, *, silent_failure: bool = False
    ) -> list[str]:
        """Send one command; return the lines of its answer without blank ones.

        With `silent_failure`, exit status 1 without a word is an answer.
        """
        limit_s = limit_s or self.limit_s
        code, text = self._run(command, limit_s)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if _NO_DAEMON in text:
            raise DaemonNotRunning(f"no MPS daemon runs in {self.directory.pipe}")
        if code != 0 and not (silent_failure and code == 1 and not lines):
            raise ServerFault(f"{command}: exit status {code}: {_quoted(lines)}")
        return lines

    def _run(self, said: str, limit_s: float) -> tuple[int, str]:
        """Run the program on one line of input, within limits of time and of output."""
        path, patience = program(), Patience(limit_s, f"the MPS daemon to answer {said!r}")
        try:
            process = subprocess.Popen(
                [path],
                env=environment(self.directory),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt of the kernel is not meant for it
            )
        except OSError as error:
            raise DaemonNotRunning(f"{path} does not start: {error.strerror}") from error
        assert process.stdin is not None  # noqa: S101 - pipes, as asked for
        assert process.stdout is not None  # noqa: S101
        answer = bytearray()
        with process, selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            try:
                with contextlib.suppress(BrokenPipeError):  # it ended without listening
                    process.stdin.write(f"{said}\n".encode())
                    process.stdin.close()
                while len(answer) <= _LARGEST_ANSWER_BYTES:
                    if selector.select(patience.step_s()):
                        part = os.read(process.stdout.fileno(), 1 << 16)
                        if not part:
                            break
                        answer += part
                    elif patience.over:
                        raise ControlTimeout(
                            f"{PROGRAM} gave no answer to {said!r} in {limit_s:g} s",
                            "the daemon's log directory may say why",
                        )
                else:
                    raise ServerFault(f"{PROGRAM} answers {said!r} without end")
                code = process.wait(max(0.1, patience.step_s()))
            except subprocess.TimeoutExpired as error:
                raise ControlTimeout(f"{PROGRAM} does not end after {said!r}") from error
            finally:
                process.kill()  # does nothing to one that has ended
        return code, answer.decode(errors="replace")


def require_server(directory: OwnDirectory, limit_s: float = SERVER_LIMIT_S) -> int:
    """Have a daemon of ours run this user's server, and watch it; returns the server's PID.

    Before any process becomes a client: one that finds a daemon whose server cannot start gets CUDA
    error 805, at each later call too, and CUDA is then unusable in that process.

    Raises:
        ServerFault: It does not start; says why, as far as the logs of the daemon say.
        ControlTimeout: The daemon gives no answer, or no server is there in time.
        MpsError: The daemon cannot be asked.
    """
    control = Control(directory)
    patience = Patience(limit_s, "the MPS server to start")
    written = len(directory.said("control.log"))
    seen = set(control.get_server_list())
    if not seen:
        control.start_server(os.geteuid())
    while not patience.over:
        time.sleep(LOOK_S)
        listed = set(control.get_server_list())
        for pid in sorted(listed & seen):
            state = control.get_server_status(pid)
            if state == "FAULT":
                raise faulted(pid)
            if state == "ACTIVE" or "get_server_status" not in directory.commands:
                return pid
        if not listed and _EXITED.search(directory.said("control.log")[written:]):
            raise ServerFault(f"the MPS server does not start: {_reason(directory)}")
        seen = listed
    raise ControlTimeout(f"no MPS server has started in {limit_s:g} s: {_reason(directory)}")


def _reason(directory: OwnDirectory) -> str:
    """Return the last line of the server's log; where it is empty, what the daemon saw."""
    said = [line.strip() for line in directory.said("server.log").splitlines() if line.strip()]
    seen = _EXITED.findall(directory.said("control.log"))
    return _HEAD.sub("", [*seen, *said][-1])[:300] if seen or said else "its logs say nothing"


def faulted(server_pid: int) -> ServerFault:
    """Return the error of a server in the state `FAULT`."""
    return ServerFault(
        f"the MPS server, process {server_pid}, is in the state FAULT: a client faulted",
        "end all of its clients",
    )


def _is(answer: re.Pattern[str], lines: list[str]) -> bool:
    return len(lines) == 1 and answer.fullmatch(lines[0]) is not None


def _strange(command: str, lines: list[str]) -> ServerFault:
    if _is(_UNKNOWN, lines):
        return ServerFault(f"this driver's MPS does not know {command.split(maxsplit=1)[0]}")
    return ServerFault(f"MPS answers {_quoted(lines)} to {command!r}")


def _quoted(lines: list[str]) -> str:
    return repr(" / ".join(lines)[:200]) if lines else "nothing"


@dataclass(frozen=True, slots=True)
class Record:
    """What one driver branch's daemon knows, or one daemon that was asked."""

    source: str
    """`the record of 550`, or `asking it`."""
    commands: frozenset[str]

    @property
    def text(self) -> str:
        """What works with it and what does not, in words."""
        can = {"terminate_client": "ending one client", MEMORY_COMMAND: "memory limits"}
        works = [words for name, words in can.items() if name in self.commands]
        lacks = [words for name, words in can.items() if name not in self.commands]
        missing = f"; not: {', '.join(lacks)}" if lacks else ""
        return f"{', '.join(['--mps', 'proof of attachment', *works])}{missing} (by {self.source})"


def by_driver(version: str) -> Record | None:
    """Return what a driver's MPS knows: the newest record that is not newer; None: there is none.

    >>> by_driver("570.86.15").source
    'the record of 555'
    """
    branch = version.partition(".")[0]
    past = [one for one in _KNOWN if branch.isdecimal() and one <= int(branch)]
    return Record(f"the record of {max(past)}", frozenset(_KNOWN[max(past)])) if past else None


def loaded_driver() -> str:
    """Return the version of the kernel's NVIDIA driver; empty where there is none.

    Source: /proc/driver/nvidia/version.
    """
    try:
        found = re.search(r"\b(\d{3,}\.\d+(\.\d+)?)\b", _VERSION_FILE.read_text(errors="replace"))
    except OSError:
        return ""
    return found.group(1) if found else ""
