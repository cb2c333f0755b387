"""A stand-in for nvidia-cuda-mps-control; `FOLDER` goes in front of PATH."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent
REAL = os.environ.get("GPUPREDICT_REAL_MPS", "")
"""A folder of `tests.fake_mps.fetch` whose programs are put in the stand-in's place."""
FETCHED = Path(__file__).parents[2] / "build" / "mps"


def real_environment(folder: Path) -> dict[str, str]:
    """Return what has the stand-in run NVIDIA's program of a folder."""
    return {"FAKE_MPS_REAL": str(folder / "usr/bin/nvidia-cuda-mps-control")}


def real_libraries(folder: Path) -> Path:
    """Return where NVIDIA's libcuda of a folder is."""
    return folder / "usr/lib/x86_64-linux-gnu/nvidia/current"
