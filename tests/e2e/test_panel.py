"""The panel in a real JupyterLab, with the stand-in driver and the real server routes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.e2e import lab as rig
from tests.e2e.test_live import LOAD, MAGIC, spin
from tests.frontends.server import traces

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "labextension" / "node_modules" / "axe-core" / "axe.min.js"
BUILD = ROOT / "build"
PANEL = ".jp-GpuPredict"
RUN = f"{PANEL} .jp-GpuPredict-run"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not rig.built(), reason="the panel is not built (make lab-build)"),
]
NAP = f"{MAGIC}\nimport time\ntime.sleep({{}})"


def nap(magic=MAGIC):
    """A cell that does nothing until the test has seen enough."""
    return f"{magic}\n{rig.until_told('time.sleep(0.05)')}"


@pytest.fixture
def open_panel(open_sheet):
    """Open a notebook with the panel beside it; complaints of the console are the page's too."""

    def opener(*cells, **options):
        given, wait = options.pop("prepare", None), options.pop("wait", True)

        def prepare(page):
            page.on("console", lambda message: note(page, message))
            if given is not None:
                given(page)

        sheet = open_sheet(*cells, prepare=prepare, **options)
        sheet.command("gpupredict:show-panel")
        if wait:
            sheet.page.wait_for_selector(f"{PANEL} [role=tablist]")
        return sheet

    said = {}

    def note(page, message):
        if message.type == "error":
            said.setdefault(page, []).append(message.text)

    opener.said = lambda sheet: said.get(sheet.page, [])
    return opener


def wait_run(sheet, outcome="running"):
    sheet.page.wait_for_selector(f"{RUN}[data-outcome={outcome}]")


def run_of(sheet, name):
    return sheet.page.locator(RUN).get_attribute(f"data-{name}")


def rows(sheet):
    return int(sheet.page.locator(f"{RUN} figure").first.get_attribute("data-rows"))


def wait_panel_rows(sheet, count):
    sheet.page.wait_for_function(
        "([sel, n]) => +document.querySelector(sel)?.dataset.rows >= n",
        arg=[f"{RUN} figure", count],
    )


def wait_standing(sheet):
    """Wait until no row has come for as long as ten would take."""
    stood, deadline = rows(sheet), time.monotonic() + 20
    while True:
        sheet.page.wait_for_timeout(1500)
        before, stood = stood, rows(sheet)
        if stood == before:
            return
        assert time.monotonic() < deadline, f"rows go on: {before}, {stood}"


def tab(sheet, name):
    sheet.page.locator(PANEL).get_by_role("tab", name=name).click()


def wait_text(sheet, words):
    """Wait until the panel says something."""
    sheet.page.locator(PANEL).filter(has_text=words).wait_for()


def test_devices_and_how_to_begin(open_panel):
    sheet = open_panel(LOAD)
    tile = sheet.page.locator(f"{PANEL} .jp-GpuPredict-tile")
    tile.wait_for()
    assert "NVIDIA H200" in tile.inner_text()
    meter = tile.get_by_role("meter", name="Busy")
    assert 0 <= int(meter.get_attribute("aria-valuenow")) <= 100
    assert "GiB" in tile.inner_text()
    sheet.page.wait_for_selector(f"{PANEL} .jp-GpuPredict-empty")
    wait_text(sheet, "%%gpupredict")
    assert sheet.complaints == []
    assert open_panel.said(sheet) == []
    assert sheet.foreign() == []


def test_it_moves_while_the_cell_is_busy(open_panel):
    sheet = open_panel(LOAD, spin())
    sheet.run_all()
    wait_run(sheet)
    wait_panel_rows(sheet, 1)
    first = rows(sheet)
    seen = sheet.wait_moves(RUN, "seq", 6)
    assert seen == sorted({*seen})
    wait_panel_rows(sheet, first + 5)
    assert sheet.busy()
    item = sheet.page.locator(".jp-GpuPredict-statusButton")
    assert re.fullmatch(r"GPU \d+ % · [a-z ]+", item.inner_text())
    sheet.end()
    wait_run(sheet, "completed")
    headline = sheet.page.locator(f"{RUN} .jp-GpuPredict-headline").inner_text()
    assert "of the time" in headline or "Too short" in headline
    item.wait_for(state="hidden")
    assert sheet.complaints == []
    assert open_panel.said(sheet) == []


