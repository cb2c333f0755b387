"""Windows of a run's kernels: when they open, what they say, and what cannot be lost by them."""

import csv
import gzip
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path

import pytest

from jupyter_gpupredict.core.errors import InvalidOption, SourceUnavailable
from jupyter_gpupredict.core.recommendation import Recommendation
from jupyter_gpupredict.run import SessionConfig
from jupyter_gpupredict.run import windows as module
from jupyter_gpupredict.run.windows import DUTY_RATIO, FIRST_ACTIVE_S, WINDOW_S, KernelWindows
from jupyter_gpupredict.sources import tracers
from jupyter_gpupredict.sources.tracers import (
    BUSY,
    YIELDED,
    CuptiTracer,
    JaxTracer,
    TorchTracer,
    usable,
)

TRACE = Path(__file__).parents[1] / "data" / "recordings" / "kineto.json"


def advice(active_s=100.0, **changed):
    given = {
        "state": "watching", "reason": "", "metric": "gpu_util_ratio", "basis": "time_share",
        "coverage_target_ratio": 0.95, "target_ratio": 0.6, "mean_ratio": 0.5,
        "coverage_ratio": None, "watched_s": active_s, "converged_at_s": None, "memory": None,
        "confidence": None, "sampled_ratio": 1.0, "active_s": active_s,
    }  # fmt: skip
    return Recommendation(**given | changed)


# ---- cupti-python, as far as it is used ----------------------------------------------------------


class Cupti(types.SimpleNamespace):
    """Replays kernels at their pace between `activity_enable` and `activity_disable`."""

    ActivityKind = types.SimpleNamespace(DEVICE="device", CONCURRENT_KERNEL="kernel")

    def __init__(self, each_s=0.002, fails=""):
        super().__init__(each_s=each_s, fails=fails, calls=[], completed=None, began_s=None)

    def activity_register_callbacks(self, requested, completed):
        assert requested()[0] > 0
        self.completed = completed

    def activity_enable(self, kind):
        if self.fails == kind:
            raise RuntimeError("CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED")
        self.calls.append(("enable", kind))
        self.began_s = time.monotonic()

    def activity_disable(self, kind):
        self.calls.append(("disable", kind))

    def activity_flush_all(self, _):
        device = types.SimpleNamespace(
            kind="device", id=0, name="NVIDIA A100", compute_capability_major=8,
            compute_capability_minor=0, num_multiprocessors=108,
        )  # fmt: skip
        self.completed([device, *self.recorded()])

    def recorded(self):
        count = int((time.monotonic() - self.began_s) / self.each_s)
        return map(self.kernel, range(count))

    def kernel(self, number):
        begin = int(number * self.each_s * 1e9)
        return types.SimpleNamespace(
            kind="kernel", name=f"gemm_{number % 3}", device_id=0, start=begin,
            end=begin + int(self.each_s * 5e8), grid_x=40, grid_y=1, grid_z=1, block_x=256,
            block_y=1, block_z=1, registers_per_thread=32, static_shared_memory=0,
            dynamic_shared_memory=1024,
        )  # fmt: skip

    def finalize(self):
        self.calls.append(("finalize", ""))


@pytest.fixture
def cupti(monkeypatch, tmp_path):
    fake = Cupti()
    package = types.ModuleType("cupti")
    package.__spec__ = types.SimpleNamespace(name="cupti")
    monkeypatch.setitem(sys.modules, "cupti", package)
    monkeypatch.setitem(sys.modules, "cupti.cupti", fake)
    maps = tmp_path / "maps"
    maps.write_text("")
    monkeypatch.setattr(tracers, "_MAPS", str(maps))
    monkeypatch.setattr(CuptiTracer, "_ours", set())
    conditions(monkeypatch)
    fake.maps = maps
    return fake


def conditions(monkeypatch, version=(13, 0), capability=(8, 0)):
    monkeypatch.setattr(tracers.cuda, "supported_version", lambda: version)
    monkeypatch.setattr(tracers.cuda, "compute_capability", lambda: capability)


def until(true, within_s=20.0):
    """Wait for what a thread does."""
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.002)


