"""Which names a statement reads, binds and changes.

Scopes are those of `symtable`.
"""

from __future__ import annotations

import ast
import builtins
import copy
import re
import symtable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator


_IPYTHON = frozenset({"display", "get_ipython", "__IPYTHON__"})
"""What IPython puts among the builtins of its process, and a function does not find there."""
BUILTIN = (frozenset(dir(builtins)) - _IPYTHON) | frozenset(
    {"__name__", "__doc__", "__builtins__", "__spec__", "__loader__", "__package__"}
)
_LOOKING = re.compile(
    r"head|tail|sample|describe|info|mean|std|sum|min|max|median|plot|hist|show|print|display|item"
    r"|count|index|copy|keys|values|items|value_counts|unique|nunique|summary|__\w+__"
)
"""Methods that cells end with in order to show something."""
_CHANGING = re.compile(
    r"append|extend|insert|remove|pop|clear|sort|reverse|update|add|discard|setdefault|fill|shuffle"
    r"|seed|set|fit|train|step|load|compile|register|to$|cuda$|half$|eval$|\w+_$"
)
"""Beginnings of methods that change their object; PyTorch ends such names with a line."""
_HARMLESS = frozenset({"print", "display", "len", "repr", "str", "type", "help"})
"""Functions that leave what they are given as it is."""
_COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one statement at the top of a cell; builtins are left out."""

    strong: frozenset[str] = frozenset()
    """Read when it runs, before it binds them itself."""
    weak: frozenset[str] = frozenset()
    """Perhaps read before they are bound: on one branch they are, on another not."""
    later: frozenset[str] = frozenset()
    """Read when a function that it defines is called."""
    binds: frozenset[str] = frozenset()
    perhaps: frozenset[str] = frozenset()
    """Those of `binds` that it binds on one branch alone."""
    changes: frozenset[str] = frozenset()
    """Names whose object it changes in place, as far as that can be seen."""
    lent: frozenset[str] = frozenset()
    """Names whose objects a call may change: given to it, or its own, and its value not taken."""
    declared: frozenset[str] = frozenset()
    """Names that one of its functions declares `global`, or that a class shadows."""


def of_statements(
    statements: Iterable[ast.stmt], *, lazy: bool = False, own: Collection[str] = ()
) -> Names:
    """Return the names of statements that run one after another.

    `lazy`: `from __future__ import annotations` is on; what annotations name need not exist. `own`:
    names that the notebook binds; a builtin of such a name may be the notebook's.
    """
    flow = _Flow(lazy=lazy)
    flow.block(statements)
    return flow.names(BUILTIN.difference(own))


@dataclass(slots=True)
class _Flow:
    """Walks statements in the order in which they run."""

    lazy: bool = False
    bound: set[str] = field(default_factory=set)
    maybe: set[str] = field(default_factory=set)
    strong: set[str] = field(default_factory=set)
    weak: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    lent: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)

    def names(self, builtin: frozenset[str]) -> Names:
        binds = frozenset(self.bound | self.maybe)
        return Names(
            strong=frozenset(self.strong - builtin),
            weak=frozenset(self.weak - self.strong - builtin),
            later=frozenset(self.later - builtin),
            binds=binds,
            perhaps=frozenset(self.maybe - self.bound),
            changes=frozenset(self.changes),
            lent=frozenset(self.lent),
            declared=frozenset(self.declared),
        )

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.read(node)
                self.bound.add(node.name)
            case ast.ClassDef():
                self.class_body(node)
                self.bound.add(node.name)
            case ast.Import() | ast.ImportFrom():
                if getattr(node, "module", "") == "__future__":
                    self.lazy |= any(alias.name == "annotations" for alias in node.names)
                for alias in node.names:
                    self.bound.add(alias.asname or alias.name.split(".")[0])
            case ast.Expr():
                self.read(node.value)
                self.effect(node.value)
            case ast.Global():
                self.declared.update(node.names)
            case ast.AugAssign():
                self.read(node.value)
                self.read(_as_load(node.target))
                self.store(node.target)
                if isinstance(node.target, ast.Name):
                    self.changes.add(node.target.id)
            case ast.Assign():
                self.read(node.value)
                for target in node.targets:
                    self.store(target)
            case ast.AnnAssign():
                self.annotation(node.annotation)
                if node.value is not None:
                    self.read(node.value)
                    self.store(node.target)
            case ast.Delete():
                for target in node.targets:
                    self.store(target, binds=False)
            case ast.If():
                self.read(node.test)
                self.branches(node.body, node.orelse)
            case ast.For() | ast.AsyncFor():
                self.read(node.iter)
                self.rounds(node.body, node.orelse, node.target)
            case ast.While():
                self.read(node.test)
                self.rounds(node.body, node.orelse)
            case ast.Try() | ast.TryStar():
                self.attempt(node)
            case ast.Match():
                self.cases(node)
            case _:
                self.compound(node)

    def compound(self, node: ast.AST) -> None:
        """Note what a statement is made of; its fields stand in the order in which they run."""
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.stmt():
                    self.statement(child)
                case ast.pattern():
                    self.pattern(child)
                case ast.expr():
                    stored = isinstance(getattr(child, "ctx", None), ast.Store)
                    (self.store if stored else self.read)(child)
                case _:
                    self.compound(child)

    def block(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            self.statement(statement)

    def attempt(self, node: ast.Try | ast.TryStar) -> None:
        """Run a `try` and its handlers: what not all of them bind is perhaps bound."""
        handled = [inner for handler in node.handlers for inner in handler.body]
        for handler in node.handlers:
            if handler.type is not None:
                self.read(handler.type)
            self.maybe |= {handler.name} if handler.name else set()
        self.branches([*node.body, *node.orelse], handled, either=not node.handlers)
        self.block(node.finalbody)

    def cases(self, node: ast.Match) -> None:
        """Run one of several cases, or none."""
        self.read(node.subject)
        before = set(self.bound)
        for case in node.cases:
            self.pattern(case.pattern)
            if case.guard is not None:
                self.read(case.guard)
            self.block(case.body)
            self.maybe |= self.bound - before
            self.bound = set(before)

    def branches(self, one: list[ast.stmt], other: list[ast.stmt], *, either: bool = False) -> None:
        """Run two branches; what only one of them binds is perhaps bound.

        `either`: nothing comes of the second that the first does not bring.
        """
        before = set(self.bound)
        self.block(one)
        first, self.bound = self.bound, set(before)
        self.block(other)
        self.maybe |= set() if either else first ^ self.bound
        self.bound = first if either else first & self.bound

    def rounds(
        self, body: list[ast.stmt], after: list[ast.stmt], target: ast.expr | None = None
    ) -> None:
        """Run a loop, perhaps not once: what it binds is perhaps bound."""
        before, read = set(self.bound), set(self.strong)
        if target is not None:
            self.store(target)
        self.block(body)
        late = (self.strong - read) & (self.bound - before)  # what an earlier round has bound
        self.strong -= late
        self.weak |= late
        self.maybe |= self.bound - before
        self.bound = before
        self.branches(after, [])

    def class_body(self, node: ast.ClassDef) -> None:
        """A class's body runs at once; what it binds is its own, and hidden from its methods."""
        for outer in (*node.decorator_list, *node.bases, *(word.value for word in node.keywords)):
            self.read(outer)
        inner = _Flow(lazy=self.lazy)
        inner.block(node.body)
        inner.strong -= {"__module__", "__qualname__"}
        inner.later -= {"__class__"}  # what `super()` reads is the class itself
        self.strong |= inner.strong - self.bound - self.maybe
        self.weak |= (inner.weak - self.bound) | (inner.strong & self.maybe)
        self.later |= inner.later
        # a name that it reads and then binds is looked up among the globals, whatever is around it
        own = (inner.strong | inner.weak) & (inner.bound | inner.maybe)
        self.declared |= inner.declared | own
        self.changes |= inner.changes - inner.bound

    def annotation(self, node: ast.expr) -> None:
        if self.lazy:
            self.weak |= _scoped(node)[0] - self.bound
        else:
            self.read(node)

    def read(self, node: ast.AST) -> None:
        """Note what evaluating a node reads, what it binds with `:=`, and what it defines."""
        if self.lazy and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            bare = _without_annotations(node)
            self.weak |= _scoped(node)[0] - _scoped(bare)[0] - self.bound
            node = bare
        now, later, declared = _scoped(node)
        within: set[str] = set()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            within = {n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr)}
        for name in now:
            if name in self.bound:
                continue
            (self.weak if name in self.maybe | within else self.strong).add(name)
        self.later |= later
        self.declared |= declared
        self.bound |= within

    def store(self, target: ast.expr, *, binds: bool = True) -> None:
        match target:
            case ast.Name():
                if binds:
                    self.bound.add(target.id)
                else:
                    self.changes.add(target.id)
                    self.read(ast.Name(target.id, ast.Load()))
                    self.bound.discard(target.id)
            case ast.Tuple() | ast.List():
                for one in target.elts:
                    self.store(one, binds=binds)
            case ast.Starred():
                self.store(target.value, binds=binds)
            case _:
                self.read(_as_load(target))
                root = _root(target)
                if root is not None:
                    self.changes.add(root)

    def pattern(self, pattern: ast.pattern) -> None:
        for node in ast.walk(pattern):
            match node:
                case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                    self.bound.add(name)
                case ast.MatchMapping(rest=str(name)):
                    self.bound.add(name)
                case ast.MatchValue(value=value):
                    self.read(value)
                case ast.MatchClass(cls=kind):
                    self.read(kind)

    def effect(self, node: ast.expr) -> None:
        """Note what a call may change whose value is not used."""
        if isinstance(node, ast.Await):
            node = node.value
        if not isinstance(node, ast.Call):
            return
        if isinstance(node.func, ast.Attribute):
            root = _root(node.func)
            if root is not None and not _LOOKING.fullmatch(node.func.attr):
                changing = _CHANGING.match(node.func.attr) or any(
                    word.arg == "inplace" for word in node.keywords
                )
                (self.changes if changing else self.lent).add(root)
        if isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            self.changes.update(one.id for one in node.args[:1] if isinstance(one, ast.Name))
        if not (isinstance(node.func, ast.Name) and node.func.id in _HARMLESS):
            given = [*node.args, *(word.value for word in node.keywords)]
            self.lent.update(one.id for one in given if isinstance(one, ast.Name))


