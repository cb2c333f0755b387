"""Small rules that several workloads share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.checks.shapes import join
from jupyter_gpupredict.export.checks.values import whole

if TYPE_CHECKING:
    from jupyter_gpupredict.export.checks.ledger import Ledger


def limit(value: Any, where: str, ledger: Ledger) -> None:
    """Note a time limit in seconds."""
    found = whole(value)
    if found is not None:
        ledger.limits_s.append((float(found), where))


def order(
    rule: str, found: dict[str, Any], low: str, high: str, where: str, ledger: Ledger
) -> None:
    """Check that the most is at least one, and at least the least."""
    least, most = whole(found.get(low)), whole(found.get(high))
    if most is not None and (most < 1 or (least or 0) > most):
        ledger.add(rule, join(where, high), f"must be at least 1 and at least {low}")
