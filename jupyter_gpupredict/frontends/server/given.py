"""What a client gives, held to the schemas that the OpenAPI document shows."""

from __future__ import annotations

import re
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.exceptions import best_match

from jupyter_gpupredict.core import jsontext
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.frontends.server.schemas import COMPONENTS, QUERIES, Schema, ref

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_BODY = 8 << 20
DEEPEST, MOST_VALUES = 8, 200_000
HINT = "see gpupredict/v1/openapi.json"
_COMPARED = 20
"""Faults among which the one that is told is chosen."""


def body(text: bytes, component: str) -> dict[str, Any]:
    """Return the object in a request's body, with the defaults of what it leaves out.

    Raises:
        InvalidOption: It is not what this component of the document says; the fault is named.
    """
    if len(text) > LONGEST_BODY:
        raise InvalidOption(f"the body is longer than {LONGEST_BODY >> 20} MiB", HINT)
    try:
        found: dict[str, Any] = jsontext.parse(text, DEEPEST, MOST_VALUES)
    except ValueError as error:
        raise InvalidOption(f"the body is not JSON as we take it: {error}", HINT) from error
    _check(_validator(component), found, "the body")
    fields = COMPONENTS[component]["properties"].items()
    return {name: one["default"] for name, one in fields if "default" in one} | found


def query(operation: str, name: str, text: str | None) -> Any:
    """Return a query argument as the document describes it; its default where it is not given.

    Raises:
        InvalidOption: It does not fit.
    """
    schema = QUERIES[operation][name]
    if text is None:
        return schema.get("default")
    value: Any = text
    if schema["type"] != "string":
        try:
            value = jsontext.parse(text.encode())
        except ValueError as error:
            raise InvalidOption(f"{name} is not a number", HINT) from error
    _check(_Validator(schema), value, name)
    return value


def _check(validator: Any, value: Any, place: str) -> None:
    fault = best_match(islice(validator.iter_errors(value), _COMPARED))
    if fault is not None:
        where = "".join(
            f"[{one}]" if isinstance(one, int) else f".{one}" for one in fault.absolute_path
        )
        raise InvalidOption(f"{(where.lstrip('.') or place)[:80]}: {_words(fault)[:160]}", HINT)


def _words(fault: ValidationError) -> str:
    """Return what a value should be; what it is may be long, and is not repeated."""
    if fault.validator in ("required", "additionalProperties", "dependentRequired"):
        return str(fault.message)  # names of fields
    return f"its {fault.validator} is to be {fault.validator_value}"


def _pattern(_: Any, pattern: str, value: Any, __: Schema) -> Iterator[ValidationError]:
    """Take `$` for the end alone; Python's takes a line break before it, too."""
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield ValidationError("another form")


_Validator: Any = validators.extend(
    Draft202012Validator,
    {"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


@cache
def _validator(component: str) -> Any:
    return _Validator({**ref(component), "components": {"schemas": COMPONENTS}})