@pytest.fixture
def quick(monkeypatch):
    """Windows of 50 ms, as soon as anything was active, whatever their share of the time."""
    for name, value in (("WINDOW_S", 0.05), ("LEAST_S", 0.01), ("DUTY_RATIO", 1e9)):
        monkeypatch.setattr(module, name, value)


class Watched:
    """A run as its windows see it."""

    def __init__(self, *candidates, advised=None, sms=108):
        self.now = advised or advice()
        self.needs = []
        self.seen = threading.Event()
        self.windows = KernelWindows(Clock(), candidates, look_s=0.005)
        self.windows.begin(lambda: self.now, self.take, sms)

    def take(self, need):
        self.needs.append(need)
        self.seen.set()


class Clock:
    monotonic_s = staticmethod(time.monotonic)


def test_cuptis_records_become_a_need(cupti, quick):
    run = Watched(CuptiTracer())
    assert run.seen.wait(20)
    run.windows.end()
    assert run.windows.problem == ""
    need = run.needs[0]
    # one kernel at a time on half of the time, 40 blocks of 108 SMs, eight on an SM
    assert (need.sms, need.by, need.windows) == (108, "CUPTI", 1)
    assert not need.settled
    assert need.high_sms <= 40
    assert need.kernels >= 10
    assert cupti.calls[-1][0] == "finalize"
    kinds = [kind for what, kind in cupti.calls if what == "enable"]
    assert kinds[:2] == ["device", "kernel"]


def test_further_windows_come_when_the_active_time_has_doubled(cupti, quick):
    run = Watched(CuptiTracer(), advised=advice(FIRST_ACTIVE_S))
    assert run.seen.wait(20)
    time.sleep(0.1)
    assert len(run.needs) == 1
    for active_s in (2 * FIRST_ACTIVE_S, 4 * FIRST_ACTIVE_S):
        run.seen.clear()
        run.now = advice(active_s)
        assert run.seen.wait(20)
    run.windows.end()
    assert run.needs[-1].windows == 3
    assert run.needs[-1].settled


def due(elapsed_s, **changed):
    return KernelWindows(Clock(), ())._due_s(advice(**changed), elapsed_s)


def test_windows_are_rare_and_short():
    assert due(1000.0, active_s=FIRST_ACTIVE_S - 1) == 0.0
    # after 20 s the duty of 2 % leaves 0.4 s, after 10 s less than the least
    assert due(20.0, active_s=FIRST_ACTIVE_S) == pytest.approx(20 * DUTY_RATIO)
    assert due(10.0, active_s=FIRST_ACTIVE_S) == 0.0
    assert due(1000.0) == WINDOW_S
    assert due(1000.0, capped=True) == 0.0
    windows = KernelWindows(Clock(), ())
    windows._next_s = 400.0
    assert windows._due_s(advice(300.0), 1000.0) == 0.0
    assert windows._due_s(advice(300.0, state="stale"), 1000.0) == WINDOW_S  # the mix changed
    windows.spent_s, windows.cost_s = 15.0, 4.9  # 0.1 s of 2 % are left
    assert windows._due_s(advice(900.0), 1000.0) == 0.0


def test_a_profiler_that_fails_costs_the_figure_and_one_line(cupti, quick):
    cupti.fails = "kernel"
    run = Watched(CuptiTracer())
    run.windows._thread.join(20)
    run.windows.end()
    assert not run.needs
    assert "MULTIPLE_SUBSCRIBERS" in run.windows.problem
    assert "\n" not in run.windows.problem
    assert ("disable", "device") in cupti.calls  # what was enabled is off again


class Hanging:
    name = module = "hanging"

    def __init__(self):
        self.free = threading.Event()

    def refusal(self):
        return ""

    def record(self, wait, sms):
        assert self.free.wait(30)
        raise RuntimeError("late")


def test_a_profiler_that_hangs_is_left_alone(quick):
    hanging = Hanging()
    run = Watched(hanging)
    time.sleep(0.1)
    begun_s = time.monotonic()
    run.windows.end(0.1)
    assert time.monotonic() - begun_s < 5.0
    assert "has not returned" in run.windows.problem
    hanging.free.set()
    run.windows._thread.join(20)


