"""What the code imports: modules beside the notebook are copied, installed ones are pinned.

Pins are those of what is installed here, without any network.
"""

from __future__ import annotations

import ast
import csv
import importlib.metadata
import importlib.util
import json
import re
import sys
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.errors import TraceError, UnsupportedCell
from jupyter_gpupredict.core.files import read_given_text

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
    from importlib.metadata import Distribution

_MAX_FILES, _MAX_BYTES = 200, 4 << 20
"""More than this beside a notebook is a project, which should be installed."""
_TAKEN = frozenset({"train_fn", "handler", "adapters", "function", "deploy", "func", "main"})
_SPEC = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(.*)", re.DOTALL)
UNPINNED = "versions are not known here: pin them before you build"
_OURS = "jupyter-gpupredict"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python of this process, such as `3.11`."""
_TORCH_INDEX = "https://download.pytorch.org/whl/"
"""Where PyTorch keeps builds with a local version (`+cu121`); the only index known here."""
_VALUED = frozenset(
    {"-i", "--index-url", "--extra-index-url", "-f", "--find-links", "-r", "--requirement",
     "-c", "--constraint", "-t", "--target", "--prefix", "--root"}
)  # fmt: skip
"""Options of `pip install` that take the next word."""


@dataclass(slots=True)
class Modules:
    """What the code imports: copied files, and names of what has to be installed."""

    files: dict[str, str] = field(default_factory=dict)
    """Path in the folder -> source."""
    names: dict[str, str] = field(default_factory=dict)
    """Dotted name -> where it is imported."""
    optional: set[str] = field(default_factory=set)
    """Those imported where their absence is caught."""
    notes: list[str] = field(default_factory=list)
    installed: bool = True
    """Whether what is installed here is what the code imports."""


def modules(
    roots: Iterable[tuple[ast.AST, str]], folder: Path, *, installed: bool = True
) -> Modules:
    """Return what these trees import, the modules beside the notebook with their own imports.

    Args:
        roots: Trees of the notebook's code, each with its place.
        folder: Where the notebook stands.
        installed: See `Modules`.

    Raises:
        UnsupportedCell: A relative import has no target, or the modules are too large to copy.
    """
    found = Modules(installed=installed)
    trees = list(roots)
    for tree, place in trees:
        for dotted, level, optional in _imported(tree):
            if level > 1:
                raise UnsupportedCell(
                    f"{place}: an import from the folder above the notebook's",
                    "put the module beside the notebook, or install it",
                )
            _take(dotted, folder, place, found, relative=level == 1, optional=optional)
    if path := _path_changes(trees):
        owned = owners()
        named = dict.fromkeys(one.partition(".")[0] for one in found.names)
        if unknown := [one for one in named if one not in owned]:
            found.notes.append(
                f"`{path}`: nothing of that folder is copied. Where it holds {', '.join(unknown)}, "
                "put that beside the notebook and export again, or install it"
            )
    return found


def _path_changes(roots: Iterable[tuple[ast.AST, str]]) -> str:
    """Return the first call that puts a folder on `sys.path`; empty: there is none."""
    nodes = (inner for tree, _ in roots for inner in ast.walk(tree))
    calls = (one for one in nodes if isinstance(one, ast.Call))
    adds = (one for one in calls if getattr(one.func, "attr", "") in ("append", "insert", "extend"))
    return next((text for text in map(ast.unparse, adds) if text.startswith("sys.path.")), "")[:80]


def _take(
    dotted: str, folder: Path, place: str, found: Modules, *, relative: bool, optional: bool
) -> None:
    root = dotted.partition(".")[0]
    if not root or root in sys.stdlib_module_names:
        return
    if f"{root}.py" in found.files or any(path.startswith(f"{root}/") for path in found.files):
        return
    files = _files(root, folder)
    if not files and not relative and root != "jupyter_gpupredict" and found.installed:
        elsewhere = editable_folder(root)
        if elsewhere is not None:
            files = _files(root, elsewhere)
            found.notes.append(f"{root} is installed from a local folder; its code was copied")
    if not files:
        if relative:
            raise UnsupportedCell(f"{place}: no module {root} beside the notebook", "")
        found.names.setdefault(dotted, place)
        if optional:
            found.optional.add(dotted)
        return
    if root in _TAKEN:
        raise UnsupportedCell(
            f"{place}: a module beside the notebook is called {root}, as a file of the folder is",
            "rename the module",
        )
    for path, source in files.items():
        found.files[path] = source
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            raise UnsupportedCell(f"{path} is not valid Python: {error.msg}", "") from error
        for inner, level, maybe in _imported(tree):
            if level == 0:
                _take(inner, folder, path, found, relative=False, optional=maybe)


def _files(root: str, folder: Path) -> dict[str, str]:
    """Return a module's files, path -> source; empty when it is not in this folder."""
    single, package = folder / f"{root}.py", folder / root
    paths = sorted(p for p in package.rglob("*.py") if "__pycache__" not in p.parts)
    if not paths and single.is_file():
        paths = [single]
    if len(paths) > _MAX_FILES or sum(path.stat().st_size for path in paths) > _MAX_BYTES:
        raise UnsupportedCell(f"{root} beside the notebook is too large to copy", "install it")
    try:
        return {p.relative_to(folder).as_posix(): read_given_text(p) for p in paths}
    except (OSError, UnicodeDecodeError, TraceError) as error:
        raise UnsupportedCell(f"cannot read module {root} beside the notebook", "") from error


