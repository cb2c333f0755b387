"""A real Dask cluster of this machine; each worker has a GPU of its own in the stand-in driver."""

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.run import SessionConfig, adapters, build_session, build_store
from jupyter_gpupredict.sources.driver.processes import sees_host_pids
from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import FakeGpu, Script
from tests.integration.processes import dask_cluster

dask = pytest.importorskip("dask", reason="Dask is not installed")
distributed = pytest.importorskip("distributed", reason="Dask distributed is not installed")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
STEP_S = 0.2
WORKERS = 4


def uuid(number):
    return f"GPU-{number:08d}-2222-3333-4444-555555555555"


def level(number, step):
    """What worker `number`'s GPU reads in its n-th interval: no two neighbours alike."""
    return (17 * number + 7 * step) % 101


class Cluster:
    """Workers with nannies; each has a rank, a script and a GPU, or all of them the first one."""

    def __init__(self, folder: Path, count: int = WORKERS, *, one_gpu: bool = False) -> None:
        from distributed import Nanny, Scheduler
        from distributed.deploy.spec import SpecCluster

        self.folder = folder
        self._one_gpu = one_gpu
        self.sessions: list[object] = []
        self.start_s = time.time() - 100.0
        os.environ["LD_LIBRARY_PATH"] = str(library_dir())  # the loader reads it at a start only
        self._nanny = Nanny
        self.made = SpecCluster(
            scheduler={
                "cls": Scheduler,
                "options": {
                    "host": "127.0.0.1",
                    "dashboard": False,
                    "dashboard_address": "127.0.0.1:0",
                },
            },
            workers={n: self._worker(n) for n in range(count)},
            silence_logs=50,
        )
        self.client = distributed.Client(self.made)
        self.client.wait_for_workers(count, timeout=30)

    def _worker(self, number: int) -> dict[str, object]:
        script = self.script(number)
        environ = {
            "FAKE_NVML_SCRIPT": str(script),
            "FAKE_NVML_CONTROL": str(self.folder / f"control{number}.txt"),
            "RANK": str(number),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        }
        options = {"nthreads": 1, "env": environ, "host": "127.0.0.1", "dashboard": False}
        return {"cls": self._nanny, "options": options}

    def script(self, number: int, processes: Sequence[tuple[int, int]] = ()) -> Path:
        """Write what a worker's driver plays from its next initialisation on."""
        path = self.folder / f"script{number}.txt"
        number = 0 if self._one_gpu else number
        # between the readings, so that none falls on an edge
        points = [(STEP_S * (step + 0.5), level(number, step), 1000.0) for step in range(5000)]
        gpu = FakeGpu(points, uuid(number), refresh_s=STEP_S, depth=600, processes=list(processes))
        path.write_text(Script([gpu], start_s=self.start_s).text())
        return path

    def close(self) -> None:
        self.client.close()
        self.made.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running(tmp_path_factory.mktemp("dask")) as made:
        yield made


@contextlib.contextmanager
def running(folder, count=WORKERS, **options):
    before = os.environ.get("LD_LIBRARY_PATH")
    # else Dask's own diagnostics keep the library open, and no new script is read
    with dask.config.set({"distributed.diagnostics.nvml": False}):
        made = Cluster(folder, count, **options)
    try:
        yield made
    finally:
        stop_all(made)
        made.close()
        if before is None:
            del os.environ["LD_LIBRARY_PATH"]
        else:
            os.environ["LD_LIBRARY_PATH"] = before


@pytest.fixture(autouse=True)
def whole_again(cluster):
    """Every test begins with all workers and ends with nothing of ours on them."""
    cluster.client.wait_for_workers(WORKERS, timeout=30)
    yield
    stop_all(cluster)
    wait(lambda: not any(threads(cluster).values()), "samplers left on the workers")
    wait(
        lambda: not any(t.name == "gpupredict-cluster" for t in threading.enumerate()),
        "the thread that asks, which takes the samplers away and ends",
        timeout_s=2.0,
    )


