"""The live view in a real JupyterLab while the cell is busy."""

import json
import time
from pathlib import Path

import bokeh
import nbformat
import pytest

from tests.e2e.lab import LIVE, RESULT, until_told

pytestmark = pytest.mark.e2e
LOAD = "%load_ext jupyter_gpupredict"
MAGIC = "%%gpupredict --source nvml --interval 0.1 --window 1 --agree 2 --tolerance 40"


def spin():
    """A cell that holds the GIL in pure Python until the test has seen enough."""
    return f"{MAGIC}\n{until_told('for _ in range(500): sum(range(1000))')}"


def test_the_chart_moves_while_the_cell_is_busy(open_sheet):
    sheet = open_sheet(LOAD, spin())
    sheet.run_all()
    sheet.wait_live("bokeh")
    first = int(sheet.live("rows"))
    seen = sheet.wait_moves(LIVE, "seq", 6)
    assert seen == sorted({*seen})
    sheet.wait_rows(first + 5)
    assert sheet.busy()
    assert sheet.page.locator(f"{LIVE} canvas").count() >= 2
    sheet.end()
    sheet.wait_idle()
    sheet.page.wait_for_selector(RESULT)
    assert "Too short to say: completed" in sheet.page.locator(RESULT).inner_text()
    assert any("/user/x/gpupredict/bokehjs/" in request.url for request in sheet.requests)
    assert sheet.foreign() == []
    assert sheet.complaints == []


