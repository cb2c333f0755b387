"""Two servers to ask: one that says what a test tells it, and Debian's own Prometheus."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

import pytest

UUID = "GPU-11111111-2222-3333-4444-555555555555"
OTHER = "GPU-99999999-2222-3333-4444-555555555555"
BUILT = Path(__file__).resolve().parents[2] / "build" / "prometheus" / "usr" / "bin"


class Reply:
    """What a server says: a status and a body, or a function that writes to the socket itself."""

    def __init__(self, body: object = b"", status: int = 200, **headers: str) -> None:
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status = status
        self.headers = headers
        self.cut = False
        """Promise more than is sent."""
        self.drip_s = 0.0
        """Seconds between single bytes."""
        self.head_drips = False
        """The headers drip, too."""


def matrix(*streams: tuple[dict[str, str], list[tuple[float, object]]]) -> dict[str, object]:
    """Return the API's answer with these samples; values as they are written, such as "NaN"."""
    result = [
        {"metric": labels, "values": [[time_s, str(value)] for time_s, value in samples]}
        for labels, samples in streams
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def scalar(value: float) -> dict[str, object]:
    return {"status": "success", "data": {"resultType": "scalar", "result": [value, str(value)]}}


def labels(field: str, uuid: str = UUID, **more: str) -> dict[str, str]:
    """Return the labels as dcgm-exporter 4 sets them."""
    return {
        "__name__": field,
        "UUID": uuid,
        "gpu": "0",
        "device": "nvidia0",
        "modelName": "NVIDIA H200",
        "Hostname": "gpu7",
        "DCGM_FI_DRIVER_VERSION": "580.82",
        **more,
    }


class Dripping:
    """A stream that is written one byte after another."""

    def __init__(self, stream: BinaryIO, wait_s: float) -> None:
        self.stream, self.wait_s = stream, wait_s

    def write(self, data: bytes) -> None:
        for one in data:
            self.stream.write(bytes([one]))
            time.sleep(self.wait_s)


class Scripted:
    """An HTTP server on the loopback that answers by a function and remembers what it was asked."""

    def __init__(self, answer: Callable[[str, dict[str, str]], Reply]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        """(path, query, headers)."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                outer.asked.append((parts.path, query, dict(self.headers)))
                reply = outer.answer(parts.path, query)
                stream = self.wfile
                slow = Dripping(stream, reply.drip_s) if reply.drip_s else stream
                try:
                    self.wfile = slow if reply.head_drips else stream
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name.replace("_", "-"), value)
                    self.send_header("Content-Length", str(len(reply.body) + 100 * reply.cut))
                    self.end_headers()
                    slow.write(reply.body)
                except OSError:
                    pass  # the client has had enough
                finally:
                    self.wfile = stream

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False  # joined by `close`
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`, or skip."""
    found = shutil.which(name) or (str(BUILT / name) if (BUILT / name).is_file() else None)
    if found is None:
        pytest.skip(f"{name} is not there: apt-get install prometheus")
    return found


class RealPrometheus:
    """Debian's server on the loopback, with a past of its own and a target to scrape."""

    def __init__(self, folder: Path, past: str = "", target: str = "") -> None:
        """Start it.

        Args:
            folder: Where it keeps its data.
            past: OpenMetrics text with stamps, put into its storage before it starts.
            target: `HOST:PORT` to scrape five times a second.
        """
        data = folder / "prometheus"
        server = program("prometheus")
        if past:
            text = folder / "past.txt"
            text.write_text(past)
            command = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics"]
            subprocess.run([*command, str(text), str(data)], check=True, capture_output=True)
        settings = folder / "prometheus.yml"
        scrape = f"[{{job_name: dcgm, static_configs: [{{targets: ['{target}']}}]}}]"
        settings.write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 150ms}\n"
            + (f"scrape_configs: {scrape}\n" if target else "")
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                *(server, f"--config.file={settings}", f"--storage.tsdb.path={data}"),
                *("--storage.tsdb.retention.time=10y", f"--web.listen-address=127.0.0.1:{port}"),
            ],
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "GOMAXPROCS": "1"},
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):
                    return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.close()
                    raise
                time.sleep(0.05)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()
