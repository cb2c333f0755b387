"""E17: what windows of kernels cost a training loop, by framework; started from our own thread."""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from typing import Any

from benchmarks.hardware.record import Lacking, main
from benchmarks.machine import shuffled_rounds
from jupyter_gpupredict.run import SessionConfig, build_session

FRAMEWORKS = ("torch", "jax", "cupy")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Count the steps of a loop without watching, twice, watched, and watched with windows."""
    found: dict[str, Any] = {}
    for name in options.frameworks:
        try:
            step = _step(name)
        except ImportError as error:
            found[name] = {"lacking": str(error)}
            continue
        costs: list[Any] = []

        def steps_per_s(step: Callable[[], None] = step) -> float:
            count, until_s = 0, time.perf_counter() + options.seconds
            while time.perf_counter() < until_s:
                step()
                count += 1
            return count / options.seconds

        def watched(
            kernels: bool,
            counted: Callable[[], float] = steps_per_s,
            costs: list[Any] = costs,
        ) -> float:
            config = SessionConfig(source="nvml", device=options.device, kernels=kernels)
            session = build_session(config, subscribers=())
            session.start()
            speed = counted()
            run = session.stop("completed")
            need = run.recommendation.geometry if run.recommendation else None
            if kernels:
                costs.append([list(run.errors), None if need is None else need.cost_s])
            return speed

        conditions: dict[str, Callable[[], float]] = {
            "nothing": steps_per_s,
            "nothing again": steps_per_s,
            "nvml": lambda watched=watched: watched(False),
            "nvml and windows": lambda watched=watched: watched(True),
        }
        found[name] = {
            "steps_per_s": shuffled_rounds(conditions, options.rounds),
            "windows": costs,
        }
    if all("lacking" in one for one in found.values()):
        raise Lacking("none of the frameworks is installed")
    return found


def _step(name: str) -> Callable[[], None]:
    """Return one step of some small and some large products."""
    library = importlib.import_module(name)
    if name == "torch":
        a = library.randn(1024, 1024, device="cuda")

        def torch_step() -> None:
            b = a
            for _ in range(20):
                b = (b @ a).relu_().mul_(0.01)
            library.cuda.synchronize()

        return torch_step
    if name == "jax":
        numpy = importlib.import_module("jax.numpy")
        a = numpy.ones((1024, 1024))
        run = library.jit(lambda x: numpy.maximum(x @ x, 0.0) * 0.01)
        return lambda: run(a).block_until_ready()
    a = library.ones((1024, 1024))

    def cupy_step() -> None:
        (a @ a).sum()
        library.cuda.Stream.null.synchronize()

    return cupy_step


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frameworks", nargs="+", default=list(FRAMEWORKS))


if __name__ == "__main__":
    raise SystemExit(main("E17: cost of windows", measure, needs_mps=False, more=_options))