def test_a_forked_child_leaves_the_windows_alone(cupti):
    run = Watched(CuptiTracer(), advised=advice(0.0))
    child = os.fork()
    if child == 0:
        run.windows.end()
        os._exit(0 if not run.windows._asked.is_set() else 1)
    assert os.waitpid(child, 0)[1] == 0
    run.windows.end()


def test_windows_of_a_recorded_run_say_what_its_whole_record_says(
    shared, cupti, monkeypatch, quick
):
    """Recorded kernels of an A100 come at their pace, over and over."""
    monkeypatch.setattr(module, "WINDOW_S", 0.4)
    folder = shared / "kernels"
    with (folder / "INDEX.tsv").open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file, delimiter="\t")}
    row = rows["hta_a100_diffcontrol"]
    with (folder / row["file"]).open() as file:
        kernels = list(csv.DictReader(file))
    first_us = min(float(one["start_us"]) for one in kernels)
    length_us = max(float(one["start_us"]) for one in kernels) - first_us
    begun_s = time.monotonic()

    def passed():
        """The kernels since the window was opened, as CUPTI gives them."""
        opened_us, now_us = (1e6 * (at_s - begun_s) for at_s in (cupti.began_s, time.monotonic()))
        for turn in range(int(opened_us // length_us), int(now_us // length_us) + 1):
            for one in kernels:
                start_us = turn * length_us + float(one["start_us"]) - first_us
                if opened_us <= start_us < now_us:
                    yield types.SimpleNamespace(
                        kind="kernel", name=one["name"], device_id=0, start=int(1e3 * start_us),
                        end=int(1e3 * (start_us + float(one["dur_us"]))),
                        grid_x=int(one["grid_blocks"]), grid_y=1, grid_z=1,
                        block_x=int(one["block_threads"]), block_y=1, block_z=1,
                        registers_per_thread=int(one["regs"]), static_shared_memory=0,
                        dynamic_shared_memory=int(one["smem_bytes"]),
                    )  # fmt: skip

    monkeypatch.setattr(cupti, "recorded", passed, raising=False)
    run = Watched(CuptiTracer(), advised=advice(mean_ratio=float(row["busy_share"])))
    until(lambda: run.needs and run.needs[-1].windows >= 3, 120.0)
    run.windows.end(60)
    need = run.needs[-1]
    for found, end in ((need.low_sms, "lo"), (need.high_sms, "hi")):
        assert 100 * found / need.sms == pytest.approx(float(row[f"need90_{end}_pct"]), abs=6.0)


# ---- frameworks --------------------------------------------------------------------------------


class Torch:
    """As much of PyTorch as is used; its profiler writes a recorded trace."""

    def __init__(self, *, used=True, users=False):
        self.cuda = types.SimpleNamespace(is_initialized=lambda: used)
        self.flags = types.SimpleNamespace(_is_profiler_enabled=users)
        self.autograd = types.SimpleNamespace(profiler=self.flags)
        self.asked, self.calls = [], []
        self.profiler = types.SimpleNamespace(
            ProfilerActivity=types.SimpleNamespace(CUDA="cuda"), profile=self.profile
        )

    def profile(self, activities):
        self.asked.append(activities)
        return types.SimpleNamespace(
            start=lambda: self.call("start", True),
            stop=lambda: self.call("stop", False),
            export_chrome_trace=lambda path: Path(path).write_bytes(TRACE.read_bytes()),
        )

    def call(self, what, enabled):
        self.calls.append(what)
        self.flags._is_profiler_enabled = enabled


def test_torchs_trace_is_read_and_no_cpu_work_is_recorded(monkeypatch, quick):
    torch = Torch()
    monkeypatch.setitem(sys.modules, "torch", torch)
    run = Watched(TorchTracer())
    assert run.seen.wait(20)
    run.windows.end()
    assert run.needs[0].kernels == 60
    assert run.needs[0].sms == 108  # as the driver says, whatever a capped process sees
    assert torch.asked[0] == ["cuda"]


def test_a_users_profiler_goes_first(monkeypatch, cupti, quick):
    torch = Torch(users=True)
    monkeypatch.setitem(sys.modules, "torch", torch)
    run = Watched(TorchTracer(), CuptiTracer())
    time.sleep(0.1)
    assert not run.needs
    assert not torch.asked
    assert not cupti.calls  # nor is CUPTI taken beside it
    torch.flags._is_profiler_enabled = False
    assert run.seen.wait(20)
    run.windows.end()
    assert run.windows.problem == ""


def test_a_users_profiler_that_never_ends_is_named(monkeypatch, quick):
    monkeypatch.setitem(sys.modules, "torch", Torch(users=True))
    run = Watched(TorchTracer())
    until(lambda: run.windows._busy)
    run.windows.end()
    assert run.windows.problem == f"kernels were not recorded: {BUSY}"


def test_a_users_profiler_that_begins_inside_a_window_is_not_stopped(monkeypatch, quick):
    monkeypatch.setattr(module, "WINDOW_S", 60.0)
    torch = Torch()
    monkeypatch.setitem(sys.modules, "torch", torch)
    run = Watched(TorchTracer())
    until(lambda: torch.calls == ["start"] and not torch.flags._is_profiler_enabled)
    torch.flags._is_profiler_enabled = True  # as torch.profiler does when the user's begins
    run.windows._thread.join(20)
    run.windows.end()
    assert torch.calls == ["start"]  # Kineto has one trace, and it is the user's by now
    assert torch.flags._is_profiler_enabled
    assert not run.needs
    assert YIELDED in run.windows.problem


def test_one_that_begins_at_the_end_of_a_window_is_seen(monkeypatch):
    torch = Torch()
    monkeypatch.setitem(sys.modules, "torch", torch)

    def begins(taken):
        assert not taken()
        torch.flags._is_profiler_enabled = True
        return taken()

    with pytest.raises(SourceUnavailable, match="began while a window was open"):
        TorchTracer().record(begins, 108)
    assert torch.calls == ["start"]


@pytest.mark.parametrize("begins", ["torch", "cupti"])
def test_cupti_is_given_back_at_once_to_a_users_profiler(monkeypatch, cupti, quick, begins):
    monkeypatch.setattr(module, "WINDOW_S", 60.0)
    run = Watched(CuptiTracer())
    until(lambda: ("enable", "kernel") in cupti.calls)
    if begins == "torch":
        monkeypatch.setitem(sys.modules, "torch", Torch(users=True))
    else:
        cupti.maps.write_text(mapped("/opt/nsight/libcupti.so.12"))
    run.windows._thread.join(20)
    run.windows.end()
    assert cupti.calls[2:] == [("disable", "device"), ("disable", "kernel"), ("finalize", "")]
    assert not run.needs
    assert YIELDED in run.windows.problem


def test_an_interrupted_cell_closes_the_window_that_is_open(monkeypatch, cupti, quick):
    monkeypatch.setattr(module, "WINDOW_S", 60.0)
    run = Watched(CuptiTracer())
    until(lambda: ("enable", "kernel") in cupti.calls)

    def cell():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            run.windows.end(20)

    with pytest.raises(KeyboardInterrupt):
        cell()
    assert cupti.calls[-1] == ("finalize", "")
    assert run.windows.problem == ""
    assert not run.windows._thread.is_alive()


def test_a_child_forked_inside_a_window_neither_hangs_nor_closes_it(monkeypatch, cupti, quick):
    monkeypatch.setattr(module, "WINDOW_S", 60.0)
    run = Watched(CuptiTracer())
    until(lambda: ("enable", "kernel") in cupti.calls)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that hangs
        run.windows.end()
        closed = [kind for what, kind in cupti.calls if what != "enable"]
        os._exit(1 if closed or run.windows.problem else 0)
    assert os.waitpid(child, 0)[1] == 0
    run.windows.end(20)
    assert cupti.calls[-1] == ("finalize", "")


def test_nothing_is_imported_and_every_refusal_is_named(monkeypatch):
    for name in ("torch", "jax", "cupti"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SourceUnavailable) as caught:
        usable((TorchTracer(), JaxTracer(), CuptiTracer()))
    for said in ("PyTorch is not imported", "JAX is not imported", "cupti"):
        assert said in caught.value.message
    assert not {"torch", "jax"} & set(sys.modules)
    monkeypatch.setitem(sys.modules, "torch", Torch(used=False))
    assert "has not used a GPU" in TorchTracer().refusal()
    monkeypatch.setitem(sys.modules, "torch", Torch(users=True))
    assert TorchTracer().refusal() == BUSY


def mapped(path):
    return f"7f00-7f01 r-xp 00000000 08:01 42                     {path}\n"


def test_another_cupti_in_the_process_is_left_alone(cupti):
    cupti.maps.write_text(mapped("/usr/lib/libc.so.6"))
    assert CuptiTracer().refusal() == ""
    cupti.maps.write_text(mapped("/opt/with a space/libcupti.so.12"))
    assert CuptiTracer().refusal() == BUSY
    cupti.maps.unlink()  # nobody knows
    assert CuptiTracer().refusal() == BUSY


def test_the_cupti_that_a_window_loaded_is_no_other(cupti, monkeypatch, quick):
    real = tracers.importlib.import_module

    def imports(name):
        cupti.maps.write_text(mapped("/venv/nvidia/libcupti.so.13"))
        return real(name)

    monkeypatch.setattr(tracers.importlib, "import_module", imports)
    tracer = CuptiTracer()
    run = Watched(tracer)
    assert run.seen.wait(20)
    run.windows.end()
    assert tracer.refusal() == ""
    assert CuptiTracer().refusal() == ""  # nor is it for the next run


@pytest.mark.parametrize(
    ("version", "capability", "said"),
    [
        (None, None, "has not used CUDA"),
        ((13, 0), None, "has not used CUDA"),
        ((12, 8), (9, 0), "CUPTI needs a driver of CUDA 13.0 or more, this is 12.8"),
        ((13, 1), (7, 0), "CUPTI needs compute capability 7.5 or more, this is 7.0"),
        ((13, 0), (7, 5), ""),
    ],
)
def test_conditions_of_cupti_are_looked_at_first(cupti, monkeypatch, version, capability, said):
    conditions(monkeypatch, version, capability)
    refusal = CuptiTracer().refusal()
    assert said in refusal
    assert bool(said) == bool(refusal)
    assert not cupti.calls


class JaxOptions:
    """As JAX 0.10 has them; others have fewer."""

    __slots__ = ("host_tracer_level", "python_tracer_level")

    def __init__(self):
        self.host_tracer_level, self.python_tracer_level = 2, 1


class Jax:
    """As much of JAX as is used; its profiler writes a recorded trace, compressed, where it does.

    Args:
        writes: Whether anything was recorded.
        used: Whether a GPU is in use.
    """

    def __init__(self, monkeypatch, *, writes=True, used=True):
        self.calls, self.options, self.writes, self.folder = [], None, writes, None
        self.state = types.SimpleNamespace(profile_session=None)
        self.profiler = types.SimpleNamespace(
            ProfileOptions=JaxOptions, start_trace=self.start, stop_trace=self.stop
        )
        device = types.SimpleNamespace(compute_capability="8.9", core_count=34)
        backend = types.SimpleNamespace(local_devices=lambda: [device])
        backends = {"cpu": None} | ({"cuda": backend} if used else {})
        bridge = types.SimpleNamespace(_backends=backends)
        monkeypatch.setitem(sys.modules, "jax", self)
        monkeypatch.setitem(sys.modules, "jax._src.xla_bridge", bridge)
        own = types.SimpleNamespace(_profile_state=self.state)
        monkeypatch.setitem(sys.modules, "jax._src.profiler", own)

    def start(self, folder, profiler_options=None):
        self.calls.append("start")
        self.folder, self.options = Path(folder), profiler_options
        self.state.profile_session = object()

    def stop(self):
        self.calls.append("stop")
        self.state.profile_session = None
        if self.writes:
            place = self.folder / "plugins" / "profile" / "2026_11_30"
            place.mkdir(parents=True)
            recorded = TRACE.with_name("xla.json").read_bytes()
            (place / "host.trace.json.gz").write_bytes(gzip.compress(recorded))


def test_jaxs_trace_is_read_and_no_calls_of_python_are_recorded(monkeypatch, quick):
    jax = Jax(monkeypatch)
    run = Watched(JaxTracer(), advised=advice(FIRST_ACTIVE_S), sms=None)
    assert run.seen.wait(20)
    run.windows.end()
    need = run.needs[0]
    assert (need.by, need.sms, need.kernels, need.windows) == ("jax.profiler", 34, 60, 1)
    assert need.not_understood_ratio == 0.0
    assert (jax.options.host_tracer_level, jax.options.python_tracer_level) == (0, 0)
    assert jax.calls == ["start", "stop"]
    assert not jax.folder.exists()
    del jax.profiler.ProfileOptions  # of an older JAX
    JaxTracer().record(lambda taken: taken(), None)
    assert jax.options is None


def test_a_trace_of_jax_ends_whatever_happens(monkeypatch, quick, tmp_path):
    jax = Jax(monkeypatch, writes=False)
    said = []
    for gone in (False, True):
        if gone:
            monkeypatch.setattr(tracers.tempfile, "gettempdir", lambda: str(tmp_path / "gone"))
        run = Watched(JaxTracer())
        run.windows._thread.join(20)
        run.windows.end()
        assert not run.needs
        said.append(run.windows.problem)
        assert not jax.folder.exists()
    assert jax.calls == ["start", "stop"] * 2
    assert said[0].startswith("jax.profiler wrote no trace")
    assert "FileNotFoundError" in said[1]


def test_jax_is_not_started_for_a_window(monkeypatch):
    jax = Jax(monkeypatch, used=False)
    assert JaxTracer().refusal() == "JAX has not used a GPU"
    assert not jax.calls
    monkeypatch.delitem(sys.modules, "jax")
    assert JaxTracer().refusal() == "JAX is not imported"


def test_jaxs_own_profiler_goes_first(monkeypatch):
    jax = Jax(monkeypatch)
    jax.start("/nowhere")
    assert JaxTracer().refusal() == BUSY
    jax.state.profile_session = None
    assert JaxTracer().refusal() == ""


def test_a_gpu_that_nothing_tells_of_is_said(monkeypatch, quick):
    jax = Jax(monkeypatch)
    (gpu,) = sys.modules["jax._src.xla_bridge"]._backends["cuda"].local_devices()
    gpu.compute_capability = None
    run = Watched(JaxTracer())
    until(lambda: run.windows.problem)
    run.windows.end(20)
    assert not run.needs
    assert "what an SM of this GPU holds" in run.windows.problem
    assert jax.calls[-1] == "stop"


def test_windows_without_a_kernel_are_said(cupti, quick):
    cupti.each_s = 1e9
    run = Watched(CuptiTracer(), advised=advice(FIRST_ACTIVE_S))
    until(lambda: ("finalize", "") in cupti.calls)
    run.windows.end(20)
    assert not run.needs
    assert run.windows.problem == "kernels were not recorded: none ran in 1 window"


def test_kernels_of_nobody_else_are_asked_for():
    assert not SessionConfig().kernels
    for wrong in (
        {"source": "synthetic"},
        {"cluster": "auto"},
        {"mps": True, "mps_percentage": 50},
    ):
        with pytest.raises(InvalidOption, match="--kernels"):
            SessionConfig(kernels=True, **wrong)


def test_the_run_is_as_busy_as_the_driver_says(cupti, quick):
    ends = []
    for mean_ratio in (0.4, 0.7):
        run = Watched(CuptiTracer(), advised=advice(mean_ratio=mean_ratio))
        assert run.seen.wait(20)
        run.windows.end()
        ends += [high for percent, _, high in run.needs[0].curve if percent == 10.0]
    assert ends[0] < ends[1]


def test_a_busy_time_that_differs_twofold_is_not_scaled_and_said(cupti, quick):
    """Kernels of graphs may not be recorded, and a window may be of another phase."""
    run = Watched(CuptiTracer(), advised=advice(mean_ratio=0.05))
    assert run.seen.wait(20)
    run.windows.end()
    assert "by the driver for 5 % of the run" in run.windows.doubt
    assert run.windows.problem == ""
    alike = Watched(CuptiTracer(), advised=advice(mean_ratio=0.5))
    assert alike.seen.wait(20)
    alike.windows.end()
    assert alike.windows.doubt == ""


def test_what_windows_cost_is_told_with_what_they_say(cupti, quick):
    run = Watched(CuptiTracer())
    assert run.seen.wait(20)
    run.windows.end()
    assert run.needs[0].cost_s > 0.0
    assert run.windows.spent_s >= 0.05
