"""The wheel: what is in it, and that it installs, runs and goes away in a fresh environment."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


def call(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    (path,) = folder.glob("*.whl")
    return path


def test_it_holds_what_it_should_and_no_more(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "jupyter_gpupredict/py.typed" in names
    assert "jupyter_gpupredict/frontends/charts/view.js" in names
    assert "jupyter_gpupredict/export/function/templates/handler.py.txt" in names
    assert "jupyter_gpupredict/export/schemas/job.json" in names
    assert any(name.endswith("jupyter_server_config.d/jupyter_gpupredict.json") for name in names)
    panel = [name for name in names if "/share/jupyter/labextensions/jupyter_gpupredict/" in name]
    stems = {name.rpartition("/jupyter_gpupredict/")[2] for name in panel}
    assert {"package.json", "install.json", "static/style.js"} <= stems
    assert any(stem.startswith("static/remoteEntry.") for stem in stems)
    assert not any("node_modules" in name or name.endswith((".ts", ".tsx")) for name in names)
    assert sum(name.endswith("remoteEntry.js") or "remoteEntry." in name for name in names) == 1
    outside = [n for n in names if not n.startswith(("jupyter_gpupredict/", "jupyter_gpupredict-"))]
    assert outside == []
    assert not any("bokeh.min.js" in name or name.endswith(".ipynb") for name in names)
    assert wheel.stat().st_size < 1_000_000


@pytest.mark.long  # it takes minutes where packages come from afar
def test_a_fresh_environment(wheel, tmp_path):
    home = tmp_path / "fresh"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    environ = {
        "PATH": f"{home / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(tmp_path),
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        **{key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_"))},
    }
    call(python, "-m", "pip", "install", "--quiet", wheel, env=environ)
    listed = call(home / "bin" / "jupyter", "server", "extension", "list", env=environ)
    lines = [
        line
        for line in (listed.stdout + listed.stderr).splitlines()
        if "jupyter_gpupredict" in line
    ]
    assert any("OK" in line for line in lines), lines
    assert any("enabled" in line for line in lines)
    if importlib.util.find_spec("jupyterlab"):  # none is there: ours looks into its folders
        lab = {**os.environ, "JUPYTER_PATH": str(home / "share" / "jupyter")}
        told = call(sys.executable, "-m", "jupyterlab.labextensions", "list", env=lab)
        found = re.findall(r"jupyter_gpupredict v\S+.*", told.stdout + told.stderr)
        assert any("enabled" in line and "OK" in line for line in found), told.stdout + told.stderr
    script = tmp_path / "train.py"
    script.write_text("import time\ntime.sleep(1)\n")
    call(home / "bin" / "jupyter", "gpupredict", "run", script, env=environ)
    shown = call(home / "bin" / "jupyter", "gpupredict", "show", "last", "--json", env=environ)
    assert json.loads(shown.stdout)["source"] in ("cpu", "nvml")
    call(python, "-m", "pip", "uninstall", "--quiet", "--yes", "jupyter_gpupredict", env=environ)
    left = [path for path in home.rglob("*jupyter_gpupredict*") if path.is_file()]
    assert left == []
