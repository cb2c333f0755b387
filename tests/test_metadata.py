import re
from importlib import metadata

import jupyter_gpupredict


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
