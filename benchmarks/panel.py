"""How soon the panel shows a reading, and how soon it draws a million of them: in the browser.

The first is from the sampler's reading to the screen's second frame after the panel's change, for a
run with its widget. The second is from a click in the history to the frame after the chart
is there: for the first time since the server began, and again; the null opens a short run.

Needs chromium and a built panel (make lab-build). Run: python -m benchmarks.panel
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
from datetime import datetime
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.machine import header, interval
from benchmarks.server import SAMPLES, long_trace
from tests.e2e import lab as rig
from tests.e2e.conftest import driver
from tests.frontends.server import traces

SECONDS = 20
OPENED = 7
CELL = f"%%gpupredict --source nvml\nimport time\ntime.sleep({SECONDS + 10})"
PANEL = ".jp-GpuPredict"
LAGS = """([began_ms, seconds]) => new Promise((resolve) => {
  const lags = [];
  const frame = (then) => requestAnimationFrame(() => requestAnimationFrame(then));
  const seen = new MutationObserver(() => {
    const run = document.querySelector('.jp-GpuPredict-run');
    const read_ms = began_ms + 1000 * run.dataset.end;
    frame(() => lags.push(Date.now() - read_ms));
  });
  seen.observe(document.querySelector('.jp-GpuPredict'),
    { subtree: true, attributes: true, attributeFilter: ['data-seq'] });
  setTimeout(() => { seen.disconnect(); resolve(lags); }, 1000 * seconds);
})"""
OPEN = """([place, least]) => new Promise((resolve) => {
  const items = document.querySelectorAll('.jp-GpuPredict-history .jp-GpuPredict-item');
  const began = performance.now();
  let first = 0;
  items[place].click();
  const look = () => {
    const figure = document.querySelector('.jp-GpuPredict-run figure');
    const drawn = figure && +figure.dataset.rows >= least && figure.querySelector('canvas');
    if (drawn) first = first || performance.now() - began;
    if (drawn && !document.querySelector('.jp-GpuPredict-reading')) {
      requestAnimationFrame(() => resolve([first, performance.now() - began]));
    } else requestAnimationFrame(look);
  };
  look();
})"""


def lag(lab: rig.Lab, page: Page) -> None:
    sheet = rig.Sheet(lab, page, lab.notebook("lag.ipynb", "%load_ext jupyter_gpupredict", CELL))
    sheet.open()
    sheet.command("gpupredict:show-panel")
    sheet.run_all()
    sheet.wait_live("bokeh")
    page.wait_for_selector(f"{PANEL} .jp-GpuPredict-run[data-outcome=running]")
    page.wait_for_timeout(2000)
    run = page.locator(f"{PANEL} .jp-GpuPredict-run").get_attribute("data-run")
    told = json.loads(lab.get(f"gpupredict/v1/sessions/{run}")[2])["session"]
    began_ms = 1000 * datetime.fromisoformat(told["started_at"]).timestamp()
    lags = sorted(page.evaluate(LAGS, [began_ms, SECONDS]))
    print(
        f"from the sampler's reading to the panel's screen, {len(lags) / SECONDS:.1f} a second: "
        f"median {statistics.median(lags):.0f} ms, 95 % {lags[int(0.95 * len(lags))]:.0f} ms, "
        f"at most {lags[-1]:.0f} ms"
    )
    sheet.command("notebook:interrupt-kernel")


def opened(page: Page, place: int, least: int) -> tuple[float, float]:
    """Return the milliseconds from a click to a chart, and to all of it; goes back to the list."""
    took: tuple[float, float] = page.evaluate(OPEN, [place, least])
    page.get_by_role("button", name="Back to the list").click()
    page.wait_for_selector(f"{PANEL} .jp-GpuPredict-history li")
    return took


def series(lab: rig.Lab, page: Page, per_read: int) -> None:
    """Print how soon a million readings are drawn, so many of them in one line of the trace."""
    store = Path(lab.environ["JUPYTER_DATA_DIR"], "gpupredict", "sessions")
    shutil.rmtree(store)
    ids = [traces.session_id(number) for number in range(OPENED + 1)]
    traces.whole_run(store, ids[0])
    first = long_trace(store, ids[1], per_read)
    head, _, rest = first.read_text().partition("\n")
    for one in ids[2:]:  # the same readings under other names
        (store / f"{one}.jsonl").write_text(head.replace(ids[1], one) + "\n" + rest)
    page.goto(f"{lab.url}lab?token={rig.TOKEN}&reset")
    page.wait_for_function("() => window.jupyterapp?.restored")
    page.evaluate("() => { window.jupyterapp.commands.execute('gpupredict:show-panel'); }")
    page.locator(PANEL).get_by_role("tab", name="History").click()
    page.wait_for_selector(f"{PANEL} .jp-GpuPredict-history li")
    null = [opened(page, OPENED, 1) for _ in range(OPENED)]  # the oldest stands last
    cold = [opened(page, place, 300) for place in range(OPENED)]
    warm = [opened(page, 0, 300) for _ in range(OPENED)]
    size = first.stat().st_size / 1e6
    print(f"{SAMPLES} readings ({size:.0f} MB), from click to chart, ms:")
    print(f"  first time {interval([one for one, _ in cold])}, ", end="")
    wholes = [whole for _, whole in cold]
    print(f"all of it {interval(wholes)}, at best {min(wholes):.0f}")
    print(f"  again {interval([one for one, _ in warm])}; ", end="")
    print(f"a run of two readings {interval([one for one, _ in null])}")


def main() -> None:
    print(header())
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        folder = Path(home)
        with rig.serve(folder / "lab", driver(folder)) as lab:
            browser = rig.launch(playwright)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            lag(lab, page)
            for per_read in (50, 6):
                series(lab, page, per_read)
            browser.close()


if __name__ == "__main__":
    main()
