"""What the server's routes cost: lists, long series, and panels that follow live runs.

A real Jupyter Server with the stand-in driver and four kernels that measure all the while. CPU is
that of the server's process. "nobody" stands twice: what the two differ by is what means nothing.
"bare" asks Jupyter's own `api/status` as often as the panels are answered.

Run: python -m benchmarks.server
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import psutil
from jupyter_client import BlockingKernelClient

from benchmarks.machine import header, interval, shuffled_rounds
from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.series import Readings, Series
from jupyter_gpupredict.core.trace import event_to_json
from jupyter_gpupredict.frontends.server.state import Worker
from jupyter_gpupredict.run.picture import TracePicture
from tests.fake_nvml.scenario import FakeGpu, Script
from tests.frontends.server import traces

TOKEN = "a-token-for-benchmarks"  # noqa: S105
SESSIONS = 10_000
SAMPLES = 1_000_000
PANELS = 4
SECONDS = 6.0
ROUNDS = 7
CELL = "%load_ext jupyter_gpupredict\n"
BUSY = "%%gpupredict\nimport time\ntime.sleep(3600)\n"


class Asker:
    """One client with one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"token {TOKEN}"}

    def ask(self, path: str, method: str = "GET", body: str | None = None) -> bytes:
        self._connection.request(method, f"/user/x/{path}", body, self._headers)
        reply = self._connection.getresponse()
        content = reply.read()
        if reply.status >= 300:
            raise RuntimeError(f"{method} {path}: {reply.status} {content[:200]!r}")
        return content

    def lines(self, path: str) -> Iterator[bytes]:
        """Yield the lines of a reply as they come."""
        self._connection.request("GET", f"/user/x/{path}", None, self._headers)
        yield from self._connection.getresponse()

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def serving(
    folder: Path, library: Path | None = None, peer: str = "", modules: str = ""
) -> Iterator[tuple[int, psutil.Process, Path]]:
    """Run a server below `folder`; yields port, process, and the session store.

    Args:
        folder: Where everything is written.
        library: The folder of another stand-in driver than that of the tests.
        peer: Another server extension to load beside ours.
        modules: A folder to import it from.
    """
    points = [(t / 2, (15, 82, 88, 35)[t % 4], 2000) for t in range(40)]
    driver = Script(gpus=[FakeGpu(points=points, loop=True, depth=600)]).environ(folder)
    if library is not None:
        driver["LD_LIBRARY_PATH"] = str(library)
    environ = {
        **os.environ,
        **driver,
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, (modules, *sys.path))),
    }
    extensions = {"jupyter_gpupredict": True, **({peer: True} if peer else {})}
    port = random.Random().randrange(20_000, 60_000)  # noqa: S311
    command = [
        *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
        f"--ServerApp.port={port}",
        "--ServerApp.base_url=/user/x/",
        f"--ServerApp.root_dir={folder}",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.jpserver_extensions={extensions}",
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError, RuntimeError):
                Asker(port).ask("api/status")
                break
            time.sleep(0.1)
        yield port, psutil.Process(process.pid), folder / "data" / "gpupredict" / "sessions"
    finally:
        process.terminate()
        process.wait(30)


