"""False alarms of the search for credentials: literals of public notebooks that it stops at.

The notebooks of credentials.tsv are public and are not kept here: clone each repository at its
commit, as FOLDER/OWNER/NAME. Every finding is printed with its place and kind, so that it can be
looked at; not all need be false.

Run: python -m benchmarks.credentials FOLDER
"""

from __future__ import annotations

import ast
import csv
import json
import sys
from pathlib import Path

from jupyter_gpupredict.export.deployment import Cell
from jupyter_gpupredict.export.function.secrets import literals, suspects
from jupyter_gpupredict.export.function.statements import read_cell

LISTED = Path(__file__).with_suffix(".tsv")


def count(path: Path) -> tuple[int, list[str]]:
    """Return how many string literals a notebook has, and what is said of them."""
    found, told = 0, list[str]()
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ("".join(one["source"]) for one in cells if one["cell_type"] == "code")
    for number, source in enumerate(sources, start=1):
        try:
            code = read_cell(Cell(f"cell {number}", source))
        except SyntaxError:
            continue
        found += sum(1 for _ in literals(ast.parse(code.source)))
        told += [f"{code.place(one.line)}: {one.kind}" for one in suspects(code.source)]
    return found, told


def main() -> None:
    """Print findings, and their share of all literals."""
    folder = Path(sys.argv[1])
    with LISTED.open(encoding="utf-8") as file:
        paths = [
            folder / one["repository"] / one["path"] for one in csv.DictReader(file, delimiter="\t")
        ]
    counted = alarms = 0
    for path in paths:
        found, told = count(path)
        counted, alarms = counted + found, alarms + len(told)
        for one in told:
            print(f"{path.relative_to(folder)}: {one}")
    share = alarms / counted
    print(f"{len(paths)} notebooks, {counted} literals, {alarms} findings: {100 * share:.2f} %")


if __name__ == "__main__":
    main()
