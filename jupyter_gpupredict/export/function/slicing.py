"""The measured cell and what it needs from the cells before it: a backward slice over names.

Nothing is run and nothing is pickled. What only running the notebook would make is listed with the
cell that made it, and refused; what is left out is noted.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import keyword
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import InvalidOption, UnsupportedCell
from jupyter_gpupredict.export.deployment import Cell
from jupyter_gpupredict.export.function import names
from jupyter_gpupredict.export.function.effects import Effects
from jupyter_gpupredict.export.function.magics import path_read
from jupyter_gpupredict.export.function.names import BUILTIN
from jupyter_gpupredict.export.function.placing import DYNAMIC, Finding, Placed, mentioned, place
from jupyter_gpupredict.export.function.refusing import (
    check_cells,
    refuse,
    refuse_changed,
    refuse_unused_params,
)
from jupyter_gpupredict.export.function.resolving import Slicer, replay
from jupyter_gpupredict.export.function.stars import expand_stars
from jupyter_gpupredict.export.function.statements import (
    Entry,
    Kind,
    Order,
    find_entry,
    is_literal,
    read_cell,
    split,
)
from jupyter_gpupredict.run.tuning import TUNED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from jupyter_gpupredict.export.function.magics import CellCode
    from jupyter_gpupredict.export.function.placing import Placed
    from jupyter_gpupredict.export.function.remedies import Remedy
    from jupyter_gpupredict.export.function.statements import Order


_ROUNDS = {"epoch": "epochs", "ep": "epochs", "e": "epochs", "step": "steps", "i": "steps",
           "it": "iterations", "iteration": "iterations", "t": "steps", "_": "rounds",
           "episode": "episodes"}  # fmt: skip
"""Loop variable -> the parameter for the loop's bound."""
_TRAINS = frozenset({"backward", "train_step", "train_on_batch", "apply_gradients", "step", "fit"})


def tune(placed: Placed, reserved: Collection[str]) -> tuple[Placed, dict[Order, tuple[str, ...]]]:
    """Return the parts with the literals' parameters among the defaults, and where they stand.

    Args:
        placed: The parts; of these, what the call runs is looked through.
        reserved: Names that mean something else.
    """
    used = {*BUILTIN, *keyword.kwlist, *reserved, *dict(placed.defaults), *placed.required}
    for one in placed.kept:
        used |= one.names.strong | one.names.weak | one.names.later | one.names.binds
    defaults: list[tuple[str, ast.expr]] = []
    places = dict(placed.places)
    tuned: dict[Order, tuple[str, ...]] = {}
    for one in (*placed.prelude, *placed.body):
        given: list[str] = []
        for value, wanted in literals_of(one.node):
            same = next((n for n, v in defaults if _same_path(v, value)), None)
            if same is not None:
                given.append(same)
                continue
            numbered = (f"{wanted}_{number}" for number in itertools.count(2))
            name = next(n for n in itertools.chain([wanted], numbered) if n not in used)
            used.add(name)
            given.append(name)
            defaults.append((name, value))
            places[name] = one.place
        if given:
            tuned[one.order] = tuple(given)
    changed = dataclasses.replace(placed, defaults=(*placed.defaults, *defaults), places=places)
    return changed, tuned


def _same_path(one: ast.expr, two: ast.expr) -> bool:
    return (
        isinstance(one, ast.Constant)
        and isinstance(two, ast.Constant)
        and isinstance(one.value, str)
        and one.value == two.value
    )


def path_name(path: str) -> str:
    """Return the parameter for a path that is read: `data/train.csv` is `train_csv`."""
    last = path.rpartition("/")[2]
    if "." not in last[1:]:
        return ""  # a folder, or the name of a model or a data set
    name = re.sub(r"\W+", "_", last).strip("_").lower()
    return f"file_{name}" if name[:1].isdigit() else name


def literals_of(node: ast.stmt) -> Iterator[tuple[ast.expr, str]]:
    """Yield the literals of a statement that become parameters, each with its keyword."""
    for inner in _at_once(node):
        if isinstance(inner, ast.Call):
            if name := path_name(path_read(inner)):
                yield inner.args[0], name
            for word in inner.keywords:
                if word.arg in TUNED and _is_number(word.value):
                    yield word.value, word.arg
        elif isinstance(inner, ast.For) and _is_training(inner):
            match inner.iter:
                case ast.Call(func=ast.Name(id="range" | "trange"), args=[bound], keywords=_) if (
                    _is_number(bound)
                ):
                    yield bound, _ROUNDS[getattr(inner.target, "id", "")]
                case ast.Call(args=[ast.Call(func=ast.Name(id="range"), args=[bound]), *_]) if (
                    _is_number(bound)
                ):
                    yield bound, _ROUNDS[getattr(inner.target, "id", "")]


