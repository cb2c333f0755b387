"""Public training notebooks: how many export in one round without a flag, and do the same.

The notebooks of notebooks.tsv are public and are not kept here. Their repositories are cloned to
FOLDER/OWNER/NAME at their commits, where they are not there yet. The first cell that trains is
exported. With --run, each is executed as `verify-export` does, with small random data in the place
of data sets that would be downloaded (notebook_data), for at most five training steps; words behind
it choose among them.

Run: python -m benchmarks.notebooks FOLDER [--run [WORD ...]]
"""

from __future__ import annotations

import ast
import collections
import concurrent.futures
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from jupyter_gpupredict.core.errors import ExportError, GpuPredictError
from jupyter_gpupredict.export import Cell, CodeRequest, compare, comparison
from jupyter_gpupredict.export.function.code import build
from jupyter_gpupredict.run.options import code_hash

LISTED = Path(__file__).with_suffix(".tsv")
LIMIT_S = 60.0
NOT_FETCHED = ("png", "jpg", "jpeg", "gif", "svg", "pdf", "mp4", "ipynb", "md")
TRAINS = re.compile(
    r"\.fit\(|\.fit_one_cycle\(|\.fine_tune\(|\.backward\(\)|\.train_model\(|apply_gradients\("
    r"|xgb\.train\(|lgb\.train\(|train_step\(|update_step\(|[tT]rainer\.(train|fit)\(|\btrain\w*\("
    r"|apply_updates"
)
LIBRARIES = (
    "transformers", "lightning", "fastai", "keras", "tensorflow", "flax", "equinox", "jax",
    "xgboost", "lightgbm", "catboost", "torch", "sklearn",
)  # fmt: skip


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


def exported(sources: list[str], folder: Path) -> dict[str, str]:
    """Return path and text of the function of the last cell, and of modules beside the notebook.

    Raises:
        ExportError: It is refused.
    """
    cells = tuple(Cell(f"In [{n}]", source) for n, source in enumerate(sources, start=1))
    code = build(CodeRequest(cells, folder, tried=False, pinned=False), "trained")
    return {"train_fn.py": code.module, **dict(code.files)}


def compared(sources: list[str], beside: Path) -> str:
    """Return `same`, `differs`, or why the two could not be compared, and what was seen."""
    cells = tuple(Cell(f"In [{n}]", source) for n, source in enumerate(sources, start=1))
    code = CodeRequest(cells, beside)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in exported(sources, beside).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        record = {"cell": {"sha256": code_hash(sources[-1])}}
        (folder / "gpupredict.json").write_text(json.dumps(record))
        try:
            found = compare(comparison(folder, code, steps=5, limit_s=LIMIT_S))
        except GpuPredictError as error:
            return f"not run: {error}"[:300].replace("\n", " ")
    if found.differences:
        return f"differs: {found.words()}"[:600].replace("\n", " ")
    if not found.names:
        return f"not compared: {found.words()}"[:300].replace("\n", " ")
    return f"same: {found.words()}"[:200].replace("\n", " ")


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
        beside = str(LISTED.with_name("notebook_data"))
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [beside, os.environ.get("PYTHONPATH")])
        )
        wanted = sys.argv[sys.argv.index("--run") + 1 :]
        ready = [one for one in ready if not wanted or any(word in one[0] for word in wanted)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            running = {
                pool.submit(compared, sources, (folder / where).parent): (where, library(sources))
                for where, sources in ready
            }
            for one in concurrent.futures.as_completed(running):
                where, kind = running[one]
                shares[kind][one.result().partition(":")[0]] += 1
                print(f"{kind}  {where}: {one.result()}", flush=True)
    for kind, counts in sorted(shares.items()):
        print(kind, dict(counts))
    done = sum(counts["exported"] for counts in shares.values())
    print(f"{len(rows)} notebooks, exported in one round: {100 * done / len(rows):.0f} %")


def _fetched(folder: Path, row: dict[str, str]) -> Path:
    """Return a notebook's path, it and what lies beside it fetched where they are not there yet."""
    clone = folder / row["repository"]
    if not (clone / row["path"]).exists():
        url = f"https://github.com/{row['repository']}"
        if not clone.exists():
            command = ["git", "clone", "--filter=blob:none", "--no-checkout", url, str(clone)]
            subprocess.run(command, check=True)
        beside = str(Path(row["path"]).parent)
        for paths in ([row["path"]], [beside, *(f":(exclude)*.{kind}" for kind in NOT_FETCHED)]):
            command = ["git", "-C", str(clone), "checkout", row["commit"], "--", *paths]
            subprocess.run(command, check=True)
    return clone / row["path"]


if __name__ == "__main__":
    main()
