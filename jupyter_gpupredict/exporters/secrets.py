"""Names of environment variables that code reads, and literals that look like credentials."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHAPES = {
    "an AWS key": r"(?:AKIA|ASIA)[0-9A-Z]{16}",
    "a GitHub token": r"gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,}",
    "a GitLab token": r"glpat-[A-Za-z0-9_-]{20,}",
    "a Hugging Face token": r"hf_[A-Za-z0-9]{30,}",
    "an API key": r"sk-[A-Za-z0-9_-]{20,}|AIza[0-9A-Za-z_-]{35}",
    "a Slack token": r"xox[abeprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T\w+/B\w+/\w+",
    "an index token": r"pypi-[A-Za-z0-9_-]{50,}|npm_[A-Za-z0-9]{36}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a signed token": r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "an address with a password": r"[a-z][a-z0-9+.-]*://[^\s/:@'\"{}]+:[^\s/@'\"{}]+@",
}
"""Shapes that services publish so that they can be searched for."""
_NAME = re.compile(
    r"(?i)(^|_)(api_?key|apikey|secret|secret_?key|password|passwd|passphrase|pwd|credentials?"
    r"|(access|auth|bearer|refresh|hf|github|wandb)_?(token|key)|private_?key)$"
)
"""Names under which a literal is taken for a credential. `token` alone is a word of language
models, so there its value decides."""
_TOKEN_NAME = re.compile(r"(?i)(^|_)(token|key)$")
_DENSE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9+/_=-]{20,}")
_PLACEHOLDER = re.compile(
    r"(?i)^$|^<.*>$|^\.+$|^\*+$|^x+$|^(your|my|change)[-_ ].*|^none$|^\[.*\]$"
)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A place where something looks like a credential; the value is not kept."""

    line: int
    kind: str


def suspects(text: str) -> list[Suspect]:
    """Return where source, or any text, holds what looks like a credential."""
    found = {
        (number, kind)
        for number, line in enumerate(text.splitlines(), start=1)
        for kind, shape in _SHAPES.items()
        if re.search(shape, line)
    }
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        tree = ast.Module([], [])
    for node in ast.walk(tree):  # also literals that are written in several pieces
        content = _content(node)
        if isinstance(node, ast.Constant) and content:
            found |= {(node.lineno, kind) for kind, s in _SHAPES.items() if re.search(s, content)}
    for name, value in _named(tree):
        if _is_credential(name, _content(value)):
            found.add((value.lineno, f"the value of {name}"))
    return [Suspect(line, kind) for line, kind in sorted(found)]


def environment_names(tree: ast.AST) -> tuple[str, ...]:
    """Return the environment variables that code names: `os.environ`, `os.getenv`, `environ`."""
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        key: ast.expr
        value: ast.expr
        match node:
            case ast.Subscript(value=value, slice=key) if _is_environ(value):
                pass
            case ast.Call(func=ast.Attribute(value=value, attr=method), args=[key, *_]) if (
                _is_environ(value) and method in ("get", "pop", "setdefault", "__getitem__")
            ):
                pass
            case ast.Call(func=ast.Attribute(attr="getenv"), args=[key, *_]):
                pass
            case ast.Call(func=ast.Name(id="getenv"), args=[key, *_]):
                pass
            case ast.Compare(left=key, comparators=[value, *_]) if _is_environ(value):
                pass
            case _:
                continue
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            found[key.value] = None
    return tuple(found)


def is_secret_name(name: str) -> bool:
    """Whether a name says that its value is a credential."""
    return _NAME.search(name) is not None


def _content(node: ast.AST) -> str:
    """Return the text of a literal; empty for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Constant(value=bytes(raw)):
            return raw.decode("latin-1")
        case _:
            return ""


def _is_environ(node: ast.expr) -> bool:
    match node:
        case ast.Attribute(attr="environ") | ast.Name(id="environ"):
            return True
        case _:
            return False


def _is_credential(name: str, value: str) -> bool:
    if _PLACEHOLDER.search(value) or " " in value:
        return False
    if _NAME.search(name):
        return len(value) >= 4
    return bool(_TOKEN_NAME.search(name)) and _DENSE.fullmatch(value) is not None


def _named(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield every value that stands under a name: assigned, passed, or in a dictionary."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield _name(target), value
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield _name(target), value
            case ast.keyword(arg=str(name), value=value):
                yield name, value
            case ast.Dict(keys=keys, values=values):
                for label, value in zip(keys, values, strict=True):
                    if isinstance(label, ast.Constant) and isinstance(label.value, str):
                        yield label.value, value
            case ast.arguments(args=names, defaults=defaults):
                for one, value in zip(names[len(names) - len(defaults) :], defaults, strict=True):
                    yield one.arg, value
            case ast.Call(args=[ast.Constant(value=str(key)), value, *_]):
                yield key, value
            case _:
                pass


def _name(target: ast.expr) -> str:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case _:
            return ""
