"""Imports a written folder in a clean child process; the only exporter that starts one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import TrialFailed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LIMIT_S = 60.0
"""Large frameworks take ten seconds to import from a cold disk, and more from a network's."""
_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); sys.dont_write_bytecode = True; "
    "import train_fn; callable(train_fn.train) or sys.exit('train is no function')"
)


def trial(folder: Path, environment: Iterable[str] = (), limit_s: float = LIMIT_S) -> None:
    """Import `train_fn` from a folder as a stranger would: elsewhere, and with nothing inherited.

    Args:
        folder: What was written.
        environment: Names that the code reads; they are there, and empty.
        limit_s: How long it may take.

    Raises:
        TrialFailed: It does not import, or not in time; says why in one line.
    """
    # `-P`: the empty working directory must not be importable, as it is not where the code lies
    command = [sys.executable, "-P", "-c", _CODE, str(folder)]
    given = {name: "" for name in environment if name.isidentifier()}
    if os.name == "nt":  # without it, Windows starts no Python
        given["SYSTEMROOT"] = os.environ.get("SYSTEMROOT", "")
    with tempfile.TemporaryDirectory(prefix="gpupredict-trial-") as empty:
        try:
            ended = subprocess.run(
                command,
                cwd=empty,
                env=given,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TrialFailed(
                f"importing the folder took more than {limit_s:g} s",
                "what takes long belongs into the cell, not into definitions",
            ) from error
        except OSError as error:
            raise TrialFailed(f"the folder could not be tried: {error.strerror}") from error
    if ended.returncode:
        raise TrialFailed(f"the folder does not import: {_reason(ended.stderr, folder)}")


def _reason(stderr: str, folder: Path) -> str:
    """Return the traceback's last line, with the line of ours that it came from."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    said = lines[-1].strip() if lines else "no reason was given"
    places = re.findall(rf'File "{re.escape(str(folder))}/([^"]+)", line (\d+)', stderr)
    return f"{said} ({places[-1][0]} line {places[-1][1]})" if places else said