def test_each_gpu_is_drawn_in_the_widget_and_the_panel(three_gpus, open_panel):
    cell = nap("%%gpupredict --source nvml --device all")
    sheet = open_panel(LOAD, cell, server=three_gpus)
    sheet.run_all()
    wait_run(sheet)
    each = sheet.page.locator(f"{RUN} figure", has_text="of each device")
    each.locator("canvas").wait_for()
    sheet.wait_live("bokeh")
    sheet.page.wait_for_selector(f"{rig.LIVE} .gp-legend span:nth-child(3)")
    told = re.compile(r"GPU 0 \d+ %, GPU 1 \d+ %, GPU 2 \d+ %")
    each.get_by_role("img", name=told).wait_for()
    sheet.page.locator(
        f"{rig.LIVE} .gp-legend", has_text=re.compile(r"(GPU \d [\d.]+ %.*){3}")
    ).wait_for()
    legend = sheet.page.locator(f"{rig.LIVE} .gp-legend").inner_text()
    assert re.findall(r"(GPU \d) [\d.]+ %", legend) == ["GPU 0", "GPU 1", "GPU 2"], legend
    shot(sheet, "panel-three-gpus.png")
    long_enough = f"{RUN} .jp-GpuPredict-card:not([data-word='too short'])"
    sheet.page.wait_for_selector(long_enough)
    sheet.end()
    wait_run(sheet, "completed")
    sheet.page.locator(f"{rig.RESULT} img[src^='data:image/png']").first.wait_for()
    assert sheet.complaints == []


def test_a_reload_in_mid_run_keeps_the_series(open_panel):
    sheet = open_panel(LOAD, spin())
    sheet.run_all()
    wait_run(sheet)
    wait_panel_rows(sheet, 30)
    run, before = run_of(sheet, "run"), rows(sheet)
    sheet.save()
    sheet.page.reload()
    sheet.page.wait_for_selector(f"{PANEL} [role=tablist]")  # restored
    wait_run(sheet)
    assert run_of(sheet, "run") == run
    assert rows(sheet) >= before
    assert float(sheet.page.locator(f"{RUN} figure").first.get_attribute("data-from")) < 1
    after = rows(sheet)
    wait_panel_rows(sheet, after + 10)
    assert run_of(sheet, "outcome") == "running"
    sheet.command("notebook:interrupt-kernel")
    wait_run(sheet, "interrupted")


CUTS = """
  const real = window.fetch;
  window.cuts = [];
  window.fetch = async (...given) => {
    const reply = await real(...given);
    const kind = reply.headers.get('Content-Type') || '';
    if (!kind.startsWith('application/x-ndjson')) return reply;
    const gone = new Promise((_, no) => window.cuts.push(() => no(new TypeError('cut off'))));
    const reader = reply.body.getReader();
    const body = new ReadableStream({
      pull: async (control) => {
        try {
          const { done, value } = await Promise.race([reader.read(), gone]);
          if (done) control.close(); else control.enqueue(value);
        } catch (error) { reader.cancel(); control.error(error); }
      },
      cancel: () => reader.cancel(),
    });
    return new Response(body, { status: reply.status, headers: reply.headers });
  };
"""
"""Lets a test break the streams that are open: the browser's offline mode leaves them alone."""


def test_a_lost_connection_is_said_and_mended_without_loss(open_panel):
    sheet = open_panel(LOAD, spin(), prepare=lambda page: page.add_init_script(CUTS))
    sheet.run_all()
    wait_run(sheet)
    wait_panel_rows(sheet, 10)
    sheet.page.context.set_offline(True)
    assert sheet.page.evaluate("() => { cuts.forEach((cut) => cut()); return cuts.length; }")
    sheet.page.locator(f"{PANEL} .jp-GpuPredict-link").wait_for()
    wait_text(sheet, re.compile("Next attempt in|trying again"))
    wait_standing(sheet)
    sheet.page.locator(f"{PANEL} .jp-GpuPredict-link button").click()  # it can be pressed, in vain
    sheet.page.context.set_offline(False)
    sheet.page.evaluate(  # at once, or it has come back by itself
        "sel => document.querySelector(sel)?.click()", f"{PANEL} .jp-GpuPredict-link button"
    )
    sheet.page.locator(f"{PANEL} .jp-GpuPredict-link").wait_for(state="hidden")
    before = rows(sheet)
    wait_panel_rows(sheet, before + 5)
    assert run_of(sheet, "skipped") == "0"
    sheet.command("notebook:interrupt-kernel")
    wait_run(sheet, "interrupted")


