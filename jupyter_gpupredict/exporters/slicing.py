"""The measured cell and what it needs from the cells before it: a backward slice over names.

Nothing is run and nothing is pickled. What only running the notebook would make is listed with the
cell that made it, and refused; what is left out is noted.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import UnsupportedCell
from jupyter_gpupredict.exporters import celltext, names
from jupyter_gpupredict.exporters.entry import Entry, find_entry
from jupyter_gpupredict.exporters.statements import Kind, Order, Statement, literals, split

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from jupyter_gpupredict.core.cells import Cell
    from jupyter_gpupredict.exporters.celltext import CellCode
    from jupyter_gpupredict.exporters.names import Names

_SETTING = re.compile(
    r"seed|(^|[._])set|config|option|environ|style|enable|disable|register|filter|default|\.use$"
)
"""Calls on a module that are made for what they set; drawing and printing is not among them."""
_DYNAMIC = frozenset({"globals", "locals", "vars", "eval", "exec", "dir"})
_STATE = (ast.List, ast.Dict, ast.Set)


@dataclass(frozen=True, slots=True)
class Binding:
    """One name that an import brings in."""

    name: str
    node: ast.Import | ast.ImportFrom
    """With this one alias."""
    place: str


@dataclass(frozen=True, slots=True)
class Slice:
    """What becomes a module."""

    imports: tuple[Binding, ...]
    module: tuple[Statement, ...]
    """Definitions, and the constants they need when they are made, in the order of execution."""
    prelude: tuple[Statement, ...]
    """What runs before the body at each call: constants, set-up code, what depends on them."""
    body: tuple[Statement, ...]
    """What is left of the measured cell."""
    defaults: tuple[tuple[str, ast.expr], ...]
    """Parameters with the literals that are their defaults."""
    places: dict[str, str]
    """Parameter -> where its default stands."""
    required: tuple[str, ...]
    shared: frozenset[str]
    """Names that live in the module, because functions of the module read them."""
    entry: Entry | None
    """The cell's only function, when the cell is nothing else."""
    returns_result: bool
    silenced: bool
    waits: bool
    """Anything awaits outside a function."""
    displays: bool
    futures: tuple[str, ...]
    """`from __future__` features that were on."""
    pip: tuple[str, ...]
    environment: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def kept(self) -> tuple[Statement, ...]:
        """Every statement that is written."""
        return (*self.module, *self.prelude, *self.body)


def slice_cells(
    cells: Sequence[Cell], params: Collection[str] = (), setup: Collection[str] = ()
) -> Slice:
    """Return the last cell with what it needs from the earlier ones.

    Args:
        cells: In the order of execution, the measured one last.
        params: Names that the caller will give.
        setup: Tags, or numbers, of cells to run again.

    Raises:
        UnsupportedCell: The cell needs what a module cannot have; the message names cell and line.
    """
    earlier, notes = _read_earlier(cells[:-1], tuple(setup))
    try:
        measured = celltext.read(cells[-1], tuple(setup))
    except SyntaxError as error:
        raise UnsupportedCell(f"{cells[-1].label} is no Python: {error.msg}") from error
    measured.mark = None
    codes = [*earlier, measured]
    futures = _futures(codes)
    lazy = "annotations" in futures
    statements = [one for n, code in enumerate(earlier) for one in split(code, n, lazy=lazy)]
    own = list(split(measured, len(earlier), lazy=lazy))
    slicer = _Slicer(statements, own, measured, frozenset(params), lazy=lazy)
    found = slicer.run()
    notes += [note for code in codes for note in code.notes]
    return Slice(
        imports=found.imports,
        module=found.module,
        prelude=found.prelude,
        body=found.body,
        defaults=found.defaults,
        places=found.places,
        required=found.required,
        shared=found.shared,
        entry=found.entry,
        returns_result=found.returns_result,
        silenced=measured.silenced,
        waits=names.awaits(one.node for one in (*found.prelude, *found.body))
        or (found.entry is not None and found.entry.waits),
        displays=found.displays,
        futures=futures,
        pip=tuple(word for code in codes for word in code.pip),
        environment=tuple(dict.fromkeys(name for code in codes for name in code.environment)),
        notes=tuple(dict.fromkeys((*notes, *found.notes))),
    )