def _at_once(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run with the statement: not the bodies of functions and classes."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            yield from _at_once(child)


def _is_number(node: ast.expr) -> bool:
    constants = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in constants)
    return bool(constants) and numbers and is_literal(node)


def _is_training(node: ast.For) -> bool:
    called = {
        inner.func.attr if isinstance(inner.func, ast.Attribute) else getattr(inner.func, "id", "")
        for inner in ast.walk(node)
        if isinstance(inner, ast.Call)
    }
    named = isinstance(node.target, ast.Name) and node.target.id in _ROUNDS
    return named and bool(called & _TRAINS or any("train" in one for one in called))


@dataclass(frozen=True, slots=True)
# ---- the slice ---------------------------------------------------------------------------------


class Slice:
    """What becomes a module, and notes on it."""

    placed: Placed
    entry: Entry | None
    """The cell's only function, when the cell is nothing else."""
    silenced: bool
    """A semicolon hides the value of the cell's last expression."""
    waits: bool
    """Anything awaits outside a function."""
    displays: bool
    futures: tuple[str, ...]
    """`from __future__` features that were on."""
    pip: tuple[str, ...]
    environment: tuple[str, ...]
    notes: tuple[str, ...]
    tuned: Mapping[Order, tuple[str, ...]] = field(default_factory=dict)
    """Parameters that stand for literals of a statement, in their order."""
    saves: tuple[tuple[str, str], ...] = ()
    """Names whose values are written to files of the output folder."""
    unresolved: tuple[str, ...] = ()
    """Modules with star imports that bring names which are not known here."""


def slice_cells(
    cells: Sequence[Cell],
    params: Collection[str] = (),
    setup: Collection[str] = (),
    *,
    drop_magics: bool = False,
    remedy: Remedy | None = None,
    mode: str = "replay",
    folder: Path = Path(),
    saves: Mapping[str, str] | None = None,
) -> Slice:
    """Return the last cell with what it needs from the earlier ones.

    Args:
        cells: In the order of execution, the measured one last.
        params: Names that the caller will give.
        setup: Tags, or numbers, of cells to run again.
        drop_magics: Leave out magics of earlier cells, whatever else is taken from those.
        remedy: Takes credentials out of the cells first.
        mode: `replay` runs again what may have changed what the cell uses; `strict` refuses what
            only running the notebook makes.
        folder: Where the notebook stands.
        saves: Names of the cell whose values are to be saved, with the files to save them to.

    Raises:
        UnsupportedCell: The cell needs what a module cannot have; the message names cell and line.
        InvalidOption: Nothing has a name that is to be saved.
    """
    earlier: list[CellCode] = []
    notes: list[str] = []
    replays = mode == "replay"
    for cell in cells:
        try:
            last = cell is cells[-1]
            earlier.append(read_cell(cell, tuple(setup), replay=replays, own=last))
        except SyntaxError as error:
            if cell is cells[-1]:
                raise UnsupportedCell(f"{cell.label} is not valid Python: {error.msg}") from error
            notes.append(f"{cell.label} is not valid Python and was left out")
    measured = earlier.pop()
    measured.mark = None
    if remedy is not None:
        earlier = _remedied(earlier, measured, remedy)
    codes = [*earlier, measured]
    futures = _futures(codes)
    lazy = "annotations" in futures
    unresolved = [name for code in codes if replays for name in expand_stars(code, codes, folder)]
    bound = frozenset(name for code in codes for name in names.of_statements(code.tree.body).binds)
    statements = [
        one
        for n, code in enumerate(codes)
        for one in split(code, n, lazy=lazy, own=bound if replays else ())
    ]
    if replays:
        effects = Effects(statements)
        statements = [effects.judged(one) for one in statements]
    own = [one for one in statements if one.cell is measured]
    before = [one for one in statements if one.cell is not measured]
    asked = frozenset(params)
    given = asked | (remedy.given if remedy is not None else set())
    end = (len(earlier), -1)
    slicer = Slicer(
        before,
        own,
        measured.label,
        end,
        given,
        lazy,
        drop_magics or replays,
        effects if replays else None,
        tuple(dict.fromkeys(unresolved)),
        bound if replays else frozenset(),
    )
    found = _find(slicer, asked)
    placed = place(found)
    tuned: dict[Order, tuple[str, ...]] = {}
    if replays:
        placed, tuned = tune(placed, found.entry.names if found.entry is not None else ())
    notes += [note for code in codes for note in code.notes]
    return Slice(
        placed=placed,
        entry=found.entry,
        silenced=measured.silenced,
        waits=names.awaits(one.node for one in (*placed.prelude, *placed.body))
        or (found.entry is not None and found.entry.waits),
        displays=slicer.displays,
        futures=futures,
        pip=tuple(word for code in codes for word in code.pip),
        environment=tuple(dict.fromkeys(name for code in codes for name in code.environment)),
        notes=tuple(dict.fromkeys((*notes, *slicer.notes, *placed.notes))),
        unresolved=slicer.unresolved if slicer.from_stars else (),
        tuned=tuned,
        saves=_saves(saves, placed, found.entry),
    )


