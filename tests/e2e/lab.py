"""A real JupyterLab with the stand-in driver, and a real browser looking at it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Page, Playwright, Request

TOKEN = "a-token-for-tests"
BUILT = Path(__file__).resolve().parents[2] / "jupyter_gpupredict" / "labextension"
"""The panel, where it has been built (`make lab-build`)."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_NUMBERS = itertools.count()
LIVE = ".gpupredict-live"
RESULT = ".gpupredict-result"


def until_told(step: str) -> str:
    """Return a cell that does one step after another until `Sheet.end` is called."""
    mark = f"end-{next(_NUMBERS)}"
    return "\n".join(
        [
            "import os, time",
            "limit = time.monotonic() + 280",
            f"while not os.path.exists('{mark}') and time.monotonic() < limit:",
            f"    {step}",
            "'done'",
        ]
    )


def chromium() -> str | None:
    """Return the path of Debian's Chromium; None when it is not installed.

    Without a window of its own where there is that: a page then takes half the CPU.
    """
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")


def built() -> bool:
    """Whether there is a panel to load."""
    return (BUILT / "package.json").exists()


def launch(playwright: Playwright) -> Browser:
    """Start the browser."""
    return playwright.chromium.launch(executable_path=chromium(), args=FLAGS)


@dataclass
class Lab:
    """A running JupyterLab below a prefix, as behind a proxy."""

    folder: Path
    port: int
    environ: dict[str, str]
    base: str = "/user/x/"
    process: subprocess.Popen[bytes] | None = None
    application: str = "jupyterlab"
    """Or `notebook`: Notebook 7."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.base}"

    def start(self) -> None:
        """Start the server, and wait until it answers; after `stop`, on the same port."""
        command = [
            *(sys.executable, "-m", self.application, "--no-browser", "--allow-root"),
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.base_url={self.base}",
            f"--ServerApp.root_dir={self.folder}",
            f"--IdentityProvider.token={TOKEN}",
            "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]
        log = self.folder.parent / "lab.log"
        with log.open("ab") as file:
            self.process = subprocess.Popen(command, env=self.environ, stdout=file, stderr=file)
        _wait_for(self, self.process, log)

    def stop(self) -> None:
        """End the server, which ends its kernels."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def get(self, path: str, *, token: bool = True) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a GET; redirects are not followed."""
        headers = {"Authorization": f"token {TOKEN}"} if token else {}
        request = urllib.request.Request(self.url + path, headers=headers)  # noqa: S310
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=30) as reply:
                return reply.status, dict(reply.headers), reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def notebook(self, name: str, *cells: str, kernel: str = "python3") -> Path:
        """Write a notebook of these code cells and return its path."""
        document = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
        )
        path = self.folder / name
        nbformat.write(document, path)
        return path


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


