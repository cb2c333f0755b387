"""Text of a document, and documents of a text: stable YAML, JSON and TOML, with comments on top.

The only importer of yaml.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any, cast

import yaml

try:
    from yaml import CSafeLoader as SafeLoader  # ten times as fast, where it was built
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

from jupyter_gpupredict.core.errors import Unrepresentable
from jupyter_gpupredict.core.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_gpupredict.export.deployment import Document, Json

NOT_TEXT = re.compile(
    r"[-+]?(\.?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|0[xob][0-9a-fA-F_]+)|[yYnN]", re.ASCII
)
"""What readers of YAML other than ours take for a number or a truth value, such as 1e3."""

MOST_NODES, DEEPEST = 100_000, 60


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key and never writes anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    """Quote what a reader of YAML 1.1 or 1.2 takes for something else; a block for lines."""
    if "\n" in value and not re.search(r"[^\n\x20-\x7e]|[ \t]\n|\A[\s#]", value):
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|")
    node = dumper.represent_scalar("tag:yaml.org,2002:str", value)
    read = dumper.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
    if read != "tag:yaml.org,2002:str" or NOT_TEXT.fullmatch(value):
        node.style = '"'
    return node


_Dumper.add_representer(str, _text)


class _Loader(SafeLoader):
    """Reads as Kubernetes does: dates stay text, a key given twice is an error."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class's own form
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [one.value for one, _ in node.value if isinstance(one, yaml.ScalarNode)]
        twice = sorted({key for key in keys if keys.count(key) > 1 and key != "<<"})
        if twice:
            problem = f"key {twice[0]!r} is given twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep=deep)


def render(document: Document) -> str:
    """Return the text of a document; two calls give the same bytes.

    Raises:
        Unrepresentable: The content does not fit the file's form.
    """
    comments = "".join(f"# {_one_line(comment)}\n" for comment in document.comments)
    content = document.content
    if document.copied:
        return str(content)
    if document.path.endswith(".json"):
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return text.encode(errors="replace").decode()  # half characters have no place in a file
    if document.path.endswith((".yaml", ".yml")):
        return comments + "---\n".join(yaml_text(one) for one in (*document.before, content))
    if document.path.endswith(".toml"):
        if not isinstance(content, dict):
            raise Unrepresentable(f"{document.path} needs a table", "")
        return comments + "\n".join(_toml(content, ()))
    if not isinstance(content, str):
        raise Unrepresentable(f"{document.path} needs text", "")
    if document.executable and content.startswith("#!"):
        first, _, rest = content.partition("\n")
        return f"{first}\n{comments}{rest}"
    return comments + content


def yaml_text(content: Json) -> str:
    """Return data as YAML."""
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def parse_yaml(text: str) -> list[Json]:
    """Return the documents of a YAML text, empty ones left out.

    Raises:
        ValueError: It is not YAML, or a key is given twice.
    """
    try:
        found = [one for one in yaml.load_all(text, Loader=_Loader) if one is not None]  # noqa: S506
        _bounded(found)
        return found
    except (yaml.YAMLError, RecursionError) as error:
        problem = getattr(error, "problem", None) or str(error)
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise ValueError(f"{line}{problem}") from error


def parse_json(text: str) -> Json:
    """Return the data of a JSON text.

    Raises:
        ValueError: It is not JSON, or a key is given twice.
    """

    def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"key {key!r} is given twice")
        return dict(pairs)

    try:
        found = cast("Json", json.loads(text, object_pairs_hook=unique))
    except RecursionError as error:
        raise ValueError("is nested too deep") from error
    _bounded([found])
    return found


def parse_toml(text: str) -> dict[str, Json]:
    """Return the tables of a TOML text.

    Raises:
        ValueError: It is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deep") from error


def _bounded(found: list[Json]) -> None:
    """Refuse what aliases blow up or tie into a ring: no manifest is so large or so deep.

    Raises:
        ValueError: More than so many nodes, or nested deeper.
    """
    waiting: list[tuple[Json, int]] = [(one, 0) for one in found]
    seen = 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if seen > MOST_NODES or depth > DEEPEST:
            raise ValueError("is too large or nested too deep for a manifest")
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting.extend((one, depth + 1) for one in inner)


def _toml(table: dict[str, Json], path: tuple[str, ...]) -> Iterator[str]:
    """Yield lines of a table: its values, then its tables, each ended by an empty line."""
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if values:
        if path:
            yield f"[{'.'.join(_toml_key(part) for part in path)}]"
        for key, value in values.items():
            if not isinstance(value, str):
                raise Unrepresentable(f"{key} is not text", "this file holds nothing else")
            yield f"{_toml_key(key)} = {_toml_text(value)}"
        yield ""
    for key, inner in table.items():
        if isinstance(inner, dict):
            yield from _toml(inner, (*path, key))


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_text(key)


def _toml_text(value: str) -> str:
    return json.dumps(value)  # JSON's escapes are a part of TOML's basic strings


def _one_line(text: str) -> str:
    return " ".join(one_line(text).split())
