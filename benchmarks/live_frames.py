"""Frames a second that reach the browser while the cell holds the GIL, and what they weigh.

Needs chromium. Run: python -m benchmarks.live_frames
"""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.machine import header
from tests.e2e import lab as rig
from tests.e2e.conftest import POINTS
from tests.fake_nvml.scenario import FakeGpu, Script

SECONDS = 20
CELL = f"""%%gpupredict --source nvml
import time
end = time.monotonic() + {SECONDS + 5}
while time.monotonic() < end:
    sum(range(1000))"""
COUNT = """(seconds) => new Promise((resolve) => {
  const live = document.querySelector('.gpupredict-live');
  const times = [];
  const seen = new MutationObserver(() => times.push(performance.now()));
  seen.observe(live, { attributes: true, attributeFilter: ['data-seq'] });
  setTimeout(() => { seen.disconnect(); resolve(times); }, 1000 * seconds);
})"""


def main() -> None:
    print(header())
    with (
        tempfile.TemporaryDirectory() as home,
        sync_playwright() as playwright,
    ):
        environ = Script(gpus=[FakeGpu(points=POINTS, loop=True, depth=600)]).environ(Path(home))
        with rig.serve(Path(home) / "lab", environ) as lab:
            browser = rig.launch(playwright)
            sizes: list[int] = []
            page = browser.new_page()
            page.on(
                "websocket",
                lambda socket: socket.on("framereceived", lambda data: sizes.append(len(data))),
            )
            path = lab.notebook("busy.ipynb", "%load_ext jupyter_gpupredict", CELL)
            before = len(path.read_text())
            sheet = rig.Sheet(lab, page, path)
            sheet.open()
            sheet.run_all()
            sheet.wait_live("bokeh")
            sizes.clear()
            times = page.evaluate(COUNT, SECONDS)
            received = sum(sizes)
            steps = sorted(b - a for a, b in itertools.pairwise(times))
            sheet.wait_idle()
            grown = len(sheet.save()) - before
            print(f"frames a second: {len(times) / SECONDS:.2f}, chart: {sheet.live('chart')}")
            print(
                f"between frames, ms: median {steps[len(steps) // 2]:.0f}, largest {steps[-1]:.0f}"
            )
            print(f"received from the kernel, kB/s: {received / SECONDS / 1000:.1f}")
            print(f"the saved notebook grew by {grown / 1000:.1f} kB")
            outputs = json.loads(path.read_text())["cells"][1]["outputs"]
            print(f"outputs: {[sorted(one.get('data', {})) for one in outputs]}")
            sheet.close()
            browser.close()


if __name__ == "__main__":
    main()
