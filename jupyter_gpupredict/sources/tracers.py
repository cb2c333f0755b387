"""Records the kernels of this process for a moment, by a profiler that is there already.

No framework is imported for it, and a user's own profiler goes first. None of this has run on a GPU
yet.
"""

from __future__ import annotations

import importlib.util
import math
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.devices import jax_gpus
from jupyter_gpupredict.core.errors import Malformed, SourceUnavailable
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.predict.occupancy import limits_of
from jupyter_gpupredict.sources.driver import cuda
from jupyter_gpupredict.sources.driver.inventory import capabilities
from jupyter_gpupredict.sources.driver.nvml import Nvml, NvmlError
from jupyter_gpupredict.sources.profiles import Gpu, Profile
from jupyter_gpupredict.sources.reading import Content

if TYPE_CHECKING:
    from collections.abc import Callable

    Wait = Callable[[Callable[[], bool]], bool]
    """Waits for the length of a window, or until what it is given, whether a user's profiler runs,
    is true; returns whether it was."""

_BUFFER_BYTES = 8 << 20
_STEP = "ProfilerStep"
_MAPS = "/proc/self/maps"
BUSY = "another profiler runs in this process"
YIELDED = "a profiler of your own began while a window was open: no further ones are opened"
_YIELD_HINT = "what it wrote serves as well: %gpupredict kernels FILE"
CUDA_VERSION, CAPABILITY = (13, 0), (7, 5)
"""The least that cupti-python 13 works with: what the driver supports, and the device."""
DRIVER = 580
"""The first driver that supports this CUDA version (CUDA 13.0 release notes)."""


class Tracer(Protocol):
    """One way to record kernels. The constructor does nothing."""

    name: str
    module: str
    """The library that it needs; imported by the user, or by `record` alone."""

    def refusal(self) -> str:
        """Return why it cannot record now; empty where it can."""

    def record(self, wait: Wait, sms: int | None) -> Profile:
        """Record while `wait` waits, and return what was launched.

        Raises:
            SourceUnavailable: A user's profiler began meanwhile; the message is `YIELDED`.
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
        return BUSY if _torch_profiles() else ""

    def record(self, wait: Wait, sms: int | None) -> Profile:
        """Record; the trace goes through a file, which is faster than its Python events."""
        torch = sys.modules["torch"]
        profiler = torch.profiler
        session = profiler.profile(activities=[profiler.ProfilerActivity.CUDA])
        _torch_steps().pop(_STEP, None)  # counts its steps, of which it has none
        session.start()
        # The flag asks Python code for annotations, of which a window needs none. With both put
        # back, a user's profiler shows itself.
        torch.autograd.profiler._is_profiler_enabled = False
        if wait(_torch_profiles):
            # Kineto has ended our trace for the user's: to stop "ours" crashes the process
            raise SourceUnavailable(YIELDED, _YIELD_HINT)
        session.stop()
        with tempfile.TemporaryDirectory(prefix="gpupredict-") as folder:
            path = Path(folder) / "trace.json"
            session.export_chrome_trace(str(path))
            return _read("kineto", path, ReadOptions(sms=sms))


class JaxTracer:
    """`jax.profiler`, which runs once at a time in a process."""

    name, module = "jax.profiler", "jax"

    def refusal(self) -> str:
        """Return why not: JAX is not in use, or its profiler is."""
        if "jax" not in sys.modules:
            return "JAX is not imported"
        if not jax_gpus():
            return "JAX has not used a GPU"
        return BUSY if _jax_profiles() else ""

    def record(self, wait: Wait, sms: int | None) -> Profile:
        """Record; the file does not say which GPU it is, JAX does."""
        profiler, device = sys.modules["jax"].profiler, jax_gpus()[0]
        capability = str(getattr(device, "compute_capability", "") or "") or None
        options = ReadOptions(
            sms=sms or getattr(device, "core_count", None), compute_capability=capability
        )
        # made when the window has ended: one that is killed inside leaves no folder behind
        folder = Path(tempfile.gettempdir(), f"gpupredict-{secrets.token_hex(16)}")
        profiler.start_trace(str(folder), **_kernels_alone(profiler))
        try:
            try:
                taken = wait(_torch_profiles)  # JAX refuses a second one of its own
                folder.mkdir(0o700)
            finally:
                profiler.stop_trace()
            if taken:
                raise SourceUnavailable(YIELDED, _YIELD_HINT)
            found = sorted(folder.rglob("*.trace.json.gz"))
            if not found:
                raise Malformed("jax.profiler wrote no trace", "is the profiler taken?")
            return _read("xla", found[-1], options)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class CuptiTracer:
    """CUPTI's activity records by cupti-python, for processes that no profiler is loaded in."""

    name, module = "CUPTI", "cupti"

    _ours: ClassVar[set[str]] = set()
    """The libraries that came with cupti-python; they stay loaded after a window."""

    def refusal(self) -> str:
        """Return why not: a condition of cupti-python is not met, or CUPTI is in use already."""
        if importlib.util.find_spec("cupti") is None:
            return "cupti-python is not installed: pip install 'jupyter_gpupredict[cupti]'"
        version, capability = cuda.supported_version(), cuda.compute_capability()
        if version is None or capability is None:
            return "this process has not used CUDA"
        for what, found, least in (
            ("a driver of CUDA", version, CUDA_VERSION),
            ("compute capability", capability, CAPABILITY),
        ):
            if found < least:
                needed, has = ("{}.{}".format(*pair) for pair in (least, found))
                return f"CUPTI needs {what} {needed} or more, this is {has}"
        return BUSY if self._is_taken() else ""

    def _is_taken(self) -> bool:
        """Return whether a user's profiler runs, or may: a CUPTI that is not ours is loaded."""
        return _torch_profiles() or bool(_cuptis() - self._ours)

    def record(self, wait: Wait, sms: int | None) -> Profile:
        """Record concurrent kernels; the other kind would run them one by one."""
        before = _cuptis()
        cupti = importlib.import_module("cupti.cupti")
        self._ours.update(_cuptis() - before)
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
        taken = False
        try:
            for kind in kinds:
                cupti.activity_enable(kind)
                enabled.append(kind)
            taken = wait(self._is_taken)
        finally:
            for kind in enabled:
                cupti.activity_disable(kind)
            cupti.activity_flush_all(1)
            cupti.finalize()
        if taken:
            raise SourceUnavailable(YIELDED, _YIELD_HINT)
        if problems:
            raise problems[0]
        return profile


