"""Shapes of manifests: JSON Schema files under `schemas/`, and the grammars of single values.

Only what a schema lists may stand: most platforms drop an unknown key without a word.
"""

from __future__ import annotations

import difflib
import importlib
import json
import re
import sys
import types
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.files import read_given_text
from jupyter_gpupredict.core.options import schema
from jupyter_gpupredict.export.findings import join

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jupyter_gpupredict.core.options import Option
    from jupyter_gpupredict.export.findings import Node, Report

SCHEMAS = Path(__file__).parent / "schemas"
COMMON = "kubernetes.json"
MIB = 1 << 20
_LONGEST_MESSAGE = 200
_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}
_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def check_shape(shape: str | Path, node: Node, report: Report) -> set[Any]:
    """Add a finding for everything in a place that its schema does not allow.

    Returns the keys at its top below which something is wrong.
    """
    found: dict[tuple[str, str], tuple[str, Any]] = {}
    wrong: set[Any] = set()
    validator = _validator(shape)
    rule = validator.schema.get("rule", "schema")
    for error in validator.iter_errors(node.value):
        states = error.schema if isinstance(error.schema, dict) else {}
        path = node.path
        for step in error.absolute_path:
            path = f"{path}[{step}]" if isinstance(step, int) else join(path, str(step))
        level = states.get("level", "error")
        found.setdefault((path, _message(error)), (states.get("rule", rule), level))
        wrong |= set(list(error.absolute_path)[:1])
    for (path, message), (named, level) in found.items():
        report.add(named, path, message, level)
    return wrong


def problems(options: Iterable[Option], value: Any) -> list[str]:
    """Return what is wrong with the options in a mapping, each as its description says it."""
    table = {
        "type": "object",
        "properties": {one.name: schema(one) for one in options},
        "additionalProperties": False,
    }
    errors = _dialect()(table).iter_errors(value)
    return [f"{'.'.join(map(str, one.absolute_path))}: {_message(one)}" for one in errors]


def _message(error: Any) -> str:
    """Return what is wrong in words; what the schema says of it goes first."""
    states = error.schema if isinstance(error.schema, dict) else {}
    value, expected = error.instance, error.validator_value
    missing = error.validator in ("required", "dependentRequired")
    if "says" in states and error.validator != "additionalProperties":
        said: str = states["says"]
        return said if missing else said.replace("{}", _shown(value))
    words = expected if isinstance(expected, list) else [expected]
    match error.validator:
        case "type":
            return f"must be {' or '.join(_TYPES[one] for one in words)}, not {_shown(value)}"
        case "enum" | "const":
            return f"must be {' or '.join(map(repr, words))}, not {_shown(value)}"
    return str(error.message)[:_LONGEST_MESSAGE]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else repr(value)


@cache
def _validator(schema: str | Path) -> Any:
    """Return the validator of a schema; definitions of ours stand beside its own."""
    text = read_given_text(schema if isinstance(schema, Path) else SCHEMAS / f"{schema}.json")
    common = json.loads(read_given_text(SCHEMAS / COMMON))["$defs"]
    parsed = json.loads(text.replace(f'"{COMMON}#/', '"#/'))
    parsed["$defs"] = {**common, **parsed.get("$defs", {})}
    return _dialect()(parsed)


@cache
def _dialect() -> Any:
    """Return JSON Schema with findings at the key that is missing or unknown.

    A whole number is one as Kubernetes reads it (1.0 is none), and a pattern's end is the text's.
    """
    with _grammar_later():
        from jsonschema import Draft202012Validator, validators
        from jsonschema.exceptions import ValidationError

    standard = Draft202012Validator.VALIDATORS

    def required(_: Any, keys: Any, found: Any, __: Any) -> Iterator[ValidationError]:
        for key in keys:
            if isinstance(found, dict) and key not in found:
                yield ValidationError("is missing", path=[key])

    def additional(validator: Any, allowed: Any, found: Any, schema: Any) -> Iterator[Any]:
        if allowed is not False:
            yield from standard["additionalProperties"](validator, allowed, found, schema)
            return
        known = schema.get("properties", {})
        for key in found if isinstance(found, dict) else ():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                yield ValidationError(f"unknown field{hint}", path=[key])

    def names(validator: Any, schema: Any, found: Any, _: Any) -> Iterator[Any]:
        for key in found if isinstance(found, dict) else ():
            yield from validator.descend(key, schema, path=key)

    def pattern(_: Any, wanted: str, found: Any, __: Any) -> Iterator[ValidationError]:
        # Python's $ also stands before a last newline: with one more, it does not
        text = f"{found}\n" if isinstance(found, str) and found.endswith("\n") else found
        if isinstance(text, str) and not re.search(wanted, text, re.ASCII):
            yield ValidationError(f"does not match {wanted}")

    whole = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, one: isinstance(one, int) and not isinstance(one, bool)
    )
    keywords = {
        "required": required,
        "additionalProperties": additional,
        "propertyNames": names,
        "pattern": pattern,
    }
    return validators.extend(Draft202012Validator, keywords, type_checker=whole)


@contextmanager
def _grammar_later() -> Iterator[None]:
    """Let jsonschema load without the grammar of IRIs: it takes seconds, and no schema needs it.

    It is loaded once somebody checks one.
    """
    name = "rfc3987_syntax"
    if name in sys.modules or find_spec(name) is None:
        yield
        return

    def is_valid_syntax(term: str, value: str) -> bool:
        return bool(importlib.import_module(name).is_valid_syntax(term, value))

    stand_in = types.ModuleType(name)
    vars(stand_in)["is_valid_syntax"] = is_valid_syntax
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


def quantity(value: Any) -> Decimal | None:
    """Return a Kubernetes quantity in its base unit; None where it is not one.

    >>> quantity("8Gi"), quantity("500m"), quantity("5874MiB")
    (Decimal('8589934592'), Decimal('0.500'), None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    found = _QUANTITY.fullmatch(str(value))
    if found is None:
        return None
    number, suffix = Decimal(found[1]), found[2] or ""
    if suffix.endswith("i"):
        return number * Decimal(1024) ** ("KMGTPE".index(suffix[0]) + 1)
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return number.scaleb(int(suffix[1:]))
    return number.scaleb(_DECIMAL[suffix])


def seconds(value: Any) -> float | None:
    """Return a Go duration in seconds; None where it is not one.

    >>> seconds("1h30m"), seconds("4 h")
    (5400.0, None)
    """
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        return None
    return sum(float(count) * _SECONDS[unit] for count, unit in _PART.findall(value))
