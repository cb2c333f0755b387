"""Each state of the answer as a user sees it, in both themes and at three widths, with axe's eyes.

`GPUPREDICT_PICTURES=docs/images pytest tests/e2e/test_pictures.py` writes the documents' pictures.
"""

import io
import os
from pathlib import Path

import pytest

from tests.e2e import lab as rig
from tests.e2e import stories
from tests.e2e.test_live import LOAD
from tests.e2e.test_panel import AXE, BUILD, PANEL, RUN, open_panel, tab  # noqa: F401 - a fixture
from tests.frontends.server import traces

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not rig.built(), reason="the panel is not built (make lab-build)"),
]
CARD = f"{RUN} .jp-GpuPredict-card"
TARGET = Path(os.environ.get("GPUPREDICT_PICTURES", BUILD / "pictures"))


def picture(page, selector, name, height=1000):
    """Keep what the selector shows, in few colours, as a small file."""
    from PIL import Image

    page.mouse.move(0, 0)
    box = page.locator(selector).first.bounding_box()
    clip = {**box, "height": min(box["height"], height)}
    shown = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    TARGET.mkdir(parents=True, exist_ok=True)
    shown.quantize(200).save(TARGET / f"{name}.png", optimize=True)


def violations(page, selector):
    """Return all that axe finds below the selector, however small."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed (make lab-build)")
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text() + "\n;0")
    found = page.evaluate(
        "async (selector) => (await axe.run(selector, {resultTypes: ['violations']})).violations",
        selector,
    )
    return [(one["id"], [node["html"][:160] for node in one["nodes"]]) for one in found]


def in_theme(sheet, name):
    """Change to a theme and wait for its style sheet; the next page begins with it."""
    light = name == "Light"
    sheet.command("apputils:change-theme", {"theme": f"JupyterLab {name}"})
    sheet.page.wait_for_function(
        """light => { const page = getComputedStyle(document.body);
             const white = page.getPropertyValue('--jp-layout-color1').trim() === 'white';
             return document.body.dataset.jpThemeLight === String(light) && white === light; }""",
        arg=light,
    )


def store(lab):
    return Path(lab.environ["JUPYTER_DATA_DIR"], "gpupredict", "sessions")


def keep(lab, session, events):
    """Write a whole run at once, as no reader is to see a part of one that is over."""
    made = traces.write(lab.folder.parent / "made", session, events)
    store(lab).mkdir(parents=True, exist_ok=True)
    return made.rename(store(lab) / made.name)


def kernel_of(sheet):
    return sheet.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"
    )


@pytest.fixture
def shown(open_panel):  # noqa: F811 - the fixture
    """A page whose newest run is the last one that was told of."""
    sheet = open_panel(LOAD, width=1200)
    in_theme(sheet, "Light")
    numbers = iter(range(1000))
    kernel = kernel_of(sheet)

    def show(word, **changes):
        session = stories.session_id(next(numbers))
        if word == "settling":  # a run that is over has no figure that still moves
            changes |= {"over": False, "pid": os.getpid()}
        keep(sheet.lab, session, stories.run(session, word, kernel=kernel, **changes))
        this = f"{RUN}[data-run='{session}']"
        sheet.page.wait_for_selector(f"{this} [data-word='{word}']")
        sheet.page.wait_for_selector(f"{this} canvas")
        return sheet.page.locator(CARD)

    show.sheet = sheet
    return show


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_word_of_an_answer(shown, theme):
    sheet = shown.sheet
    in_theme(sheet, theme.title())
    for word in stories.WORDS:
        card = shown(word)
        said = card.inner_text()
        assert word in said
        assert "Simulated:" in said or word == "no GPU"
        assert violations(sheet.page, PANEL) == [], word
        picture(sheet.page, PANEL, f"panel-{word.replace(' ', '-').lower()}-{theme}", 640)
    assert sheet.complaints == []


def test_nothing_moves_while_a_run_is_live_at_three_widths(shown):
    sheet = shown.sheet
    for width in (500, 800, 1200):
        sheet.page.set_viewport_size({"width": width, "height": 900})
        tops = set()
        for word in ("settling", "settled", "changed"):
            shown(word, over=False, pid=os.getpid())
            chart = sheet.page.locator(f"{RUN} figure").first
            tops.add(
                round(chart.bounding_box()["y"] - sheet.page.locator(CARD).bounding_box()["y"])
            )
        assert len(tops) == 1, (width, tops)
        view = sheet.page.locator(f"{PANEL} .jp-GpuPredict-view")
        wide, room = view.evaluate("el => [el.scrollWidth, el.clientWidth]")
        assert wide <= room + 1
        box = sheet.page.locator(PANEL).bounding_box()
        assert box["x"] + box["width"] <= width + 1, "the page cuts its right side off"
        shown("settled")
        picture(sheet.page, PANEL, f"panel-{width}", 640)


def test_equal_devices_are_told_apart(shown):
    card = shown("settled", devices=stories.with_mig())
    rows = card.locator("tbody th").all_inner_texts()
    assert len(set(rows)) == 8
    assert sum("MIG 1g.10gb" in row for row in rows) == 7
    assert violations(shown.sheet.page, PANEL) == []
    shown.sheet.page.set_viewport_size({"width": 1700, "height": 1200})
    shown.sheet.command("application:toggle-right-area")
    shown.sheet.command("application:toggle-left-area")
    shown.sheet.command("gpupredict:open-dashboard")
    board = "#jp-gpupredict-dashboard [data-view=running]"
    shown.sheet.page.wait_for_selector(f"{board} tbody tr:nth-child(8)")
    assert violations(shown.sheet.page, "#jp-gpupredict-dashboard") == []
    picture(shown.sheet.page, f"{board} .jp-GpuPredict-card", "panel-eight-devices")


def test_all_that_is_in_the_way_of_an_export(shown, lab):
    page = shown.sheet.page
    code = "train(model, data)"
    page.evaluate(
        """(cells) => { const nb = window.jupyterapp.shell.currentWidget.content.model.sharedModel;
             for (const source of cells) nb.addCell({ cell_type: 'code', source }); }""",
        ["data = open('numbers').read()", f"%%gpupredict\n{code}"],
    )
    from jupyter_gpupredict.run import code_hash

    shown("settling", code_hash=code_hash(code + "\n"), over=True)
    page.get_by_role("button", name="Export anyway…").click()
    dialog = page.locator(".jp-GpuPredict-exportDialog")
    left = dialog.locator(".jp-GpuPredict-obstacles li")
    left.nth(2).wait_for()
    assert "--" not in dialog.locator(".jp-GpuPredict-obstacles").inner_text()
    assert violations(page, ".jp-GpuPredict-exportDialog") == []
    picture(page, ".jp-GpuPredict-exportDialog .jp-Dialog-content", "export-obstacles")
    while dialog.locator(".jp-GpuPredict-obstacles li[data-met=false]").count():
        one = dialog.locator(".jp-GpuPredict-obstacles li[data-met=false]").first
        take = one.get_by_role("button", name="Take")
        (take if take.count() else one.get_by_role("checkbox")).first.click()
        one.element_handle().wait_for_element_state("stable")
        page.wait_for_function(
            "one => !one.isConnected || one.dataset.met === 'true'",
            arg=one.element_handle(timeout=1000) if one.count() else None,
        )
    dialog.get_by_text("Nothing is in the way any more").wait_for()
    dialog.get_by_role("button", name="Save").click()
    dialog.get_by_role("status").filter(has_text="written to").wait_for()
    assert violations(page, ".jp-GpuPredict-exportDialog") == []
    picture(page, ".jp-GpuPredict-exportDialog .jp-Dialog-content", "export-written")


def test_a_history_of_two_hundred_in_the_dashboard(own_lab, open_panel):  # noqa: F811
    words = [word for word in stories.WORDS if word != "settled"]
    for number in range(200):
        session = stories.session_id(number)
        word = words[number % len(words)] if number % 3 else "settled"
        line = ("train(model, data)", "model.fit(x, y)", "search(grid)")[number % 3]
        book = ("train.ipynb", "work/fit.ipynb", "work/search.ipynb")[number % 3]
        events = stories.run(session, word, first_line=line, notebook=book)
        kept = [one for one in events if type(one).__name__ != "SamplesTaken" or one.seq < 20]
        keep(own_lab, session, kept)
    sheet = open_panel(LOAD, server=own_lab, width=1500)
    kernel = kernel_of(sheet)
    sheet.command("application:toggle-right-area")
    sheet.page.locator(PANEL).wait_for(state="hidden")
    sheet.command("gpupredict:open-dashboard")
    board = "#jp-gpupredict-dashboard"
    sheet.page.wait_for_selector(f"{board} .jp-GpuPredict-history li:nth-child(200)")
    page = sheet.page
    session = stories.session_id(500)
    keep(own_lab, session, stories.run(session, "settled", kernel=kernel))
    page.wait_for_selector(f"{board} [data-run='{session}'] canvas")
    assert violations(page, board) == []
    picture(page, board, "dashboard")
    picture(page, f"{board} [data-run='{session}'] .jp-GpuPredict-card", "card")
    history = page.locator(f"{board} [data-view=history]")
    history.get_by_label("Show only").select_option("changed")
    page.wait_for_function(
        "sel => [...document.querySelectorAll(sel)].every(one => one.dataset.tone === 'bad')",
        arg=f"{board} .jp-GpuPredict-history li",
    )
    history.get_by_role("searchbox").fill("search(grid)")
    page.wait_for_function(
        "sel => [...document.querySelectorAll(sel)].every(one => one.innerText.includes('grid'))",
        arg=f"{board} .jp-GpuPredict-history li",
    )
    assert sheet.complaints == []


def test_a_notification_when_a_run_changes_out_of_sight(shown):
    sheet, page = shown.sheet, shown.sheet.page
    session = stories.session_id(2000)
    events = stories.run(session, "settling", kernel=kernel_of(sheet), over=False, pid=os.getpid())
    keep(sheet.lab, session, events)
    page.wait_for_selector(f"{RUN}[data-run='{session}'] [data-word=settling]")
    sheet.command("launcher:create")
    page.wait_for_selector(".jp-Launcher")
    assert page.locator(".jp-LauncherCard", has_text="GPU Predict").count() == 1
    last = stories.advice("changed", 47.0, stories.CARD.uuid, withdrawn=(0.6, 46.5))
    from jupyter_gpupredict.core import events as ev

    told = ev.RecommendationUpdated(events[-1].seq + 1, 47.0, last)
    traces.write(store(sheet.lab), session, [told])
    note = page.locator(".Toastify, .jp-toastContainer").get_by_text("changed:")
    note.first.wait_for()


def test_an_untrusted_copy_still_says_what_was_found(open_panel, lab):  # noqa: F811
    import nbformat

    cell = "%%gpupredict\n" + rig.until_told("sum(range(20_000))")
    sheet = open_panel(LOAD, cell)
    sheet.run_all()
    page = sheet.page
    page.wait_for_selector(f"{RUN}[data-outcome=running] canvas")
    page.wait_for_selector(f"{CARD}:not([data-word='too short'])")
    sheet.end()
    page.wait_for_selector(rig.RESULT)
    document = nbformat.reads(sheet.save(), 4)
    copy = lab.folder / f"copy-{sheet.path.name}"
    nbformat.write(document, copy)
    text = copy.read_text()
    copy.write_text(text.replace("sum(range", "sum( range"))  # another's: its signature is not ours
    sheet.command("docmanager:open", {"path": copy.name})
    page.wait_for_function(
        "name => window.jupyterapp.shell.currentWidget?.title.label === name", arg=copy.name
    )
    shown = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output")
    shown.filter(has_text="of the time").first.wait_for()
    assert "svg+xml" not in text
    picture(page, ".jp-NotebookPanel:not(.lm-mod-hidden)", "untrusted-copy", 700)