def test_a_restart_leaves_what_was_read(open_panel):
    sheet = open_panel(LOAD, nap())
    sheet.run_all()
    wait_run(sheet)
    wait_panel_rows(sheet, 10)
    sheet.page.evaluate(
        """() => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
             .restart(); }"""
    )
    wait_run(sheet, "interrupted")  # what a restart does first to a busy kernel
    before = run_of(sheet, "run")
    assert rows(sheet) >= 10
    sheet.wait_ready()
    sheet.page.evaluate(
        """(source) => { const nb = window.jupyterapp.shell.currentWidget.content;
             nb.widgets[1].model.sharedModel.setSource(source); }""",
        NAP.format(3),
    )
    sheet.run_all()
    wait_run(sheet, "completed")
    assert run_of(sheet, "run") != before


def test_a_killed_kernel_is_said(open_panel, lab):
    sheet = open_panel(LOAD, nap())
    sheet.run_all()
    wait_run(sheet)
    wait_panel_rows(sheet, 10)
    run = json.loads(lab.get(f"gpupredict/v1/sessions/{run_of(sheet, 'run')}")[2])["session"]
    os.kill(run["pid"], signal.SIGKILL)
    wait_run(sheet, "lost")
    wait_text(sheet, "restarted or died")
    assert rows(sheet) >= 10


def test_two_notebooks(open_panel, lab):
    sheet = open_panel(LOAD, nap())
    sheet.run_all()
    wait_run(sheet)
    first = run_of(sheet, "run")
    other = lab.notebook(f"other-{sheet.path.name}", LOAD, NAP.format(2))
    sheet.command("docmanager:open", {"path": other.name})
    sheet.page.wait_for_function(
        "name => window.jupyterapp.shell.currentWidget?.title.label === name", arg=other.name
    )
    sheet.page.wait_for_function(
        "sel => !document.querySelector(sel)", arg=RUN
    )  # the first notebook's run is not this one's
    sheet.page.wait_for_function(
        """() => !!window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.info"""
    )
    sheet.run_all()
    wait_run(sheet, "completed")
    assert run_of(sheet, "run") != first
    sheet.page.locator(".lm-TabBar-tabLabel", has_text=re.compile(f"^{sheet.path.name}$")).click()
    sheet.page.wait_for_selector(f"{RUN}[data-run='{first}'][data-outcome=running]")
    sheet.command("notebook:interrupt-kernel")
    wait_run(sheet, "interrupted")


def test_stop_measuring_lets_the_cell_run_on(open_panel):
    sheet = open_panel(LOAD, nap())
    sheet.run_all()
    wait_run(sheet)
    sheet.page.locator(PANEL).get_by_role("button", name="Stop measuring").click()
    sheet.page.locator(PANEL, has_text="Stopping; the cell runs on").wait_for()
    wait_standing(sheet)
    assert sheet.busy()
    sheet.end()
    wait_run(sheet, "completed")