def _saves(
    saves: Mapping[str, str] | None, placed: Placed, entry: Entry | None
) -> tuple[tuple[str, str], ...]:
    bound = {name for one in placed.kept for name in one.names.binds}
    bound |= {*placed.required, *dict(placed.defaults)}
    for name, path in (saves or {}).items():
        if entry is not None or name not in bound:
            raise InvalidOption(
                f"nothing that the function runs is called {name[:40]}, so it cannot be saved",
                "a name that the cell, or what runs before it, assigns",
            )
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or path.startswith("/"):
            raise InvalidOption(f"{path[:60]!r} leads out of the output folder", "a relative path")
    return tuple((saves or {}).items())


def _find(slicer: Slicer, asked: frozenset[str]) -> Finding:
    """Return what was found; each param that was `asked` for by name has to be needed.

    Raises:
        UnsupportedCell: The cell needs what cannot be made again.
    """
    entry = find_entry(slicer.own)
    own = [one for one in slicer.own if entry is None or one is not entry.call]
    replaced = [one for one in own if slicer.given_instead(one)]
    own = [one for one in own if one not in replaced]
    flow = names.of_statements((one.node for one in own), lazy=slicer.lazy, own=slicer.bound)
    slicer.own_binds = flow.binds
    if slicer.effects is None:
        for statement in slicer.earlier:
            if statement.kind is Kind.SETUP and not slicer.given_instead(statement):
                slicer.choose(statement)
    for name in sorted(flow.strong):
        slicer.need(name, slicer.end)
    slicer.given |= flow.weak & slicer.params
    slicer.need_bound(flow.weak, slicer.end)
    for name in sorted(flow.later):
        slicer.need_later(name)
    early = slicer.read_early(own)
    slicer.need_bound(early, slicer.end)
    if slicer.effects is not None:
        replay(slicer, slicer.effects)
    refuse(slicer)
    if slicer.effects is None:
        refuse_changed(slicer)
    check_cells(slicer)
    slicer.given |= {name for one in replaced for name in one.names.binds}
    refuse_unused_params(slicer, asked, own, entry)
    replays = slicer.effects is not None
    return Finding(
        own=tuple(own),
        flow=flow,
        early=flow.strong | early,
        chosen=tuple(one for _, one in sorted(slicer.chosen.items())),
        wanted={order: frozenset(found) for order, found in slicer.wanted.items()},
        at_once={one.order: slicer.at_once(one) for one in (*slicer.chosen.values(), *own)},
        given=frozenset(slicer.given),
        entry=entry,
        latest=slicer.latest,
        replay=replays,
        dynamic=replays and bool(mentioned(slicer.chosen.values()) & DYNAMIC),
        builtin=frozenset(slicer.builtin),
    )


def _remedied(earlier: list[CellCode], measured: CellCode, remedy: Remedy) -> list[CellCode]:
    """Take the credentials out of all cells; returns the earlier ones, with what they need."""
    for code in (*earlier, measured) if remedy.way == "param" else ():
        remedy.reserved |= set(re.findall(r"\w+", code.source))
    for code in (*earlier, measured):
        code.source = remedy.apply(code.source, code.place)
        code.tree = ast.parse(code.source)
    needed = remedy.way == "env" and remedy.names
    return [read_cell(Cell("the export", "import os")), *earlier] if needed else earlier


def _futures(codes: Iterable[CellCode]) -> tuple[str, ...]:
    """Return the features that were on: IPython keeps them on for the cells that follow."""
    names = {
        alias.name
        for code in codes
        for node in code.tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }
    return tuple(sorted(names))
