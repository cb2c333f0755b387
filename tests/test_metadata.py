import json
import re
from importlib import metadata
from pathlib import Path

import jupyter_gpupredict

ROOT = Path(__file__).resolve().parents[1]


def test_the_driver_binding_is_nvidias_own():
    needs = metadata.requires("jupyter_gpupredict")
    names = {re.split(r"[^A-Za-z0-9_.-]", need)[0].lower() for need in needs}
    assert "nvidia-ml-py" in names
    assert "pynvml" not in names


def test_the_kernel_version_that_cannot_send_from_threads_is_excluded():
    (need,) = [n for n in metadata.requires("jupyter_gpupredict") if n.startswith("ipykernel")]
    assert "!=7.0.*" in need


def test_the_version_is_the_same_everywhere():
    assert metadata.version("jupyter_gpupredict") == jupyter_gpupredict.__version__
    package = json.loads((ROOT / "labextension" / "package.json").read_text())
    assert package["version"] == jupyter_gpupredict.__version__


def test_the_lock_names_no_registry():
    lock = (ROOT / "labextension" / "yarn.lock").read_text()
    assert "__metadata" in lock
    assert "://" not in lock
