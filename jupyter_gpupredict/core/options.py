"""What an option is: one description, from which every front end makes its own form of it.

A frozen dataclass holds the options of one thing; each of its fields is made with `option`. The
command line, the magic, `%config`, keyword arguments, the HTTP schema and docs/options.md are read
off those fields, so names, defaults and help are the same everywhere.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import textwrap
from dataclasses import MISSING, dataclass, field
from typing import Any, TypeVar

from jupyter_gpupredict.core.errors import InvalidOption

_Value = TypeVar("_Value")
_KINDS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
_MOST = 50
"""Values of one option that a request may hold."""
_KIND = re.compile("|".join(_KINDS))


@dataclass(frozen=True, slots=True)
class Option:
    """One option, as its field describes it."""

    name: str
    """As a keyword and in JSON, with its unit: `window_s`."""
    kind: type
    """`str`, `int`, `float` or `bool`; of each value, where there may be several."""
    default: Any
    """`MISSING` where it has to be given."""
    help: str
    """One line."""
    metavar: str = ""
    short: tuple[str, ...] = ()
    """Further names on a command line, such as `--window`."""
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    """What its range is counted in, as a message says it."""
    choices: tuple[str, ...] = ()
    several: str = ""
    """`list` or `pairs` (KEY=VALUE) where more than one may be given."""
    longest: int = 1000
    """Characters of a text."""
    pattern: str = ""
    """What a text has to match, where it comes as JSON."""

    @property
    def flag(self) -> str:
        """Its name on a command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    @property
    def described(self) -> str:
        """Its help with the default that is used when it is not given."""
        usual = self.default
        if self.required or usual in (None, "", (), False):
            return self.help
        return f"{self.help} (default: {'on' if usual is True else usual})"


def option(default: _Value, help: str, **more: Any) -> _Value:  # noqa: A002 - as argparse says it
    """Return a dataclass field that describes an option; `more` are fields of `Option`."""
    made: Any = field(default=default, metadata={"help": help, **more})
    return made  # type: ignore[no-any-return] # the field stands where its value will


def required(help: str, **more: Any) -> Any:  # noqa: A002 - as argparse says it
    """Return a dataclass field of an option that has to be given."""
    return field(metadata={"help": help, **more})


def options_of(owner: type[Any]) -> tuple[Option, ...]:
    """Return the options that a dataclass describes, in its order."""
    return tuple(
        Option(
            one.name,
            _KINDS[_KIND.findall(str(one.type))[0]],
            one.default,
            **one.metadata,
        )
        for one in dataclasses.fields(owner)
        if "help" in one.metadata
    )


def check(owner: Any) -> None:
    """Check each option of an instance against its own description.

    Raises:
        InvalidOption: A value is out of range, or none of the choices.
    """
    for one in options_of(type(owner)):
        value = getattr(owner, one.name)
        if value is None or value == one.default:
            continue
        if one.choices and value not in one.choices:
            raise InvalidOption(f"{one.flag} {value!r} is unknown", ", ".join(one.choices))
        if not math.isinf(one.low) and not (math.isfinite(value) and one.low <= value <= one.high):
            raise InvalidOption(
                f"{one.flag} {value:g} is out of range", f"{one.low:g} to {one.high:g} {one.unit}"
            )


def schema(one: Option) -> dict[str, Any]:
    """Return the JSON Schema of an option's value, which may be null where that is its default.

    `x-unit`: what its number is counted in.
    """
    words = {"type": _JSON_TYPES[one.kind]}
    found: dict[str, Any] = words
    if one.kind is str:
        found = {**words, "maxLength": one.longest}
        if one.pattern:
            found["pattern"] = one.pattern
    if one.choices:
        found = {"enum": ["", *one.choices]}
    if not math.isinf(one.low):
        found |= {"minimum": one.low, "maximum": one.high}
    if one.several == "list":
        found = {"type": "array", "items": found, "maxItems": _MOST}
    elif one.several:
        names = {"maxLength": 2 * one.longest}
        found = {
            "type": "object",
            "propertyNames": names,
            "additionalProperties": found,
            "maxProperties": _MOST,
        }
    if one.default is None:
        found = {"anyOf": [found, {"type": "null"}]}
    elif not one.required:
        usual: Any = {} if one.several == "pairs" else one.default
        found["default"] = list(usual) if isinstance(usual, tuple) else usual
    if one.unit:
        found |= {"x-unit": one.unit}
    return found | {"description": one.help}


def signature(*owners: type[Any], method: bool = False) -> inspect.Signature:
    """Return the signature of a function, or method, that takes the options as keywords."""
    empty, keyword = inspect.Parameter.empty, inspect.Parameter.KEYWORD_ONLY
    own = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)] if method else []
    options = [one for owner in owners for one in options_of(owner)]
    return inspect.Signature(
        own
        + [
            inspect.Parameter(one.name, keyword, default=empty if one.required else one.default)
            for one in options
        ]
    )


def listed(*owners: type[Any], indent: int = 4) -> str:
    """Return the options as the `Args` of a docstring."""
    lines = [f"    {one.name}: {one.described}." for owner in owners for one in options_of(owner)]
    return textwrap.indent("\n".join(lines), " " * indent)
