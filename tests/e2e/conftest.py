"""One JupyterLab and one browser for all tests; a page and a kernel for each."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import lab as rig
from tests.fake_nvml.scenario import UUID, FakeGpu, Script

POINTS = [(t / 2, (15, 82, 88, 35)[t % 4], 2000 + 300 * (t % 8)) for t in range(40)]
"""A sawtooth between 15 % and 88 %, 20 s long, played in a loop."""


def driver(folder: Path, count: int = 1) -> dict[str, str]:
    """Return the environment in which the stand-in driver plays `POINTS` on so many GPUs.

    Each further one is a second and a half ahead.
    """
    gpus = []
    for number in range(count):
        turned = [*POINTS[3 * number :], *POINTS[: 3 * number]]
        points = [(t, *rest) for (t, *_), (_, *rest) in zip(POINTS, turned, strict=True)]
        uuid = UUID if number == 0 else f"{UUID[:-1]}{number}"
        gpus.append(FakeGpu(points=points, uuid=uuid, loop=True, depth=600))
    return Script(gpus=gpus).environ(folder)


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[rig.Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with rig.serve(folder, driver(folder)) as running:
        yield running


@pytest.fixture
def own_lab(tmp_path) -> Iterator[rig.Lab]:
    """A server for one test alone, which may end it."""
    with rig.serve(tmp_path / "own", driver(tmp_path)) as running:
        yield running


@pytest.fixture
def three_gpus(tmp_path) -> Iterator[rig.Lab]:
    """A server on a machine with three GPUs."""
    with rig.serve(tmp_path / "three", driver(tmp_path, 3)) as running:
        yield running


@pytest.fixture
def notebook7(tmp_path) -> Iterator[rig.Lab]:
    """Notebook 7, which has no side bars of its own and fewer tokens."""
    if importlib.util.find_spec("notebook") is None:
        pytest.skip("Notebook 7 is not installed (it comes with the extra `test`)")
    with rig.serve(tmp_path / "notebook", driver(tmp_path), "notebook") as running:
        yield running


@pytest.fixture(scope="session")
def profile(tmp_path_factory) -> Path:
    """One cache for all pages: JupyterLab is several MB of code, compiled when it is kept."""
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")  # not longer: while it runs, no test can start an event loop
def window(profile) -> Iterator:
    if rig.chromium() is None:
        pytest.skip(
            "chromium is not installed (on Debian: apt-get install chromium-headless-shell)"
        )
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        playwright.chromium.launch_persistent_context(
            profile, executable_path=rig.chromium(), args=rig.FLAGS
        ) as window,
    ):
        # What never comes fails, whenever that is; what comes late on a busy machine does not.
        window.set_default_timeout(60_000)
        yield window


@pytest.fixture
def open_sheet(lab, window, request) -> Iterator[Callable[..., rig.Sheet]]:
    """Open a notebook of the given cells in a page of its own."""
    opened: list[rig.Sheet] = []

    def opener(
        *cells: str, width: int = 1280, prepare=None, kernel="python3", server=lab
    ) -> rig.Sheet:
        name = f"{request.node.name.split('[')[0]}-{len(opened)}-{time.time_ns() % 10**6}.ipynb"
        page = window.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        sheet = rig.Sheet(server, page, server.notebook(name, *cells, kernel=kernel))
        opened.append(sheet)
        if prepare is not None:
            prepare(page)
        sheet.open()
        return sheet

    yield opener
    window.set_offline(False)  # also where a test has failed meanwhile
    for sheet in opened:
        sheet.close()
    shutil.rmtree(lab.folder / ".ipynb_checkpoints", ignore_errors=True)
