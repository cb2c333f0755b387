"""What a statement may change. In doubt it may change something that the function uses.

Nothing is run, so nothing is known of most calls. Only what is listed here is known to change
nothing: looking at values, drawing, printing, timing. Everything else is replayed.
"""

from __future__ import annotations

import ast
import bisect
import builtins
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.function.statements import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jupyter_gpupredict.export.function.statements import Order, Statement

_LOOKS = frozenset(
    {"abs", "bin", "bool", "callable", "chr", "complex", "divmod", "enumerate", "float", "format",
     "hasattr", "hex", "id", "int", "isinstance", "issubclass", "len", "ord", "pow", "print",
     "range", "repr", "reversed", "round", "slice", "str", "type", "vars", "bytes", "display",
     "bytearray", "object", "super", "help", "dir"}
)  # fmt: skip
"""Builtins that change nothing. `enumerate` and `reversed` take nothing from an iterator yet."""
_TAKES = frozenset(
    {
        "all",
        "any",
        "dict",
        "frozenset",
        "list",
        "max",
        "min",
        "set",
        "sorted",
        "sum",
        "tuple",
        "zip",
    }
)
"""Builtins that iterate: harmless unless what they are given is an iterator."""
_METHODS = re.compile(
    r"head|tail|describe|info|mean|std|var|sum|min|max|median|quantile|item|count|copy|keys|values"
    r"|items|value_counts|unique|nunique|summary|numpy|cpu|detach|tolist|size|dim|numel|isnull"
    r"|isna|notnull|corr|argmax|argmin|any|all|round|parameters|named_parameters|state_dict"
    r"|get_config|count_params|to_string|to_numpy|element_size|format|join|split|strip|lower|upper"
    r"|startswith|endswith|replace|title|center|ljust|rjust|zfill|total_seconds|strftime|isoformat"
    r"|get_shape|as_list|exists|is_file|is_dir|resolve|get_device|is_contiguous|total_memory"
    r"|__\w+__"
)
"""Methods that leave their object as it is, whatever it is."""
_DRAWS = re.compile(
    r"(matplotlib|seaborn|plotly|bokeh|altair|graphviz|pydot|torchviz|netron|IPython\.display"
    r"|ipywidgets|keras\.utils\.(vis_utils\.)?plot_model|tensorflow\.keras\.utils\.plot_model"
    r"|sklearn\.metrics\.\w*Display|pandas\.plotting|torchinfo|torchsummary|prettytable|tabulate"
    r"|pprint|rich)(\.|$)"
)
"""Libraries that are there for looking at what they are given."""
_LOOKUPS = re.compile(
    r"math\.\w+|time\.(time|perf_counter|monotonic|process_time|ctime|strftime|localtime)"
    r"|datetime\.(datetime|date)\.(now|today|fromtimestamp)|platform\.\w+"
    r"|timeit\.default_timer|importlib\.metadata\.version|psutil\.\w+|sys\.(getsizeof|exc_info)"
    r"|os\.(getcwd|listdir|cpu_count|getenv|environ\.get)|os\.path\.\w+|glob\.glob"
    r"|pathlib\.(Path|PurePath)|torch\.(Tensor|tensor|zeros|ones|arange|linspace|eye|full|sum|mean"
    r"|argmax|max|min|stack|cat|is_tensor|numel|version\.\w+|get_num_threads"
    r"|get_default_dtype|randn_like\.__doc__)"
    r"|torch\.cuda\.(is_available|get_device_\w+|device_count|current_device|memory_\w+"
    r"|max_memory_\w+|mem_get_info|is_bf16_supported)|torch\.backends\.\w+\.(is_available|version)"
    r"|torchvision\.utils\.make_grid"
    r"|tensorflow\.(config\.(experimental\.)?list_\w+|test\.\w+|executing_eagerly|constant|shape"
    r"|zeros|ones|range|reduce_\w+|argmax|sysconfig\.\w+)"
    r"|dataclasses\.field|collections\.namedtuple|typing\.\w+"
    r"|jax\.(devices|local_devices|device_count|local_device_count|default_backend|process_index)"
    r"|sklearn\.metrics\.\w+_(score|report|matrix|error)"
    r"|(jax\.)?numpy\.(?!random|save|put|copyto|fill_diagonal|place|set|load|memmap|from|apply|vectorize|piecewise|broadcast)\w+"
)
"""Functions that only compute or look something up: they touch no state, not even a random one."""
_MAKES_PLAIN = re.compile(
    r".*\.(load_data|train_test_split|read_csv|read_parquet|array|asarray|arange|zeros|ones|tolist"
    r"|to_numpy|numpy|keys|values|items|linspace|unique|concatenate|stack|reshape|astype)"
)
_STEADY_DECORATORS = re.compile(
    r"functools\.|dataclasses\.|abc\.|contextlib\.|typing\.|torch\.(no_grad|inference_mode|jit"
    r"|compile|enable_grad)|tensorflow\.(function|custom_gradient)|jax\.|numba\.|flax\.|equinox\."
    r"|chex\.|enum\.|staticmethod$|classmethod$|property$|keras\.|tensorflow\.keras\."
)
"""Decorators that change nothing but what they decorate."""
_CHANGES_THROUGH = frozenset({"__init_subclass__", "__set_name__"})


