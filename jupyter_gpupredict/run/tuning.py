"""The numbers that people tune in a cell, and which of them changed since an earlier run.

Of the source only numbers under known names are kept, so no text of the user's is stored.
"""

from __future__ import annotations

import ast
import hashlib
import math
import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jupyter_gpupredict.core.events import SessionFinished, SessionStarted
    from jupyter_gpupredict.core.recommendation import MemoryEstimate

TUNED = frozenset(
    {"epochs", "num_epochs", "n_epochs", "max_epochs", "num_train_epochs", "lr", "learning_rate",
     "base_lr", "lr_max", "batch_size", "per_device_train_batch_size", "max_steps", "num_steps",
     "steps_per_epoch", "n_estimators", "num_boost_round", "iterations", "max_iter", "seed",
     "random_state", "weight_decay", "momentum", "warmup_steps", "gradient_accumulation_steps",
     "max_depth", "n_epoch", "hidden_size", "dropout", "num_leaves"}
)  # fmt: skip
"""Keywords under which libraries take what is tuned."""
MEMORY_POWERS = {
    "batch_size": 1, "per_device_train_batch_size": 1, "image_size": 2, "img_size": 2,
}  # fmt: skip
"""Numbers that memory may be scaled by -> the power: an image has two sides."""
LONGEST = 200_000
"""Characters of a cell that are looked through: a cell must not wait for it."""
_MAGIC = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)
_ROUNDS = {"epoch": "epochs", "ep": "epochs", "step": "steps"}
_NAMES = {*TUNED, *MEMORY_POWERS, *_ROUNDS.values()}


def tuned_numbers(source: str) -> tuple[dict[str, float], str | None]:
    """Return the numbers under known names, and a digest of the code without them.

    The digest is equal for cells that differ in these numbers and in comments alone; None where
    the code cannot be read, or tunes nothing.

    >>> tuned_numbers("fit(batch_size=64)")[0]
    {'batch_size': 64.0}
    """
    if len(source) > LONGEST:
        return {}, None
    found: dict[str, float] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the cell itself warns of its code
            tree = ast.parse(_MAGIC.sub(r"\1pass", source))
        named = [pair for node in ast.walk(tree) for pair in _named(node)]
        for wanted, number in sorted(named, key=lambda one: (one[1].lineno, one[1].col_offset)):
            name, count = wanted, 1
            while name in found:
                count += 1
                name = f"{wanted}_{count}"
            found[name] = float(number.value)  # type: ignore[arg-type] # `_is_number` saw to it
            number.value = 0
        outline = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return {}, None
    return (found, outline) if found else ({}, None)


def changed_since(
    before: tuple[SessionStarted, SessionFinished] | None,
    numbers: Mapping[str, float],
    scale_by: str,
) -> tuple[str, tuple[MemoryEstimate, str] | None]:
    """Return what changed since an earlier run, in words, and its memory, if it is scaled.

    Args:
        before: The newest run of code that differs from this in tuned numbers alone.
        numbers: Those of this code.
        scale_by: The number that the earlier memory peak goes with; empty: it is not used.

    The memory comes with the words for the run that it is of. A peak is never scaled down: what
    does not depend on the number, such as weights, stays.
    """
    earlier = {} if before is None else before[0].tuning
    changed = {name: (earlier[name], now) for name, now in numbers.items() if name in earlier}
    changed = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
    if before is None or not changed:
        none = f"no earlier run of this code had another {scale_by}: no memory is scaled"
        return none if scale_by else "", None
    started, finished = before
    since = ", ".join(f"{name} {old:.10g} → {new:.10g}" for name, (old, new) in changed.items())
    words = f"{since} since the run of {started.started_at[:10]}"
    if not scale_by:
        return f"{words}, whose figures are not used", None
    pairs = [pair for name, pair in changed.items() if re.sub(r"_\d+$", "", name) == scale_by]
    memory = finished.recommendation.memory if finished.recommendation else None
    if not pairs or min(old for old, _ in pairs) <= 0.0:
        return f"{words}; {scale_by} is not among it, so no memory is scaled", None
    if memory is None or math.isnan(memory.peak_bytes) or memory.basis == "allocator":
        return f"{words}, of which no memory peak is known", None
    if memory.preallocated or finished.profile is None:
        why = "took memory in advance" if memory.preallocated else "was not measured to its end"
        return f"{words}, which {why}, so no memory is scaled", None
    ratio = max(1.0, *((new / old) ** MEMORY_POWERS[scale_by] for old, new in pairs))
    of = f"with another {scale_by}, times {ratio:.3g}"
    scaled = replace(memory, peak_bytes=ratio * memory.peak_bytes, target_bytes=None)
    return f"{words}, whose memory peak counts {ratio:.3g} times", (scaled, of)


def _named(node: ast.AST) -> Iterator[tuple[str, ast.Constant]]:
    """Yield the tuned numbers that stand in a node itself, each with its name."""
    pairs: list[tuple[Any, ast.expr | None]] = []
    match node:
        case ast.keyword(arg=name, value=value):
            pairs = [(name, value)]
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            pairs = [(name, value)]
        case ast.AnnAssign(target=ast.Name(id=name), value=value):
            pairs = [(name, value)]
        case ast.Dict():
            pairs = [
                (getattr(key, "value", None), value)
                for key, value in zip(node.keys, node.values, strict=True)
            ]
        case ast.For(target=ast.Name(id=name)) if name in _ROUNDS:
            calls = [one for one in ast.walk(node.iter) if isinstance(one, ast.Call)]
            ranges = [one for one in calls if getattr(one.func, "id", "") in {"range", "trange"}]
            pairs = [(_ROUNDS[name], one.args[0]) for one in ranges if len(one.args) == 1]
    for name, value in pairs:
        lower = name.lower() if isinstance(name, str) else ""
        if lower in _NAMES and isinstance(value, ast.Constant) and _is_number(value.value):
            yield lower, value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
