"""One JupyterLab and one browser for all tests; a page and a kernel for each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e import lab as rig
from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import FakeGpu, Script

POINTS = [(t / 2, (15, 82, 88, 35)[t % 4], 2000 + 300 * (t % 8)) for t in range(40)]
"""A sawtooth between 15 % and 88 %, 20 s long, played in a loop."""


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[rig.Lab]:
    folder = tmp_path_factory.mktemp("lab")
    script = folder / "script.txt"
    script.write_text(Script(gpus=[FakeGpu(points=POINTS, loop=True, depth=600)]).text())
    environ = {"LD_LIBRARY_PATH": str(library_dir()), "FAKE_NVML_SCRIPT": str(script)}
    with rig.serve(folder, environ) as running:
        yield running


@pytest.fixture(scope="module")  # not longer: while it runs, no test can start an event loop
def browser() -> Iterator:
    if rig.chromium() is None:
        pytest.skip("chromium is not installed (on Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = rig.launch(playwright)
        yield running
        running.close()


@pytest.fixture
def open_sheet(lab, browser, request) -> Iterator[Callable[..., rig.Sheet]]:
    """Open a notebook of the given cells in a page of its own."""
    opened: list[rig.Sheet] = []

    def opener(*cells: str, width: int = 1280, prepare=None) -> rig.Sheet:
        name = f"{request.node.name.split('[')[0]}-{len(opened)}-{time.time_ns() % 10**6}.ipynb"
        page = browser.new_page(viewport={"width": width, "height": 900})
        sheet = rig.Sheet(lab, page, lab.notebook(name, *cells))
        opened.append(sheet)
        if prepare is not None:
            prepare(page)
        sheet.open()
        return sheet

    yield opener
    for sheet in opened:
        sheet.close()
    shutil.rmtree(lab.folder / ".ipynb_checkpoints", ignore_errors=True)
