"""A machine with the stand-ins for the driver, for libcuda and for the MPS program."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jupyter_gpupredict.mps.directory import until
from tests.fake_mps import FOLDER, REAL, real_environment
from tests.fake_nvml.build import SOURCES, library_dir

CLIENT = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
assert cuda.cuInit(0) == 0
print("ready", flush=True)
sys.stdin.read()
"""


class Machine:
    """Where the stand-ins are, and how they are asked to misbehave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "script"
        self.log = folder / "log"

    def misbehave(self, *lines: str) -> None:
        self.script.write_text("\n".join(lines) + "\n")

    def behave(self) -> None:
        self.script.unlink(missing_ok=True)

    def commands(self) -> list[str]:
        """Return what was sent, without the directories it went to."""
        if not self.log.exists():
            return []
        return [line.split("\t")[1] for line in self.log.read_text().splitlines()]

    def directories(self) -> list[Path]:
        return sorted(self.folder.glob("gpupredict-mps-*"))

    def daemons(self) -> list[psutil.Process]:
        """Return the processes of daemons and servers, stand-ins or NVIDIA's, of this machine."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE or not any(
                    word.endswith(("nvidia-cuda-mps-control", "nvidia-cuda-mps-server"))
                    for word in process.cmdline()
                ):
                    continue
                if (
                    process.environ()
                    .get("CUDA_MPS_PIPE_DIRECTORY", "")
                    .startswith(str(self.folder))
                ):
                    found.append(process)
        return found

    @contextlib.contextmanager
    def client(self, **environ: str) -> Iterator[subprocess.Popen[str]]:
        """A process that has initialised CUDA."""
        with subprocess.Popen(
            [sys.executable, "-c", CLIENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environ, "LD_LIBRARY_PATH": str(library_dir("libcuda.so.1"))},
        ) as process:
            assert process.stdout.readline() == "ready\n"
            yield process
            process.stdin.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """NVIDIA's own daemon has no server without a GPU, and a stand-in's record is a stand-in's."""
    if REAL:
        for item in items:
            if item.get_closest_marker("live_server"):
                item.add_marker(pytest.mark.skip(reason="a live MPS server needs a GPU"))


@pytest.fixture
def machine(driver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Short paths, as a socket's may not be long; nothing may be left behind."""
    for library in SOURCES:
        library_dir(library)  # built once, and not where this test has its temporary files
    made = Machine(Path(tempfile.mkdtemp(prefix="mps-", dir="/tmp")))
    monkeypatch.setattr(tempfile, "tempdir", str(made.folder))
    monkeypatch.setenv("TMPDIR", str(made.folder))
    for name in [name for name in os.environ if name.startswith("CUDA_")]:
        monkeypatch.delenv(name)
    # what the driver would attach to by default may exist on the machine that runs the tests
    monkeypatch.setattr(
        "jupyter_gpupredict.mps.surroundings.DEFAULT_PIPE_DIRECTORY", made.folder / "default"
    )
    python = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{FOLDER}:{python}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_MPS_SCRIPT", str(made.script))
    monkeypatch.setenv("FAKE_MPS_LOG", str(made.log))
    if REAL:
        for name, value in real_environment(Path(REAL)).items():
            monkeypatch.setenv(name, value)
    yield made
    until(lambda: not made.daemons() and not made.directories(), 5.0)  # a server's last moment
    left = [*made.daemons(), *made.directories()]
    for process in made.daemons():
        process.kill()
    shutil.rmtree(made.folder)
    assert left == []
