"""A cell whose live view is gone: the page was reloaded, the kernel restarted, or nobody looked."""

import json
import os
import re
import signal
import time

import pytest

from tests.e2e import lab as rig
from tests.e2e.test_live import LOAD, spin
from tests.e2e.test_panel import BUILD, open_panel, tab  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not rig.built(), reason="the panel is not built (make lab-build)"),
]
BECAME = ".jp-GpuPredict-became"


def wait_became(sheet, *outcomes):
    shown = ", ".join(f"{BECAME}[data-outcome={outcome}] img" for outcome in outcomes)
    sheet.page.wait_for_selector(shown)
    sheet.page.wait_for_function(
        "sel => [...document.querySelectorAll(sel)].every(one => one.naturalWidth > 500)",
        arg=f"{BECAME} img",
    )
    assert "not found" not in sheet.page.locator(".jp-OutputArea").last.inner_text()
    return sheet.page.locator(f"{BECAME} p").inner_text()


def picture(sheet, name):
    BUILD.mkdir(exist_ok=True)
    cell = sheet.page.locator(".jp-CodeCell").last
    cell.screenshot(path=str(BUILD / f"{name}.png"))


def restarted(sheet):
    """Restart as the button does: the cell is interrupted first, and may have time to end."""
    sheet.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
    )


def killed(sheet):
    started = json.loads(sheet.newest_trace().read_text().splitlines()[0])
    os.kill(started["pid"], signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "outcomes"), [(restarted, ("interrupted", "lost")), (killed, ("lost",))]
)
def test_a_kernel_that_is_gone_leaves_the_stored_picture(open_panel, end, outcomes):  # noqa: F811
    sheet = open_panel(LOAD, spin())
    sheet.run_all()
    sheet.wait_live()
    sheet.wait_rows(10)
    tab(sheet, "History")
    runs = sheet.page.locator(".jp-GpuPredict-history li")
    item = runs.filter(has_text=sheet.path.name)  # a pinned one of another test comes first
    item.wait_for()
    assert "running for" in item.inner_text()
    sheet.save()
    end(sheet)
    said = wait_became(sheet, *outcomes)
    assert re.match("The (cell was interrupted|kernel was restarted or died) after", said)
    assert "%gpupredict show" in said
    assert not sheet.page.locator(rig.LIVE).is_visible()
    picture(sheet, f"gone-{outcomes[0]}")
    sheet.save()
    sheet.page.reload()
    sheet.wait_ready()
    assert wait_became(sheet, *outcomes) == said
    assert sheet.complaints == []


def test_a_run_that_ends_unseen_is_shown_when_the_page_comes_back(open_sheet):
    sheet = open_sheet(LOAD, spin())
    sheet.run_all()
    sheet.wait_live()
    sheet.wait_rows(10)
    sheet.save()
    sheet.page.reload()
    sheet.wait_ready()
    # a busy kernel does not give its widgets back
    assert "Still running, measured for" in wait_became(sheet, "running")
    address = sheet.page.url
    sheet.page.goto("about:blank")
    sheet.end()
    trace = sheet.newest_trace()
    deadline = time.monotonic() + 30
    while '"SessionFinished"' not in trace.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    sheet.page.goto(address)
    sheet.wait_ready()
    assert "The cell completed after" in wait_became(sheet, "completed")
    picture(sheet, "gone-unseen")
    assert not sheet.page.locator(rig.LIVE).is_visible()