def test_the_saved_notebook_stays_small_and_tells_all(open_sheet):
    sheet = open_sheet(LOAD, spin())
    empty = len(sheet.path.read_text())
    sheet.run_all()
    sheet.wait_live()
    sheet.wait_rows(5)
    sheet.end()
    sheet.wait_idle()
    sheet.page.wait_for_selector(RESULT)
    saved = sheet.save()
    assert len(saved) - empty < 40_000
    outputs = nbformat.reads(saved, 4).cells[1].outputs
    html = [o.data["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    assert "<svg" not in html[-1]
    assert "image/svg+xml" not in json.dumps(outputs)
    assert "<script" not in json.dumps(outputs)


def test_themes_and_widths(open_sheet):
    sheet = open_sheet(LOAD, spin())
    sheet.run_all()
    sheet.wait_live("bokeh")
    sheet.wait_rows(5)
    light = _axis_color(sheet)
    sheet.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
    sheet.page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    sheet.page.wait_for_timeout(800)
    dark = _axis_color(sheet)
    assert light != dark
    assert _corner_alpha(sheet) == 0, "the chart's ground must let the theme through"
    for width in (1280, 600):
        sheet.page.set_viewport_size({"width": width, "height": 900})
        sheet.page.wait_for_timeout(800)
        box = sheet.page.locator(LIVE).last.evaluate("el => [el.scrollWidth, el.clientWidth]")
        assert box[0] <= box[1] + 1, f"overflows at {width}: {box}"
        inner = sheet.page.locator(f"{LIVE} canvas").first.bounding_box()["width"]
        assert 150 < inner <= box[1] + 1
    assert sheet.busy()
    sheet.command("apputils:change-theme", {"theme": "JupyterLab Light"})
    sheet.end()
    sheet.wait_idle()


def _axis_color(sheet):
    return sheet.page.evaluate(
        """() => { const doc = Bokeh.documents.at(-1);
             return [...doc._all_models.values()].find((m) => m.type === 'LinearAxis')
               .major_label_text_color; }"""
    )


def _corner_alpha(sheet):
    return sheet.page.locator(f"{LIVE} canvas").first.evaluate(
        "canvas => canvas.getContext('2d').getImageData(1, 1, 1, 1).data[3]"
    )


def test_rows_come_back_after_a_reload(open_sheet):
    sheet = open_sheet(LOAD, spin())
    sheet.run_all()
    sheet.wait_live()
    sheet.wait_rows(10)
    sheet.save()
    sheet.page.reload()
    sheet.wait_ready()
    trace = sheet.newest_trace()
    deadline = time.monotonic() + 30
    while trace.read_text().count('"SamplesTaken"') < 30:
        assert time.monotonic() < deadline
        sheet.page.wait_for_timeout(100)
    sheet.end()  # the kernel has time to answer the page then
    sheet.page.wait_for_selector(LIVE, state="attached")
    sheet.wait_rows(20)


def test_svg_with_the_reason_where_there_is_no_bokehjs(open_sheet):
    def deny(page):
        page.route("**/gpupredict/bokehjs/**", lambda route: route.fulfill(status=404))

    sheet = open_sheet(LOAD, spin(), prepare=deny)
    sheet.run_all()
    sheet.wait_live("svg")
    sheet.wait_rows(3)
    assert sheet.page.locator(f"{LIVE} svg polyline").count() >= 2
    assert "drawn without Bokeh" in sheet.page.locator(f"{LIVE} .gp-note").inner_text()
    sheet.end()
    sheet.wait_idle()


def test_another_bokehjs_in_the_tab_is_left_alone(open_sheet):
    """A second BokehJS, real but for its number, as another extension would have loaded it."""
    script = (Path(bokeh.__file__).parent / "server/static/js/bokeh.min.js").read_text()
    other = script.replace(bokeh.__version__, "3.0.77")
    sheet = open_sheet(LOAD, spin(), prepare=lambda page: page.add_init_script(other))
    assert sheet.page.evaluate("() => Bokeh.version") == "3.0.77"
    sheet.run_all()
    sheet.wait_live("bokeh")
    sheet.wait_rows(3)
    assert sheet.page.evaluate("() => Bokeh.version") == "3.0.77", "the former one was replaced"
    ours = "version => Bokeh[version].version"
    assert sheet.page.evaluate(ours, bokeh.__version__) == bokeh.__version__
    drawn = sheet.page.evaluate("version => Bokeh[version].documents.length", bokeh.__version__)
    assert drawn >= 1
    sheet.end()
    sheet.wait_idle()
    assert sheet.complaints == []


def test_a_server_with_another_bokeh_than_the_kernel(open_sheet):
    """The kernel's document wants a version that the server's route does not have."""
    pretend = (
        "import jupyter_gpupredict.frontends.charts.figures as charts\n"
        "charts.version = lambda: '3.0.77'"
    )
    sheet = open_sheet(LOAD, pretend, spin())
    sheet.run_all()
    sheet.wait_live("svg")
    sheet.wait_rows(3)
    refused = [one for one in sheet.requests if one.url.endswith("/bokehjs/3.0.77.js")]
    assert [one.response().status for one in refused] == [404]
    assert "drawn without Bokeh" in sheet.page.locator(f"{LIVE} .gp-note").inner_text()
    sheet.end()
    sheet.wait_idle()


def test_the_kernel_pushes_bokehjs_where_one_asks_for_it(open_sheet):
    def deny(page):
        page.route("**/gpupredict/bokehjs/**", lambda route: route.fulfill(status=404))

    ask = "import os; os.environ['GPUPREDICT_UI'] = 'bokeh'"
    sheet = open_sheet(LOAD, ask, spin(), prepare=deny)
    empty = len(sheet.path.read_text())
    sheet.run_all()
    sheet.wait_live("bokeh")
    sheet.wait_rows(3)
    assert sheet.page.locator(f"{LIVE} canvas").count() >= 2
    sheet.end()
    sheet.wait_idle()
    assert len(sheet.save()) - empty < 100_000, "the script must not be stored"
    assert sheet.foreign() == []


def test_an_interrupt_leaves_the_result(open_sheet):
    sheet = open_sheet(LOAD, spin())
    sheet.run_all()
    sheet.wait_live()
    sheet.wait_rows(3)
    sheet.command("notebook:interrupt-kernel")
    sheet.page.wait_for_selector(RESULT)
    assert "interrupted" in sheet.page.locator(RESULT).inner_text()


def test_a_sweeps_chart_is_bokeh_and_its_svg_is_kept(open_sheet):
    sheet = open_sheet(
        LOAD,
        "from types import SimpleNamespace\n"
        "from jupyter_gpupredict.predict.slowdown import knee\n"
        "from jupyter_gpupredict.frontends.magic import show_chart\n"
        "from jupyter_gpupredict.frontends.verifying import Found\n"
        "ratios = {100: 1.0, 50: 0.98, 25: 0.6}\n"
        "found = Found(SimpleNamespace(ratios=ratios, knee=knee(ratios), record=None, stored='', "
        "unit='step', trials=()))\n"
        "show_chart(found)\n"
        "found",
    )
    sheet.run_all()
    sheet.wait_idle()
    sheet.page.wait_for_selector(".gpupredict-still[data-chart=bokeh] canvas")
    assert "50 % is the smallest tried share" in sheet.page.locator(RESULT).inner_text()
    assert sheet.page.locator(f"{RESULT} details svg").count() == 1
    assert sheet.foreign() == []
    assert sheet.complaints == []
