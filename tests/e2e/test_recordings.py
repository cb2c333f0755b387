"""Recordings in a real JupyterLab: from the file browser, dropped, refused and answered."""

import pytest

from tests.e2e import lab as rig
from tests.e2e.test_live import LOAD
from tests.e2e.test_panel import BUILD, PANEL, RUN, open_panel, tab  # noqa: F401 - a fixture
from tests.e2e.test_pictures import picture, violations
from tests.frontends.server.test_recordings import log

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not rig.built(), reason="the panel is not built (make lab-build)"),
]
HEADLINE = f"{RUN} .jp-GpuPredict-headline"


def drop(page, name, text):
    """Drop a file on the panel, as from a desktop."""
    given = page.evaluate_handle(
        """([name, text]) => { const data = new DataTransfer();
             data.items.add(new File([text], name)); return data; }""",
        [name, text],
    )
    for event in ("dragover", "drop"):
        page.dispatch_event(f"{PANEL}", event, {"dataTransfer": given})


def test_from_the_file_browser_to_an_export(open_panel, lab):  # noqa: F811 - the fixture
    (lab.folder / "train log.csv").write_text(log(gpus=2))
    sheet = open_panel(LOAD)
    page = sheet.page
    sheet.command("filebrowser:activate")
    # JupyterLab selects the notebook's file, some time after it has opened it
    page.locator(".jp-DirListing-item.jp-mod-selected", has_text="test_from").wait_for()
    sheet.command("filebrowser:refresh")
    page.locator(".jp-DirListing-item", has_text="train log.csv").click(button="right")
    page.locator(".lm-Menu-item", has_text="Predict from recording…").click()
    page.wait_for_selector(HEADLINE)
    shown = page.locator(HEADLINE).inner_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "Recorded: busy 60 % of the time, needs 2." in shown
    assert "GPU 1" in page.locator(f"{RUN} .jp-GpuPredict-note").first.inner_text()
    page.wait_for_selector(f"{RUN} figure canvas")
    picture(page, PANEL, "recording")
    assert violations(page, PANEL) == []
    # the other device, by a small field
    page.locator(f"{PANEL} summary", has_text="Device, columns and more").click()
    page.get_by_role("textbox", name="Device").fill("1")
    page.get_by_role("button", name="Read again").click()
    page.wait_for_function(
        "sel => document.querySelector(sel)?.textContent.includes('61')", arg=HEADLINE
    )
    page.locator(RUN).get_by_role("button", name="Export").click()
    page.get_by_label("With the function’s code").uncheck()
    preview = page.locator(".jp-GpuPredict-preview")
    preview.wait_for()
    assert "jupyter-gpupredict/source: recording" in preview.inner_text()
    page.get_by_role("button", name="Close", exact=True).click()
    # the folder, the list, and nothing else
    assert page.locator(".jp-GpuPredict-history li").count() >= 2
    page.get_by_role("button", name="Close; it stays in the list").click()
    page.wait_for_selector(RUN, state="detached")
    page.locator(".jp-GpuPredict-item", has_text="train log.csv").first.click()
    page.wait_for_selector(HEADLINE)
    assert sheet.complaints == []
    assert open_panel.said(sheet) == []


def test_what_is_dropped_is_refused_in_one_line_and_read_with_an_answer(open_panel):  # noqa: F811
    sheet = open_panel(LOAD)
    page = sheet.page
    drop(page, "bare.csv", log(title=False))
    refused = page.locator(f"{PANEL} .jp-GpuPredict-warning")
    refused.wait_for()
    assert "“Columns”" in refused.inner_text()
    page.screenshot(path=BUILD / "recording-refused.png")
    assert violations(page, PANEL) == []
    page.get_by_role("textbox", name="Columns").fill(
        "timestamp,index,utilization.gpu,memory.used,memory.total"
    )
    page.get_by_role("button", name="Read again").click()
    page.wait_for_selector(HEADLINE)
    assert "Recorded: busy 60" in page.locator(HEADLINE).inner_text()
    assert sheet.complaints == []


def test_the_palette_asks_for_a_file(open_panel, tmp_path):  # noqa: F811 - the fixture
    sheet = open_panel(LOAD)
    page = sheet.page
    sheet.command("gpupredict:predict-recording")
    choose = page.get_by_role("button", name="Choose a file…")
    choose.wait_for()
    page.wait_for_function("() => document.activeElement.textContent.includes('Choose a file')")
    file = tmp_path / "chosen.csv"
    file.write_text(log())
    with page.expect_file_chooser() as chooser:
        choose.click()
    chooser.value.set_files(file)
    page.wait_for_selector(HEADLINE)
    assert sheet.complaints == []
