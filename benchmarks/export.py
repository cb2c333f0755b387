"""Seconds of an export: the whole function folder, checked by importing it, and without its code.

Each notebook of tests/data is exported as the command line does it. The null starts a Python that
does nothing, which is what the check of the folder costs at least. The bar is one second.

Run: python -m benchmarks.export
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.machine import header, interval, shuffled_rounds
from jupyter_gpupredict.export import export_run, read_notebook
from jupyter_gpupredict.export.deployment import CodeRequest
from jupyter_gpupredict.export.function.trying import trial
from jupyter_gpupredict.run import code_hash
from tests.frontends import runs

NOTEBOOKS = Path(__file__).resolve().parents[1] / "tests" / "data" / "notebooks"
NAMES = ("helpers", "classes", "imports_spread", "data_file", "asynchronous")
ROUNDS = 9


def exported(name: str, *, code: bool) -> float:
    """Export the notebook's last cell into a fresh folder; return the seconds."""
    cells, _ = read_notebook(NOTEBOOKS / f"{name}.ipynb")
    body = cells[-1].source.partition("\n")[2]
    run = runs.run(code_hash=code_hash(body))
    with tempfile.TemporaryDirectory() as folder:
        began_s = time.perf_counter()
        export_run(
            run,
            workload="local",
            sharing="mps",
            name="x",
            output=Path(folder) / "f",
            code=CodeRequest(cells, NOTEBOOKS) if code else None,
        )
        return time.perf_counter() - began_s


def nothing() -> float:
    """Check an empty folder as an exported one is checked; return the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train_fn.py").write_text("def train():\n    pass\n")
        (Path(folder) / "handler.py").write_text("import train_fn\n")
        began_s = time.perf_counter()
        trial(Path(folder))
        return time.perf_counter() - began_s


def main() -> None:
    """Print the table."""
    print(header())
    conditions = {
        f"{name}, with its code": lambda name=name: exported(name, code=True) for name in NAMES
    }
    conditions |= {"without code": lambda: exported(NAMES[0], code=False), "null": nothing}
    for name, figures in shuffled_rounds(conditions, ROUNDS).items():
        print(f"{name}: {interval(figures)} s")


if __name__ == "__main__":
    main()
