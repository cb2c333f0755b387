"""The server's routes, asked by a signed-in user and by a stranger; no browser needed."""

import contextlib
import json
import os
import signal
import time
import urllib.request
from pathlib import Path

import bokeh
import pytest
from jupyter_client import BlockingKernelClient

from tests.e2e.lab import TOKEN

pytestmark = pytest.mark.e2e
ROUTE = f"gpupredict/bokehjs/{bokeh.__version__}.js"


def test_bokehjs_for_those_who_are_signed_in(lab):
    status, headers, body = lab.get(ROUTE)
    assert status == 200
    assert headers["Content-Type"].startswith("text/javascript")
    assert headers["Cache-Control"].startswith("private")
    assert b"Bokeh" in body[:2000]


def test_nothing_for_a_stranger(lab):
    status, headers, body = lab.get(ROUTE, token=False)
    assert status in (302, 403)
    assert b"Bokeh" not in body
    if status == 302:
        assert "/login" in headers["Location"]


def test_another_version_is_refused_with_the_reason(lab):
    status, _, body = lab.get("gpupredict/bokehjs/0.0.1.js")
    assert status == 404
    assert bokeh.__version__ in json.loads(body)["reason"]


@pytest.mark.parametrize(
    "path", ["gpupredict/bokehjs/..%2F..%2Fsecret.js", "gpupredict/bokehjs/.js"]
)
def test_no_other_file_is_served(lab, path):
    assert lab.get(path)[0] == 404


def test_a_request_is_no_activity(lab):
    before = json.loads(lab.get("api/status")[2])["last_activity"]
    lab.get(ROUTE)
    assert json.loads(lab.get("api/status")[2])["last_activity"] == before


def post(lab, path, body=b"{}", method="POST"):
    headers = {"Authorization": f"token {TOKEN}"}
    request = urllib.request.Request(  # noqa: S310
        lab.url + path, data=body if method == "POST" else None, method=method, headers=headers
    )
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
        return reply.status, json.loads(reply.read() or "null")


@contextlib.contextmanager
def measuring(lab):
    """A kernel whose cell measures for a minute; yields its id."""
    kernel = post(lab, "api/kernels")[1]["id"]
    file = Path(lab.environ["JUPYTER_RUNTIME_DIR"]) / f"kernel-{kernel}.json"
    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        client.execute("%load_ext jupyter_gpupredict")
        client.execute("%%gpupredict\nimport time\ntime.sleep(60)")
        yield kernel
    finally:
        client.stop_channels()
        post(lab, f"api/kernels/{kernel}", method="DELETE")


def follow(lab, kernel, cursor=None, wait=5):
    query = "" if cursor is None else f"?since={cursor}&wait={wait}"
    status, _, body = lab.get(f"gpupredict/v1/kernels/{kernel}/runs{query}")
    assert status == 200
    return json.loads(body)


def begun(lab, kernel):
    """Return the cursor of a kernel's first run, as soon as there is one."""
    deadline = time.monotonic() + 30
    while not (reply := follow(lab, kernel))["runs"] and time.monotonic() < deadline:
        time.sleep(0.1)
    return reply["cursor"]


def test_a_busy_kernel_is_followed_and_its_measuring_stopped(lab):
    with measuring(lab) as kernel:
        cursor, seqs, until_s = begun(lab, kernel), [], time.monotonic() + 4
        while time.monotonic() < until_s:
            reply = follow(lab, kernel, cursor)
            cursor = reply["cursor"]
            seqs += [event["seq"] for run in reply["runs"] for event in run["events"]]
        assert seqs == list(range(len(seqs)))
        assert len(seqs) > 8  # a view is attached: about four reads a second
        run = cursor.partition(":")[0]
        assert post(lab, f"gpupredict/v1/kernels/{kernel}/runs/{run}/stop")[0] == 202
        deadline = time.monotonic() + 10
        while follow(lab, kernel, cursor, wait=2)["runs"] and time.monotonic() < deadline:
            cursor = follow(lab, kernel, cursor, wait=2)["cursor"]
        assert time.monotonic() < deadline  # no reading comes any more, and the cell goes on
        execution = json.loads(lab.get(f"api/kernels/{kernel}")[2])["execution_state"]
        assert execution == "busy"


def test_a_killed_kernels_run_is_told_as_lost(lab):
    with measuring(lab) as kernel:
        cursor = begun(lab, kernel)
        os.kill(follow(lab, kernel)["runs"][0]["run"]["pid"], signal.SIGKILL)
        deadline, outcome = time.monotonic() + 15, ""
        while outcome != "lost" and time.monotonic() < deadline:
            reply = follow(lab, kernel, cursor)
            cursor = reply["cursor"]
            outcome = reply["runs"][0]["run"]["outcome"] if reply["runs"] else outcome
        assert outcome == "lost"