def stop_all(cluster):
    """End the sessions of a test that failed half-way."""
    while cluster.sessions:
        with contextlib.suppress(SourceUnavailable):
            cluster.sessions.pop().stop("failed")


def names():
    return [t.name for t in threading.enumerate() if t.name.startswith("gpupredict-node")]


def threads(cluster):
    return cluster.client.run(names)


def wait(condition, what, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Heard:
    """Keeps every event of a session."""

    name = "test"

    def __init__(self):
        self.events = []

    def deliver(self, events):
        self.events += events

    def close(self):
        pass

    def of(self, kind):
        return [event for event in tuple(self.events) if isinstance(event, kind)]

    def readings(self, metric="gpu_util_ratio"):
        """Return device -> [(time, percent)]."""
        found = {}
        for event in self.of(ev.SamplesTaken):
            for one in event.readings:
                if one.series.metric == metric:
                    pairs = zip(one.times_s, one.values, strict=True)
                    found.setdefault(one.series.device, []).extend(
                        (t, round(100 * v)) for t, v in pairs
                    )
        return found

    def count(self, device):
        return len(self.readings().get(device, ()))


def begin(cluster, **options):
    heard = Heard()
    settings = SessionConfig(**{"source": "nvml", "cluster": "client", **options})
    session = build_session(settings, cluster=cluster.client, subscribers=[heard], live=True)
    cluster.sessions.append(session)
    session.start()
    return session, heard


def hold_the_gil(seconds):
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        count += 1
    return count


def busy(cluster, seconds):
    addresses = list(cluster.client.scheduler_info(n_workers=-1)["workers"])
    return [
        cluster.client.submit(hold_the_gil, seconds, workers=[one], pure=False) for one in addresses
    ]


def test_merged_series_are_those_of_the_scripts_to_the_sample(cluster):
    """Every worker holds the GIL; not a reading is missing, doubled or changed."""
    session, heard = begin(cluster)
    work = busy(cluster, 5.0)
    cluster.client.gather(work)
    began_wall_s = time.time() - time.monotonic() + session._emitter.began_s
    run = session.stop("completed")
    found = heard.readings()
    assert set(found) == {uuid(n) for n in range(WORKERS)}
    for number in range(WORKERS):
        pairs = found[uuid(number)][1:]  # the very first is asked for while the buffer is empty
        assert len(pairs) > 15
        first = round((began_wall_s + pairs[0][0] - cluster.start_s) / STEP_S)
        # which reading the first one is, to within one: its stamp is when its interval ends
        starts = [first + shift for shift in (-2, -1, 0, 1)]
        wanted = {s: [level(number, s + n) for n in range(len(pairs))] for s in starts}
        values = [value for _, value in pairs]
        start = next((s for s, levels in wanted.items() if levels == values), None)
        assert start is not None, (values, wanted)
        # the source learns the driver's clock to within one interval while it reads
        read = [cluster.start_s + STEP_S * (start + n) for n in range(len(pairs))]
        late = [t + began_wall_s - at for (t, _), at in zip(pairs, read, strict=True)]
        assert all(abs(one) < 2 * STEP_S for one in late)
    assert run.partial == ()
    assert run.gaps == ()
    assert {series.rank for series in run.started.series} == set(range(WORKERS))
    assert run.started.source == "nvml"


def test_the_function_is_the_maximum_of_its_ranks(cluster):
    session, heard = begin(cluster, window_s=1.0, rule="quick", tolerance_points=50.0)
    wait(lambda: all(heard.count(uuid(n)) > 10 for n in range(WORKERS)), "four ranks")
    run = session.stop("completed")
    assert [one.rank for one in run.ranks] == list(range(WORKERS))
    targets = [one.target_ratio for one in run.ranks]
    assert run.recommendation.target_ratio == max(targets)
    assert run.recommendation.device == ""
    assert f"of {WORKERS} ranks" in run.recommendation.reason
    peaks = [one.memory.peak_bytes for one in run.ranks]
    assert run.recommendation.memory.peak_bytes == max(peaks)


def kill(cluster, number):
    """SIGKILL the worker of a rank; return when, on our clock."""
    pids = cluster.client.run(lambda: (int(os.environ["RANK"]), os.getpid()))
    victim = next(pid for rank, pid in pids.values() if rank == number)
    os.kill(victim, signal.SIGKILL)
    return time.monotonic()


def test_a_killed_worker_loses_nothing_that_was_sent_and_comes_back(cluster):
    session, heard = begin(cluster)
    wait(lambda: heard.count(uuid(2)) > 10, "readings before")
    before = list(heard.readings()[uuid(2)])
    killed_s = kill(cluster, 2)
    last_s = before[-1][0]
    wait(
        lambda: heard.readings()[uuid(2)][-1][0] > killed_s - session._emitter.began_s + 0.2, "back"
    )
    run = session.stop("completed")
    after = heard.readings()[uuid(2)]
    assert after[: len(before)] == before
    assert any(gap.from_s >= last_s - 0.01 for gap in run.gaps)
    assert run.partial == ()  # it is back
    assert len({one.device for one in run.ranks}) == WORKERS
    others = heard.readings()[uuid(0)]
    assert all(b[0] - a[0] < 0.3 for a, b in itertools.pairwise(others))


def test_a_worker_that_stays_away_makes_the_run_partial(cluster):
    session, heard = begin(cluster)
    wait(lambda: heard.count(uuid(1)) > 3, "readings")
    pids = cluster.client.run(lambda: (int(os.environ["RANK"]), os.getpid()))
    victim = psutil.Process(next(pid for rank, pid in pids.values() if rank == 1))
    victim.suspend()
    try:
        wait(lambda: heard.of(ev.SourceLost), "a loss")
        run = session.stop("completed")
    finally:
        victim.resume()
    (lost,) = run.partial
    assert uuid(1) in lost
    assert "silent" in lost
    assert [one.lost for one in run.ranks] == [False, True, False, False]
    ended = heard.readings()[uuid(1)][-1][0]
    assert heard.readings()[uuid(0)][-1][0] > ended + 2.0  # nothing is carried forward


def test_workers_that_share_a_gpu_are_one_series_and_no_strangers(cluster, tmp_path):
    """The memory is that of all of them; when the one that samples is killed, another does."""
    with running(tmp_path, 2, one_gpu=True) as shared:
        pids = dict(shared.client.run(lambda: (int(os.environ["RANK"]), os.getpid())).values())
        processes = [(pids[0], 700), (pids[1], 900), (1, 5000)]
        for number in range(2):
            shared.script(number, processes)
        session, heard = begin(shared)

        def told(metric):
            taken = [one for event in heard.of(ev.SamplesTaken) for one in event.readings]
            return [v for one in taken if one.series.metric == metric for v in one.values]

        wait(lambda: 1600 << 20 in told("process_memory_used_bytes"), "memory of both")
        # by now: until the second worker has said hello, its process is a stranger
        assert told("other_process_count")[-1] == 1 or not sees_host_pids()
        wait(lambda: heard.count(uuid(0)) > 10, "readings")
        addresses = shared.client.run(lambda: int(os.environ["RANK"]))
        sampling = addresses[min(addresses)]
        before = heard.count(uuid(0))
        killed_s = kill(shared, sampling) - session._emitter.began_s
        wait(lambda: heard.readings()[uuid(0)][-1][0] > killed_s + 0.2, "the other takes over")
        wait(lambda: heard.count(uuid(0)) > before + 5, "and goes on")
        run = session.stop("completed")
    times_s = [time_s for time_s, _ in heard.readings()[uuid(0)]]
    assert times_s == sorted(set(times_s))
    assert [one.rank for one in run.ranks] == [None]  # whose use it is cannot be known
    assert run.processes == 2
    assert run.partial == ()


def test_a_late_worker_joins_by_itself(cluster):
    session, heard = begin(cluster)
    wait(lambda: heard.count(uuid(0)) > 3, "readings")
    cluster.made.sync(cluster.made.workers[3].close)
    wait(lambda: len(cluster.client.run(os.getpid)) == WORKERS - 1, "one less")
    count = heard.count(uuid(3))
    spec = cluster.made.worker_spec
    spec[f"late-{time.time()}"] = spec[3]
    spec.pop(3)
    cluster.made.sync(cluster.made._correct_state)
    wait(lambda: heard.count(uuid(3)) > count, "the late worker's readings", 20)
    run = session.stop("completed")
    assert run.partial == ()


def test_nothing_is_left_on_error_or_interrupt(cluster):
    for outcome in ("failed", "interrupted", "completed"):
        session, heard = begin(cluster)
        wait(lambda heard=heard: heard.count(uuid(0)) > 0, "readings")
        began_s = time.monotonic()
        session.stop(outcome)
        assert time.monotonic() - began_s < 15.0  # nothing waits for Dask's own half a minute
        wait(lambda: not any(threads(cluster).values()), "samplers left")


def test_two_sessions_on_one_cluster_do_not_meet(cluster):
    one, first = begin(cluster)
    two, second = begin(cluster)
    wait(lambda: first.count(uuid(0)) > 5 and second.count(uuid(0)) > 5, "both")
    one.stop("completed")
    count = second.count(uuid(0))
    wait(lambda: second.count(uuid(0)) > count + 5, "the other goes on")
    two.stop("completed")


def test_a_sampler_that_nobody_asks_ends_by_itself(cluster, monkeypatch):
    """As after the notebook's kernel was killed: its lease runs out."""
    from jupyter_gpupredict.sources.node import Node

    def shorten():
        from jupyter_gpupredict.sources import node

        node.LEASE_S = 1.0

    def lengthen():
        from jupyter_gpupredict.sources import node

        node.LEASE_S = 30.0

    from jupyter_gpupredict.sources.dask import _NodePlugin

    cluster.client.run(shorten)
    try:
        sources = adapters.WorkerSources(SessionConfig(source="nvml"))
        cluster.client.register_plugin(_NodePlugin("orphan", Node(sources)), name="orphan")
        wait(lambda: all(threads(cluster).values()), "samplers began")
        wait(lambda: not any(threads(cluster).values()), "their leases ran out")
    finally:
        cluster.client.unregister_worker_plugin("orphan")
        cluster.client.run(lengthen)


def test_by_address_and_by_cluster(cluster):
    for how in ({"cluster": cluster.made.scheduler_address},):
        session = build_session(SessionConfig(source="nvml", **how))
        session.start()
        assert len(session.started.devices) == WORKERS
        session.stop("completed")
    session = build_session(SessionConfig(source="nvml", cluster="it"), cluster=cluster.made)
    session.start()
    session.stop("completed")


def test_no_cluster_is_one_line():
    session = build_session(SessionConfig(cluster="tcp://127.0.0.1:9"))
    with pytest.raises(SourceUnavailable, match="no Dask scheduler answers"):
        session.start()


def test_a_stored_cluster_run_replays_with_every_rank(cluster, data_dir):
    from jupyter_gpupredict.sources.reading import open_trace

    session, heard = begin(cluster)
    wait(lambda: heard.count(uuid(3)) > 5, "readings")
    run = session.stop("completed")
    trace = open_trace(str(build_store().path(run.session_id)))
    ranks = {one.rank for one in trace.series if one.metric == "gpu_util_ratio"}
    assert ranks == set(range(WORKERS))


def test_a_lost_scheduler_ends_our_part_soon(tmp_path):
    """The rest is Dask's: its client tries for half a minute to reach it again."""
    with dask_cluster(tmp_path, 1) as (address, scheduler):
        with distributed.Client(address, timeout=20, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=40)
        heard = Heard()
        session = build_session(
            SessionConfig(source="synthetic", cluster=address), subscribers=[heard]
        )
        session.start()
        wait(heard.readings, "readings")
        scheduler.kill()
        wait(lambda: heard.of(ev.SourceLost), "a loss")
        began_s = time.monotonic()
        run = session.stop("failed")
        assert time.monotonic() - began_s < 15.0
        assert run.samples > 0
        assert run.outcome == "failed"
        assert len(run.partial) == 1
