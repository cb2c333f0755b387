"""What a run leaves: files in the folder of results, the answer among them, and their copies."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.export.test_folder import clean, execute, export

CELL = """
import os
import pathlib
out = pathlib.Path(os.environ["GPUPREDICT_OUTPUTS"])
(out / "model").mkdir(exist_ok=True)
(out / "model" / "weights").write_text("1 2 3")
failing = False
if failing:
    raise RuntimeError("no luck")
{"saved": sorted(one.name for one in out.iterdir())}
"""
STUBBORN = """
import os
import pathlib
import time
out = pathlib.Path(os.environ["GPUPREDICT_OUTPUTS"])
try:
    (out / "checkpoint").write_text("1")
    time.sleep(60)
except SystemExit:
    pass
"""


def test_by_hand_they_lie_beside_the_handler(tmp_path):
    export(tmp_path / "f", CELL)
    ended = execute(tmp_path / "f")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"saved": ["model"]}
    outputs = tmp_path / "f" / "outputs"
    assert (outputs / "model" / "weights").read_text() == "1 2 3"
    assert json.loads((outputs / "result.json").read_text()) == {"saved": ["model"]}
    assert "By hand they lie in `outputs/`" in (tmp_path / "f" / "README.md").read_text()


@pytest.mark.parametrize("failing", [False, True])
def test_they_are_copied_to_an_object_store_however_the_run_ends(tmp_path, failing):
    pytest.importorskip("fsspec")
    url = f"file://{tmp_path}/store/runs"
    export(tmp_path / "f", CELL, outputs=f"bucket:{url}", workload="job", sharing="device-plugin")
    assert "fsspec" in (tmp_path / "f" / "requirements.txt").read_text()
    assert url in (tmp_path / "f" / "README.md").read_text()
    body = json.dumps({"failing": failing})
    for _ in range(2):
        environment = {"GPUPREDICT_OUTPUTS_URL": url, "GPUPREDICT_OUTPUTS": str(tmp_path / "out")}
        ended = execute(tmp_path / "f", body, **environment)
        assert ended.returncode == (1 if failing else 0), ended.stderr
    runs = sorted((tmp_path / "store" / "runs").iterdir())
    assert len(runs) == 2
    for one in runs:
        assert (one / "model" / "weights").read_text() == "1 2 3"
        assert (one / "result.json").is_file() != failing


def test_a_folder_that_cannot_be_written_costs_no_run(tmp_path):
    export(tmp_path / "f", "result = 1 + 1\nresult")
    (tmp_path / "file").touch()
    ended = execute(tmp_path / "f", GPUPREDICT_OUTPUTS=str(tmp_path / "file" / "out"))
    assert ended.returncode == 0
    assert json.loads(ended.stdout) == {"result": 2}
    assert "no results are kept" in ended.stderr


def test_sigterm_is_never_a_success_whatever_the_cell_catches(tmp_path):
    export(tmp_path / "f", STUBBORN)
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "handler.py", "{}"], cwd=tmp_path / "f", stdout=subprocess.PIPE,
        env=clean(GPUPREDICT_OUTPUTS=str(out)),
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 60
        while not (out / "checkpoint").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 143
        assert process.stdout.read() == b""
    assert (out / "checkpoint").is_file()


@pytest.mark.parametrize("program", ["handler.py", "adapters/serve.py"])
def test_sigterm_ends_it_with_143_while_it_still_imports(tmp_path, program):
    export(tmp_path / "f", "result = 1 + 1\nresult", adapters=("serve",))
    (tmp_path / "f" / "train_fn.py").write_text(
        "import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, program], cwd=tmp_path / "f", env=clean()) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "f" / "importing").is_file() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 143
