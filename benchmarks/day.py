"""Whether page and server stay flat over a day: one live run, fed to the panel 360 times faster.

A notebook's kernel, a trace of its own that grows by four reads a second of its time, and a page
that follows it. The page's heap is that after a forced collection; nodes and listeners are the
document's. The null is the same page for as long as an hour takes, with nothing fed.

Needs chromium and a built panel (make lab-build). Run: python -m benchmarks.day [HOURS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
from playwright.sync_api import CDPSession, sync_playwright

from benchmarks.machine import header
from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.series import Readings, Series
from jupyter_gpupredict.core.trace import event_to_json
from tests.e2e import lab as rig
from tests.e2e.conftest import driver
from tests.frontends.server import traces

SPEED = 360
READ_S = 0.25
CHUNK_S = 0.05
POWER = Series("power_watts", traces.UUID)
PANEL = ".jp-GpuPredict"


class Feed:
    """Writes a run's events at a pace that is many times its own."""

    def __init__(self, store: Path, kernel: str) -> None:
        now = datetime.now(UTC)
        self.run = f"{now:%Y%m%dT%H%M%SZ}-day-1-abcd"
        self._seq = 0
        self._reads = 0
        self._path = traces.write(store, self.run, [traces.started(self.run, kernel_id=kernel)])

    def until(self, end_s: float) -> None:
        """Write on, at the pace, until so many seconds of the run's time."""
        began_s, first_s = time.monotonic(), self._reads * READ_S
        while self._reads * READ_S < end_s:
            due_s = first_s + SPEED * (time.monotonic() - began_s)
            lines = []
            while self._reads * READ_S < min(due_s, end_s):
                lines += [event_to_json(event) + "\n" for event in self._events()]
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
            time.sleep(CHUNK_S)

    def _events(self) -> list[ev.Event]:
        self._reads += 1
        t_s = self._reads * READ_S
        made: list[ev.Event] = [
            ev.SamplesTaken(
                self._next(),
                t_s,
                (
                    Readings(traces.SHARE, (t_s - 0.12, t_s), (self._reads % 89 / 100, 0.5)),
                    Readings(traces.MEMORY, (t_s,), (1e9 + 1e5 * (self._reads % 1000),)),
                    Readings(POWER, (t_s,), (300.0 + self._reads % 100,)),
                ),
            )
        ]
        if self._reads % 40 == 0:
            made.append(ev.WindowClosed(self._next(), t_s, t_s - 10, t_s, 1.0, 0.8, 0.4, False))
            made.append(ev.RecommendationUpdated(self._next(), t_s, traces.advice()))
        return made

    def _next(self) -> int:
        self._seq += 1
        return self._seq


def look(devtools: CDPSession, server: psutil.Process) -> tuple[float, int, int, float]:
    """Return the page's heap in MB, its nodes and listeners, and the server's memory in MB."""
    for _ in range(2):
        devtools.send("HeapProfiler.collectGarbage")
    heap = devtools.send("Runtime.getHeapUsage")["usedSize"] / 1e6
    found = devtools.send("Memory.getDOMCounters")
    rss = server.memory_info().rss / 1e6
    return heap, found["nodes"], found["jsEventListeners"], rss


def main() -> None:
    hours = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    print(header())
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        folder = Path(home)
        with rig.serve(folder / "lab", driver(folder)) as lab:
            browser = rig.launch(playwright)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            sheet = rig.Sheet(lab, page, lab.notebook("day.ipynb", "1"))
            sheet.open()
            sheet.requests = []  # the rig's own list would grow in this process alone
            sheet.command("gpupredict:show-panel")
            page.wait_for_selector(f"{PANEL} .jp-GpuPredict-tile")
            kernel = page.evaluate(
                "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"
            )
            assert lab.process is not None
            server = psutil.Process(lab.process.pid)
            devtools = page.context.new_cdp_session(page)
            store = Path(lab.environ["JUPYTER_DATA_DIR"], "gpupredict", "sessions")
            feed = Feed(store, kernel)
            feed.until(600)
            page.wait_for_selector(f"{PANEL} .jp-GpuPredict-run[data-outcome=running]")
            print("hour  heap MB  nodes  listeners  server MB  behind s  not shown")

            def tell(name: str, end_s: float) -> None:
                shown = page.locator(f"{PANEL} .jp-GpuPredict-run")
                page.wait_for_timeout(1000)
                behind_s = end_s - float(shown.get_attribute("data-end") or 0)
                heap, nodes, listeners, rss = look(devtools, server)
                page.get_by_text("Figures", exact=True).click()
                text = shown.locator(".jp-GpuPredict-facts").inner_text()
                page.get_by_text("Figures", exact=True).click()
                lost = "yes" if "not shown" in text else "no"
                print(
                    f"{name:>4}  {heap:7.1f}  {nodes:5}  {listeners:9}  {rss:9.1f}  "
                    f"{behind_s:8.1f}  {lost}",
                    flush=True,
                )

            tell("0", 600)
            page.wait_for_timeout(1000 * 3600 / SPEED)
            tell("null", 600)
            for hour in range(1, hours + 1):
                feed.until(3600.0 * hour)
                if hour in (1, 2, 3) or hour % 3 == 0:
                    tell(str(hour), 3600.0 * hour)
            size = (store / f"{feed.run}.jsonl").stat().st_size / 1e6
            print(f"the trace holds {size:.0f} MB")
            browser.close()


if __name__ == "__main__":
    main()
