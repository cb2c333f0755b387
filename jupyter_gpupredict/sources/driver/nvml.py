"""The door to libnvidia-ml: the only importer of pynvml (PyPI: nvidia-ml-py).

Read-only: nothing here can change a device. Errors of the library become ours, with a reason.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from jupyter_gpupredict.core.errors import (
    PermissionDenied,
    SourceLost,
    SourceUnavailable,
    TelemetryError,
)
from jupyter_gpupredict.core.protocols import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_clock = SystemClock()
ANSWER_S = 2.0
"""A library that is loaded answers sooner. Nobody waits longer behind a call that has not returned:
one thread at most is lost to a driver that hangs."""
LOAD_S = 5.0
"""What loading may take on a machine that keeps no driver loaded, for callers who can wait."""
UNANSWERED = -1
"""A code of this module: the call has not returned."""
CLOSE_S = 0.2
"""Shutting down may take longer: it then goes on by itself."""
NO_PERMISSION, NOT_FOUND, INSUFFICIENT_SIZE, FUNCTION_NOT_FOUND, DEVICE_LOST = 4, 6, 7, 13, 15
_REASONS = {
    **dict.fromkeys((2, 3, 13, 25, 26), "not_supported"),
    **dict.fromkeys((9, 12), "no_driver"),
    **dict.fromkeys((15, 16, 28), "device_lost"),
    4: "no_permission",
    18: "version_mismatch",
}
"""Return code -> reason; any other code is a passing failure: `timed_out`."""
_PERMANENT = frozenset({2, 3, 4, 13, 25, 26})
"""Codes that say what a device cannot do, which asking again does not change."""
_GONE = frozenset({1, 9, 15, 16, 18, 28})
"""Codes after which the library's handles are worth nothing."""
_HINTS = {
    "no_driver": "run nvidia-smi to see whether the NVIDIA driver is installed and loaded",
    "version_mismatch": "the driver was replaced underneath: restart the machine or container",
    "wrong_pynvml": "pip uninstall pynvml; pip install nvidia-ml-py",
    "device_lost": "see the system log for Xid errors",
    "no_permission": "this user may not read the device",
    "timed_out": "nvidia-smi may hang too: see the system log for Xid errors",
}


class Sample(NamedTuple):
    """One reading of the driver's own buffer."""

    time_us: int
    """The driver's clock: microseconds since 1970 as documented, not always in fact."""
    percent: float


class ProcessSample(NamedTuple):
    """How busy one process kept the device, over one period of the driver."""

    time_us: int
    pid: int
    percent: float


class NvmlError(Exception):
    """A call failed; kept inside `driver` and `telemetry`."""

    def __init__(self, code: int, call: str, text: str) -> None:
        super().__init__(f"{call}: {text}")
        self.code = code
        self.reason = _REASONS.get(code, "timed_out")
        """One of `core.metrics.REASONS`."""
        self.permanent = code in _PERMANENT
        """Whether asking again would not help."""
        self.gone = code in _GONE
        """Whether device or driver are lost."""


def translated(error: NvmlError, *, was_open: bool) -> TelemetryError:
    """Return the error that callers outside the driver know."""
    denied = error.reason == "no_permission"
    kind = SourceLost if was_open else PermissionDenied if denied else SourceUnavailable
    return kind(str(error), _HINTS.get(error.reason, ""), error.reason)


def ratio(percent: float) -> float:
    """Return 0..1; what is above 100 is one of the driver's blank values, so NaN."""
    return percent / 100.0 if 0.0 <= percent <= 100.0 else math.nan


class _Door:
    """Lets one call at a time into the library, and none behind one that does not return."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._call, self._since_s = "", 0.0
        self.loaded = 0
        """How many have the library initialised."""

    @contextlib.contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait for a call's turn; raises `NvmlError` when the call before it does not return."""
        if not self._lock.acquire(blocking=False):
            left_s = self._since_s + ANSWER_S - _clock.monotonic_s()
            if left_s <= 0.0 or not self._lock.acquire(timeout=left_s):
                late_s = _clock.monotonic_s() - self._since_s
                text = f"the driver has not answered {self._call} for {late_s:.0f} s"
                raise NvmlError(UNANSWERED, name, text)
        self._call, self._since_s = name, _clock.monotonic_s()
        try:
            yield
        finally:
            self._lock.release()


