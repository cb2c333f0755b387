"""Whether an exported function does what its cells did: both are run for a while, and compared.

Both run with the same seeds, each in a child process and a copy of the notebook's folder. What they
made is compared by value, by counts of parameters and by shapes. Where they differ, the cells are
run once more: what differs between two runs of the cells says nothing about the function.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import ExportError, InvalidOption, Refused, TraceError
from jupyter_gpupredict.core.files import read_given, read_given_text
from jupyter_gpupredict.core.plain import parse
from jupyter_gpupredict.export.code import up_to_measured
from jupyter_gpupredict.export.differences import both, different
from jupyter_gpupredict.export.function import names
from jupyter_gpupredict.export.function.module import BEGIN
from jupyter_gpupredict.export.function.secrets import dotted
from jupyter_gpupredict.export.function.statements import read_cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jupyter_gpupredict.export.deployment import CodeRequest
    from jupyter_gpupredict.export.function.magics import CellCode

COMPARED_STEPS, COMPARED_S, COPY_MIB = 20, 120.0, 512
_CHILD = Path(__file__).with_name("equivalence_child.py")
_GRACE_S = 60.0
"""For what does not stop at the limit: native code, and imports."""
OFFLINE = {
    "WANDB_MODE": "offline",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "Agg",
}
_CHANGES_OTHERS = re.compile(
    r"(?!files\.upload\b)(?:.*\.)?(?:push_to_hub|upload\w*|create_repo|put_object|log_artifacts?|delete_\w+|rmtree"
    r"|removedirs|unlink|rmdir|drop_(?:table|database|collection)|to_sql|to_gbq|sendmail"
    r"|send_message)|os\.remove|(?:requests|httpx|session)\.(?:post|put|patch|delete)"
)
"""Calls that upload or delete."""
_COMMANDS = re.compile(r"(?:os\.(?:system|popen)|subprocess\.\w+)")
_CHANGING = re.compile(r"\b(?:rm|mv|dd|push|upload|delete|gsutil|submit|shred|truncate)\b|s3 cp")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be run: the cells of a notebook, and the function of a folder."""

    folder: Path
    notebook_folder: Path
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    names: tuple[str, ...]
    """Of the measured cell: what they are at the end is compared."""
    left_out: tuple[str, ...]
    """What of the cells is not run."""
    valued: bool
    """Whether the cell ends with a value that a notebook would show."""
    assigned: str
    """The name that the cell's last statement gives to a value; empty: none."""
    steps: int = COMPARED_STEPS
    limit_s: float = COMPARED_S
    params: Mapping[str, Any] = field(default_factory=dict)

    def words(self) -> str:
        """Return what will be run, for whoever is asked."""
        lines = [
            f"runs {', '.join(self.labels[:-1]) + ' and ' if self.labels[1:] else ''}"
            f"{self.labels[-1]}, and {self.folder / 'train_fn.py'}, in two child processes, in "
            f"copies of {self.notebook_folder}: until {self.steps} training steps, or for "
            f"{self.limit_s:g} s each; again {self.labels[-1]} where they differ",
            "with " + " ".join(f"{name}={value}" for name, value in OFFLINE.items()),
            *(f"not run: {one}" for one in self.left_out),
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of it."""

    differences: tuple[str, ...]
    """One line for each name that differs; empty: none does."""
    names: tuple[str, ...]
    """What was compared."""
    steps: int
    ended: str
    """What ended the cells: `steps`, `time`, or nothing but their end."""
    unsteady: tuple[str, ...] = ()
    """Names that differ between two runs of the cells, too."""
    notes: tuple[str, ...] = ()

    def words(self) -> str:
        """Return the result in one line, and notes on it."""
        until = {
            "steps": f"after {self.steps} training steps",
            "time": f"in counts and shapes, when the time was over ({self.steps} training steps)",
            "": "at the end",
        }[self.ended]
        if self.differences:
            said = f"DIFFERENT {until}: {'; '.join(self.differences)}"
        elif self.names:
            said = f"the same {until}: {', '.join(self.names)}"
        elif self.unsteady:
            said = f"nothing differs {until} that does not differ from run to run of the cells, too"
        else:
            said = "nothing that the cell makes can be compared"
        unsteady = (
            [f"compared in counts and shapes, as no run repeats it: {', '.join(self.unsteady)}"]
            if self.unsteady
            else []
        )
        return "\n".join([said, *unsteady, *self.notes])


def comparison(
    folder: str | Path,
    code: CodeRequest,
    *,
    steps: int = COMPARED_STEPS,
    limit_s: float = COMPARED_S,
    params: Mapping[str, Any] | None = None,
) -> Comparison:
    """Return what is to be run to compare a folder's function with the cells it was made of.

    Args:
        folder: An exported folder.
        code: The notebook's cells.
        steps: Training steps of the measured cell after which both are stopped.
        limit_s: Seconds after which each is stopped, whatever it does.
        params: What the function's caller gives.

    Raises:
        InvalidOption: The folder holds no function.
        Refused: The code uploads or deletes.
        CodeRefused: The function was made of none of the cells.
    """
    path = Path(folder)
    try:
        text = read_given_text(path / "train_fn.py")
        tree = ast.parse(text)
        known = parse(read_given(path / "gpupredict.json"))["cell"]["sha256"]
    except (OSError, UnicodeDecodeError, TraceError, SyntaxError, KeyError, TypeError) as error:
        raise InvalidOption(
            f"{path} holds no function", "name a folder that was exported with its code"
        ) from error
    measured = up_to_measured(code, known)
    cells = list(_read(measured))
    sources = [_without_ignored(one) for one in cells]
    parsed = [(one.label, ast.parse(source)) for one, source in zip(cells, sources, strict=True)]
    refuse_changes([*parsed, ("train_fn.py", tree)])
    if lacking := [one for one in _required(tree) if one not in (params or {})]:
        raise InvalidOption(
            f"the function's caller gives {', '.join(lacking)}",
            f"--param {lacking[0]}=VALUE, as in the notebook",
        )
    own = names.of_statements(cells[-1].tree.body)
    earlier = names.of_statements(node for one in cells[:-1] for node in one.tree.body)
    return Comparison(
        path.resolve(),
        measured.folder.resolve(),
        tuple(one.label for one in cells),
        tuple(sources),
        tuple(sorted(((own.strong | own.later) & earlier.binds) | own.binds)),
        tuple(note for one in cells for note in one.notes),
        not cells[-1].silenced,
        _assigned(cells[-1].tree),
        steps,
        limit_s,
        params or {},
    )


def refuse_changes(trees: list[tuple[str, ast.Module]]) -> None:
    """Refuse code that uploads or deletes.

    Raises:
        Refused: It does; the first lines are named.
    """
    found = [f"{place} line {line}: {what}" for place, one in trees for line, what in changes(one)]
    if found:
        more = f", and {len(found) - 3} more" if len(found) > 3 else ""
        raise Refused(
            f"not run, as it uploads or deletes: {'; '.join(found[:3])}{more}",
            "mark the line `# gpupredict: ignore` and export again",
        )


def changes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and name of the calls that upload or delete."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func) or getattr(node.func, "attr", "")
        asked = {
            word.arg
            for word in node.keywords
            if word.arg in ("push_to_hub", "delete")
            and isinstance(word.value, ast.Constant)
            and word.value.value is True
        }
        texts = " ".join(
            inner.value
            for inner in ast.walk(node)
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
        )
        if _CHANGES_OTHERS.fullmatch(called) or (
            _COMMANDS.fullmatch(called) and _CHANGING.search(texts)
        ):
            yield node.lineno, f"{called}()"
        elif asked:
            yield node.lineno, f"{called}({', '.join(asked)}=True)"


def compare(asked: Comparison) -> Compared:
    """Run both, and compare what they made.

    Raises:
        ExportError: One of them failed, or could not be run; says why in one line.
    """
    with tempfile.TemporaryDirectory(prefix="gpupredict-compare-") as scratch:
        place = Path(scratch)
        copied, notes = _copied(asked.notebook_folder)
        cells = _run(asked, "cells", place, copied)
        function = _run(asked, "function", place, copied)
        exact = cells["ended"] == function["ended"] != "time"
        ended = cells["ended"] or function["ended"]
        differences = list(different(cells, function, exact=exact))
        unsteady: set[str] = set()
        if any(kind == "value" for _, kind, _ in differences):
            again = _run(asked, "cells", place, copied)
            found = different(cells, again, exact=exact)
            unsteady = {name for name, kind, _ in found if kind == "value"}
    notes += [f"cell {one}; the notebook went on, too" for one in cells["failed"]]
    lines = [words for name, kind, words in differences if kind == "shape" or name not in unsteady]
    if cells["ended"] != function["ended"] and "time" not in (cells["ended"], function["ended"]):
        lines.append(
            f"the cell made {cells['steps']} training steps, the function {function['steps']}"
        )
    seen = [name for name in (*cells["names"], "the value") if both(cells, function, name)]
    return Compared(
        tuple(lines),
        tuple(one for one in seen if one not in unsteady),
        cells["steps"],
        ended,
        tuple(sorted(unsteady)),
        tuple(notes),
    )


def _run(
    asked: Comparison, way: str, place: Path, copied: list[tuple[Path, str]]
) -> dict[str, Any]:
    """Run one of the two in a child; returns what it said."""
    folder = Path(tempfile.mkdtemp(prefix=way, dir=place))
    work, code = folder / "work", folder / "function"
    work.mkdir()
    for source, name in copied:
        target = work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # gone since: another program's
            shutil.copyfile(source, target)
    shutil.copytree(asked.folder, code)
    job = folder / "job"
    content = {
        "way": way,
        "sources": asked.sources,
        "module": str(code / "train_fn.py"),
        "begin": BEGIN,
        "names": asked.names,
        "params": dict(asked.params),
        "steps": asked.steps,
        "limit_s": asked.limit_s,
    }
    job.write_text(json.dumps(content), encoding="utf-8")
    path = os.pathsep.join(
        filter(None, [str(work) if way == "cells" else "", os.environ.get("PYTHONPATH", "")])
    )
    environment = {**os.environ, **OFFLINE, "PYTHONPATH": path}
    environment["GPUPREDICT_OUTPUTS"] = str(folder / "outputs")
    (folder / "outputs").mkdir()
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD), str(job)],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            process.wait(asked.limit_s + _GRACE_S)
        except subprocess.TimeoutExpired:
            raise ExportError(
                f"the {way} did not stop {_GRACE_S:g} s after the limit of {asked.limit_s:g} s",
                "fewer --steps, or data for a trial: --param NAME=VALUE",
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return _answer(way, asked, job.with_suffix(".answer"), folder / "said", process.returncode)


def _answer(way: str, asked: Comparison, path: Path, said: Path, status: int) -> dict[str, Any]:
    what = {"cells": "the notebook's cells", "function": "the function"}[way]
    if not path.is_file():
        lines = said.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((one for one in reversed(lines) if one.strip()), f"status {status}")
        raise ExportError(f"{what} ended their process: {last[:300]}", "nothing was compared")
    answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not answer["began"] and answer["ended"] == "time":
        raise ExportError(
            f"{what} did not come to the measured cell within {asked.limit_s:g} s", "more --seconds"
        )
    if answer["error"]:
        before = "".join(f"; before it, cell {one}" for one in answer["failed"][:2])
        raise ExportError(f"{what} failed: {answer['error']}{before}", "nothing was compared")
    if not asked.valued:
        answer["value"] = None
    if way == "function" and asked.assigned:  # the function of a cell that is one function's call
        answer["names"].setdefault(asked.assigned, answer["value"])
    return answer


def _assigned(tree: ast.Module) -> str:
    match tree.body[-1:]:
        case [ast.Assign(targets=[ast.Name(id=name)])]:
            return name
    return ""


def _copied(folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """Return the files of a notebook's folder that are copied, and notes on the others."""
    found: list[tuple[Path, str]] = []
    left: list[str] = []
    total = 0
    for root, folders, files in os.walk(folder):
        folders[:] = [
            one
            for one in folders
            if not one.startswith(".")
            and one not in ("__pycache__", "node_modules", "site-packages")
            and not Path(root, one, "pyvenv.cfg").exists()
        ]
        for name in sorted(files):
            path = Path(root, name)
            if name.endswith((".ipynb", ".pyc")) or name.startswith(".") or not path.is_file():
                continue
            size = path.stat().st_size
            if total + size > COPY_MIB << 20:
                left.append(path.relative_to(folder).as_posix())
                continue
            total += size
            found.append((path, path.relative_to(folder).as_posix()))
    said = f"not in the copies, which hold {COPY_MIB} MiB: {', '.join(left[:5])}"
    return found, [said + (f" and {len(left) - 5} more" if len(left) > 5 else "")] if left else []


def _read(code: CodeRequest) -> Iterator[CellCode]:
    """Yield the cells as Python; what is none is left out, as it did nothing in the notebook."""
    for one in code.cells:
        with contextlib.suppress(SyntaxError):
            yield read_cell(one, replay=True)


def _without_ignored(code: CellCode) -> str:
    """Return a cell's source, on the lines of the notebook, without what is marked."""
    if code.mark == "ignore":
        return ""
    lines = code.source.splitlines()
    above = code.first_line - 1
    for node in code.tree.body:
        if code.marks.get(node.lineno) == "ignore":
            last = node.end_lineno or node.lineno
            lines[node.lineno - 1 : last] = [""] * (last - node.lineno + 1)
    return "\n" * above + "\n".join(lines)


def _required(tree: ast.Module) -> tuple[str, ...]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="_REQUIRED")], value=value):
                return tuple(ast.literal_eval(value))
    return ()
