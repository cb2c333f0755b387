"""What a chart costs the server: our panel beside jupyterlab-nvdashboard, in one server.

Four pages each, two charts a page. A page of theirs shows GPU utilization and GPU memory as they
are now, a websocket each, at its default of ten messages a second and again at our pace of four. A
page of ours shows a live run's two charts over time, and the same two figures as theirs in its
tiles, all from one stream; the tiles count as nothing, or, where it is said, as two charts more.
Four kernels measure all the while, so what reading the driver costs them is in no condition: it is
told by itself. "nobody" stands twice: what the two differ by is what means nothing.

The peer comes from PyPI, without its dependencies, into a folder that is gone afterwards; where it
cannot be had, that is said and nothing is measured. It reads the driver in other ways than we do,
so the tests' stand-in gets the two functions that it lacks, which say "not supported".

Run: python -m benchmarks.nvdashboard
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from benchmarks.machine import header, interval, shuffled_rounds
from benchmarks.server import (
    PANELS,
    ROUNDS,
    SECONDS,
    TOKEN,
    Panel,
    cpu_percent,
    measuring,
    serving,
)
from tests.fake_nvml import build
from tests.fake_nvml.build import SONAME, compiler

PEER = "jupyterlab-nvdashboard==0.15.0"
CHARTS = ("gpu_utilization", "gpu_usage")
LACKING = """
nvmlReturn_t nvmlDeviceGetNvLinkVersion(Gpu *gpu, unsigned link, unsigned *version) {
  (void)gpu; (void)link; (void)version;
  return 3;
}
nvmlReturn_t nvmlDeviceGetMaxPcieLinkGeneration(Gpu *gpu, unsigned *generation) {
  (void)gpu; (void)generation;
  return 3;
}
"""


@dataclass(slots=True)
class Counted:
    """What all pages of a condition received."""

    messages: int = 0
    size_bytes: int = 0
    charts: int = 0


def library(folder: Path) -> Path:
    """Build the stand-in driver with what the peer calls beside; returns its folder."""
    source = folder / "nvml.c"
    source.write_text((Path(build.__file__).parent / build.SOURCES[SONAME]).read_text() + LACKING)
    flags = ["-shared", "-fPIC", "-O1", f"-Wl,-soname,{SONAME}"]
    subprocess.run(
        [*compiler(), *flags, "-o", str(folder / SONAME), str(source)],
        check=True,
    )
    return folder


def fetch(folder: Path) -> str:
    """Install the peer into a folder; returns why that failed, or nothing."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    done = subprocess.run(
        [*command, str(folder), PEER], capture_output=True, text=True, check=False
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def theirs(port: int, every_ms: int) -> Counted:
    """Open the peer's charts for a while, as its pages do."""
    counted = Counted(charts=PANELS * len(CHARTS))

    async def chart(name: str, until_s: float) -> None:
        url = f"ws://127.0.0.1:{port}/user/x/nvdashboard/{name}"
        socket = await websocket_connect(
            HTTPRequest(url, headers={"Authorization": f"token {TOKEN}"})
        )
        wish = f'{{"updateFrequency": {every_ms}, "isPaused": false}}'
        await socket.write_message(wish)
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                text = await asyncio.wait_for(socket.read_message(), left_s)
            except TimeoutError:
                break
            if text is None or "error" in text:
                raise RuntimeError(f"the peer does not answer: {text!r}")
            counted.messages += 1
            counted.size_bytes += len(text)
        socket.close()

    async def pages() -> None:
        until_s = time.monotonic() + SECONDS
        await asyncio.gather(*(chart(name, until_s) for name in CHARTS * PANELS))

    asyncio.run(pages())
    return counted


def ours(port: int, kernels: list[str]) -> Counted:
    """Follow the kernels' runs for a while, with the devices, as our panels do."""
    counted = Counted(charts=PANELS * 2)
    panels = [Panel(port, kernel, stream=True, devices=True) for kernel in kernels]
    for panel in panels:
        panel.start()
    time.sleep(SECONDS)
    for panel in panels:
        panel.ending = True
    for panel in panels:
        panel.join()
    counted.messages = sum(panel.answers for panel in panels)
    counted.size_bytes = sum(panel.received_bytes for panel in panels)
    return counted


def main() -> None:
    print(header())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peer, driver = folder / "peer", folder / "driver"
        driver.mkdir()
        problem = fetch(peer)
        if problem:
            print(f"skipped: {PEER} cannot be installed here: {problem}")
            return
        if not compiler():
            print("skipped: no C compiler for the stand-in driver")
            return
        with (
            serving(folder, library(driver), "jupyterlab_nvdashboard", str(peer)) as (
                port,
                server,
                _,
            ),
            measuring(port, folder / "runtime") as kernels,
        ):
            compare(port, server, kernels)


def compare(port: int, server: psutil.Process, kernels: list[str]) -> None:
    counted: dict[str, list[Counted]] = {}

    def using(name: str, pages) -> float:
        def work() -> None:
            counted.setdefault(name, []).append(pages())

        return cpu_percent(server, work)

    pages = {
        "theirs, default": lambda: theirs(port, 100),
        "theirs, at our pace": lambda: theirs(port, 250),
        "ours": lambda: ours(port, kernels),
    }
    running = psutil.Process(server.pid).children(recursive=True)
    before = [sum(one.cpu_times()[:2]) for one in running]
    began_s = time.monotonic()
    figures = shuffled_rounds(
        {
            "nobody": lambda: cpu_percent(server, lambda: time.sleep(SECONDS)),
            "nobody again": lambda: cpu_percent(server, lambda: time.sleep(SECONDS)),
            **{name: (lambda n=name, p=one: using(n, p)) for name, one in pages.items()},
        },
        ROUNDS,
    )
    spent_s = sum(sum(one.cpu_times()[:2]) for one in running) - sum(before)
    elapsed_s = time.monotonic() - began_s
    for name, values in figures.items():
        added = [v - base for v, base in zip(values, figures["nobody"], strict=True)]
        if name not in counted:
            print(f"{name:<20} {interval(added)} % of a core")
            continue
        charts = counted[name][0].charts
        if name == "ours":
            each = interval([one / charts / 2 for one in added])
            print(f"{name:<20} a chart, tiles counted: {each} % of a core")
        print(
            f"{name:<20} a chart: {interval([one / charts for one in added])} % of a core, "
            f"{interval([c.messages / charts / SECONDS for c in counted[name]])} messages/s, "
            f"{interval([c.size_bytes / charts / SECONDS for c in counted[name]])} bytes/s"
        )
    kernel = 100 * spent_s / elapsed_s / len(kernels)
    print(f"a kernel that measures, whoever looks on: {kernel:.2f} % of a core")


if __name__ == "__main__":
    main()
