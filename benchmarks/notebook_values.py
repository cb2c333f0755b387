"""What a notebook's training made, as numbers; run as a program, it runs cells or their function.

Both begin with the same stand-ins: data sets that would be downloaded are small and random, and a
Keras `fit` runs one epoch.

Run by notebooks.py: python -m benchmarks.notebook_values cells|function FOLDER
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import sys
from pathlib import Path
from typing import Any


def values(**found: Any) -> str:
    """Return what the names hold, as text that is the same for the same numbers."""
    return json.dumps({name: _value(one, 0) for name, one in sorted(found.items())})


def _value(one: Any, depth: int) -> Any:
    kind = type(one)
    module = kind.__module__.partition(".")[0]
    if one is None or isinstance(one, bool | str):
        return one if not isinstance(one, str) else one[:80]
    if isinstance(one, int | float):
        return float(f"{float(one):.4g}") if math.isfinite(one) else str(one)
    if depth > 3:
        return kind.__name__
    if callable(getattr(one, "named_parameters", None)):
        state = [(n, list(p.shape), p.requires_grad, _sum(p)) for n, p in one.named_parameters()]
        return [len(state), state[:50]]
    if module in ("keras", "tensorflow") and hasattr(one, "weights"):
        with contextlib.suppress(Exception):
            return [(list(w.shape), _sum(w)) for w in one.weights[:50]]
    if hasattr(one, "shape") and hasattr(one, "dtype"):
        return [kind.__name__, [int(n) for n in one.shape], _sum(one)]
    if isinstance(one, dict):
        return {str(k)[:40]: _value(v, depth + 1) for k, v in list(one.items())[:30]}
    if isinstance(one, list | tuple):
        return [len(one), [_value(v, depth + 1) for v in one[:20]]]
    if callable(getattr(one, "get_params", None)) and module in ("sklearn", "xgboost", "lightgbm"):
        fitted = {n: v for n, v in vars(one).items() if n.endswith("_") and not n.startswith("_")}
        timed = ("time", "_scorer")
        return {
            n: _value(v, depth + 2) for n, v in fitted.items() if not any(t in n for t in timed)
        }
    if hasattr(one, "history") and isinstance(one.history, dict):
        return _value(one.history, depth + 1)
    return kind.__name__


def _sum(one: Any) -> Any:
    import numpy

    with contextlib.suppress(Exception):
        array = one.detach().cpu().numpy() if hasattr(one, "detach") else numpy.asarray(one)
        return float(f"{float(numpy.sum(array, dtype=float)):.4g}")
    return "?"


def stand_in() -> None:
    """Put small random data in the place of data sets that would be downloaded."""
    import numpy

    def load(shape: tuple[int, ...], classes: int) -> Any:
        def load_data(*_: Any, **__: Any) -> Any:
            chance = numpy.random.default_rng(0)

            def part(size: int) -> Any:
                x = chance.integers(0, 255, (size, *shape)).astype("uint8")
                return x, chance.integers(0, classes, (size,)).astype("uint8")

            return part(256), part(64)

        return load_data

    def words(*_: Any, num_words: int = 1000, **__: Any) -> Any:
        chance = numpy.random.default_rng(0)

        def part(size: int) -> Any:
            x = numpy.empty(size, dtype=object)
            x[:] = [list(map(int, chance.integers(1, num_words or 1000, 20))) for _ in range(size)]
            return x, chance.integers(0, 2, size)

        return part(256), part(64)

    def houses(*_: Any, **__: Any) -> Any:
        chance = numpy.random.default_rng(0)
        return (chance.random((256, 13)), chance.random(256)), (
            chance.random((64, 13)),
            chance.random(64),
        )

    os.environ.setdefault("MPLBACKEND", "Agg")
    with contextlib.suppress(ImportError):
        keras = importlib.import_module("keras")
        places = [keras.datasets]
        if "tensorflow" in sys.argv[-1]:
            places.append(importlib.import_module("tensorflow").keras.datasets)
        for sets in places:
            for name in ("mnist", "fashion_mnist"):
                getattr(sets, name).load_data = load((28, 28), 10)
            sets.cifar10.load_data = load((32, 32, 3), 10)
            sets.imdb.load_data = sets.reuters.load_data = words
            for name in ("boston_housing", "california_housing"):
                if hasattr(sets, name):
                    getattr(sets, name).load_data = houses
        whole = keras.Model.fit

        def fit(self: Any, *given: Any, **options: Any) -> Any:
            options["epochs"] = options.get("initial_epoch", 0) + 1
            return whole(self, *given[:3], **options)

        keras.Model.fit = fit


def main() -> None:
    """Run the cells, or the function, of a folder and print the value."""
    way, folder = sys.argv[1], Path(sys.argv[2])
    sources = json.loads((folder / "cells.json").read_text())
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["WANDB_MODE"] = "offline"
    if any("keras" in one or "tensorflow" in one for one in sources):
        sys.argv.append("tensorflow" if any("tensorflow" in one for one in sources) else "")
        if any("KERAS_BACKEND" in one for one in sources) is False:
            os.environ.setdefault("KERAS_BACKEND", "tensorflow" if sys.argv[-1] else "torch")
        stand_in()
    (folder / way).mkdir()
    os.chdir(folder / way)
    out = os.dup(1)
    os.dup2(2, 1)
    if any("torch" in one for one in sources):
        importlib.import_module("torch").manual_seed(0)
    if any("keras" in one for one in sources):
        importlib.import_module("keras").utils.set_random_seed(0)
    if way == "function":
        sys.path.insert(0, str(folder))
        answer = importlib.import_module("train_fn").train({})["result"]
    else:
        from IPython.core.interactiveshell import InteractiveShell

        shell = InteractiveShell.instance()
        for source in sources:
            ended = shell.run_cell(source, store_history=False)
            if source is sources[-1]:
                ended.raise_error()
        answer = ended.result
    os.write(out, (answer + "\n").encode())
    os._exit(0)


if __name__ == "__main__":
    main()