@contextlib.contextmanager
def serve(folder: Path, environ: dict[str, str], application: str = "jupyterlab") -> Iterator[Lab]:
    """Run JupyterLab on a free port with directories of its own below `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    work = folder / "work"
    work.mkdir(parents=True)
    if built():
        extensions = folder / "share" / "labextensions"
        extensions.mkdir(parents=True)
        (extensions / "jupyter_gpupredict").symlink_to(BUILT)
    quiet = folder / "settings" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    lab = Lab(
        work,
        port,
        {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTER_PATH": str(folder / "share"),  # before all installed ones
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            **environ,
        },
        application=application,
    )
    try:
        lab.start()
        yield lab
    finally:
        lab.stop()


def _wait_for(lab: Lab, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            if lab.get("api/status")[0] == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@dataclass
class Sheet:
    """One notebook open in one page, with what the page asked for and complained about."""

    lab: Lab
    page: Page
    path: Path
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def newest_trace(self) -> Path:
        """Return the trace of the newest run; their names begin with when the run began."""
        store = Path(self.lab.environ["JUPYTER_DATA_DIR"], "gpupredict", "sessions")
        return max(store.glob("*.jsonl"))

    def open(self) -> None:
        """Load the page and wait until the notebook's kernel is ready."""
        lost = self.page.locator(".jp-Dialog", has_text="Server Connection Error")
        self.page.add_locator_handler(  # JupyterLab's own word, whenever it is in the way
            lost, lambda dialog: dialog.get_by_role("button", name="Close").click()
        )
        self.page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108 - a bound built-in cannot be marked
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        place = "lab/tree" if self.lab.application == "jupyterlab" else "notebooks"
        self.page.goto(f"{self.lab.url}{place}/{self.path.name}?token={TOKEN}&reset")
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the notebook shows and its kernel is idle."""
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.page.wait_for_function(
            """async () => { const panel = window.jupyterapp.shell.currentWidget;
                 if (!panel?.sessionContext) return false;
                 await panel.sessionContext.ready;
                 return !!panel.sessionContext.session?.kernel?.info; }"""
        )

    def command(self, name: str, arguments: dict[str, object] | None = None) -> None:
        """Start one of JupyterLab's commands; do not wait for its end."""
        self.page.evaluate(
            "([name, args]) => { window.jupyterapp.commands.execute(name, args); }",
            [name, arguments or {}],
        )

    def run_all(self) -> None:
        self.command("notebook:run-all-cells")

    def end(self) -> None:
        """Let the cells end that run until they are told to (`until_told`)."""
        for name in re.findall(r"end-\d+", self.path.read_text()):
            (self.lab.folder / name).touch()

    def wait_idle(self) -> None:
        """Wait until every cell has run."""
        self.page.wait_for_function(
            """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
                 .every((prompt) => !/\\[[ *]\\]/.test(prompt.textContent))""",
        )

    def busy(self) -> bool:
        """Whether the last cell is running."""
        return "[*]" in self.page.locator(".jp-CodeCell .jp-InputPrompt").last.inner_text()

    def live(self, name: str) -> str:
        """Return one of the live view's data attributes."""
        return self.page.locator(LIVE).last.get_attribute(f"data-{name}") or ""

    def wait_live(self, chart: str | None = None) -> None:
        """Wait for the live view, and until it draws in the given way."""
        selector = LIVE if chart is None else f"{LIVE}[data-chart={chart}]"
        self.page.wait_for_selector(selector)

    def wait_moves(self, selector: str, name: str, times: int) -> list[int]:
        """Wait until a data attribute has grown so often; returns what it was."""
        seen = [-1]
        for _ in range(times):
            self.page.wait_for_function(
                "([sel, name, n]) => [...document.querySelectorAll(sel)].at(-1)?.dataset[name] > n",
                arg=[selector, name, seen[-1]],
            )
            seen.append(int(self.page.locator(selector).last.get_attribute(f"data-{name}") or 0))
        return seen[1:]

    def wait_rows(self, count: int) -> None:
        """Wait until the live view holds so many rows."""
        self.page.wait_for_function(
            "([sel, n]) => [...document.querySelectorAll(sel)].some((el) => +el.dataset.rows >= n)",
            arg=[LIVE, count],
        )

    def save(self) -> str:
        """Save the notebook and return its text."""
        before = self.path.stat().st_mtime_ns
        self.command("docmanager:save")
        deadline = time.monotonic() + 20
        while self.path.stat().st_mtime_ns == before and time.monotonic() < deadline:
            self.page.wait_for_timeout(100)
        self.page.wait_for_timeout(300)
        return self.path.read_text()

    def foreign(self) -> list[str]:
        """Return requests to another host than the server; data and blob URLs are the page's."""
        own = re.compile(rf"^(http|ws)://127\.0\.0\.1:{self.lab.port}/|^(data|blob):")
        return [request.url for request in self.requests if not own.match(request.url)]

    def close(self) -> None:
        """Shut the kernel down and close the page."""
        for session in json.loads(self.lab.get("api/sessions")[2]):
            if session["path"] == self.path.name:
                self._shut_down(session["id"])
        self.page.close()

    def _shut_down(self, session_id: str) -> None:
        """Shut a kernel down; the server refuses while it starts one anew that was killed."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.lab.url}api/sessions/{session_id}",
            method="DELETE",
            headers={"Authorization": f"token {TOKEN}"},
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return
                if error.code != 500 or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return