def test_history_and_comparison(open_panel):
    sheet = open_panel(LOAD, NAP.format(2), NAP.format(2).replace("sleep(2", "sleep(2.1"))
    sheet.run_all()
    sheet.wait_idle()
    tab(sheet, "History")
    items = sheet.page.locator(f"{PANEL} .jp-GpuPredict-history li")
    items.nth(1).wait_for()
    for i in range(2):
        items.nth(i).get_by_role("checkbox").check()
    sheet.page.locator(PANEL).get_by_role("button", name="Compare (2 of 2)").click()
    sheet.page.wait_for_selector(f"{PANEL} .jp-GpuPredict-compare canvas")
    wait_text(sheet, "evidence")
    sheet.page.locator(PANEL).get_by_role("button", name="Back to the list").click()
    name = f"run {time.time_ns()}"
    items.first.locator("button").click()
    sheet.page.wait_for_selector(f"{RUN} canvas")
    sheet.page.locator(PANEL).get_by_label("Name").fill(name)
    sheet.page.locator(PANEL).get_by_role("button", name="Pin").click()
    with sheet.page.expect_download() as taken:
        sheet.page.locator(PANEL).get_by_role("button", name="Readings (CSV)").click()
    assert Path(taken.value.path()).read_text().startswith("t_s,")
    tab(sheet, "Now")
    tab(sheet, "History")
    named = items.filter(has_text=name)
    named.get_by_title("pinned").wait_for()
    named.locator("button").click()
    sheet.page.locator(PANEL).get_by_role("button", name="Delete").click()
    named.wait_for(state="detached")
    sheet.page.get_by_role("button", name="Undo").click()
    named.locator("button").click()
    sheet.page.wait_for_selector(f"{RUN} canvas")
    tab(sheet, "History")
    sheet.page.locator(PANEL).get_by_role("button", name="Back to the list").click()
    sheet.page.locator(PANEL).get_by_role("searchbox").fill("no such thing")
    wait_text(sheet, "No run matches")
    assert open_panel.said(sheet) == []


def meet(dialog):
    """Tick what the dialog offers to insist with, where it is in the way."""
    insist = dialog.get_by_label("Export it anyway")
    dialog.locator("pre").or_(insist.first).first.wait_for()
    if insist.count():
        insist.first.check()


def test_the_export_dialog_writes_a_valid_manifest(open_panel, lab):
    sheet = open_panel(LOAD, NAP.format(6))
    sheet.run_all()
    wait_run(sheet, "completed")
    sheet.page.locator(PANEL).get_by_role("button", name=re.compile("^Export")).click()
    dialog = sheet.page.locator(".jp-GpuPredict-exportDialog")
    dialog.wait_for()
    name = f"train-{sheet.path.stem[-4:]}".rstrip("-")
    dialog.get_by_label("Name of the function").fill(name)
    dialog.get_by_label("Folder, below the server’s root").fill(f"exports/{name}")
    preview = dialog.locator("pre")
    meet(dialog)
    preview.wait_for()
    sheet.page.wait_for_function(
        "name => document.querySelector('.jp-GpuPredict-exportDialog pre')?.textContent"
        ".includes(name)",
        arg=name,
    )
    more = dialog.get_by_text("More options")
    more.focus()
    sheet.page.keyboard.press("Enter")
    dialog.get_by_label("Your own memory limit (MiB)").focus()
    sheet.page.keyboard.type("2048")
    dialog.get_by_label("several CUDA processes").focus()
    sheet.page.keyboard.press("Space")
    sheet.page.wait_for_function(
        "() => document.querySelector('.jp-GpuPredict-exportDialog pre')?.textContent"
        ".includes('2048')"
    )
    shot(sheet, "panel-export.png")
    assert serious(sheet, ".jp-GpuPredict-exportDialog") == []
    previewed = preview.inner_text()
    dialog.get_by_role("button", name="Save").click()
    dialog.get_by_role("status").filter(has_text="written to").wait_for()
    written = lab.folder / "exports" / name
    shown = sheet.page.locator(".jp-FileBrowser .jp-BreadCrumbs")
    shown.filter(has_text=name).wait_for()
    manifests = sorted(written.glob("deploy/*.yaml"))
    assert manifests
    assert any(path.read_text().strip() == previewed.strip() for path in manifests)
    module = (written / "train_fn.py").read_text()
    assert "time.sleep(6)" in module  # the cell itself: the page sent it
    assert "%%gpupredict" not in module
    subprocess.run([sys.executable, "-c", "import train_fn"], cwd=written, check=True, timeout=60)
    kinds = [one["kind"] for path in manifests for one in yaml.safe_load_all(path.read_text())]
    assert "Job" in kinds
    dialog.get_by_role("button", name="Save").click()
    dialog.get_by_role("button", name="Overwrite").click()
    dialog.get_by_role("status").filter(has_text="written to").wait_for()
    dialog.get_by_role("button", name="Close").last.click()
    dialog.wait_for(state="detached")