@dataclass(slots=True)
class _Found:
    imports: tuple[Binding, ...] = ()
    module: tuple[Statement, ...] = ()
    prelude: tuple[Statement, ...] = ()
    body: tuple[Statement, ...] = ()
    defaults: tuple[tuple[str, ast.expr], ...] = ()
    places: dict[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    shared: frozenset[str] = frozenset()
    entry: Entry | None = None
    returns_result: bool = False
    displays: bool = False
    notes: list[str] = field(default_factory=list)


class _Slicer:
    """Resolves names backwards, then places what was found in the module or in the call."""

    def __init__(
        self,
        earlier: Sequence[Statement],
        own: Sequence[Statement],
        measured: CellCode,
        params: frozenset[str],
        *,
        lazy: bool,
    ) -> None:
        self.lazy = lazy
        self.earlier = earlier
        self.own = own
        self.label = measured.label
        self.params = params
        self.end: Order = (own[0].order[0] if own else len(earlier), -1)
        self.binding: dict[str, list[Statement]] = {}
        for statement in earlier:
            for name in statement.names.binds:
                self.binding.setdefault(name, []).append(statement)
        self.chosen: dict[Order, Statement] = {}
        self.wanted: dict[Order, set[str]] = {}
        """Names that are needed of a chosen import or literal."""
        self.live: dict[str, Statement] = {}
        self.missing: set[str] = set()
        self.given: set[str] = set()
        """Names of `params` that are needed."""
        self.own_binds: frozenset[str] = frozenset()
        self.found = _Found()

    def run(self) -> _Found:
        found = self.found
        self._refuse_own_magics()
        found.entry = find_entry(self.own)
        own = [one for one in self.own if found.entry is None or one is not found.entry.call]
        own = [one for one in own if not self._given_instead(one)]
        flow = names.of_statements((one.node for one in own), lazy=self.lazy)
        self.own_binds = flow.binds
        for statement in self.earlier:
            if statement.kind is Kind.SETUP and not self._given_instead(statement):
                self._choose(statement)
        for name in sorted(flow.strong):
            self._need(name, self.end)
        for name in sorted(flow.weak):
            if self._latest(name, self.end) is not None or name in self.params:
                self._need(name, self.end)
        for name in sorted(flow.later):
            self._need_later(name)
        self._refuse()
        self._refuse_changed()
        self._check_cells()
        self._place(own, flow)
        return found

    # ---- finding ------------------------------------------------------------------------------

    def _latest(self, name: str, order: Order) -> Statement | None:
        before = [one for one in self.binding.get(name, ()) if one.order < order]
        return before[-1] if before else None

    def _need(self, name: str, order: Order) -> None:
        if name in self.params:
            self.given.add(name)
            return
        statement = self._latest(name, order)
        if statement is None:
            self.missing.add(name)
        elif statement.kind in (Kind.LIVE, Kind.MAGIC):
            self.live.setdefault(name, statement)
        else:
            self.wanted.setdefault(statement.order, set()).add(name)
            self._choose(statement)
            if statement.kind is Kind.IMPORT:
                self._need_submodules(name, statement)

    def _need_later(self, name: str) -> None:
        """A name that a function reads when it is called: by then the cell may have bound it."""
        if name not in self.own_binds:
            self._need(name, self.end)
            return
        earlier = self._latest(name, self.end)
        if earlier is not None and earlier.kind is Kind.LITERAL:
            self._need(name, self.end)

    def _need_submodules(self, name: str, statement: Statement) -> None:
        """`import a.b` and `import a.c` bind the same `a`: each adds to what it offers."""
        for other in self.binding[name]:
            if other.order < statement.order and isinstance(other.node, ast.Import):
                dotted = [a for a in other.node.names if not a.asname and "." in a.name]
                if any(a.name.split(".")[0] == name for a in dotted):
                    self.wanted.setdefault(other.order, set()).add(name)
                    self.chosen[other.order] = other

    def _choose(self, statement: Statement) -> None:
        if statement.order in self.chosen:
            return
        self.chosen[statement.order] = statement
        for name in sorted(statement.names.strong):
            self._need(name, statement.order)
        for name in sorted(statement.names.weak):
            if self._latest(name, statement.order) is not None:
                self._need(name, statement.order)
        for name in sorted(statement.names.later):
            self._need_later(name)

    def _given_instead(self, statement: Statement) -> bool:
        """Whether a statement only makes what the caller is to give."""
        node = statement.node
        single = isinstance(node, ast.Assign | ast.AnnAssign)
        return single and bool(statement.names.binds) and statement.names.binds <= self.params

    # ---- refusing -----------------------------------------------------------------------------

    def _refuse_own_magics(self) -> None:
        for statement in self.own:
            if statement.kind is Kind.MAGIC:
                raise UnsupportedCell(_magic_words(statement), _IGNORE_HINT)

    def _refuse(self) -> None:
        self.found.displays = "display" in self.missing
        self.missing.discard("display")
        stars = [
            one
            for one in (*self.earlier, *self.own)
            if isinstance(one.node, ast.ImportFrom) and "*" in one.names.binds
        ]
        if self.missing and stars:
            raise UnsupportedCell(
                f"{_listed(self.missing)} may come from the star import in {stars[-1].place}",
                "import by name, so that it is known what the function needs",
            )
        magics = {name: one for name, one in self.live.items() if one.kind is Kind.MAGIC}
        for name, statement in magics.items():
            raise UnsupportedCell(f"{_magic_words(statement)}, and made {name}", _LIVE_HINT)
        if self.live:
            made = ", ".join(f"{name} ({one.place})" for name, one in sorted(self.live.items()))
            raise UnsupportedCell(
                f"the cell needs what only running the notebook makes: {made}", _LIVE_HINT
            )
        if self.missing:
            raise UnsupportedCell(
                f"no executed cell defines {_listed(self.missing)}, which {self.label} needs",
                "define it in a cell, or let the caller give it: --param NAME (params=[NAME])",
            )

    def _refuse_changed(self) -> None:
        """What a later statement changes in place is not what its definition says."""
        needed: dict[str, Statement] = {}
        for order, statement in sorted(self.chosen.items()):
            bound = self.wanted.get(order, statement.names.binds)
            needed.update(dict.fromkeys(bound, statement))
        changed: dict[str, Statement] = {}
        for statement in self.earlier:
            if statement.order in self.chosen:
                continue
            for name, source in needed.items():
                if statement.order <= source.order:
                    continue
                lent = name in statement.names.lent
                if source.kind is Kind.IMPORT:
                    if lent or name in statement.names.changes:
                        self._note_setting(name, statement)
                elif name in statement.names.changes:
                    changed[name] = statement
                elif lent and (source.kind is Kind.SETUP or _is_mutable(source.node)):
                    self.found.notes.append(
                        f"{statement.place} may have changed {name}, which the function takes as "
                        f"{source.place} made it"
                    )
        if changed:
            where = ", ".join(f"{name} ({one.place})" for name, one in sorted(changed.items()))
            raise UnsupportedCell(
                f"the cell needs what was changed after it was defined: {where}", _LIVE_HINT
            )

    def _note_setting(self, name: str, statement: Statement) -> None:
        node = statement.node
        if isinstance(node, ast.Expr):
            value = node.value.value if isinstance(node.value, ast.Await) else node.value
            called = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
            if not _SETTING.search(called):
                return
            what = f"{called}(...)"
        else:
            what = f"a setting of {name}"
        self.found.notes.append(
            f"{statement.place}: {what} is not part of the function; mark it "
            "`# gpupredict: setup` to keep it"
        )

    def _check_cells(self) -> None:
        """Magics in a cell that the function takes from are refused, in others noted."""
        cells = {id(one.cell) for one in self.chosen.values()}
        for statement in self.earlier:
            if statement.kind is Kind.MAGIC:
                if id(statement.cell) in cells and isinstance(statement.node, ast.Expr):
                    raise UnsupportedCell(_magic_words(statement), _IGNORE_HINT)
                self.found.notes.append(
                    f"{_magic_words(statement)}; it was left out, as the function needs nothing "
                    "that it makes"
                )
        failed = {one.cell.label for one in self.chosen.values() if one.cell.failed}
        self.found.notes.extend(
            f"{label} ended with an error; the function takes definitions from it"
            for label in sorted(failed)
        )

    # ---- placing ------------------------------------------------------------------------------

    def _place(self, own: Sequence[Statement], flow: Names) -> None:
        found = self.found
        count: dict[str, int] = {}
        for statement in own:
            for name in statement.names.binds:
                count[name] = count.get(name, 0) + 1
        chosen = [one for _, one in sorted(self.chosen.items())]
        in_call = {one.order for one in chosen if one.kind is Kind.SETUP}
        hoisted = self._hoisted(own, count, flow, in_call, chosen)
        definitions = [
            one for one in chosen if one.kind is Kind.DEFINITION and one.order not in in_call
        ]
        fixed = self._fixed([*definitions, *hoisted])
        own_imports = [one for one in own if one.kind is Kind.IMPORT]
        body = [one for one in own if one not in hoisted and one not in own_imports]
        defaults: dict[str, ast.expr] = {}
        prelude: list[Statement] = []
        versions: dict[str, int] = {}
        for statement in chosen:
            for name in statement.names.binds:
                versions[name] = versions.get(name, 0) + 1
        for statement in chosen:
            if statement.kind is Kind.LITERAL:
                values = {n: v for n, v in literals(statement.node).items() if self._is_used(n)}
                constant = statement.order in fixed
                touched = (set(values) & (flow.binds | flow.changes)) or any(
                    versions[name] > 1 for name in values
                )
                if constant and not touched:
                    for name in values:
                        found.notes.append(
                            f"{name} ({statement.place}) is read while a function or class is "
                            "defined: it is a constant, not a parameter"
                        )
                elif touched or any(_is_empty(value) for value in values.values()):
                    prelude.append(statement)
                else:
                    defaults.update(values)
                    found.places.update(dict.fromkeys(values, statement.place))
            elif statement.kind is Kind.DERIVED:
                if statement.order not in fixed or statement.names.binds & flow.binds:
                    prelude.append(statement)
            elif statement.kind is Kind.SETUP or statement.order in in_call:
                prelude.append(statement)
        for statement in tuple(body):
            values = literals(statement.node)
            once = all(count[name] == 1 and name not in flow.strong for name in values)
            plain = "result" not in values and not any(map(_is_empty, values.values()))
            if values and once and plain and not set(values) & self._own_changes(own):
                defaults.update(values)
                found.places.update(dict.fromkeys(values, statement.place))
                body.remove(statement)
        required = [name for name in sorted(self.params) if self._is_given(name)]
        self._clear_unused(required, defaults)
        for name in required:
            defaults.pop(name, None)
        constants = [
            one for one in chosen if one.order in fixed and one.kind is not Kind.DEFINITION
        ]
        found.module = tuple(sorted([*definitions, *constants, *hoisted], key=lambda s: s.order))
        found.prelude, found.body = tuple(prelude), tuple(body)
        found.defaults, found.required = tuple(defaults.items()), tuple(required)
        found.returns_result = "result" in {n for one in body for n in one.names.binds}
        found.shared = self._shared(found, [*definitions, *hoisted])
        found.imports = self._imports(found, own_imports)

    def _hoisted(
        self,
        own: Sequence[Statement],
        count: dict[str, int],
        flow: Names,
        in_call: set[Order],
        chosen: Sequence[Statement],
    ) -> list[Statement]:
        """Return the cell's functions and classes that can stand in the module.

        There they can be pickled, as data loaders with workers need. Also moves definitions of
        earlier cells that need set-up code at once into the call.
        """
        rebound = {n for one in own if one.kind is not Kind.IMPORT for n in one.names.binds}
        in_call |= {  # read before the cell binds the name anew, which is so at each call
            one.order
            for one in chosen
            if one.kind in (Kind.DEFINITION, Kind.IMPORT)
            and self.wanted.get(one.order, one.names.binds) & rebound
        }
        called = {name for one in chosen if one.order in in_call for name in one.names.binds}
        called |= self.given
        for statement in chosen:
            if statement.kind is Kind.DEFINITION and statement.names.strong & called:
                in_call.add(statement.order)
                called |= statement.names.binds
        imported = {n for one in own if one.kind is Kind.IMPORT for n in one.names.binds}
        hoisted: list[Statement] = []
        ready = set(imported)
        for statement in own:
            if not isinstance(
                statement.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
            ):
                continue
            at_once = statement.names.strong | statement.names.weak
            name = statement.node.name
            if (
                count[name] == 1
                and name not in flow.strong
                and at_once & self.own_binds <= ready
                and not at_once & called
            ):
                hoisted.append(statement)
                ready.add(name)
        return hoisted

    def _fixed(self, definitions: Sequence[Statement]) -> set[Order]:
        """Return the constants that definitions of the module need while they are made."""
        fixed: set[Order] = set()
        queue = [(name, one.order) for one in definitions for name in one.names.strong]
        while queue:
            name, order = queue.pop()
            if order >= self.end and name in self.own_binds:
                continue
            statement = self._latest(name, order)
            if (
                statement is not None
                and statement.kind in (Kind.LITERAL, Kind.DERIVED)
                and statement.order not in fixed
            ):
                fixed.add(statement.order)
                queue += [(inner, statement.order) for inner in statement.names.strong]
        return fixed

    def _is_used(self, name: str) -> bool:
        return any(name in wanted for wanted in self.wanted.values())

    def _own_changes(self, own: Sequence[Statement]) -> set[str]:
        """Names that the cell itself counts up or deletes; what it fills stays a parameter."""
        return {
            name
            for one in own
            for name in one.names.changes
            if name in one.names.binds or isinstance(one.node, ast.Delete)
        }

    def _is_given(self, name: str) -> bool:
        return name in self.given or any(self._given_instead(s) for s in self.own_of(name))

    def own_of(self, name: str) -> list[Statement]:
        """Return the cell's statements that bind a name."""
        return [one for one in self.own if name in one.names.binds]

    def _clear_unused(self, required: Sequence[str], defaults: dict[str, ast.expr]) -> None:
        for name in sorted(self.params - set(required) - set(defaults)):
            if self.found.entry is not None and name in self.found.entry.names:
                continue
            raise UnsupportedCell(
                f"--param {name}: nothing in {self.label} needs that name",
                "name what the cell reads",
            )

    def _shared(self, found: _Found, definitions: Iterable[Statement]) -> frozenset[str]:
        bound = {name for name, _ in found.defaults} | set(found.required)
        bound |= {n for one in (*found.prelude, *found.body) for n in one.names.binds}
        read = {name for one in definitions for name in one.names.later}
        for one in (*found.prelude, *found.body):
            read |= one.names.declared
        for one in definitions:
            read |= one.names.declared
        dynamic = any(
            isinstance(node, ast.Name) and node.id in _DYNAMIC
            for one in (*found.module, *found.prelude, *found.body)
            for node in ast.walk(one.node)
        )
        return frozenset(bound if dynamic else bound & read)

    def _imports(self, found: _Found, own: Sequence[Statement]) -> tuple[Binding, ...]:
        bindings = []
        for order, statement in sorted(self.chosen.items()):
            if statement.kind is Kind.IMPORT and statement not in found.prelude:
                bindings += _bindings(statement, self.wanted[order])
        used = {
            node.id
            for one in (*found.module, *found.prelude, *found.body)
            for node in ast.walk(one.node)
            if isinstance(node, ast.Name)
        }
        for statement in own:
            kept = _bindings(statement, used)
            bindings += kept
            unused = statement.names.binds - {one.name for one in kept} - {"annotations"}
            if unused and getattr(statement.node, "module", "") != "__future__":
                found.notes.append(f"{statement.place}: unused import left out: {_listed(unused)}")
        unique: dict[str, Binding] = {}
        for one in bindings:
            unique[ast.unparse(one.node)] = one
        return tuple(unique.values())


_LIVE_HINT = (
    "make it in the cell, let the caller give it with --param NAME (params=[NAME]), or mark the "
    "statement or cell that makes it `# gpupredict: setup`"
)
_IGNORE_HINT = "take the line out, or mark it `# gpupredict: ignore`"


def _read_earlier(
    cells: Sequence[Cell], setup: tuple[str, ...]
) -> tuple[list[CellCode], list[str]]:
    codes, notes = [], []
    for cell in cells:
        try:
            codes.append(celltext.read(cell, setup))
        except SyntaxError:
            notes.append(f"{cell.label} is no Python and was left out")
    return codes, notes


def _bindings(statement: Statement, wanted: Collection[str]) -> list[Binding]:
    node = statement.node
    found: list[Binding] = []
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            if name in wanted:
                found.append(Binding(name, ast.Import([alias]), statement.place))
    elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
        for alias in node.names:
            name = alias.asname or alias.name
            if name in wanted:
                one = ast.ImportFrom(node.module, [alias], node.level)
                found.append(Binding(name, one, statement.place))
    return found


def _futures(codes: Iterable[CellCode]) -> tuple[str, ...]:
    """Return the features that were on: IPython keeps them on for the cells that follow."""
    return tuple(
        sorted(
            {
                alias.name
                for code in codes
                for node in code.tree.body
                if isinstance(node, ast.ImportFrom) and node.module == "__future__"
                for alias in node.names
            }
        )
    )


def _is_empty(value: ast.expr) -> bool:
    """Whether a literal is there to be filled."""
    if isinstance(value, ast.Dict):
        return not value.keys
    return isinstance(value, ast.List | ast.Set) and not value.elts


def _is_mutable(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, _STATE)


def _magic_words(statement: Statement) -> str:
    found = next(one for n in ast.walk(statement.node) if (one := celltext.magic(n)))
    return f"{statement.place}: {celltext.shown(found)} works in a notebook only"


def _listed(found: Iterable[str]) -> str:
    return ", ".join(sorted(found))
