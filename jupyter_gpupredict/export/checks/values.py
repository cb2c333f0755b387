"""The small grammars of manifests: quantities, names, durations, credentials."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""DNS-1123 label."""
LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)
LABEL_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
PERCENT = re.compile(r"[1-9][0-9]?|100")
MEMORY_ENTRY = re.compile(r"([0-9]+|GPU-[0-9a-fA-F-]+)=([1-9][0-9]*)([MG])")
SECRET_NAME = re.compile(
    r"(.*_)?(SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)(_ID)?",
    re.IGNORECASE,
)
MIB = 1 << 20
_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?"
)
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def quantity(value: Any) -> Decimal | None:
    """Return a Kubernetes quantity in its base unit; None when it is none.

    >>> quantity("8Gi"), quantity("500m"), quantity("5874MiB")
    (Decimal('8589934592'), Decimal('0.500'), None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    found = _QUANTITY.fullmatch(str(value))
    if found is None:
        return None
    number, suffix = Decimal(found[1]), found[2] or ""
    if suffix in _BINARY:
        return number * Decimal(1024) ** _BINARY[suffix]
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return number.scaleb(int(suffix[1:]))
    return number.scaleb(_DECIMAL[suffix])


def whole(value: Any) -> int | None:
    """Return a plain non-negative whole number, as a number or as digits; None when it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value >= 0 else None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
        return int(value)
    return None


def seconds(value: Any) -> float | None:
    """Return a Go duration in seconds; None when it is none.

    >>> seconds("1h30m"), seconds("4 h")
    (5400.0, None)
    """
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        return None
    return sum(float(count) * _SECONDS[unit] for count, unit in _PART.findall(value))


def table(value: Any) -> dict[str, Any]:
    """Return a mapping as it is, anything else as an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Return a list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def at(value: Any, *path: str | int) -> Any:
    """Return what stands at a path of keys and positions; None where it ends."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def extended(name: str) -> bool:
    """Whether a resource is an extended one: such come in whole pieces."""
    return "/" in name and "kubernetes.io/" not in name
