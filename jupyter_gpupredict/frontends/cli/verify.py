"""`jupyter gpupredict verify FOLDER|NOTEBOOK --at P`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.export import read_notebook
from jupyter_gpupredict.export.deployment import CodeRequest
from jupyter_gpupredict.frontends import verifying
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.mps import Subject, subject_of_folder, subject_of_notebook

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("what", help="an exported folder, or a notebook with a %%%%gpupredict cell")
    parser.add_argument("--device", metavar="UUID|INDEX", help="which GPU")
    verifying.arguments(parser, sweeps=False)


def main(options: argparse.Namespace) -> int:
    """Print what was found; a share that does not surely keep the speed is exit status 1."""
    found = verifying.run(options, subject(options), None, sweeps=False)
    say(found.to_json() if options.json else found.to_text())
    record = found.found.record
    return 0 if record is not None and record.kept else 1


def subject(options: argparse.Namespace) -> Subject:
    """Return what is to be tried.

    Raises:
        InvalidOption: It is neither.
    """
    path = Path(options.what)
    if path.is_dir():
        return subject_of_folder(path, options.device)
    cells, notes = read_notebook(path)
    code = CodeRequest(cells, path.resolve().parent, setup=tuple(options.setup), notes=notes)
    return subject_of_notebook(path, code, options.device)