def _imported(tree: ast.AST) -> Iterator[tuple[str, int, bool]]:
    """Yield (dotted name, level, whether its absence is caught) of each import, nested ones too."""
    caught = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and node.handlers
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        optional = id(node) in caught
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0, optional) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level and node.module:
            yield node.module, node.level, optional
        elif isinstance(node, ast.ImportFrom):  # each name may be a module of its own
            prefix = f"{node.module}." if node.module else ""
            yield from ((prefix + alias.name, node.level, optional) for alias in node.names)


@dataclass(frozen=True, slots=True)
class Requirements:
    """The lines of `requirements.txt`, and the Python they hold for."""

    lines: tuple[str, ...]
    python: str
    notes: tuple[str, ...]
    pinned: bool = True
    """Whether the versions are those with which the code ran."""
    least_python: str = ""
    """The oldest Python that all of them take, such as `3.10`; empty: they do not say."""

    @property
    def text(self) -> str:
        """The file."""
        known = "versions as installed where the notebook ran"
        head = f"# Python {self.python}; {known if self.pinned else UNPINNED}.\n"
        head += f"# requires-python: >={self.least_python}\n" * bool(self.least_python)
        return head + "".join(f"{line}\n" for line in self.lines)


def requirements(
    modules: Mapping[str, str],
    optional: Collection[str],
    installed: Sequence[str],
    extra: Iterable[str] = (),
) -> Requirements:
    """Return exact pins for what is imported, and for what was installed by `%pip`.

    Args:
        modules: Dotted name of an imported module -> where, for messages.
        optional: Those that may be missing.
        installed: Words that followed `pip install`.
        extra: Lines of our own, for adapters.

    Raises:
        UnsupportedCell: A module belongs to no installed distribution, or to one of a local path.
    """
    notes: list[str] = []
    lines: dict[str, str] = {}
    pythons: list[str] = []
    for root, dotted, place, found in _owned(modules):
        if not found and dotted not in optional:
            raise UnsupportedCell(
                f"{place}: module {root} belongs to no installed distribution",
                "put its file beside the notebook, or install it",
            )
        if not found:
            notes.append(f"{place}: {root} is not installed here and was left out")
        lines |= {_key(one.name): _pin(one, place, notes) for one in found}
        # With the package importlib_metadata loaded, a field that is not there is a KeyError.
        about = [one.metadata for one in found]
        pythons += [one["Requires-Python"] for one in about if "Requires-Python" in one]
    for words in _pip(installed, notes):
        key, line = _installed(words, notes)
        lines.setdefault(key, line)
    if lines.pop(_OURS, ""):
        notes.append(f"{_OURS} is for notebooks and was left out of the requirements")
    completed = _completed(lines, extra, PYTHON, notes)
    return replace(completed, least_python=_least(pythons))