def long_trace(root: Path, run: str, per_read: int) -> Path:
    """Write a trace of a million readings, so many a line."""
    draw = random.Random(0)  # noqa: S311
    others = [Series(m, traces.UUID) for m in ("process_memory_used_bytes", "power_watts")]
    path = traces.write(root, run, [traces.started(run, kernel_id=None)])
    with path.open("a") as file:
        for seq in range(1, SAMPLES // per_read + 1):
            times = tuple(seq - 1 + (n + draw.random()) / per_read for n in range(per_read))
            values = tuple(draw.randrange(101) / 100 for _ in range(per_read))
            memory = float(draw.randrange(1 << 36))
            readings = [Readings(traces.SHARE, times, values)]
            readings += [
                Readings(one, (float(seq),), (memory,)) for one in (traces.MEMORY, *others)
            ]
            event = ev.SamplesTaken(seq, float(seq), tuple(readings))
            file.write(event_to_json(event) + "\n")
    return path


def timed(work: Callable[[], bytes]) -> tuple[float, bytes]:
    began_s = time.perf_counter()
    content = work()
    return 1000 * (time.perf_counter() - began_s), content


def lists(asker: Asker, store: Path) -> None:
    for number in range(SESSIONS):
        traces.whole_run(store, traces.session_id(number), host=f"node{number % 50}")
    url = "gpupredict/v1/sessions?limit=50"
    cold, _ = timed(lambda: asker.ask(url))
    warm = [timed(lambda: asker.ask(url))[0] for _ in range(30)]
    print(f"list {SESSIONS} sessions, first page: cold {cold:.0f} ms, warm {interval(warm)} ms")
    search = f"{url}&q=node7+h200+nothing-has-this"
    spent, tries = 0.0, 0
    while True:
        took, content = timed(lambda: asker.ask(search))
        spent, tries = spent + took, tries + 1
        reply = json.loads(content)
        if reply["searched"] == reply["total"]:
            break
    print(f"search all of them: cold {spent:.0f} ms in {tries} requests, ", end="")
    print(f"warm {interval([timed(lambda: asker.ask(search))[0] for _ in range(20)])} ms")


def series(asker: Asker, store: Path) -> None:
    for per_read, number in ((6, 20_001), (50, 20_002)):
        run = traces.session_id(number)
        path = long_trace(store, run, per_read)
        url = f"gpupredict/v1/sessions/{run}/series?width=1000"
        first, content = timed(lambda url=url: asker.ask(url))  # type: ignore[misc]
        spent, tries = first, 1
        while not json.loads(content)["complete"]:
            took, content = timed(lambda url=url: asker.ask(url))  # type: ignore[misc]
            spent, tries = spent + took, tries + 1
        assert json.loads(content)["series"][0]["samples"] >= SAMPLES - per_read
        warm = [timed(lambda url=url: asker.ask(url))[0] for _ in range(20)]  # type: ignore[misc]
        size = path.stat().st_size / 1e6
        print(
            f"series of {SAMPLES} readings, {per_read} a line ({size:.0f} MB): first answer "
            f"{first:.0f} ms, all of it {spent:.0f} ms in {tries} requests, "
            f"then {interval(warm)} ms ({len(content) / 1000:.0f} kB)"
        )
        path.unlink()


def lateness(folder: Path) -> None:
    """Print how late the event loop is while a worker reads a long trace, and while none does."""
    path = long_trace(folder, traces.session_id(1), 6)

    async def late_ms(work: Callable[[], object]) -> list[float]:
        worker, late = Worker("benchmark", 60.0), []
        doing = asyncio.ensure_future(worker.do(work))
        while not doing.done():
            began_s = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(1000 * (time.perf_counter() - began_s) - 1.0)
        worker.close()
        return sorted(late)

    for name, work in (
        ("nothing is read", lambda: time.sleep(1.0)),
        ("a long trace is read", lambda: TracePicture(path).draw(1000, 60.0)),
    ):
        late = asyncio.run(late_ms(work))
        print(
            f"the event loop is late while {name}: median {late[len(late) // 2]:.2f} ms, "
            f"99 % {late[int(0.99 * len(late))]:.2f} ms, at most {late[-1]:.2f} ms"
        )
    path.unlink()


class Panel(threading.Thread):
    """Follows one kernel until told to end, as the panel does."""

    def __init__(self, port: int, kernel: str, stream: bool, devices: bool = False) -> None:
        super().__init__(daemon=True)
        self._asker = Asker(port)
        self._url = f"gpupredict/v1/kernels/{kernel}/runs"
        self._stream = stream
        self._devices = int(devices)
        self.ending = False
        self.answers = 0
        self.received_bytes = 0
        self.lags_ms: list[tuple[float, float]] = []
        """(from the event's, from the newest reading's time) to the answer."""

    def run(self) -> None:
        reply = json.loads(self._asker.ask(self._url))
        began_s = datetime.fromisoformat(reply["runs"][0]["run"]["started_at"]).timestamp()
        caught_up = False
        for content in self._contents(reply["cursor"]):
            reply = json.loads(content)
            if caught_up:
                self.answers += 1
                self.received_bytes += len(content)
                self._measure(reply, began_s)
            caught_up = not reply["more"]
        self._asker.close()

    def _contents(self, cursor: str) -> Iterator[bytes]:
        if self._stream:
            query = f"since={cursor}&stream={SECONDS}&devices={self._devices}"
            for line in self._asker.lines(f"{self._url}?{query}"):
                if self.ending:
                    return
                yield line
        while not self._stream and not self.ending:
            content = self._asker.ask(f"{self._url}?since={cursor}&wait=2")
            cursor = json.loads(content)["cursor"]
            yield content

    def _measure(self, reply: dict, began_s: float) -> None:
        now_s = time.time()
        for run in reply["runs"]:
            for event in run["events"]:
                if event["event"] == "SamplesTaken":
                    newest_s = max(r["times_s"][-1] for r in event["readings"])
                    self.lags_ms.append(
                        (
                            1000 * (now_s - began_s - event["t_s"]),
                            1000 * (now_s - began_s - newest_s),
                        )
                    )


def cpu_percent(server: psutil.Process, work: Callable[[], None]) -> float:
    """Return what a process uses of a core while something is done."""
    before = server.cpu_times()
    began_s = time.perf_counter()
    work()
    after = server.cpu_times()
    used_s = after.user + after.system - before.user - before.system
    return 100 * used_s / (time.perf_counter() - began_s)


def follow(port: int, server: psutil.Process, kernels: list[str], lags: list) -> None:
    """Print the server's CPU with nobody, with panels, and with bare requests."""

    def cpu(work: Callable[[], None]) -> float:
        return cpu_percent(server, work)

    answers: list[float] = []

    def panels(stream: bool) -> None:
        made = [Panel(port, kernel, stream, devices=stream) for kernel in kernels]
        for panel in made:
            panel.start()
        time.sleep(SECONDS)
        for panel in made:
            panel.ending = True
        for panel in made:
            panel.join()
            lags.extend(panel.lags_ms)
        answers.append(sum(panel.answers for panel in made) / SECONDS)

    def bare() -> None:
        asker, until_s = Asker(port), time.monotonic() + SECONDS
        while time.monotonic() < until_s:
            asker.ask("api/status")
            time.sleep(1 / (4 * PANELS))
        asker.close()

    figures = shuffled_rounds(
        {
            "nobody": lambda: cpu(lambda: time.sleep(SECONDS)),
            "nobody again": lambda: cpu(lambda: time.sleep(SECONDS)),
            "panels, polling": lambda: cpu(lambda: panels(False)),
            "panels, stream": lambda: cpu(lambda: panels(True)),
            "bare": lambda: cpu(bare),
        },
        ROUNDS,
    )
    print(f"server CPU, % of a core; the panels got {statistics.median(answers):.1f} answers/s")
    for name, values in figures.items():
        added = [v - base for v, base in zip(values, figures["nobody"], strict=True)]
        print(f"  {name:<17}{interval(values)}, above nobody {interval(added)}")


@contextlib.contextmanager
def measuring(port: int, runtime: Path) -> Iterator[list[str]]:
    """Start kernels that measure all the while; yields their ids."""
    asker = Asker(port)
    kernels, clients = [], []
    for _ in range(PANELS):
        kernel = json.loads(asker.ask("api/kernels", "POST", "{}"))["id"]
        client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        client.execute(CELL)
        client.execute(BUSY)
        kernels.append(kernel)
        clients.append(client)
    for kernel in kernels:
        while not json.loads(asker.ask(f"gpupredict/v1/kernels/{kernel}/runs"))["runs"]:
            time.sleep(0.2)
    time.sleep(3)
    yield kernels
    for client in clients:
        client.stop_channels()
    for kernel in kernels:
        asker.ask(f"api/kernels/{kernel}", "DELETE")


def live(port: int, server: psutil.Process, kernels: list[str]) -> None:
    lags: list[tuple[float, float]] = []
    memory = server.memory_info().rss
    follow(port, server, kernels, lags)
    grown = (server.memory_info().rss - memory) / 1e6
    for name, at in (("from the kernel's read", 0), ("from the reading", 1)):
        values = sorted(lag[at] for lag in lags)
        print(
            f"lag {name} to the answer: median {values[len(values) // 2]:.0f} ms, "
            f"95 % {values[int(0.95 * len(values))]:.0f} ms ({len(values)} reads)"
        )
    print(f"the server's memory grew by {grown:.1f} MB meanwhile")


def main() -> None:
    print(header())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lateness(folder)
        with serving(folder) as (port, server, store):
            asker = Asker(port)
            with measuring(port, folder / "runtime") as kernels:
                live(port, server, kernels)
            lists(asker, store)
            series(asker, store)
            asker.close()


if __name__ == "__main__":
    main()
