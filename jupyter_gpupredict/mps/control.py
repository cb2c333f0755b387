"""Commands to a daemon of our own, by the standard input of nvidia-cuda-mps-control.

Every command has a time limit, and every answer is parsed whole: what is not the documented answer
is an error, never a guess. Source: MPS documentation, tools and interface reference (protocol 2),
and the manual page nvidia-cuda-mps-control(1).
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
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import (
    ControlTimeout,
    DaemonNotRunning,
    LimitRefused,
    ServerFault,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_gpupredict.mps.directory import OwnDirectory

PROGRAM = "nvidia-cuda-mps-control"
LIMIT_S = 10.0
TERMINATE_LIMIT_S = 30.0
"""`terminate_client` answers when the server has destroyed the client's contexts."""
_LARGEST_ANSWER_BYTES = 1 << 18
_NO_DAEMON = "Cannot find MPS control daemon process"
_PS_HEADER = ["PID", "ID", "SERVER", "DEVICE", "NAMESPACE", "COMMAND"]
_STATES = ("INITIALIZING", "ACTIVE", "FAULT")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True, slots=True)
class Client:
    """A row of `ps`: one context of a client."""

    pid: int
    """In the daemon's PID namespace."""
    context: int
    server_pid: int
    device: str
    """The beginning of the device's UUID."""
    namespace: str
    """The PID namespace of the client."""
    command: str


@dataclass(frozen=True, slots=True)
class Partition:
    """A row of `lspart`: of a device, which has no `name`, or of a partition, with no `free_*`."""

    device: str
    name: str | None
    free_chunks: int | None
    used_chunks: int | None
    free_sms: int | None
    used_sms: int | None
    in_use: bool | None


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


def program_version() -> str:
    """Return what the program says of its version; empty where it says nothing of the kind.

    Raises:
        DaemonNotRunning: It is not installed.
    """
    # the option is documented for all platforms only lately; with no daemon in reach, a program
    # that does not know it has nobody to talk to
    environ = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": os.devnull}
    try:
        code, text = _run([program(), "-v"], "", environ, LIMIT_S)
    except (ControlTimeout, ServerFault):
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = lines[0] if code == 0 and len(lines) == 1 else ""
    return said if len(said) < 100 and re.search(r"\d", said) else ""