def _least(wanted: Iterable[str]) -> str:
    """Return the newest of the oldest versions in specifiers such as `>=3.9,<4`; empty: none."""
    found = [one for text in wanted for one in re.findall(r">=\s*(\d+\.\d+)", text)]
    return max(found, key=lambda one: tuple(map(int, one.split("."))), default="")


def unpinned(
    modules: Mapping[str, str], installed: Sequence[str], python: str, extra: Iterable[str] = ()
) -> Requirements:
    """Return the names of what is imported, where the code ran with packages not seen here.

    A distribution that is not here either is taken to be called as its module is. `python` is what
    the code ran with; empty: unknown, this process's is written. Else as `requirements`.
    """
    notes = [f"requirements.txt: {UNPINNED}; the kernel has other packages than the server"]
    if not python:
        notes.append(f"the kernel's Python is not known: {PYTHON} was written, the server's")
    lines: dict[str, str] = {}
    for root, _, place, found in _owned(modules):
        if not found:
            notes.append(f"{place}: what installs module {root} is not known here; see its line")
        lines |= {_key(name): name for name in [one.name for one in found] or [root]}
    for words in _pip(installed, notes):
        if "/" in words:
            notes.append("pip was given an address or a path, which is left out")
        else:
            lines[_key(re.split(r"[^A-Za-z0-9._-]", words, maxsplit=1)[0])] = words
    lines.pop(_OURS, None)
    return _completed(lines, extra, python or PYTHON, notes, pinned=False)


def _completed(
    lines: dict[str, str],
    extra: Iterable[str],
    python: str,
    notes: Iterable[str],
    *,
    pinned: bool = True,
) -> Requirements:
    for line in extra:
        lines.setdefault(_key(line.partition("=")[0]), line)
    ordered = tuple(line for _, line in sorted(lines.items()))
    return Requirements(ordered, python, tuple(dict.fromkeys(notes)), pinned)


def editable_folder(root: str) -> Path | None:
    """Return the folder of a module that is installed from a local path, as while developed."""
    for name in owners().get(root, []):
        if _link(importlib.metadata.distribution(name)).get("dir_info") is None:
            continue
        spec = importlib.util.find_spec(root)
        if spec is not None and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations))).parent
        if spec is not None and spec.origin:
            return Path(spec.origin).parent
    return None


def owners() -> Mapping[str, list[str]]:
    """Return the names of the distributions that each importable name comes from."""
    return _read_owners(registry.installation())


@lru_cache(maxsize=1)
def _read_owners(_: Hashable) -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _owned(modules: Mapping[str, str]) -> Iterator[tuple[str, str, str, list[Distribution]]]:
    """Yield root and name of each module outside the standard library, place, distributions."""
    names = owners()
    held: dict[str, set[str]] = {}
    for dotted, place in sorted(modules.items()):
        root = dotted.partition(".")[0]
        if root not in sys.stdlib_module_names:
            yield root, dotted, place, _distributions(dotted, names.get(root, []), held)


def _distributions(
    dotted: str, names: Sequence[str], held: dict[str, set[str]]
) -> list[Distribution]:
    """Return the distributions a module comes from: for a namespace, by their lists of files.

    `held` keeps those lists, which take long to read.
    """
    named = [importlib.metadata.distribution(name) for name in sorted(dict.fromkeys(names))]
    if len(named) == 1:
        return named
    parts = dotted.split(".")
    stems = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    # `packages_distributions` looks at .py files alone: a compiled module has to be searched for
    for among in (named, importlib.metadata.distributions()):
        candidates = list(among)
        for stem in stems:
            for one in candidates:
                if _holds(one, stem, held):
                    return [one]
    return named  # no file has that very name: a namespace as a whole was imported