def test_code_that_was_changed_since_is_refused_and_can_be_left_out(open_panel):
    sheet = open_panel(LOAD, NAP.format(5))
    sheet.run_all()
    wait_run(sheet, "completed")
    sheet.page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.widgets[1].model.sharedModel
             .setSource('changed()')"""
    )
    sheet.page.locator(PANEL).get_by_role("button", name=re.compile("^Export")).click()
    dialog = sheet.page.locator(".jp-GpuPredict-exportDialog")
    refused = dialog.get_by_role("listitem").filter(has_text="no cell has the code")
    refused.wait_for()
    refused.get_by_label("Leave the function's code out").check()
    sheet.page.wait_for_function("one => one.dataset.met === 'true'", arg=refused.element_handle())
    assert not dialog.get_by_label("With the function’s code").is_checked()


def test_a_credential_in_the_cells_is_named_and_given_by_the_environment(open_panel, lab):
    key = "AKIA" + "A7" * 8
    sheet = open_panel(LOAD, f"key = {key!r}", f"{NAP.format(6)}\nlen(key)")
    sheet.run_all()
    wait_run(sheet, "completed")
    sheet.page.locator(PANEL).get_by_role("button", name=re.compile("^Export")).click()
    dialog = sheet.page.locator(".jp-GpuPredict-exportDialog")
    name = f"key-{sheet.path.stem[-4:]}".rstrip("-")
    dialog.get_by_label("Folder, below the server’s root").fill(f"exports/{name}")
    found = dialog.get_by_role("listitem").filter(has_text="In [2] line 1 holds what looks like")
    found.wait_for()
    gives, keep = found.get_by_label("The environment gives it"), found.get_by_label("It stays")
    assert (gives.is_checked(), keep.is_checked()) == (False, False)
    assert serious(sheet, ".jp-GpuPredict-exportDialog") == []
    shot(sheet, "panel-credential.png")
    gives.focus()
    sheet.page.keyboard.press("Space")
    meet(dialog)
    preview = dialog.locator("pre")
    preview.wait_for()
    dialog.get_by_label("Preview of").select_option("train_fn.py")
    preview.filter(has_text='os.environ["AWS_ACCESS_KEY_ID"]').wait_for()
    dialog.get_by_text("notes on these files").click()
    dialog.get_by_label("Notes").filter(has_text="gives it as AWS_ACCESS_KEY_ID").wait_for()
    shot(sheet, "panel-credential-env.png")
    dialog.get_by_role("button", name="Save").click()
    dialog.get_by_role("status").filter(has_text="written to").wait_for()
    written = [path for path in (lab.folder / "exports" / name).rglob("*") if path.is_file()]
    assert not [path for path in written if key in path.read_text()]
    gives.uncheck()
    keep.check()
    dialog.get_by_label("Notes").filter(has_text="kept on request").wait_for()
    preview.filter(has_text=key).wait_for()


def test_a_restart_of_the_server_is_survived(own_lab, open_panel):
    sheet = open_panel(LOAD, nap(), server=own_lab)
    sheet.run_all()
    wait_run(sheet)
    wait_panel_rows(sheet, 20)
    run, before = run_of(sheet, "run"), rows(sheet)
    own_lab.stop()
    link = sheet.page.locator(f"{PANEL} .jp-GpuPredict-link")
    link.wait_for()
    assert rows(sheet) >= before  # what was read stays drawn
    own_lab.start()
    link.wait_for(state="hidden")  # nobody pressed anything
    sheet.page.wait_for_selector(f"{RUN}[data-run='{run}']:not([data-outcome=running])")
    assert rows(sheet) >= before
    sheet.page.locator(PANEL, has_text="The kernel is gone").wait_for()
    assert run_of(sheet, "run") == run  # JupyterLab has let go of the kernel, the panel of nothing
    assert rows(sheet) >= before
    sheet.page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.sessionContext
             .changeKernel({ name: 'python3' }).then(() => undefined)"""
    )
    sheet.wait_ready()
    sheet.run_all()
    wait_run(sheet)  # measured and followed as before, in a page that was never reloaded
    assert run_of(sheet, "run") != run
    wait_panel_rows(sheet, 10)


