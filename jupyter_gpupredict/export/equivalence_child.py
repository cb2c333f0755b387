"""Run as a script: a notebook's cells, or their function, and what they made, as plain data.

It reads a job, `{way, sources, module, begin, names, params, steps, limit_s}`, from the file that
its argument names, and writes `{began, ended, steps, value, names, error, failed}` beside it.
Nothing of this package is imported, and of the frameworks only what the code imports.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import inspect
import json
import math
import os
import random
import signal
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

SEED = 0
_SEEDS = {
    "numpy": "random.seed",
    "torch": "manual_seed",
    "tensorflow": "random.set_seed",
}
_ITEMS = 20
_DEEP = 4


class Enough(BaseException):
    """Ends the code when it has run for long enough; no `except Exception` stops it."""


class Steps:
    """Counts training steps from the measured cell's beginning, and ends the code after some."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.done = 0
        self.ended = ""
        self.failed: list[str] = []
        """Cells before the measured one that raised something."""
        self.counts = self.began = False
        self._attached: set[str] = set()
        self._seeded: set[str] = set()
        self._import = builtins.__import__
        self._depth = 0

    def watch(self) -> None:
        """Attach to each framework as soon as the code has imported it."""

        def imported(*given: Any, **options: Any) -> Any:
            self._depth += 1
            try:
                return self._import(*given, **options)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.attach()

        builtins.__import__ = imported

    def attach(self) -> None:
        """Seed what is new; count the steps of PyTorch's optimizers and a Keras `fit`'s batches."""
        new = [name for name in _SEEDS if name in sys.modules and name not in self._seeded]
        self._seeded.update(new)
        seed(new)
        for name, attach in (("torch", self._torch), ("keras", self._keras)):
            if name in sys.modules and name not in self._attached:
                self._attached.add(name)
                with contextlib.suppress(Exception):
                    attach(sys.modules[name])

    def begin(self) -> None:
        """Begin to count, with the same seeds whatever ran before."""
        random.seed(SEED)
        seed()
        self.attach()
        self.counts = self.began = True

    def step(self, *_: Any) -> None:
        """Count one; ends the code when there have been enough.

        Raises:
            Enough: There have.
        """
        self.done += self.counts
        if self.done >= self.most:
            self.end("steps")

    def end(self, why: str) -> None:
        """End the code.

        Raises:
            Enough: Always.
        """
        self.ended, self.counts = why, False
        raise Enough(why)

    def _torch(self, torch: Any) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(self.step)

    def _keras(self, keras: Any) -> None:
        whole, step = keras.Model.fit, self.step

        class Counting(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                step(batch, logs)

        def fit(model: Any, *given: Any, **options: Any) -> Any:
            bound = inspect.signature(whole).bind(model, *given, **options)
            bound.arguments["callbacks"] = [*(bound.arguments.get("callbacks") or []), Counting()]
            return whole(*bound.args, **bound.kwargs)

        keras.Model.fit = fit


def seed(names: Collection[str] = tuple(_SEEDS)) -> None:
    """Seed what draws by chance, of what is imported; Keras draws its seeds from `random`."""
    for name in names:
        found: Any = sys.modules.get(name)
        with contextlib.suppress(Exception):
            for part in _SEEDS[name].split("."):
                found = getattr(found, part)
            found(SEED)


# ---- what was made -------------------------------------------------------------------------------


def described(value: Any, depth: int = 0) -> Any:
    """Return an object as plain data that is the same for the same training.

    Numbers that depend on the values, and not on counts and shapes, stand under `sum` or as floats.
    """
    kind = type(value)
    libraries = {one.__module__.partition(".")[0] for one in kind.__mro__}
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return value[:200]
    if depth > _DEEP or isinstance(value, types.ModuleType | types.FunctionType | type):
        return kind.__name__
    if isinstance(value, dict):
        return {
            str(key)[:80]: described(one, depth + 1) for key, one in list(value.items())[:_ITEMS]
        } | ({"(length)": len(value)} if len(value) > _ITEMS else {})
    if isinstance(value, list | tuple):
        return {
            "length": len(value),
            "items": [described(one, depth + 1) for one in value[:_ITEMS]],
        }
    with contextlib.suppress(Exception):
        if libraries & {"torch"} and callable(getattr(value, "named_parameters", None)):
            return _weights([p for _, p in value.named_parameters()], "requires_grad")
        if libraries & {"torch"} and isinstance(getattr(value, "param_groups", None), list):
            groups = value.param_groups
            return _weights([p for one in groups for p in one["params"]], "requires_grad") | {
                "rate": [float(one.get("lr", 0.0)) for one in groups]
            }
        if libraries & {"keras", "tf_keras"} and hasattr(value, "weights"):
            return _weights(list(value.weights), "trainable")
        if libraries & {"keras", "tf_keras"} and isinstance(getattr(value, "history", None), dict):
            return described(value.history, depth + 1)
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            return {"shape": [int(n) for n in value.shape], "sum": _sum(value)}
        if hasattr(value, "shape") and hasattr(value, "columns"):
            return {"shape": list(value.shape), "columns": [str(one) for one in value.columns][:50]}
        if libraries & {"sklearn"} and kind.__name__ == "Tree":
            return described(value.__getstate__(), _DEEP)
        if callable(getattr(value, "get_params", None)):
            return {"settings": described(value.get_params(), depth + 1)} | {
                name: described(one, depth + 1)
                for name, one in sorted(vars(value).items())
                if name.endswith("_") and not name.startswith("_") and "time" not in name
            }
        leaves = _leaves(value)
        if leaves:
            return _weights(leaves, "")
    return kind.__name__


def _weights(found: list[Any], trains: str) -> dict[str, Any]:
    shapes = [[int(n) for n in one.shape] for one in found]
    said: dict[str, Any] = {"parameters": sum(map(math.prod, shapes)), "shapes": shapes}
    if trains:
        named = zip(shapes, found, strict=True)
        said["trained"] = sum(math.prod(shape) for shape, one in named if getattr(one, trains))
    return said | {"sum": [_sum(one) for one in found]}


def _leaves(value: Any) -> list[Any]:
    """Return the arrays of a tree of JAX's, such as a module of Equinox; none of anything else."""
    jax: Any = sys.modules.get("jax")
    if jax is None:
        return []
    return [one for one in jax.tree_util.tree_leaves(value) if hasattr(one, "shape")]


def _sum(value: Any) -> Any:
    import numpy

    with contextlib.suppress(Exception):
        value = value.detach().cpu() if hasattr(value, "detach") else value
        array = numpy.asarray(value.float() if hasattr(value, "float") else value)
        found = float(numpy.abs(array.astype(float)).sum())
        return found if math.isfinite(found) else str(found)
    return None


# ---- the two ways --------------------------------------------------------------------------------


def run_cells(job: dict[str, Any], steps: Steps) -> tuple[Any, dict[str, Any]]:
    """Run the cells in one namespace; returns the last value and the namespace."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    for number, source in enumerate(job["sources"], start=1):
        last = number == len(job["sources"])
        if last:
            steps.begin()
        try:
            value = _run_cell(source, f"<cell {number}>", vars(main))
        except Exception as error:  # a notebook goes on with the next cell, too
            if last:
                raise
            steps.failed.append(f"{number}: {type(error).__name__}: {error}"[:200])
        except Enough:
            if not last:
                raise
            value = None
    return value, vars(main)


def _run_cell(source: str, name: str, namespace: dict[str, Any]) -> Any:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    for one in (tree, ast.Expression(last.value) if isinstance(last, ast.Expr) else None):
        if one is None:
            return None
        mode = "eval" if isinstance(one, ast.Expression) else "exec"
        code = compile(one, name, mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        value = eval(code, namespace)  # noqa: S307 - the user's own cell
        if inspect.iscoroutine(value) and code.co_flags & inspect.CO_COROUTINE:
            value = asyncio.run(value)
    return value


def run_function(job: dict[str, Any], steps: Steps) -> tuple[Any, dict[str, Any]]:
    """Run the module's function; returns its value, and the names that it and the module have."""
    path = Path(job["module"])
    sys.path.insert(0, str(path.parent))
    text = path.read_text(encoding="utf-8")
    module = types.ModuleType("train_fn")
    module.__file__ = str(path)
    sys.modules["train_fn"] = module
    seen: dict[str, Any] = {}
    vars(module).update({"_gpupredict_seen": seen.update, "_gpupredict_begin": steps.begin})
    exec(compile(_watched(text, job["begin"]), str(path), "exec"), vars(module))  # noqa: S102 - their function
    value = None
    with contextlib.suppress(Enough):
        value = module._cell(module._known(job["params"]))
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
    return value, vars(module) | seen


def _watched(text: str, begin: str) -> ast.Module:
    """Return the module with a `_cell` that says where the measured cell begins, and its names."""
    tree = ast.parse(text)
    starts = [n for n, line in enumerate(text.splitlines(), start=1) if line.strip() == begin]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "_cell":
            at = next(
                (n for n, one in enumerate(node.body) if starts and one.lineno > starts[-1]), 0
            )
            node.body.insert(at, ast.parse("_gpupredict_begin()").body[0])
            last = ast.parse("_gpupredict_seen(locals())").body
            declared = [one for one in node.body if isinstance(one, ast.Global)]
            rest = [one for one in node.body if not isinstance(one, ast.Global)]
            node.body = [*declared, ast.Try(rest, [], [], last)]
    return ast.fix_missing_locations(tree)


def main() -> None:
    """Do the job."""
    path = Path(sys.argv[1])
    job = json.loads(path.read_text(encoding="utf-8"))
    steps = Steps(job["steps"])
    vars(builtins).setdefault("display", lambda *_, **__: None)
    signal.signal(signal.SIGALRM, lambda *_: steps.end("time"))
    signal.setitimer(signal.ITIMER_REAL, job["limit_s"])
    steps.watch()
    random.seed(SEED)
    steps.attach()
    answer: dict[str, Any] = {"error": ""}
    try:
        way = run_cells if job["way"] == "cells" else run_function
        value, names = way(job, steps)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answer |= {
            "value": described(value),
            "names": {
                name: described(names[own])
                for name in job["names"]
                for own in (f"notebook_{name.lstrip('_')}", name)
                if own in names
            },
        }
    except BaseException as error:  # noqa: BLE001 - whatever ends it is told
        answer["error"] = f"{type(error).__name__}: {error}"[:500]
    answer |= {
        "began": steps.began,
        "ended": steps.ended,
        "steps": steps.done,
        "failed": steps.failed,
    }
    text = json.dumps(answer, default=str)
    path.with_suffix(".answer").write_text(text, encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # neither threads nor handlers of the code's own hold it up


if __name__ == "__main__":
    main()