def _holds(distribution: Distribution, stem: str, held: dict[str, set[str]]) -> bool:
    """Whether a distribution's list of files has this module."""
    if distribution.name not in held:
        record = distribution.read_text("RECORD")
        if record is None:  # an egg
            paths = [path.as_posix() for path in distribution.files or ()]
        else:  # `files` makes an object of each, which takes ten times as long
            paths = [row[0] for row in csv.reader(record.splitlines()) if row]
        held[distribution.name] = {one for one in paths if one.endswith((".py", ".so", ".pyd"))}
    files = held[distribution.name]
    if {f"{stem}.py", f"{stem}/__init__.py"} & files:
        return True
    return any(f.startswith(f"{stem}.") and f.endswith((".so", ".pyd")) for f in files)


def _pin(distribution: Distribution, place: str, notes: list[str]) -> str:
    name, version = distribution.name, distribution.version
    link = _link(distribution)
    url = str(link.get("url", ""))
    if url:
        address, hidden = _without_password(url)
        if hidden:
            notes.append(f"{name}: the address it was installed from holds a password, left out")
        vcs = link.get("vcs_info")
        if isinstance(vcs, dict):
            return f"{name} @ {vcs.get('vcs')}+{address}@{vcs.get('commit_id')}"
        if urlsplit(url).scheme == "file":
            raise UnsupportedCell(
                f"{place}: {name} was installed from a local "
                + ("file" if link.get("dir_info") is None else "folder"),
                "install it from an index, or put its source beside the notebook",
            )
        return f"{name} @ {address}"
    public, plus, local = version.partition("+")
    if not plus:
        return f"{name}=={version}"
    if re.fullmatch(r"cu\d+|cpu|rocm[\d.]+|xpu", local):
        where = f"pip install --extra-index-url {_TORCH_INDEX}{local}"
        return f"{name}=={public}  # {version} here: {where}"
    notes.append(f"{name}: {version} is a build of its own; {public} is what indexes have")
    return f"{name}=={public}  # {version} here"


def _link(distribution: Distribution) -> dict[str, object]:
    try:
        found = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _without_password(url: str) -> tuple[str, bool]:
    parts = urlsplit(url)
    _, at, host = parts.netloc.rpartition("@")
    return (urlunsplit(parts._replace(netloc=host)), True) if at else (url, False)


def _pip(words: Sequence[str], notes: list[str]) -> Iterator[str]:
    """Yield what was to be installed; options are noted where they matter."""
    rest = iter(words)
    for word in rest:
        option, equals, _ = word.partition("=")
        if option in _VALUED:
            if not equals:
                next(rest, "")
            notes.append(f"pip install {option} ... was left out: say it in requirements.txt")
        elif not word.startswith("-"):
            yield word


def _installed(spec: str, notes: list[str]) -> tuple[str, str]:
    """Return key and line of one word that pip was given."""
    if "://" in spec:
        prefix, at, address = spec.rpartition(" @ ")
        clean, hidden = _without_password(address)
        if hidden:
            notes.append("an address that pip was given holds a password, left out")
        return _key(prefix or clean), f"{prefix}{at}{clean}"
    found = _SPEC.fullmatch(spec)
    if found is None or "/" in spec:
        notes.append("pip was given a local path, which is left out of the requirements")
        return _OURS, ""
    key = _key(found[1])
    if key == _OURS:
        return _OURS, spec
    try:
        distribution = importlib.metadata.distribution(found[1])
        line = _pin(distribution, "%pip", notes)
    except importlib.metadata.PackageNotFoundError:
        notes.append(f"{found[1]} is not installed here: its version is not pinned")
        return key, spec
    except UnsupportedCell as error:
        notes.append(f"{error.message}: it is left out of the requirements")
        return _OURS, ""
    if found[2]:
        line = line.replace(distribution.name, distribution.name + found[2], 1)
    return key, line


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