@dataclass(slots=True)
class Effects:
    """Judges the statements of one notebook; facts on a name hold for all of its bindings."""

    statements: Sequence[Statement]
    modules: dict[str, str] = field(default_factory=dict)
    """Name -> the module, or the thing in one, that its imports mean; empty: something else too."""
    plain: set[str] = field(default_factory=set)
    """Names whose values can be iterated and indexed without effect."""
    drawn: set[str] = field(default_factory=set)
    """Names of figures, axes and their like."""
    methods: set[str] = field(default_factory=set)
    """Names of methods of the notebook's own classes, which may do anything."""
    bound: set[str] = field(default_factory=set)
    hooked: set[str] = field(default_factory=set)
    """Classes that do something when they are inherited from."""
    groups: dict[str, str] = field(default_factory=dict)
    """A name, as `as_of` says it -> another of its group: their objects may be connected."""
    afresh: dict[str, list[Order]] = field(default_factory=dict)
    """A name -> where it is bound to something else, whatever it was before."""

    def __post_init__(self) -> None:
        values: dict[str, list[ast.expr | None]] = defaultdict(list)
        for one in self.statements:
            self._learn(one, values)
        for name in self.bound:
            self.modules.pop(name, None)
        for known, test in ((self.drawn, self._draws), (self.plain, self._is_plain)):
            known.update(name for name, found in values.items() if None not in found)
            before = -1
            while before != len(known):  # from all that might be down to all that must be
                before = len(known)
                for name in list(known):
                    if not all(value is not None and test(value) for value in values[name]):
                        known.discard(name)
        for one in self.statements:
            names = one.names
            read = names.strong | names.weak | names.later | names.changes
            for name in names.binds - names.perhaps - read:
                self.afresh.setdefault(name, []).append(one.order)
        for one in self.statements:
            self._connect(one)

    def _learn(self, one: Statement, values: dict[str, list[ast.expr | None]]) -> None:
        node = one.node
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                within = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                whole = within + alias.name
                name = alias.asname or (alias.name if within else alias.name.partition(".")[0])
                self.modules[name] = whole if within or alias.asname else name
            return
        self.bound |= one.names.binds
        for inner in ast.walk(node):
            if isinstance(inner, ast.ClassDef):
                own = [n for n in inner.body if isinstance(n, ast.FunctionDef)]
                self.methods |= {method.name for method in own}
                names = {_chain(base) for base in inner.bases}
                if (
                    names & self.hooked
                    or inner.keywords
                    or _CHANGES_THROUGH & {m.name for m in own}
                ):
                    self.hooked.add(inner.name)
        taken: set[str] = set()
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for inner in ast.walk(target):
                    if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                        values[inner.id].append(node.value)
                        taken.add(inner.id)
        for name in one.names.binds - taken:
            values[name].append(None)

    # ---- what changes nothing -------------------------------------------------------------------

    def judged(self, one: Statement) -> Statement:
        """Return a definition that may change something else as one that runs at its place."""
        if one.kind is Kind.DEFINITION and self.may_change(one):
            return replace(one, kind=Kind.SETUP)
        return one

    def may_change(self, one: Statement) -> bool:
        """Whether running the statement again may matter to anything but the names it binds."""
        return not self._steady(one.node)

    def _steady(self, node: ast.stmt) -> bool:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Global():
                return True
            case ast.Break() | ast.Continue():
                return True
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
                return self._all(defaults) and all(map(self._decorates, node.decorator_list))
            case ast.ClassDef():
                return (
                    not node.keywords
                    and self._all(node.bases)
                    and not {_chain(base) for base in node.bases} & self.hooked
                    and all(map(self._decorates, node.decorator_list))
                    and all(map(self._steady_in_class, node.body))
                )
            case ast.Expr(value=value):
                return self.looks(value)
            case ast.Assign(targets=targets, value=value):
                return self.looks(value) and all(map(self._own_target, targets))
            case ast.AnnAssign(target=target, value=value):
                return (value is None or self.looks(value)) and self._own_target(target)
            case ast.Delete(targets=targets):
                return all(isinstance(one, ast.Name) for one in targets)
            case ast.Assert(test=test):
                return self.looks(test)
            case ast.If(test=test):
                return self.looks(test) and self._block(node.body, node.orelse)
            case ast.For(iter=values):
                return (
                    self.looks(values)
                    and self._is_plain(values)
                    and self._own_target(node.target)
                    and self._block(node.body, node.orelse)
                )
            case ast.With(items=items):
                return all(
                    self._draws(item.context_expr) and self.looks(item.context_expr)
                    for item in items
                ) and self._block(node.body)
            case ast.Try(handlers=handlers):
                inner = [handler.body for handler in handlers]
                return self._block(node.body, *inner, node.orelse, node.finalbody)
            case _:
                return False

    def _steady_in_class(self, node: ast.stmt) -> bool:
        return not isinstance(node, ast.Delete) and self._steady(node)

    def _block(self, *blocks: Iterable[ast.stmt]) -> bool:
        return all(self._steady(one) for block in blocks for one in block)

    def _own_target(self, target: ast.expr) -> bool:
        """Whether a store changes nothing but a name, or how plots look."""
        match target:
            case ast.Name():
                return True
            case ast.Tuple(elts=inner) | ast.List(elts=inner):
                return all(map(self._own_target, inner))
            case ast.Starred(value=inner):
                return self._own_target(inner)
            case _:
                return self._draws(target)

    def _decorates(self, node: ast.expr) -> bool:
        called = node.func if isinstance(node, ast.Call) else node
        arguments = [node] if isinstance(node, ast.Call) else []
        found = self._meaning(called)
        if _STEADY_DECORATORS.match(found):
            return self._all(
                [*arguments[0].args, *(k.value for k in arguments[0].keywords)] if arguments else ()
            )
        match called:
            case ast.Attribute(value=ast.Name(), attr="setter" | "getter" | "deleter"):
                return True
        return False

    def _meaning(self, node: ast.expr) -> str:
        """Return what a chain of attributes means: `np.random` is `numpy.random`; else empty."""
        chain = _chain(node)
        root, dot, rest = chain.partition(".")
        if root in self.modules:
            return self.modules[root] + dot + rest
        builtin = root not in self.bound and (hasattr(builtins, root) or root == "display")
        return chain if builtin else ""

    def _draws(self, node: ast.expr) -> bool:
        """Whether an expression is an object of a library for plots, or one of its functions."""
        while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
            if _DRAWS.match(self._meaning(node)):
                return True
            node = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Name) and node.id in self.drawn:
            return True
        return bool(_DRAWS.match(self._meaning(node)))

    def _is_plain(self, node: ast.expr) -> bool:
        """Whether iterating or indexing the value takes nothing away and runs no code of others."""
        match node:
            case ast.Name(id=name):
                return name in self.plain
            case ast.List() | ast.Dict() | ast.Set() | ast.Tuple() | ast.Constant():
                return True
            case ast.ListComp() | ast.DictComp() | ast.SetComp() | ast.JoinedStr():
                return True
            case ast.BinOp() | ast.Compare() | ast.UnaryOp():
                return True
            case ast.Subscript(value=value):
                return self._is_plain(value) or self._draws(value)
            case ast.Attribute(value=value):
                return self._is_plain(value) or self._draws(value)
            case ast.IfExp(body=one, orelse=other):
                return self._is_plain(one) and self._is_plain(other)
            case ast.Call(func=ast.Name(id=name), args=args) if name not in self.bound:
                if name in ("enumerate", "reversed", "zip"):
                    return all(map(self._is_plain, args))
                if name in _TAKES | {"range", "str"}:
                    return True
        if isinstance(node, ast.Call):
            found = self._meaning(node.func)
            if isinstance(node.func, ast.Attribute) and self._draws(node):
                return True
            return bool(
                _LOOKUPS.fullmatch(found)
                or _MAKES_PLAIN.fullmatch(found or f".{getattr(node.func, 'attr', '')}")
            )
        return False

    def _all(self, nodes: Iterable[ast.expr]) -> bool:
        return all(map(self.looks, nodes))

    def looks(self, node: ast.expr) -> bool:
        """Whether evaluating an expression can change nothing."""
        match node:
            case ast.Lambda():
                return self._all([*node.args.defaults, *filter(None, node.args.kw_defaults)])
            case ast.Call():
                return self._call(node)
            case ast.Subscript(value=value, slice=index):
                known = self._is_plain(value) or self._draws(value) or _is_key(index)
                return known and self.looks(value) and self.looks(index)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                # a generator takes nothing before it is iterated, but by then by whom?
                values = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
                rounds = [(one.iter, one.ifs) for one in node.generators]
                return self._all(values) and all(
                    self.looks(taken) and self._is_plain(taken) and self._all(tests)
                    for taken, tests in rounds
                )
            case ast.NamedExpr() | ast.Await() | ast.Yield() | ast.YieldFrom():
                return False
            case ast.Starred(value=value):
                return self._is_plain(value) and self.looks(value)
            case _:
                return self._all(
                    one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)
                )

    def _call(self, node: ast.Call) -> bool:
        given = [*node.args, *(word.value for word in node.keywords)]
        if not self._all(given) or any(word.arg is None for word in node.keywords):
            return False
        found = self._meaning(node.func)
        if found:
            takes = found in _TAKES and not node.keywords and all(map(self._is_plain, node.args))
            out = any(word.arg == "out" for word in node.keywords)
            known = found in _LOOKS or takes or _DRAWS.match(found) or _LOOKUPS.fullmatch(found)
            if known and not out:
                return True
        if not isinstance(node.func, ast.Attribute):
            return False
        inplace = any(word.arg == "inplace" for word in node.keywords)
        if inplace or node.func.attr in self.methods or not self.looks(node.func.value):
            return False
        if found and not self._draws(node.func.value):
            return False  # a function of a module, not a method
        return self._draws(node.func.value) or bool(_METHODS.fullmatch(node.func.attr))

    # ---- what is connected ----------------------------------------------------------------------

    def _connect(self, one: Statement) -> None:
        """Objects that one statement names may hold each other from then on."""
        data = sorted(self.data_names(one))
        for name in data[1:]:
            self.groups[self._group(name)] = self._group(data[0])

    def as_of(self, name: str, order: Order) -> str:
        """Return a name with the count of its bindings afresh up to a place: `model@2`."""
        return f"{name}@{bisect.bisect_right(self.afresh.get(name, []), order)}"

    def data_names(self, one: Statement) -> set[str]:
        """Return the names in a statement that are neither imported nor builtin, as `as_of`.

        What a function reads when it is called may be what the name was at any time.
        """
        names = one.names
        every = names.strong | names.weak | names.binds | names.changes
        found = {self.as_of(name, one.order) for name in every & self.bound}
        for name in names.later & self.bound:
            found |= {f"{name}@{n}" for n in range(len(self.afresh.get(name, [])) + 1)}
        return found

    def _group(self, name: str) -> str:
        while (above := self.groups.get(name, name)) != name:
            name = above
        return name

    def connected(self, one: Statement, names: Iterable[str]) -> bool:
        """Whether a statement may touch an object that one of the names leads to."""
        touched = {self._group(name) for name in self.data_names(one)}
        return any(self._group(name) in touched for name in names)


def _chain(node: ast.expr) -> str:
    """Return `a.b.c` of such an expression; empty for any other."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name) if _chain(value):
            return f"{_chain(value)}.{name}"
        case _:
            return ""


def _is_key(index: ast.expr) -> bool:
    """Whether an index is that of a table or a slice: such items are no draws of chance."""
    match index:
        case ast.Constant(value=str()):
            return True
        case ast.Slice():
            return True
        case ast.Tuple(elts=inner):
            return any(map(_is_key, inner))
        case ast.List(elts=inner):
            return all(map(_is_key, inner))
        case _:
            return False