def tracers() -> tuple[Tracer, ...]:
    """Return the ways to record kernels, the first one preferred."""
    return TorchTracer(), JaxTracer(), CuptiTracer()


def installed() -> list[str]:
    """Return the names of those whose library is installed, and new enough; none is imported."""
    found = [one for one in tracers() if importlib.util.find_spec(one.module) is not None]
    return [one.name for one in found if not (isinstance(one, CuptiTracer) and _is_too_old())]


def _is_too_old() -> bool:
    """Return whether NVML knows the driver, or every GPU, to be older than CUPTI 13 works with."""
    try:
        with Nvml() as nvml:
            driver, found = nvml.driver_version(), capabilities(nvml)
    except (NvmlError, SourceUnavailable):
        return False
    number = driver.partition(".")[0]
    old = number.isdecimal() and int(number) < DRIVER
    return old or (bool(found) and max(found) < CAPABILITY)


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


def _torch_profiles() -> bool:
    """Return whether a profiler of PyTorch records, or waits or warms up to, that is not ours."""
    return bool(
        getattr(_autograd_profiler(), "_is_profiler_enabled", False) or _STEP in _torch_steps()
    )


def _torch_steps() -> dict[str, int]:
    """Return PyTorch's counts of steps: a `torch.profiler.profile` has one from when it is made."""
    tracker = getattr(_autograd_profiler(), "KinetoStepTracker", None)
    steps: dict[str, int] = getattr(tracker, "_step_dict", {})
    return steps


def _autograd_profiler() -> Any:
    return getattr(getattr(sys.modules.get("torch"), "autograd", None), "profiler", None)


def _jax_profiles() -> bool:
    """Return whether JAX's profiler runs, as far as this version of it shows that."""
    state = getattr(sys.modules.get("jax._src.profiler"), "_profile_state", None)
    return getattr(state, "profile_session", None) is not None


def _kernels_alone(profiler: Any) -> dict[str, Any]:
    """Return JAX's options for no calls of Python and no programs, which take seconds to write."""
    if not hasattr(profiler, "ProfileOptions"):  # before JAX 0.7
        return {}
    options = profiler.ProfileOptions()
    off = {"host_tracer_level": 0, "python_tracer_level": 0, "enable_hlo_proto": False}
    for name, value in off.items():
        if hasattr(options, name):
            setattr(options, name, value)
    return {"profiler_options": options}


def _cuptis() -> frozenset[str]:
    """Return the paths of the CUPTI libraries that are loaded in this process."""
    try:
        with Path(_MAPS).open(encoding="utf-8", errors="replace") as maps:
            found = (line.split(maxsplit=5) for line in maps if "libcupti" in line)
            return frozenset(parts[-1].strip() for parts in found)
    except OSError:
        return frozenset({_MAPS})  # nobody knows, so one may be