def test_a_kernel_whose_record_is_elsewhere_is_heard(open_panel, lab):
    spec = lab.folder.parent / "share" / "kernels" / "far"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    far = {"JUPYTER_DATA_DIR": str(lab.folder.parent / "far")}
    given = {"argv": command, "display_name": "far", "language": "python", "env": far}
    (spec / "kernel.json").write_text(json.dumps(given))
    sheet = open_panel(LOAD, spin(), kernel="far")
    sheet.run_all()
    heard = sheet.page.locator(f"{PANEL} [data-heard]")
    heard.wait_for()
    figure = heard.locator("figure").first
    seen = int(figure.get_attribute("data-rows"))
    sheet.page.wait_for_function(
        "([sel, n]) => +document.querySelector(sel)?.dataset.rows > n + 10",
        arg=[f"{PANEL} [data-heard] figure", seen],
    )
    assert sheet.busy()
    for words in ("no record of the run", "H200", "watched"):
        assert words in heard.inner_text()
    assert serious(sheet, PANEL) == []
    shot(sheet, "panel-heard.png")
    sheet.save()
    sheet.page.reload()
    heard.wait_for()  # a whole frame comes every five seconds
    assert int(figure.get_attribute("data-rows")) > seen
    sheet.command("notebook:interrupt-kernel")
    sheet.page.locator(f"{PANEL} [data-heard][data-outcome=over]").wait_for()


def test_a_run_of_another_host_is_labelled(open_panel, lab):
    sheet = open_panel(LOAD)
    kernel = sheet.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"
    )
    run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-gpu-far-77-abcd"
    store = Path(lab.environ["JUPYTER_DATA_DIR"], "gpupredict", "sessions")
    started = traces.started(run, kernel_id=kernel, host="gpu-far", pid=77)
    traces.write(store, run, [started, traces.samples(1, [0.1, 0.9])])
    wait_run(sheet)  # written just now, so it lives, as far as one can see from here
    panel = sheet.page.locator(PANEL)
    panel.get_by_text("The kernel runs on gpu-far: the figures are of its devices").wait_for()
    panel.get_by_text("The kernel runs on gpu-far, not on this server").wait_for()


def test_notebook_7_has_the_panel_too(notebook7, open_panel):
    sheet = open_panel(LOAD, nap(), server=notebook7)
    assert sheet.page.locator(f"{PANEL} .jp-GpuPredict-tile").first.inner_text()
    for _ in range(2):
        sheet.command("notebook:run-cell-and-select-next")
        sheet.page.wait_for_timeout(500)
    wait_run(sheet)
    wait_panel_rows(sheet, 10)
    shot(sheet, "panel-notebook7.png")
    sheet.end()
    wait_run(sheet, "completed")
    # Notebook 7.6 itself complains of a schema it lacks, on a page without us, too
    assert [one for one in sheet.complaints if "reading 'schema'" not in one] == []
    assert [one for one in open_panel.said(sheet) if "gpupredict" in one.lower()] == []