def _root(node: ast.expr) -> str | None:
    """Return the name that a chain of attributes, items and calls hangs on."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _as_load(target: ast.expr) -> ast.expr:
    return ast.parse(ast.unparse(target), mode="eval").body


def _without_annotations(
    node: ast.FunctionDef | ast.AsyncFunctionDef,
) -> ast.FunctionDef | ast.AsyncFunctionDef:
    bare = copy.deepcopy(node)
    bare.returns = None
    for one in ast.walk(bare):
        if isinstance(one, ast.arg):
            one.annotation = None
    return bare


def _scoped(node: ast.AST) -> tuple[set[str], set[str], set[str]]:
    """Return the global names read now, those read later, and those declared or shadowed."""
    text = ast.unparse(node.value if isinstance(node, ast.Starred) else node)
    if isinstance(node, ast.expr):
        text = f"({text}\n)"
    top = symtable.symtable(text, "<cell>", "exec")
    now = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    later: set[str] = set()
    declared: set[str] = set()
    for table, deferred in _tables(top, deferred=False):
        for symbol in table.get_symbols():
            name = symbol.get_name()
            if symbol.is_declared_global():
                declared.add(name)
            if symbol.is_global() and symbol.is_referenced():
                (later if deferred else now).add(name)
    return now, later, declared


def _tables(
    table: symtable.SymbolTable, *, deferred: bool
) -> Iterator[tuple[symtable.SymbolTable, bool]]:
    for child in table.get_children():
        at_once = child.get_type() == "class" or child.get_name() in _COMPREHENSIONS
        yield child, deferred or not at_once
        yield from _tables(child, deferred=deferred or not at_once)


def called_at_once(node: ast.stmt) -> set[str]:
    """Return the names that are called, or given to a call, while a definition runs."""
    found: set[str | None] = set()
    queue: list[ast.AST] = [node]
    while queue:
        inner = queue.pop()
        children: Iterable[ast.AST] = ast.iter_child_nodes(inner)
        called: list[ast.expr] = []
        match inner:
            case ast.Call():
                called = [inner.func, *inner.args, *(word.value for word in inner.keywords)]
            case ast.ClassDef():  # its keywords are above all a metaclass
                called = [*inner.decorator_list, *(word.value for word in inner.keywords)]
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                called, children = inner.decorator_list, (*inner.decorator_list, inner.args)
            case ast.Lambda():
                children = (inner.args,)
        found.update(map(_root, called))
        queue += children
    return {name for name in found if name is not None}


def awaits(nodes: Iterable[ast.AST]) -> bool:
    """Whether anything outside a function awaits."""

    def walk(node: ast.AST) -> bool:
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return True
        if isinstance(node, ast.comprehension) and node.is_async:
            return True
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            return False
        return any(walk(child) for child in ast.iter_child_nodes(node))

    return any(walk(node) for node in nodes)
