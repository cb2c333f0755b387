"""Builds the stand-in libraries with the system's C compiler, or with the one in PyPI's ziglang."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = {"libnvidia-ml.so.1": "nvml.c", "libcuda.so.1": "cuda.c"}
SONAME = "libnvidia-ml.so.1"


def compiler() -> list[str]:
    """Return the command of a C compiler; [] when there is none."""
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    return []


@functools.cache
def library_dir(soname: str = SONAME) -> Path:
    """Return a folder that holds a built library, to be put on LD_LIBRARY_PATH.

    Raises:
        RuntimeError: There is no compiler; CalledProcessError: the source does not compile.
    """
    source = Path(__file__).parent / SOURCES[soname]
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"fake-{source.stem}-{os.getuid()}-{digest}"
    library = folder / soname
    if library.exists():
        return folder
    command = compiler()
    if not command:
        raise RuntimeError("no C compiler: install one, or pip install ziglang")
    folder.mkdir(mode=0o700, exist_ok=True)
    fresh = folder / f"{soname}.{os.getpid()}"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-Wl,-soname,{soname}"]
    subprocess.run([*command, *flags, "-o", str(fresh), str(source)], check=True)
    fresh.replace(library)
    return folder