def test_the_button_adds_the_magic_and_what_loads_it(open_panel):
    sheet = open_panel("train()")
    sheet.page.locator(".jp-CodeCell").first.click()
    sheet.page.locator(".jp-cell-toolbar").get_by_role(
        "button", name="Put %%gpupredict on the first line of this cell"
    ).first.click()
    sheet.page.wait_for_function(
        """() => { const nb = window.jupyterapp.shell.currentWidget.content;
             const text = nb.widgets.map((one) => one.model.sharedModel.getSource());
             return text.join('|') === '%load_ext jupyter_gpupredict|%%gpupredict\\ntrain()'; }"""
    )
    sheet.page.locator(".jp-CodeCell").last.click(button="right")
    menu = sheet.page.locator(".lm-Menu-itemLabel", has_text="Predict GPU Usage of This Cell")
    menu.wait_for()
    menu.click()
    sheet.page.wait_for_timeout(300)
    again = sheet.page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.widgets
             .map((one) => one.model.sharedModel.getSource())"""
    )
    assert again == ["%load_ext jupyter_gpupredict", "%%gpupredict\ntrain()"]


def test_accessible_in_both_themes_and_narrow(open_panel):
    sheet = open_panel(LOAD, nap())
    sheet.run_all()
    wait_run(sheet)
    wait_panel_rows(sheet, 30)
    sheet.page.locator(f"{RUN} figure summary").first.click()
    assert serious(sheet, PANEL) == []
    shot(sheet, "panel-light.png")
    sheet.page.locator(f"{RUN} figure summary").first.click()
    sheet.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
    sheet.page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    sheet.page.wait_for_timeout(1000)
    assert serious(sheet, PANEL) == []
    shot(sheet, "panel-dark.png")
    for name in ("History", "Checks"):
        tab(sheet, name)
        sheet.page.wait_for_timeout(1500)
        assert serious(sheet, PANEL) == [], name
        shot(sheet, f"panel-dark-{name.lower()}.png")
    tab(sheet, "Now")
    sheet.command("apputils:change-theme", {"theme": "JupyterLab Light"})
    sheet.page.wait_for_function("document.body.dataset.jpThemeLight === 'true'")
    sheet.page.set_viewport_size({"width": 560, "height": 900})
    sheet.page.wait_for_timeout(1500)
    view = sheet.page.locator(f"{PANEL} .jp-GpuPredict-view")
    wide, room = view.evaluate("el => [el.scrollWidth, el.clientWidth]")
    assert wide <= room + 1
    shot(sheet, "panel-narrow.png")
    sheet.command("notebook:interrupt-kernel")
    assert sheet.complaints == []
    assert open_panel.said(sheet) == []


def test_by_keyboard_alone(open_panel):
    sheet = open_panel(LOAD)
    panel = sheet.page.locator(PANEL)
    panel.get_by_role("tab", name="Now").focus()
    sheet.page.keyboard.press("ArrowRight")
    assert panel.get_by_role("tab", name="History").get_attribute("aria-selected") == "true"
    sheet.page.keyboard.press("End")
    assert panel.get_by_role("tab", name="Checks").get_attribute("aria-selected") == "true"
    sheet.page.wait_for_selector(f"{PANEL} [data-view=doctor] table")
    focused = ""
    for _ in range(20):  # past what libraries say, folded
        sheet.page.keyboard.press("Tab")
        focused = sheet.page.evaluate("() => document.activeElement.textContent")
        if focused == "Look again":
            break
    assert focused == "Look again"
    outline = sheet.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_nothing_is_asked_while_the_panel_is_hidden(open_panel):
    sheet = open_panel(LOAD)
    sheet.page.locator(f"{PANEL} .jp-GpuPredict-tile").wait_for()
    sheet.command("application:toggle-right-area")
    sheet.page.wait_for_timeout(12_000)  # what was asked before has been answered
    sheet.requests.clear()
    sheet.page.wait_for_timeout(6000)
    asked = [request.url for request in sheet.requests if "gpupredict/v1" in request.url]
    assert not any("devices" in url for url in asked)
    assert len(asked) <= 2, asked  # the status item's question about runs, every 5 s


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, "<html>Not Found</html>", "server extension of GPU Predict is not there"),
        (403, '{"message": "Forbidden"}', "not signed in"),
    ],
)
def test_a_server_without_us_or_that_refuses(open_panel, status, body, said):
    def prepare(page):
        page.route("**/gpupredict/v1/**", lambda route: route.fulfill(status=status, body=body))

    sheet = open_panel(LOAD, prepare=prepare, wait=False)
    sheet.page.locator(PANEL, has_text=said).wait_for()
    sheet.page.unroute("**/gpupredict/v1/**")
    sheet.page.locator(PANEL).get_by_role("button", name="Retry").click()
    sheet.page.locator(f"{PANEL} .jp-GpuPredict-tile").wait_for()


def shot(sheet, name):
    BUILD.mkdir(exist_ok=True)
    sheet.page.screenshot(path=BUILD / name)


def serious(sheet, selector):
    """Return axe's serious and critical findings below the selector."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed (make lab-build)")
    if not sheet.page.evaluate("() => 'axe' in window"):
        sheet.page.evaluate(AXE.read_text() + "\n;0")
    found = sheet.page.evaluate(
        "async (selector) => (await axe.run(selector, {resultTypes: ['violations']})).violations",
        selector,
    )
    return [
        (one["id"], one["help"], [node["html"][:160] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
