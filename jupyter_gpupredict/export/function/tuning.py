"""Literals that people want to vary: arguments of training calls, rounds of the training loop."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import keyword
from typing import TYPE_CHECKING

from jupyter_gpupredict.export.function.names import BUILTIN
from jupyter_gpupredict.export.function.statements import is_literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from jupyter_gpupredict.export.function.placing import Placed
    from jupyter_gpupredict.export.function.statements import Order

_WANTED = frozenset(
    {"epochs", "num_epochs", "n_epochs", "max_epochs", "num_train_epochs", "lr", "learning_rate",
     "base_lr", "lr_max", "batch_size", "per_device_train_batch_size", "max_steps", "num_steps",
     "steps_per_epoch", "n_estimators", "num_boost_round", "iterations", "max_iter", "seed",
     "random_state", "weight_decay", "momentum", "warmup_steps", "gradient_accumulation_steps",
     "max_depth", "n_epoch", "hidden_size", "dropout", "num_leaves"}
)  # fmt: skip
"""Keywords under which libraries take what is tuned."""
_ROUNDS = {"epoch": "epochs", "ep": "epochs", "e": "epochs", "step": "steps", "i": "steps",
           "it": "iterations", "iteration": "iterations", "t": "steps", "_": "rounds",
           "episode": "episodes"}  # fmt: skip
"""Loop variable -> the parameter for the loop's bound."""
_TRAINS = frozenset({"backward", "train_step", "train_on_batch", "apply_gradients", "step", "fit"})


def tune(placed: Placed, reserved: Collection[str]) -> tuple[Placed, dict[Order, tuple[str, ...]]]:
    """Return the parts with the literals' parameters among the defaults, and where they stand.

    Args:
        placed: The parts; of these, what the call runs is looked through.
        reserved: Names that mean something else.
    """
    used = {*BUILTIN, *keyword.kwlist, *reserved, *dict(placed.defaults), *placed.required}
    for one in placed.kept:
        used |= one.names.strong | one.names.weak | one.names.later | one.names.binds
    defaults: list[tuple[str, ast.expr]] = []
    places = dict(placed.places)
    tuned: dict[Order, tuple[str, ...]] = {}
    for one in (*placed.prelude, *placed.body):
        given: list[str] = []
        for value, wanted in literals_of(one.node):
            numbered = (f"{wanted}_{number}" for number in itertools.count(2))
            name = next(n for n in itertools.chain([wanted], numbered) if n not in used)
            used.add(name)
            given.append(name)
            defaults.append((name, value))
            places[name] = one.place
        if given:
            tuned[one.order] = tuple(given)
    changed = dataclasses.replace(placed, defaults=(*placed.defaults, *defaults), places=places)
    return changed, tuned


def literals_of(node: ast.stmt) -> Iterator[tuple[ast.expr, str]]:
    """Yield the literals of a statement that become parameters, each with its keyword."""
    for inner in _at_once(node):
        if isinstance(inner, ast.Call):
            for word in inner.keywords:
                if word.arg in _WANTED and _is_number(word.value):
                    yield word.value, word.arg
        elif isinstance(inner, ast.For) and _is_training(inner):
            match inner.iter:
                case ast.Call(func=ast.Name(id="range" | "trange"), args=[bound], keywords=_) if (
                    _is_number(bound)
                ):
                    yield bound, _ROUNDS[getattr(inner.target, "id", "")]
                case ast.Call(args=[ast.Call(func=ast.Name(id="range"), args=[bound]), *_]) if (
                    _is_number(bound)
                ):
                    yield bound, _ROUNDS[getattr(inner.target, "id", "")]


def _at_once(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run with the statement: not the bodies of functions and classes."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            yield from _at_once(child)


def _is_number(node: ast.expr) -> bool:
    constants = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in constants)
    return bool(constants) and numbers and is_literal(node)


def _is_training(node: ast.For) -> bool:
    called = {
        inner.func.attr if isinstance(inner.func, ast.Attribute) else getattr(inner.func, "id", "")
        for inner in ast.walk(node)
        if isinstance(inner, ast.Call)
    }
    named = isinstance(node.target, ast.Name) and node.target.id in _ROUNDS
    return named and bool(called & _TRAINS or any("train" in one for one in called))
