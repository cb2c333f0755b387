"""Takes docs/images/live-widget.png: the live view in a real JupyterLab while its cell is busy.

The readings are real: the GPU's where there is one, else this process's CPU, as the picture says.

Run: python -m docs.screenshot
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.e2e import lab as rig

TARGET = Path(__file__).parent / "images" / "live-widget.png"
CELL = """%%gpupredict --window 5 --tolerance 12
import time
import numpy as np
from jupyter_gpupredict import phase, track

weights = np.eye(700)
for epoch in track(range(12)):
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        weights = np.tanh(weights @ weights * 0.01)
    with phase("validation"):
        time.sleep(1)"""


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as home,
        rig.serve(Path(home) / "lab", {}) as lab,
        sync_playwright() as playwright,
    ):
        browser = rig.launch(playwright)
        page = browser.new_page(viewport={"width": 1180, "height": 820}, device_scale_factor=1.5)
        path = lab.notebook("train.ipynb", "%load_ext jupyter_gpupredict", CELL)
        sheet = rig.Sheet(lab, page, path)
        sheet.open()
        sheet.command("application:toggle-left-area")
        sheet.run_all()
        sheet.wait_live("bokeh")
        page.wait_for_function(
            "document.querySelector('.gp-word')?.textContent.includes('no GPU')",
            timeout=60_000,
        )
        page.wait_for_timeout(6000)
        TARGET.parent.mkdir(exist_ok=True)
        box = page.locator(".jp-CodeCell").last.bounding_box()
        assert box is not None
        page.screenshot(path=TARGET, clip={**box, "height": box["height"] + 12})
        sheet.close()
        browser.close()


if __name__ == "__main__":
    main()
