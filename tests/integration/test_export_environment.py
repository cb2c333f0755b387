"""An exported folder in a fresh environment, made from its own requirements."""

import json
import os
import subprocess
import sys
import venv

import pytest

from jupyter_gpupredict.export import export_run, read_notebook
from jupyter_gpupredict.export.deployment import CodeRequest
from tests.export.test_folder import NOTEBOOKS, execute, measured

pytestmark = pytest.mark.integration


def test_the_requirements_are_enough(tmp_path):
    cells, _ = read_notebook(NOTEBOOKS / "beside.ipynb")
    body = cells[-1].source.partition("\n")[2]
    folder = tmp_path / "trained"
    export_run(
        measured(body), workload="local", sharing="mps", name="trained", output=folder,
        code=CodeRequest(cells, NOTEBOOKS),
    )  # fmt: skip
    venv.create(tmp_path / "fresh")
    python = tmp_path / "fresh" / "bin" / "python"
    environ = {
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        **{key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_"))},
    }
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet",
         "-r", folder / "requirements.txt"],
        check=True, env=environ,
    )  # fmt: skip
    ended = subprocess.run(
        [python, "handler.py", "{}"], cwd=folder, env={"PATH": os.defpath}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert json.loads(ended.stdout) == json.loads(execute(folder).stdout)
