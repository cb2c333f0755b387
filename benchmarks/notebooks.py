"""Public training notebooks: how many export in one round without a flag, and do the same.

The notebooks of notebooks.tsv are public and are not kept here. Their repositories are cloned to
FOLDER/OWNER/NAME at their commits, where they are not there yet. The first cell that trains is
exported. With --run, those that small stand-ins for data can feed are executed, cells and function
each in a process of its own with the same seeds, and what the training cell uses is compared.

Run: python -m benchmarks.notebooks FOLDER [--run]
"""

from __future__ import annotations

import ast
import collections
import concurrent.futures
import csv
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from jupyter_gpupredict.core.errors import ExportError
from jupyter_gpupredict.export.deployment import Cell, CodeRequest
from jupyter_gpupredict.export.function import names
from jupyter_gpupredict.export.function.code import build

LISTED = Path(__file__).with_suffix(".tsv")
LIMIT_S = 120.0
TRAINS = re.compile(
    r"\.fit\(|\.fit_one_cycle\(|\.fine_tune\(|\.backward\(\)|\.train_model\(|apply_gradients\("
    r"|xgb\.train\(|lgb\.train\(|train_step\(|update_step\(|[tT]rainer\.(train|fit)\(|\btrain\w*\("
    r"|apply_updates"
)
LIBRARIES = (
    "transformers", "lightning", "fastai", "keras", "tensorflow", "flax", "equinox", "jax",
    "xgboost", "lightgbm", "catboost", "torch", "sklearn",
)  # fmt: skip
SEEDS = """\
import random, numpy
random.seed(0); numpy.random.seed(0)
"""


def python(source: str) -> ast.Module | None:
    """Return a cell's tree; None when it is no Python."""
    try:
        return ast.parse(TransformerManager().transform_cell(source))  # type: ignore[no-untyped-call]
    except SyntaxError:
        return None


def trains(source: str) -> bool:
    """Whether a cell calls what trains, and does not only define it."""
    tree = None if re.match(r"\s*%%(?!time|capture)", source) else python(source)
    body = [] if tree is None else tree.body
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(TRAINS.search(ast.unparse(n)) for n in body if not isinstance(n, definitions))


def cells_of(path: Path) -> list[str]:
    """Return the code cells up to the first one that trains; none where none does."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(one["source"]) for one in found if one["cell_type"] == "code"]
    last = next((n for n, source in enumerate(sources) if trains(source)), None)
    return [] if last is None else sources[: last + 1]


def library(sources: list[str]) -> str:
    """Return the library that a notebook trains with."""
    text = "\n".join(sources)
    return next((one for one in LIBRARIES if re.search(rf"(import|from) {one}", text)), "other")


def exported(sources: list[str], folder: Path) -> str:
    """Return the module of the last cell.

    Raises:
        ExportError: It is refused.
    """
    cells = tuple(Cell(f"In [{n}]", source) for n, source in enumerate(sources, start=1))
    return build(CodeRequest(cells, folder, tried=False, pinned=False), "trained").module


def fingerprinted(sources: list[str]) -> list[str]:
    """Return the cells with seeds before them, and the last one ending with what it made."""
    trees = [python(source) for source in sources]
    own = names.of_statements(trees[-1].body if trees[-1] else ())
    earlier = {n for tree in trees[:-1] if tree for n in _values(tree)}
    wanted = sorted((own.strong & earlier) | own.binds)
    look = f"from benchmarks.notebook_values import values as _values_of\n{SEEDS}"
    tail = ", ".join(f"{name}={name}" for name in wanted if not name.startswith("__"))
    return [look, *sources[:-1], f"{sources[-1]}\n_values_of({tail})"]


def _values(tree: ast.Module) -> set[str]:
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return {
        n
        for one in tree.body
        if not isinstance(one, kinds)
        for n in names.of_statements([one]).binds
    }


def compare(sources: list[str]) -> str:
    """Return `same`, `differs`, or why the two could not be compared."""
    ready = fingerprinted(sources)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answers = []
        (folder / "cells.json").write_text(json.dumps(ready))
        for way in ("cells", "function"):
            if way == "function":
                (folder / "train_fn.py").write_text(exported(ready, folder))
            command = [sys.executable, "-m", "benchmarks.notebook_values", way, str(folder)]
            try:
                ended = subprocess.run(
                    command, capture_output=True, text=True, timeout=LIMIT_S, check=False
                )
            except subprocess.TimeoutExpired:
                return f"{way}: longer than {LIMIT_S:g} s"
            if ended.returncode:
                reason = (ended.stderr.strip().splitlines() or ["?"])[-1][:150]
                return f"{way} fail: {reason}"
            answers.append(ended.stdout.strip().splitlines()[-1])
    if answers[0] == answers[1]:
        return "same"
    return f"differs: {answers[0][:300]} | {answers[1][:300]}"


def main() -> None:
    """Print a line for each notebook, and the shares."""
    folder = Path(sys.argv[1])
    with LISTED.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    shares: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    ready: list[tuple[str, list[str]]] = []
    for row in rows:
        path = _fetched(folder, row)
        sources = cells_of(path)
        kind = library(sources)
        where = f"{row['repository']}/{row['path']}"
        try:
            exported(sources, path.parent)
        except ExportError as error:
            shares[kind]["refused"] += 1
            print(f"refused  {where}: {str(error)[:300]}")
        else:
            shares[kind]["exported"] += 1
            ready.append((where, sources))
    if "--run" in sys.argv:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for (where, sources), said in zip(
                ready, pool.map(lambda one: compare(one[1]), ready), strict=True
            ):
                shares[library(sources)][said.partition(":")[0]] += 1
                print(f"{said}  {where}", flush=True)
    for kind, counts in sorted(shares.items()):
        print(kind, dict(counts))
    done = sum(counts["exported"] for counts in shares.values())
    print(f"{len(rows)} notebooks, exported in one round: {100 * done / len(rows):.0f} %")


def _fetched(folder: Path, row: dict[str, str]) -> Path:
    """Return a notebook's path, its repository cloned where it is not there yet."""
    clone = folder / row["repository"]
    if not (clone / row["path"]).exists():
        url = f"https://github.com/{row['repository']}"
        if not clone.exists():
            command = ["git", "clone", "--filter=blob:none", "--no-checkout", url, str(clone)]
            subprocess.run(command, check=True)
        command = ["git", "-C", str(clone), "checkout", row["commit"], "--", row["path"]]
        subprocess.run(command, check=True)
    return clone / row["path"]


if __name__ == "__main__":
    main()