_door = _Door()


def _renew() -> None:
    """In a forked child no call is under way, whatever the parent's threads were at."""
    global _door  # noqa: PLW0603 - the one per-process object, replaced only after a fork
    _door = _Door()


os.register_at_fork(after_in_child=_renew)


def _ask(binding: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    """Call a function of the binding when it is its turn."""
    with _door.turn(name):
        try:
            return getattr(binding, name)(*arguments)
        except binding.NVMLError as error:
            raise NvmlError(int(error.value), name, str(error)) from error
        except binding.NVMLLibraryMismatchError as error:  # its own word for code 13
            raise NvmlError(13, name, "the driver is older than nvidia-ml-py") from error


def _apart(ask: Callable[[], Any], name: str, limit_s: float) -> Any:
    """Return what `ask` returns or raises, on a thread that is left behind when it is late."""
    found: list[Any] = []
    failed: list[Exception] = []
    done = threading.Event()

    def run() -> None:
        try:
            found.append(ask())
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            failed.append(error)
        done.set()

    if limit_s > 0.0:
        threading.Thread(target=run, name="gpupredict-driver", daemon=True).start()
    if limit_s <= 0.0 or not done.wait(limit_s):
        raise NvmlError(UNANSWERED, name, "the driver has not answered in time")
    if failed:
        raise failed[0]
    return found[0]


class Nvml:
    """An initialised library; everything that asks it raises `NvmlError` where it fails.

    Args:
        limit_s: Seconds that all calls may take together: each then runs on a thread of its own,
            and a late one is left there. None: as long as they take, on the caller's thread. As a
            context manager there is a limit in any case.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self._limit_s = limit_s
        self._until_s: float | None = None
        self.binding: Any = None
        """The library's Python binding, for its structures; None while closed."""
        self._pid = 0
        self.handles: dict[str, Any] = {}
        """UUID -> the library's handle, of the devices that `inventory.devices` has found."""

    def __enter__(self) -> Self:
        if self._limit_s is None:
            self._limit_s = ANSWER_S if _door.loaded else LOAD_S
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Load and initialise the library; raises `SourceUnavailable` where that cannot be done."""
        try:
            import pynvml
        except ImportError as error:
            hint = "pip install nvidia-ml-py"
            raise SourceUnavailable("nvidia-ml-py is not installed", hint, "no_driver") from error
        if not hasattr(pynvml, "nvmlDeviceGetSamples"):
            message, reason = "another package named pynvml is in the way", "wrong_pynvml"
            raise SourceUnavailable(message, _HINTS[reason], reason)
        self.binding = pynvml
        if self._limit_s is not None:
            self._until_s = _clock.monotonic_s() + self._limit_s
        try:
            self.call("nvmlInit")
        except NvmlError as error:
            self.binding = None
            raise translated(error, was_open=False) from error
        self._pid = os.getpid()
        _door.loaded += 1

    def close(self) -> None:
        """Shut the library down; may be called twice, and does nothing in a forked child."""
        if self.binding is not None and self._pid == os.getpid():
            _door.loaded -= 1
            if self._until_s is not None:
                self._until_s = _clock.monotonic_s() + CLOSE_S
            with contextlib.suppress(NvmlError):  # it may be lost already
                self.call("nvmlShutdown")
        self.binding = None
        self.handles.clear()

    def call(self, name: str, *arguments: Any) -> Any:
        """Call one function of the binding; a list that grew while it was fetched, once more."""
        if self.binding is None:
            raise NvmlError(1, name, "not initialised")
        ask = functools.partial(_ask, self.binding, name, arguments)
        if self._until_s is not None:
            ask = functools.partial(_apart, ask, name, self._until_s - _clock.monotonic_s())
        try:
            return ask()
        except NvmlError as error:
            if error.code != INSUFFICIENT_SIZE:
                raise
            return ask()

    def _if_any(self, name: str, *arguments: Any) -> Any:
        """Call a function that lists; None where there is nothing to list."""
        try:
            return self.call(name, *arguments)
        except NvmlError as error:
            if error.code not in (0, NOT_FOUND):  # 0: the binding's word for an empty list
                raise
            return None

    def driver_version(self) -> str:
        """Return the driver's version; empty when it does not say."""
        with contextlib.suppress(NvmlError):
            return str(self.call("nvmlSystemGetDriverVersion"))
        return ""

    def utilization_samples(self, uuid: str, since_us: int) -> list[Sample]:
        """Return nvmlDeviceGetSamples' utilization after a stamp, oldest first; [] without news."""
        which = self.binding.NVML_GPU_UTILIZATION_SAMPLES
        found = self._if_any("nvmlDeviceGetSamples", self.handles[uuid], which, since_us)
        kind, samples = found or (0, ())
        field = "dVal" if kind == 0 else "uiVal" if kind == 1 else "ullVal"
        every = [Sample(int(s.timeStamp), float(getattr(s.sampleValue, field))) for s in samples]
        return sorted(s for s in every if s.time_us > since_us)

    def utilization_percent(self, uuid: str) -> float:
        """Return nvmlDeviceGetUtilizationRates().gpu."""
        return float(self.call("nvmlDeviceGetUtilizationRates", self.handles[uuid]).gpu)

    def memory_used_bytes(self, uuid: str) -> float:
        """Return the device memory in use, without what the driver reserves where it says so."""
        return float(self.memory(uuid).used)

    def power_watts(self, uuid: str) -> float:
        """Return nvmlDeviceGetPowerUsage in watts."""
        return float(self.call("nvmlDeviceGetPowerUsage", self.handles[uuid])) / 1000.0

    def throttle_bits(self, uuid: str) -> int:
        """Return why the clocks are below what they could be, as NVML's bit mask."""
        handle = self.handles[uuid]
        try:
            return int(self.call("nvmlDeviceGetCurrentClocksEventReasons", handle))
        except NvmlError as error:
            if error.code != FUNCTION_NOT_FOUND:
                raise  # drivers before 535 have it under its older name
            return int(self.call("nvmlDeviceGetCurrentClocksThrottleReasons", handle))

    def process_samples(self, uuid: str, since_us: int) -> list[ProcessSample]:
        """Return how busy each process kept the device after a stamp, oldest first.

        Only processes that did something are in it. Values that no percent can be are dropped.
        Source: nvmlDeviceGetProcessUtilization.
        """
        name = "nvmlDeviceGetProcessUtilization"
        samples = self._if_any(name, self.handles[uuid], since_us) or ()
        found = (ProcessSample(int(s.timeStamp), int(s.pid), float(s.smUtil)) for s in samples)
        kept = (one for one in found if one.time_us > since_us and 0.0 <= one.percent <= 100.0)
        return sorted(kept, key=lambda one: one.time_us)

    def process_memory_bytes(self, uuid: str) -> dict[int, float | None]:
        """Return PID -> device memory of each compute process; None where the driver hides it."""
        listed = self.call("nvmlDeviceGetComputeRunningProcesses", self.handles[uuid])
        sizes = ((int(one.pid), one.usedGpuMemory) for one in listed)
        return {pid: None if size is None else float(size) for pid, size in sizes}

    def compute_mode(self, uuid: str) -> int:
        """Return nvmlComputeMode_t: 0 default, 2 prohibited, 3 one process at a time."""
        return int(self.call("nvmlDeviceGetComputeMode", self.handles[uuid]))

    def mps_pids(self, uuid: str) -> frozenset[int]:
        """Return the processes that use the device through an MPS server."""
        listed = self.call("nvmlDeviceGetMPSComputeRunningProcesses", self.handles[uuid])
        return frozenset(int(one.pid) for one in listed)

    def memory(self, uuid: str) -> Any:
        """Return nvmlDeviceGetMemoryInfo: total, used and free, in bytes."""
        handle = self.handles[uuid]
        try:
            return self.call("nvmlDeviceGetMemoryInfo", handle, self.binding.nvmlMemory_v2)
        except NvmlError as error:
            if not error.permanent:
                raise
            return self.call("nvmlDeviceGetMemoryInfo", handle)  # drivers before 510