def environment(directory: OwnDirectory) -> dict[str, str]:
    """Return the environment of the daemon and of commands to it: nothing inherited about MPS."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CUDA_MPS_")}
    return kept | {
        "CUDA_MPS_PIPE_DIRECTORY": str(directory.pipe),
        "CUDA_MPS_LOG_DIRECTORY": str(directory.log),
        "CUDA_VISIBLE_DEVICES": directory.gpu_uuid,
    }


class Control:
    """The daemon in one directory of ours.

    Every method raises:
        DaemonNotRunning: There is none, or no program.
        ControlTimeout: No answer in time.
        ServerFault: An answer that is not the documented one.
    """

    def __init__(self, directory: OwnDirectory, limit_s: float = LIMIT_S) -> None:
        self._directory = directory
        self._limit_s = limit_s

    # ---- servers and clients ------------------------------------------------------------------

    def get_server_list(self) -> list[int]:
        """Return the PIDs of the servers."""
        return self._numbers("get_server_list")

    def get_server_status(self, server_pid: int) -> str:
        """Return `INITIALIZING`, `ACTIVE` or `FAULT`."""
        command = f"get_server_status {server_pid}"
        lines = self._ask(command)
        if len(lines) != 1 or lines[0] not in _STATES:
            raise _strange(command, lines)
        return lines[0]

    def start_server(self, uid: int) -> None:
        """Start the server of a user, which the first client would do otherwise."""
        self._numbers(f"start_server -uid {uid}")

    def get_client_list(self, server_pid: int) -> list[int]:
        """Return the PIDs of a server's clients."""
        return self._numbers(f"get_client_list {server_pid}")

    def ps(self) -> list[Client]:
        """Return all contexts of all clients."""
        lines = self._ask("ps")
        if not lines or lines[0].split() != _PS_HEADER:
            raise _strange("ps", lines)
        return [_client(line) for line in lines[1:]]

    def terminate_client(self, server_pid: int, client_pid: int) -> None:
        """End a client's contexts, so that its process can be ended without harm to the others."""
        command = f"terminate_client {server_pid} {client_pid}"
        lines = self._ask(command, max(self._limit_s, TERMINATE_LIMIT_S))
        if lines != ["0"]:  # CUDA_SUCCESS
            raise _strange(command, lines)

    # ---- limits -------------------------------------------------------------------------------

    def set_default_active_thread_percentage(self, percentage: int) -> None:
        """Limit the clients of servers that start from now on.

        Raises:
            LimitRefused: The daemon took another value.
        """
        self._set_percentage("set_default_active_thread_percentage", percentage)

    def set_active_thread_percentage(self, server_pid: int, percentage: int) -> None:
        """Limit the clients that come to a server from now on.

        Raises:
            LimitRefused: The server took another value.
        """
        self._set_percentage(f"set_active_thread_percentage {server_pid}", percentage)

    def set_default_device_pinned_mem_limit(self, device: int, limit_mib: int) -> None:
        """Limit each client's device memory, for servers that start from now on.

        Args:
            device: As the daemon numbers its visible devices.
            limit_mib: Binary mebibytes.

        Raises:
            LimitRefused: The daemon took another value.
        """
        self._ask(f"set_default_device_pinned_mem_limit {device} {limit_mib}M")
        lines = self._ask(f"get_default_device_pinned_mem_limit {device}")
        if len(lines) != 1 or _bytes(lines[0]) != limit_mib << 20:
            raise LimitRefused(f"MPS did not take {limit_mib} MiB: {_quoted(lines)}")

    # ---- static SM partitions (drivers since CUDA 13.1, daemon started with -S) ---------------

    def sm_partition_add(self, gpu_uuid: str, chunks: int) -> str:
        """Set SMs of a device aside; returns the value of `CUDA_MPS_SM_PARTITION`.

        Raises:
            LimitRefused: There are not so many chunks, or the daemon has no partitions.
        """
        lines = self._ask(f"sm_partition add {gpu_uuid} {chunks}")
        made = re.fullmatch(
            rf"(?:Partition )?({re.escape(gpu_uuid)}/[\w+/=-]+)(?: created)?", "\n".join(lines)
        )
        if made is None:
            raise LimitRefused(
                f"MPS made no partition of {chunks} chunks: {_quoted(lines)}",
                "static partitions need CUDA 13.1 and a daemon started for them",
            )
        return made.group(1)

    def sm_partition_rm(self, partition: str) -> None:
        """Give the SMs of a partition back.

        Raises:
            LimitRefused: It is still there.
        """
        gpu_uuid, _, name = partition.partition("/")
        lines = self._ask(f"sm_partition rm {gpu_uuid} {name}")
        if any(row.name is not None and name.startswith(row.name) for row in self.lspart()):
            raise LimitRefused(f"MPS keeps the partition {partition}: {_quoted(lines)}")

    def lspart(self) -> list[Partition]:
        """Return devices and partitions with their chunks and SMs."""
        lines = self._ask("lspart")
        if not lines or lines[0].split()[:2] != ["GPU", "Partition"]:
            raise _strange("lspart", lines)
        rows = lines[1:]
        if rows and rows[0].split() == ["chunk", "chunk", "SM", "SM"]:
            rows = rows[1:]  # the headings' second line
        return [_partition(row) for row in rows]

    # ---- the end ------------------------------------------------------------------------------

    def quit(self, timeout_s: int) -> None:
        """Tell the daemon to end; after `timeout_s` it ends its servers by force."""
        self._ask(f"quit -t {timeout_s}", max(self._limit_s, timeout_s + 1.0))

    def _set_percentage(self, command: str, percentage: int) -> None:
        lines = self._ask(f"{command} {percentage}")
        try:
            taken = float(lines[-1]) if len(lines) == 1 else None
        except ValueError:
            taken = None
        if taken != percentage:
            raise LimitRefused(f"MPS did not take {percentage} %: {_quoted(lines)}")

    def _numbers(self, command: str) -> list[int]:
        lines = self._ask(command)
        if not all(re.fullmatch(r"\d{1,10}", line) for line in lines):
            raise _strange(command, lines)
        return [int(line) for line in lines]

    def _ask(self, command: str, limit_s: float | None = None) -> list[str]:
        """Send one command; return the lines of its answer without blank ones."""
        code, text = _run(
            [program()], command, environment(self._directory), limit_s or self._limit_s
        )
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if _NO_DAEMON in text:
            raise DaemonNotRunning(f"no MPS daemon runs in {self._directory.pipe}")
        if code != 0:
            raise ServerFault(f"{command}: exit status {code}: {_quoted(lines)}")
        return lines


