"""The public names of the package: loaded when they are used, and hidden by none of its modules."""

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

from jupyter_gpupredict import mps
from jupyter_gpupredict.mps.process import process_mps


def test_no_module_of_the_package_hides_a_public_name():
    for found in pkgutil.iter_modules(mps.__path__):
        importlib.import_module(f"jupyter_gpupredict.mps.{found.name}")
    for name in mps.__all__:
        assert not isinstance(getattr(mps, name), ModuleType), name


def test_a_public_function_is_its_modules_own():
    assert mps.process_mps() is process_mps()


def test_the_magic_loads_nothing_of_it():
    code = (
        "import sys, jupyter_gpupredict.frontends.magic; "
        "print([m for m in sys.modules if m.startswith('jupyter_gpupredict.mps.')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
