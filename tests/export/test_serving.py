"""The exported folder through the conventions of the platforms, by their own packages.

Those packages come with the extra `serve` (`make test-serve`). They run in a process of their own:
`GPUPREDICT_SERVE_PYTHON` names a Python that has them, this one otherwise.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import pytest

from jupyter_gpupredict.export.function.container import ADAPTERS
from tests.export.test_folder import clean, export

SERVE_PYTHON = os.environ.get("GPUPREDICT_SERVE_PYTHON", sys.executable)
CELL = """
import time
epochs = 3
pause = 0.0
total = 0.0
for epoch in range(epochs):
    total += 0.5 ** epoch
    print("epoch", epoch)
    time.sleep(pause)
await __import__("asyncio").sleep(0)
{"total": total, "epochs": epochs}
"""
ANSWER = {"total": 1.75, "epochs": 3}
SHORT = {"total": 1.0, "epochs": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("served") / "trained"
    export(made, CELL, adapters=tuple(ADAPTERS))
    return made


def needs(module):
    ended = subprocess.run(
        [SERVE_PYTHON, "-c", f"import {module}"], capture_output=True, check=False, env=clean()
    )
    if ended.returncode:
        pytest.skip(f"{module} is not installed: make test-serve")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A server in a process of its own, until the block ends."""

    def __init__(self, command, folder, port, **environment):
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            command, cwd=folder, env=clean(**environment), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __enter__(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/healthz", timeout=5).close()
            except urllib.error.HTTPError as error:
                error.close()
                return self
            except OSError:
                time.sleep(0.05)
            else:
                return self
        raise AssertionError(self.stop())

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.terminate()
        return self.process.communicate(timeout=20)[0].decode()

    def post(self, body, path="/"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.url}{path}", data=data, method="POST")
        asked.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


def test_the_standard_librarys_server(folder):
    port = free_port()
    with Server([sys.executable, "adapters/serve.py"], folder, port, PORT=str(port)) as server:
        assert server.post(b"") == (200, ANSWER)
        assert server.post({"epochs": 1}) == (200, SHORT)
        assert server.post({"epoch": 1})[0] == 400
        assert server.post(b"{")[0] == 400
        status, said = server.post({"epochs": "many"})
        assert (status, said["error"].split(":")[0]) == (500, "TypeError")
        slow = threading.Thread(target=server.post, args=({"epochs": 2, "pause": 0.6},))
        slow.start()
        time.sleep(0.3)
        status, said = server.post({})  # one training at a time, and the process still lives
        assert (status, said) == (503, {"error": "busy with another training"})
        assert urllib.request.urlopen(f"{server.url}/healthz", timeout=5).read()
        slow.join()
        server.process.terminate()
        assert (
            server.process.wait(10) == 143
        )  # SIGTERM ends it, also as a container's first process


def test_functions_framework(folder):
    needs("functions_framework")
    port = free_port()
    command = [SERVE_PYTHON, "-m", "functions_framework", "--source", "adapters/main.py"]
    with Server([*command, "--target", "main", "--port", str(port)], folder, port) as server:
        assert server.post({}) == (200, ANSWER)
        assert server.post({"epochs": 1}) == (200, SHORT)
        assert server.post({"epoch": 1})[0] == 400


def test_func_python(folder):
    needs("func_python")
    port = free_port()
    code = "import func; from func_python.http import serve; serve(func.new)"
    environment = {"LISTEN_ADDRESS": f"127.0.0.1:{port}", "PYTHONPATH": "function"}
    with Server([SERVE_PYTHON, "-c", code], folder, port, **environment) as server:
        assert server.post({}) == (200, ANSWER)
        assert server.post({"epochs": 1}) == (200, SHORT)


@pytest.mark.parametrize(("given", "answer"), [({}, ANSWER), ({"epochs": 1}, SHORT)])
def test_runpod(folder, given, answer):
    needs("runpod")
    words = ["adapters/rp_handler.py", "--test_input", json.dumps({"input": given})]
    ended = subprocess.run(
        [SERVE_PYTHON, *words], cwd=folder, env=clean(HOME=str(folder.parent)),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    assert str(answer) in said, said


TOGETHER = """
import os
import socket

ranks = int(os.environ.get("WORLD_SIZE", "1"))
rank = int(os.environ.get("RANK", "0"))
address = (os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "0")))
failing = -1
if rank == failing:
    raise RuntimeError("rank fails")
total = rank
if rank == 0:
    with socket.create_server(address) as server:
        for _ in range(ranks - 1):
            peer, _ = server.accept()
            with peer:
                total += int(peer.recv(16))
else:
    import time
    while True:
        try:
            with socket.create_connection(address, timeout=5) as peer:
                peer.sendall(str(rank).encode())
            break
        except ConnectionError:
            time.sleep(0.05)
{"rank": rank, "total": total, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
 "threads": os.environ.get("OMP_NUM_THREADS")}
"""


@pytest.fixture
def ray_cluster(tmp_path):
    """A Ray cluster of this machine that counts three GPUs, which it need not have."""
    needs("ray")
    folder, port = tempfile.mkdtemp(prefix="ray-"), free_port()  # short: sockets lie in it
    code = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
    words = ["start", "--head", f"--port={port}", "--num-gpus=3", "--num-cpus=2", "--block"]
    words += ["--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}"]
    process = subprocess.Popen(
        [SERVE_PYTHON, "-c", code, *words], cwd=tmp_path, env=clean(HOME=str(tmp_path)),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


def test_ranks_of_a_ray_cluster_meet(ray_cluster, tmp_path):
    export(tmp_path / "ranked", TOGETHER, adapters=("ray",))

    def run(*words):
        return subprocess.run(
            [SERVE_PYTHON, "adapters/ranks.py", *words], cwd=tmp_path / "ranked",
            env=clean(RAY_ADDRESS=ray_cluster, HOME=str(tmp_path)), capture_output=True,
            text=True, check=False, timeout=120,
        )  # fmt: skip

    ended = run("3", "{}")
    assert ended.returncode == 0, ended.stderr
    answers = json.loads(ended.stdout)["ranks"]
    assert [(one["rank"], one["total"]) for one in answers] == [(0, 3), (1, 1), (2, 2)]
    assert sorted(one["gpus"] for one in answers) == ["0", "1", "2"]
    assert {one["threads"] for one in answers} == {None}  # Ray would allow one
    ended = run("3", '{"failing": 2}')  # the others wait for it, and are ended
    assert ended.returncode == 1, ended.stderr
    assert "rank fails" in ended.stderr
    assert ended.stdout == ""
    assert run("3", '{"wrong": 2}').returncode == 2
    assert run("none").returncode == 2
    ended = run("3", "{}")  # their GPUs are free again
    assert ended.returncode == 0, ended.stderr


NUCLIO = """
import asyncio, json, handler

class Event:
    def __init__(self, body): self.body = body

class Response:
    def __init__(self, body, headers, content_type, status_code):
        self.body, self.content_type, self.status_code = body, content_type, status_code

class Context:
    Response = Response

async def served(body):  # Nuclio calls plain handlers inside its own loop
    return handler.handler(Context(), Event(body))

for body in (b'', b'{"epochs": 1}', {"epochs": 1}, None, b'{"epoch": 1}', b'{"epochs": "x"}'):
    answer = asyncio.run(served(body))
    print(json.dumps([answer.status_code, answer.content_type, json.loads(answer.body)]))
"""


def run_python(folder, code):
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=clean(), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_nuclios_signature(folder):
    said = run_python(folder, NUCLIO)
    assert [(status, body) for status, _, body in said[:4]] == [
        (200, ANSWER), (200, SHORT), (200, SHORT), (200, ANSWER),
    ]  # fmt: skip
    assert [status for status, _, _ in said[4:]] == [400, 500]
    assert {kind for _, kind, _ in said} == {"application/json"}


OPENFAAS = """
import json
from function import handler

class Event:
    body = b'{"epochs": 1}'

answer = handler.handle(Event(), None)
print(json.dumps([answer["statusCode"], json.loads(answer["body"])]))
"""


def test_openfaas_signature(folder):
    assert run_python(folder, OPENFAAS) == [[200, SHORT]]


FISSION = """
import json, handler
from flask import Flask

app = Flask("fission")
app.add_url_rule("/", view_func=handler.main, methods=["POST"])
answer = app.test_client().post("/", data=b'{"epochs": 1}')
print(json.dumps([answer.status_code, answer.json]))
"""


def test_fissions_signature(folder):
    needs("flask")
    ended = subprocess.run(
        [SERVE_PYTHON, "-c", FISSION], cwd=folder, env=clean(), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert json.loads(ended.stdout.splitlines()[-1]) == [200, SHORT], ended.stderr
