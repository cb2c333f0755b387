"""Fixtures for every test: a private data directory, a clock of our own, and a check for leaks."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

from jupyter_gpupredict.core import files
from jupyter_gpupredict.testing import FakeClock
from tests.fake_nvml.build import SONAME, library_dir
from tests.fake_nvml.scenario import Script
from tests.held import Held

# A busy machine is not a defect: how long an example takes is never what a test is about.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# A job in the background ignores interrupts, and hands that on; the tests send some.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

PARKED = {"gpupredict-delivery"}
"""Threads that live on between runs on purpose: one each, whatever the number of runs."""


LONGEST = (
    "e2e/test_panel.py",
    "mps/test_isolate.py",
    "e2e/test_live.py",
    "mps/test_verifying.py",
    "integration/test_nvml_kernel.py",
    "mps/test_hardware.py",
    "e2e/test_pictures.py",
    "mps/test_real.py",
    "integration/test_dask_cluster.py",
    "e2e/test_gone.py",
    "export/test_folder.py",
    "mps/test_run.py",
    "export/test_read_back.py",
    "integration/test_dask_batch.py",
    "integration/test_plugins.py",
    "mps/test_daemon.py",
    "integration/test_cluster_magic.py",
    "mps/test_kernel.py",
    "integration/test_isolate_kernel.py",
    "mps/test_server.py",
    "e2e/test_openapi.py",
    "integration/test_kernel_versions.py",
    "export/test_judges.py",
    "mps/test_child.py",
    "integration/test_export_kernel.py",
    "export/test_targets.py",
    "e2e/test_recordings.py",
    "mps/test_control.py",
    "integration/test_ipyparallel.py",
    "integration/test_export_environment.py",
    "frontends/server/test_hostile.py",
)
"""The files that take longest, those of a browser and those that wait in turn."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the longest files begin first: whichever comes last leaves the other workers idle.

    For `--dist loadfile --no-loadscope-reorder`; by itself it would begin with the file of the
    most tests.
    """
    here = config.rootpath / "tests"
    places = {here / name: place for place, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in places), "LONGEST names a file that is not there"
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later garbage collection.

    It stays until the end, and to look through it takes longer than most tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has its own Jupyter data directory."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return tmp_path / "jupyter"


@pytest.fixture(scope="session")
def steady_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes of even use: replayed forty times as fast, it settles in two seconds."""
    path = tmp_path_factory.mktemp("recording") / "steady.csv"
    rows = (f"{at},{60 + at % 3}" for at in range(600))
    path.write_text("\n".join(("t_s,gpu_util_pct", *rows)) + "\n")
    return path


@pytest.fixture
def shared() -> Path:
    """The recorded traces and the validator beside a checkout; not part of the project."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder shared/ with recorded traces and the validator is not there")
    return folder


def _census() -> tuple[set[str], int, int]:
    threads = {t.name for t in threading.enumerate()} - PARKED
    me = psutil.Process()
    return threads, me.num_fds(), len(me.children(recursive=True))


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves a thread, a file descriptor or a child process behind."""
    if "integration" in request.keywords or "e2e" in request.keywords:
        yield  # kernels and browsers are checked by the tests themselves
        return
    before = _census()
    pid = os.getpid()
    yield
    assert os.getpid() == pid, "a test forked and both halves went on"
    deadline = time.monotonic() + 2.0
    while True:
        after = _census()
        if after[0] <= before[0] and after[1] <= before[1] and after[2] <= before[2]:
            return
        if time.monotonic() >= deadline:
            break
        gc.collect()  # not before the first look: it takes longer than most tests
        time.sleep(0.02)
    assert after[0] <= before[0], f"threads left: {after[0] - before[0]}"
    assert after[1] <= before[1], f"file descriptors: {before[1]} -> {after[1]}"
    assert after[2] <= before[2], f"child processes: {before[2]} -> {after[2]}"


class FakeDriver:
    """The stand-in library in this very process, with a script and a clock that the test owns."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.script_path = folder / "script.txt"
        self.control_path = folder / "control.txt"
        self.library = ctypes.CDLL(str(library_dir() / SONAME))
        self.library.fake_nvml_set_time.argtypes = [ctypes.c_double]
        self.library.fake_nvml_forget()
        self.tick(0.0)

    def play(self, script: Script) -> None:
        if script.start_s is None:
            script.start_s = self.clock.now_s
        self.script_path.write_text(script.text())

    def tick(self, seconds: float) -> None:
        """Move the driver's clock and ours."""
        self.clock.advance(seconds)
        self.library.fake_nvml_set_time(self.clock.now_s)

    def fail(self, function: str, code: int) -> None:
        """From now on, until `heal`."""
        self.control_path.write_text(f"fail {function} {code}\n")

    def slow(self, function: str, seconds: float) -> None:
        """Every call takes so long from now on, until `heal`."""
        self.control_path.write_text(f"slow {function} {seconds}\n")

    def hang(self, function: str) -> None:
        """No call of it returns from now on, until `heal`."""
        self.control_path.write_text(f"hang {function}\n")

    def heal(self) -> None:
        self.control_path.unlink(missing_ok=True)


@pytest.fixture
def driver(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeDriver]:
    """The real nvidia-ml-py finds our library, because one of that SONAME is loaded already."""
    made = FakeDriver(tmp_path, clock)
    monkeypatch.setenv("FAKE_NVML_SCRIPT", str(made.script_path))
    monkeypatch.setenv("FAKE_NVML_CONTROL", str(made.control_path))
    made.play(Script())
    yield made
    made.heal()  # whatever hangs in it may go


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Held]]:
    """Make paths that do not answer until the test ends, or their disk is let go."""
    held = []

    def hold(*paths):
        held.append(Held(*paths))
        monkeypatch.setattr(files, "DISK", held[0])
        return held[0]

    yield hold
    for disk in held:
        disk.free.set()
