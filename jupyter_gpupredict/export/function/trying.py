"""A folder tried before it is written: perhaps installed, and imported in a clean process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import TrialFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LIMIT_S, INSTALL_LIMIT_S = 60.0, 900.0
"""Large frameworks take ten seconds to import from a cold disk, and more from a network's."""
_CODE = (
    "import faulthandler, sys; sys.path.insert(0, sys.argv[1]); sys.dont_write_bytecode = True; "
    "faulthandler.dump_traceback_later(float(sys.argv[2])); "
    "import train_fn; callable(train_fn.train) or sys.exit('train is not a function')"
)
_OF_PIP = ("PIP_", "UV_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "HOME", "PATH")
"""What says where packages come from; all else is left out."""


def trial(
    folder: Path,
    environment: Iterable[str] = (),
    limit_s: float | None = None,
    python: str = sys.executable,
) -> None:
    """Import a folder's `train_fn` as another machine would: with nothing that stands around it.

    The environment has only the given names, each of them empty.

    Raises:
        TrialFailed: It does not import, or not within `limit_s`; says why in one line.
    """
    limit_s = limit_s or LIMIT_S
    # `-P`: the empty working directory must not be importable, as it is not where the code lies
    command = [python, "-P", "-c", _CODE, str(folder), str(max(limit_s - 0.5, limit_s / 2))]
    given = {name: "" for name in environment if name.isidentifier()}
    status, said = _run(command, given, limit_s)
    if status is None:
        raise TrialFailed(
            f"importing the folder took more than {limit_s:g} s{_waited(said, folder)}",
            "--trial-limit S (trial_limit_s) gives it longer; what takes long belongs into the "
            "cell, not into definitions",
        )
    if status:
        raise TrialFailed(f"the folder does not import: {_reason(said, folder)}")


def trial_in_venv(
    folder: Path, environment: Iterable[str] = (), limit_s: float | None = None
) -> None:
    """Install a folder's requirements in a fresh environment, and import the folder there.

    With uv where that is installed, else with venv and pip.

    Raises:
        TrialFailed: It cannot be installed, or does not import; says why in one line.
    """
    given = {name: value for name, value in os.environ.items() if name.upper().startswith(_OF_PIP)}
    with tempfile.TemporaryDirectory(prefix="gpupredict-venv-") as place:
        python = str(Path(place, "bin", "python"))
        needs = str(folder / "requirements.txt")
        uv = shutil.which("uv")
        made = [uv, "venv", "--python", sys.executable, place] if uv else [
            sys.executable, "-m", "venv", place
        ]  # fmt: skip
        installed = [uv, "pip", "install", "--python", python, "-r", needs] if uv else [
            python, "-m", "pip", "install", "--disable-pip-version-check", "-r", needs
        ]  # fmt: skip
        _step("making an environment", made, given, limit_s or LIMIT_S)
        _step("installing requirements.txt", installed, given, limit_s or INSTALL_LIMIT_S)
        trial(folder, environment, limit_s, python)


def _step(what: str, command: Sequence[str], given: dict[str, str], limit_s: float) -> None:
    status, said = _run(command, given, limit_s)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if status is None:
        last = f"; the last it said: {lines[-1][:200]}" if lines else ""
        raise TrialFailed(
            f"{what} took more than {limit_s:g} s{last}",
            "--trial-limit S (trial_limit_s) gives it longer",
        )
    if status:
        errors = [line for line in lines if line.lower().startswith(("error", "×"))] or lines
        raise TrialFailed(
            f"{what} failed: {(errors or ['no reason was given'])[0][:300]}",
            "change what the notebook imports or installs, or --trial import",
        )


def _run(command: Sequence[str], given: dict[str, str], limit_s: float) -> tuple[int | None, str]:
    """Return a command's status, None when it took too long, and what it said."""
    with tempfile.TemporaryDirectory(prefix="gpupredict-trial-") as empty:
        try:
            ended = subprocess.run(
                command,
                cwd=empty,
                env=given,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            said = error.stdout or b""
            return None, said.decode(errors="replace") if isinstance(said, bytes) else said
        except OSError as error:
            raise TrialFailed(f"the folder could not be tried: {error.strerror}") from error
    return ended.returncode, ended.stdout


def _waited(said: str, folder: Path) -> str:
    """Return what was under way, from the traceback that was asked for before the end."""
    places = re.findall(rf'File "{re.escape(str(folder))}/([^"]+)", line (\d+)', said)
    if not places:
        return ""
    name, number = places[0]
    lines = (folder / name).read_text(encoding="utf-8").splitlines()
    line = lines[int(number) - 1].strip() if int(number) <= len(lines) else ""
    return f": it was at {name} line {number}, {line[:80]}"


def _reason(said: str, folder: Path) -> str:
    """Return the traceback's last line, with the line of ours that it came from."""
    lines = [line for line in said.splitlines() if line.strip()]
    reason = lines[-1].strip() if lines else "no reason was given"
    places = re.findall(rf'File "{re.escape(str(folder))}/([^"]+)", line (\d+)', said)
    return f"{reason} ({places[-1][0]} line {places[-1][1]})" if places else reason
