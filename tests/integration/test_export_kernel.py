"""A cell measured in a real kernel, exported from there, and its function executed."""

import ast
import json
import os
import subprocess
import sys

import pytest

from tests.integration.kernels import Kernel

pytestmark = pytest.mark.integration
MAGIC = "%%gpupredict -o run --source synthetic --scenario steady"
CELL = """
epochs = 4
weights = np.zeros(3)
for epoch in range(epochs):
    weights = step(weights, epoch)
{"weights": weights.round(6).tolist()}"""
EXPORT = "run.export(name='trained', output={!r}, workload='local', force=True, memory_mib=512{})"


@pytest.fixture
def kernel(tmp_path):
    with Kernel(
        JUPYTER_DATA_DIR=str(tmp_path / "data"),
        IPYTHONDIR=str(tmp_path / "ipython"),
        CANARY_KEY="canary-value",
    ) as one:
        one.run(f"%cd -q {tmp_path}")
        yield one


def execute(folder, body="{}"):
    ended = subprocess.run(
        [sys.executable, "handler.py", body], cwd=folder, env={"PATH": os.defpath},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def prepare(kernel):
    kernel.run("import numpy as np\nimport os\nrate = 0.5")
    kernel.run("key = os.environ['CANARY_KEY']\n1 / 0")
    kernel.run("def step(w, epoch):\n    return w + rate * (epoch - w)")


def test_a_measured_cell_becomes_a_function_that_runs(kernel, tmp_path):
    prepare(kernel)
    measured = kernel.run(MAGIC + CELL)
    kernel.run("def step(w, epoch):\n    raise RuntimeError('defined after the measured cell')")
    folder = tmp_path / "trained"
    reply = kernel.run(EXPORT.format(str(folder), ""))
    assert reply.status == "ok", reply.tracebacks
    assert execute(folder) == ast.literal_eval(measured.result)
    assert execute(folder, '{"epochs": 1}') == {"weights": [0.0, 0.0, 0.0]}
    assert execute(folder, '{"rate": 0}') == {"weights": [0.0, 0.0, 0.0]}
    written = "".join(
        p.read_text() for p in folder.rglob("*") if p.suffix != ".pyc" and p.is_file()
    )
    assert "canary-value" not in written
    assert str(tmp_path) not in written
    # a result that has left its kernel has no code, and says so
    again = kernel.run(
        "import pickle\nfrom jupyter_gpupredict.frontends import executed\n"
        "copy = pickle.loads(pickle.dumps(run)); executed.forget()\n"
        + EXPORT.format(str(tmp_path / "bare"), "").replace("run.", "copy.")
    )
    assert "no code was written" in again.text("stderr")
    assert not (tmp_path / "bare" / "train_fn.py").exists()


def test_what_cannot_be_exported_names_the_cell(kernel, tmp_path):
    prepare(kernel)
    kernel.run("data = np.arange(3) + 0")
    kernel.run(MAGIC + "\nint(data.sum())")
    reply = kernel.run(EXPORT.format(str(tmp_path / "f"), ", mode='strict'"))
    assert reply.status == "error"
    assert "data (In [6] line 1)" in reply.tracebacks[0]
    assert not (tmp_path / "f").exists()
    assert kernel.run(EXPORT.format(str(tmp_path / "f"), ", setup=['6']")).status == "ok"
    assert execute(tmp_path / "f") == {"result": 3}
    assert kernel.run(EXPORT.format(str(tmp_path / "g"), ", params=['data']")).status == "ok"
    assert "required" in (tmp_path / "g" / "README.md").read_text()


def test_the_line_magic_prints_and_writes_the_same(kernel, tmp_path):
    prepare(kernel)
    kernel.run(MAGIC + CELL)
    words = f"--workload local --name trained --force --memory-mib 512 -o {tmp_path / 'f'}"
    shown = kernel.run(f"%gpupredict export {words} --dry-run").text("stdout")
    assert "--- train_fn.py" in shown
    assert "def step(w, epoch):" in shown
    assert not (tmp_path / "f").exists()
    reply = kernel.run(f"%gpupredict export {words}")
    assert "wrote" in reply.text("stdout")
    assert (tmp_path / "f" / "train_fn.py").read_text() in shown
    again = kernel.run(f"%gpupredict export {words}")
    assert again.status == "error"
    assert "already holds" in again.text("stderr")


def test_a_cell_that_history_does_not_hold(kernel, tmp_path):
    prepare(kernel)
    kernel.run(MAGIC + CELL, store_history=False)
    assert kernel.run(EXPORT.format(str(tmp_path / "f"), "")).status == "ok"
    assert "the code of the measured cell" in (tmp_path / "f" / "train_fn.py").read_text()
    assert len(execute(tmp_path / "f")["weights"]) == 3


def test_the_function_and_the_cells_are_compared_from_the_kernel(kernel, tmp_path):
    (tmp_path / "notebook").mkdir()  # IPython's own files change in the folder above
    kernel.run(f"%cd -q {tmp_path / 'notebook'}")
    kernel.run("import random\nrandom.seed(1)\nweights = [random.random()]")
    kernel.run(
        MAGIC + "\nfor epoch in range(4):\n    weights.append(weights[-1] / 2)\nlen(weights)"
    )
    folder = tmp_path / "trained"
    assert kernel.run(EXPORT.format(str(folder), "")).status == "ok"
    verify = f"%gpupredict verify-export {folder}"
    assert "agree with --yes" in kernel.run(verify).text("stderr")
    same = kernel.run(f"{verify} --yes")
    assert "the same at the end: epoch, weights, the value" in same.text(), same.tracebacks
    path = folder / "train_fn.py"
    path.write_text(path.read_text().replace("/ 2", "/ 4"))
    other = kernel.run(f"{verify} --yes")
    assert "DIFFERENT at the end: weights items: " in other.text(), other.tracebacks
