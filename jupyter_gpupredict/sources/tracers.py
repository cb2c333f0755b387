"""Records the kernels of this process for a moment, by a profiler that is there already.

No framework is imported for it, and a user's own profiler goes first. None of this has run on a GPU
yet.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.errors import Malformed, SourceUnavailable
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.predict.occupancy import limits_of
from jupyter_gpupredict.sources.profiles import Gpu, Profile
from jupyter_gpupredict.sources.reading import Content

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER_BYTES = 8 << 20
_MAPS = "/proc/self/maps"
BUSY = "another profiler runs in this process"


class Tracer(Protocol):
    """One way to record kernels. The constructor does nothing."""

    name: str
    module: str
    """The library that it needs; imported by the user, or by `record` alone."""

    def refusal(self) -> str:
        """Return why it cannot record now; empty where it can."""

    def record(self, wait: Callable[[], None], sms: int | None) -> Profile:
        """Record while `wait` waits, and return what was launched.

        Raises:
            Exception: Whatever the profiler raises.
        """


class TorchTracer:
    """`torch.profiler`, with GPU activities alone."""

    name, module = "torch.profiler", "torch"

    def refusal(self) -> str:
        """Return why not: PyTorch is not in use, or a user's profiler is."""
        torch = sys.modules.get("torch")
        if torch is None:
            return "PyTorch is not imported"
        if not torch.cuda.is_initialized():
            return "PyTorch has not used a GPU"
        enabled = getattr(torch.autograd.profiler, "_is_profiler_enabled", False)
        return BUSY if enabled else ""

    def record(self, wait: Callable[[], None], sms: int | None) -> Profile:
        """Record; the trace goes through a file, which is faster than its Python events."""
        profiler = sys.modules["torch"].profiler
        session = profiler.profile(activities=[profiler.ProfilerActivity.CUDA])
        session.start()
        try:
            wait()
        finally:
            session.stop()
        with tempfile.TemporaryDirectory(prefix="gpupredict-") as folder:
            path = Path(folder) / "trace.json"
            session.export_chrome_trace(str(path))
            return _read("kineto", path, ReadOptions(sms=sms))


class JaxTracer:
    """`jax.profiler`, which runs once at a time in a process."""

    name, module = "jax.profiler", "jax"

    def refusal(self) -> str:
        """Return why not: JAX is not in use."""
        jax = sys.modules.get("jax")
        if jax is None:
            return "JAX is not imported"
        with contextlib.suppress(Exception):
            return "" if jax.default_backend() == "gpu" else "JAX uses no GPU"
        return "JAX does not say what it uses"

    def record(self, wait: Callable[[], None], sms: int | None) -> Profile:
        """Record; the file does not say which GPU it is, JAX does."""
        jax = sys.modules["jax"]
        device = jax.devices()[0]
        capability = str(getattr(device, "compute_capability", "") or "") or None
        options = ReadOptions(
            sms=sms or getattr(device, "core_count", None), compute_capability=capability
        )
        with tempfile.TemporaryDirectory(prefix="gpupredict-") as folder:
            jax.profiler.start_trace(folder)
            try:
                wait()
            finally:
                jax.profiler.stop_trace()
            found = sorted(Path(folder).rglob("*.trace.json.gz"))
            if not found:
                raise Malformed("jax.profiler wrote no trace", "is the profiler taken?")
            return _read("xla", found[-1], options)


class CuptiTracer:
    """CUPTI's activity records by cupti-python, for processes that no profiler is loaded in."""

    name, module = "CUPTI", "cupti"

    def refusal(self) -> str:
        """Return why not: it is not installed, or CUPTI is in use already."""
        if importlib.util.find_spec("cupti") is None:
            return "cupti-python is not installed: pip install 'jupyter_gpupredict[cupti]'"
        return BUSY if _cupti_is_loaded() else ""

    def record(self, wait: Callable[[], None], sms: int | None) -> Profile:
        """Record concurrent kernels; the other kind would run them one by one."""
        cupti = importlib.import_module("cupti.cupti")
        profile = Profile("the process", self.name, ReadOptions(sms=sms))
        problems: list[Exception] = []
        kinds = (cupti.ActivityKind.DEVICE, cupti.ActivityKind.CONCURRENT_KERNEL)

        def completed(records: list[Any]) -> None:
            try:
                for one in records:
                    _take(profile, one, kinds)
            except Exception as error:  # noqa: BLE001 - border: C calls this
                problems.append(error)

        cupti.activity_register_callbacks(lambda: (_BUFFER_BYTES, 0), completed)
        enabled = []
        try:
            for kind in kinds:
                cupti.activity_enable(kind)
                enabled.append(kind)
            wait()
        finally:
            for kind in enabled:
                cupti.activity_disable(kind)
            cupti.activity_flush_all(1)
            cupti.finalize()
        if problems:
            raise problems[0]
        return profile


def tracers() -> tuple[Tracer, ...]:
    """Return the ways to record kernels, the first one preferred."""
    return TorchTracer(), JaxTracer(), CuptiTracer()


def installed() -> list[str]:
    """Return the names of those whose library is installed; nothing is imported."""
    return [one.name for one in tracers() if importlib.util.find_spec(one.module) is not None]


def usable(candidates: tuple[Tracer, ...]) -> Tracer:
    """Return the first that can record now.

    Raises:
        SourceUnavailable: None can; the message says why of each.
    """
    reasons = []
    for one in candidates:
        reason = one.refusal()
        if not reason:
            return one
        if reason == BUSY:  # no other way in beside it
            raise SourceUnavailable(BUSY, "its kernels are recorded once that has ended")
        reasons.append(reason)
    raise SourceUnavailable("nothing can record kernels here: " + "; ".join(reasons))


def _read(reader: str, path: Path, options: ReadOptions) -> Profile:
    with path.open("rb") as file:
        found: Profile = registry.load("readers", reader)().profile(
            Content(file, path.name), options
        )
        return found


def _take(profile: Profile, record: Any, kinds: tuple[Any, Any]) -> None:
    """Give a profile one of CUPTI's records."""
    if record.kind == kinds[0]:
        capability = record.compute_capability_major, record.compute_capability_minor
        sms = int(record.num_multiprocessors)
        profile.device(int(record.id), Gpu(str(record.name), "", sms, limits_of(capability)))
    elif record.kind == kinds[1]:
        launch = (
            record.start / 1e3,
            (record.end - record.start) / 1e3,
            math.prod((record.grid_x, record.grid_y, record.grid_z)),
            math.prod((record.block_x, record.block_y, record.block_z)),
            int(record.registers_per_thread),
            int(record.static_shared_memory + record.dynamic_shared_memory),
        )
        profile.add(int(record.device_id), launch, str(record.name))


def _cupti_is_loaded() -> bool:
    try:
        with Path(_MAPS).open(encoding="utf-8", errors="replace") as maps:
            return any("libcupti" in line for line in maps)
    except OSError:
        return True