def _run(
    command: list[str], said: str, environ: Mapping[str, str], limit_s: float
) -> tuple[int, str]:
    """Run a program on one line of input, within limits of time and of output."""
    deadline_s = time.monotonic() + limit_s
    try:
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupt of the kernel is not meant for it
        )
    except OSError as error:
        raise DaemonNotRunning(f"{command[0]} does not start: {error.strerror}") from error
    assert process.stdin is not None  # noqa: S101 - pipes, as asked for
    assert process.stdout is not None  # noqa: S101
    answer = bytearray()
    with process:
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended without listening
                process.stdin.write(f"{said}\n".encode())
                process.stdin.close()
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                while len(answer) <= _LARGEST_ANSWER_BYTES:
                    if not selector.select(max(0.0, deadline_s - time.monotonic())):
                        raise ControlTimeout(
                            f"{PROGRAM} gave no answer to {said!r} in {limit_s:g} s",
                            "the daemon's log directory may say why",
                        )
                    part = os.read(process.stdout.fileno(), 1 << 16)
                    if not part:
                        break
                    answer += part
                else:
                    raise ServerFault(f"{PROGRAM} answers {said!r} without end")
            try:
                code = process.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                raise ControlTimeout(f"{PROGRAM} does not end after {said!r}") from error
        finally:
            process.kill()  # does nothing to one that has ended
    return code, answer.decode(errors="replace")


def _client(line: str) -> Client:
    words = line.split(None, 5)
    numbers = [words[k] for k in (0, 1, 2)] if len(words) >= 5 else [""]
    if not all(word.isdecimal() for word in numbers):
        raise _strange("ps", [line])
    pid, context, server = map(int, numbers)
    return Client(pid, context, server, words[3], words[4], words[5] if len(words) > 5 else "")


def _partition(line: str) -> Partition:
    words = line.split()
    numbers = words[2:6]
    if len(words) < 6 or not all(word == "-" or word.isdecimal() for word in numbers):
        raise _strange("lspart", [line])
    free, used, free_sms, used_sms = (None if word == "-" else int(word) for word in numbers)
    in_use = {"Yes": True, "No": False}.get(words[6]) if len(words) > 6 else None
    name = None if words[1] == "-" else words[1]
    return Partition(words[0], name, free, used, free_sms, used_sms, in_use)


def _bytes(text: str) -> int | None:
    found = re.fullmatch(r"(\d+)([KMG]?)B?", text)
    return int(found.group(1)) * _UNITS[found.group(2)] if found else None


def _strange(command: str, lines: list[str]) -> ServerFault:
    return ServerFault(f"MPS answers {_quoted(lines)} to {command!r}")


def _quoted(lines: list[str]) -> str:
    return repr(" / ".join(lines)[:200]) if lines else "nothing"
