"""Real ipyparallel engines: measured while they are busy, killed, and left as they were."""

import os
import signal
import time

import pytest

from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.run import SessionConfig, build_session

ipyparallel = pytest.importorskip("ipyparallel", reason="ipyparallel is not installed")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ENGINES = 3


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    before = os.environ.get("IPYTHONDIR")
    os.environ["IPYTHONDIR"] = str(tmp_path_factory.mktemp("ipython"))
    try:
        with ipyparallel.Cluster(n=ENGINES, log_level=40) as client:
            client.wait_for_engines(ENGINES, timeout=60)
            yield client
    finally:
        if before is None:
            del os.environ["IPYTHONDIR"]
        else:
            os.environ["IPYTHONDIR"] = before


def begin(target, **options):
    settings = SessionConfig(**{"source": "synthetic", "cluster": "rc", **options})
    session = build_session(settings, cluster=target)
    session.start()
    return session


def hold_the_gil(seconds):
    import time

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def threads():
    import threading

    return [one.name for one in threading.enumerate() if one.name.startswith("gpupredict")]


def test_engines_are_heard_while_the_cell_holds_them(engines):
    session = begin(engines)
    wait_until_given(session)
    engines[:].apply_sync(hold_the_gil, 4)
    run = session.stop("completed")
    assert len(run.ranks) == ENGINES
    assert run.started.simulated
    # 10 Hz for the four seconds of work; none is lost but the last half second
    assert run.samples >= 33
    assert run.gaps == ()
    assert run.partial == ()
    assert engines[:].apply_sync(threads) == [[]] * ENGINES


def wait_until_given(session, count=ENGINES):
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        told = session._emitter.fold.others
        if len([one for one in told if one.device]) == count:
            return
        time.sleep(0.05)
    raise AssertionError("not every engine sent readings")


def test_a_view_measures_its_own_engines(engines):
    session = begin(engines[[0, 2]])
    wait_until_given(session, 2)
    run = session.stop("completed")
    assert len(run.started.devices) == 2


def test_no_engines_is_one_line():
    class Empty:
        __module__ = "ipyparallel.client.client"
        ids = ()

    session = build_session(SessionConfig(cluster="rc"), cluster=Empty())
    with pytest.raises(SourceUnavailable, match="no engines"):
        session.start()


def test_a_killed_engine_is_partial_and_the_others_go_on(engines):
    session = begin(engines)
    wait_until_given(session)
    victim = engines[1].apply_sync(os.getpid)
    before = session._emitter.fold.samples
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while not session._emitter.fold.losses and time.monotonic() < deadline:
        time.sleep(0.05)
    while session._emitter.fold.samples < before + 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    run = session.stop("completed")
    assert len(run.partial) == 1
    assert [one.lost for one in run.ranks].count(True) == 1
    assert engines[[one for one in engines.ids if one != 1]].apply_sync(threads) == [[]] * 2
