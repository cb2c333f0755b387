"""How the presets' settings are chosen: by what the other families say, each left out in turn.

A setting of the windows rule is its horizon, least time, number of windows and noise. All settings
go through all development runs at once, as `default` does. Then for each family of recordings and
each synthetic scenario the others choose: of the settings that watch at most a budget of them, the
one that errs least (fc). Where no setting ever settles a group, it has no say. What was chosen is
scored on the family that was left out; that is the held-out figure.

Run: python -m benchmarks.choice TRACES [--seeds 60] [--jobs 2], or --again alone

It takes a quarter of an hour on two cores, and writes `choice.md`; `--again` writes it from what
the last run left in `build/choice.pickle`.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import header
from jupyter_gpupredict.backtest import tables
from jupyter_gpupredict.backtest.cases import Case, Simulated, folder, simulated
from jupyter_gpupredict.backtest.score import Answer, score, truth
from jupyter_gpupredict.backtest.spread import Where, spread
from jupyter_gpupredict.core.recommendation import LEAST_ACTIVE_S, LEAST_N_EFF, Estimate
from jupyter_gpupredict.predict.confidence import confidence
from jupyter_gpupredict.predict.history import History, Parts, Witness, witnesses
from jupyter_gpupredict.predict.rules import windows as rule
from jupyter_gpupredict.predict.windows import (
    ACTIVE_RATIO,
    MIN_READINGS,
    SLACK,
    ClosedWindow,
    SlidingWindows,
    is_active,
    least_pooled_s,
)
from jupyter_gpupredict.run import predict_recording
from jupyter_gpupredict.run.recordings import source_info
from jupyter_gpupredict.sources.recording import Trace

TARGET = Path(__file__).with_suffix(".md")
KEPT = Path("build/choice.pickle")
COVERAGE, TOLERANCE = 0.95, 0.05
HORIZONS = (1 / 2, 2 / 3, 4 / 5)
LEAST_S = (360.0, 480.0, 600.0, 720.0, 920.0, 1050.0, 1200.0)
WINDOWS = (4, 8, 12)
NOISES = (2.0, 3.0, 5.0)
BUDGETS = tuple(percent / 100 for percent in range(36, 72, 2))
HOUR_S = 3600.0
SETTLED_RATIO = 0.99
"""A group of which every setting watches more has no say."""
MEASURES = ("watched", "fc", "fccov", "fc over an hour")


class Setting(NamedTuple):
    """Of the windows rule."""

    horizon: float
    least_s: float
    windows: int
    noise: float

    def __str__(self) -> str:
        return (
            f"{self.windows} windows over {self.horizon:.2f}, from {self.least_s:.0f} s on, "
            f"{self.noise:.0f} standard errors"
        )


SETTINGS = tuple(itertools.starmap(Setting, itertools.product(HORIZONS, LEAST_S, WINDOWS, NOISES)))
PRESETS = {
    "default": Setting(rule.HORIZON, 600.0, 8, 5.0),
    "accurate": Setting(rule.HORIZON, 920.0, 8, 2.0),
    "quick": Setting(rule.HORIZON, 360.0, 3, 5.0),
}
ALL = (*SETTINGS, *(one for one in PRESETS.values() if one not in SETTINGS))
"""What is tried; among the first ones is chosen."""


class Tried:
    """A rule that never fires, and notes when each setting would have."""

    def __init__(self, trace: Trace, fired: dict[Setting, Estimate], period_s: float) -> None:
        self._fired = fired
        fired.clear()  # a false start made the run begin anew
        self._least_s = least_pooled_s(period_s)
        self._history = History(max(rule.BLOCK_S, MIN_READINGS * period_s), COVERAGE)
        self._witnesses = _witnesses(trace)
        self._blocks: SlidingWindows | None = None
        self._pooled: list[tuple[float, float]] = []
        self._active_s = 0.0

    def update(
        self, time_s: float, value: float, weight_s: float, span_s: float | None = None
    ) -> Estimate | None:
        """Take one reading; see `jupyter_gpupredict.predict.Predictor`."""
        seconds = weight_s if span_s is None else span_s
        if self._blocks is None:
            self._blocks = SlidingWindows(self._history.block_s, time_s - seconds, COVERAGE)
        if weight_s > 0.0 and is_active(value):
            self._active_s += seconds
        for block in self._blocks.add(time_s, value, weight_s, span_s):
            self._history.add(block)
            self._pooled += [(at_s, share) for at_s, share, _ in block.readings]
            self._look(time_s)
        self._blocks.lengthen(self._history.block_s)
        return None

    def predict(self) -> Estimate | None:
        """Say nothing."""
        return None

    def windows(self) -> Sequence[ClosedWindow]:
        """Show nothing."""
        return ()

    def _look(self, time_s: float) -> None:
        """Ask each setting that has not fired, as `WindowsRule` asks its own."""
        left = (one for one in ALL if one not in self._fired)
        evident = functools.cache(self._evident)
        periods = functools.cache(self._periods)
        for (horizon, least_s, windows), some in itertools.groupby(left, lambda one: one[:3]):
            whole_s = max(least_s, self._least_s)
            parts = self._history.last(horizon, whole_s, windows)
            for setting in some:
                found = parts
                if found is None or not found.agree(TOLERANCE, rule.SAME_RATIO, setting.noise):
                    found = periods(horizon, min(rule.PERIODS_S, whole_s))
                if found is not None and evident(found):
                    figures = found.target_ratio, found.pooled_mean_ratio
                    self._fired[setting] = Estimate(time_s, *figures, (), ())

    def _periods(self, horizon: float, least_s: float) -> Parts | None:
        found = self._history.periods(horizon, least_s, rule.PERIODS)
        near = found is not None and found.agree(TOLERANCE, rule.PERIODS_RATIO, 0.0)
        return found if near else None

    def _evident(self, parts: Parts) -> bool:
        """Return whether nothing else moved, and there is evidence enough, as `Analysis` asks."""
        target_ratio = parts.target_ratio
        if target_ratio <= ACTIVE_RATIO or self._active_s < LEAST_ACTIVE_S:
            return False
        if not all(one.steady(parts.from_s, parts.to_s) for one in self._witnesses):
            return False
        pooled = [one for one in self._pooled[-rule.MAX_POOLED :] if one[0] > parts.from_s]
        times_s, values = zip(*pooled, strict=True)
        return confidence(times_s, values, target_ratio).n_eff >= LEAST_N_EFF - SLACK


def _witnesses(trace: Trace) -> tuple[Witness, ...]:
    """Return memory and power of the whole recording: a stretch is asked for, so nothing leaks."""
    memory = trace.memory_series()
    held = witnesses(source_info(trace), () if memory is None else (memory,))
    for series, one in held.items():
        column = trace.series.index(series)
        for time_s, values in trace.rows:
            value = values[column]
            one.add(time_s, math.nan if value is None else value)
    return tuple(held.values())


# ---- every setting on every run ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """How all settings fared on one run."""

    group: str
    unit: str
    """What is left out together: a family of recordings, a scenario."""
    long: bool
    figures: NDArray[np.float64]
    """(watched, fc, fccov) of each setting, shape (settings, 3)."""


def try_all(cases: Sequence[Case]) -> list[Run | None]:
    """Return how all settings fare on some runs; None for one in which nothing was used."""
    return [_try_all(case) for case in cases]


def _try_all(case: Case) -> Run | None:
    trace, _ = case.load()
    run = truth(trace)
    if run.idle:
        return None
    fired: dict[Setting, Estimate] = {}
    predict_recording(trace, rule=functools.partial(Tried, trace, fired), guard=False, marks=())
    figures = np.empty((len(ALL), 3))
    for place, setting in enumerate(ALL):
        found = fired.get(setting)
        answer = (
            Answer.none(run)
            if found is None
            else Answer(
                found.converged_at_s, round(100 * found.target_ratio), 100 * found.mean_ratio
            )
        )
        scored = score(run, answer)
        figures[place] = scored.watched_ratio, scored.fc, scored.fccov
    unit = case.group if isinstance(case, Simulated) else case.family
    return Run(case.group, unit, run.active_s >= HOUR_S, figures)


# ---- the choice --------------------------------------------------------------------------------


class Groups:
    """Means over the runs of each group, and over groups, which have one vote each."""

    def __init__(self, runs: Sequence[Run]) -> None:
        held: dict[tuple[str, str], list[Run]] = {}
        for run in runs:
            held.setdefault((run.group, run.unit), []).append(run)
        self.units = [unit for _, unit in held]
        self._means = np.array([_mean([one.figures for one in some]) for some in held.values()])
        """Shape (groups, settings, 3)."""
        self._hour = np.array(
            [_mean([one.figures[:, 1:2] for one in some if one.long]) for some in held.values()]
        )[:, :, 0]
        """fc of the runs of an hour and more, shape (groups, settings); NaN without such runs."""

    def choose(self, budget: float, without: str | None = None) -> int:
        """Return the place of the setting that errs least within a budget of watching."""
        means = self._means[
            [
                unit != without and bool(mean[:, 0].min() < SETTLED_RATIO)
                for unit, mean in zip(self.units, self._means, strict=True)
            ]
        ].mean(axis=0)
        watched, wrong = means[: len(SETTINGS), 0], means[: len(SETTINGS), 1]
        within = watched <= max(budget, watched.min())
        return int(np.lexsort((watched, wrong, ~within))[0])

    def figures(self, places: Sequence[int]) -> NDArray[np.float64]:
        """Return `MEASURES` when each group is given the setting at a place."""
        each = np.arange(len(places))
        return np.append(
            self._means[each, places].mean(axis=0), np.nanmean(self._hour[each, places])
        )

    def held_out(self, budget: float) -> tuple[NDArray[np.float64], int]:
        """Return `MEASURES` with every unit's setting chosen by the others, and how many differ."""
        chosen = {unit: self.choose(budget, unit) for unit in dict.fromkeys(self.units)}
        return self.figures([chosen[unit] for unit in self.units]), len(set(chosen.values()))


def _mean(some: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.mean(some, axis=0) if some else np.full((len(ALL), 1), np.nan)


def page(groups: Groups, runs: int, seeds: int) -> str:
    every = range(len(groups.units))
    rows = []
    for budget in BUDGETS:
        held, kinds = groups.held_out(budget)
        place = groups.choose(budget)
        chosen = groups.figures([place for _ in every])
        rows.append(
            [f"{budget:.2f}", *_shown(held), str(kinds), *_shown(chosen), str(SETTINGS[place])]
        )
    presets = [
        [name, *_shown(groups.figures([ALL.index(one) for _ in every])), str(one)]
        for name, one in PRESETS.items()
    ]
    chosen_titles = [f"chosen: {one}" for one in MEASURES]
    return "\n\n".join(
        [
            "# The choice of the presets",
            "Written by `python -m benchmarks.choice`, whose beginning says how; not by hand.",
            header(),
            f"{runs} runs, the seeds 0 to {seeds - 1} of each scenario among them; "
            f"{len(SETTINGS)} settings. Groups of recordings and scenarios have one vote each.",
            "`budget`: the most that a setting may watch of the groups that it settles at all. The "
            "columns after it are held out: each family and scenario with the setting that the "
            "others chose. `kinds`: how many different ones these were. `chosen`: by all together.",
            "The groups are few: rows beside each other also differ by chance.",
            tables.grid(["budget", *MEASURES, "kinds", *chosen_titles, "setting"], rows),
            "The presets on the same runs:",
            tables.grid(["preset", *MEASURES, "setting"], presets),
        ]
    ) + "\n"  # fmt: skip


def _shown(figures: NDArray[np.float64]) -> list[str]:
    return [f"{one:.3f}" for one in figures]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", nargs="?", help="folder with INDEX.tsv; not with --again")
    parser.add_argument("--seeds", type=int, default=60, metavar="N", help="0 to N-1")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--again", action="store_true", help="from what the last run left")
    options = parser.parse_args()
    if not options.again:
        if options.traces is None:
            parser.error("the folder of the traces is missing")
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_bytes(pickle.dumps(tried(options.traces, options.seeds, options.jobs)))
    runs, seeds = pickle.loads(KEPT.read_bytes())  # noqa: S301 - this program's own
    TARGET.write_text(page(Groups(runs), len(runs), seeds), encoding="utf-8")
    print(f"\n{TARGET}")


def tried(traces: str, seeds: int, jobs: int | None) -> tuple[list[Run], int]:
    """Return how all settings fare on all runs, and how many seeds there were."""
    cases: list[Case] = list(folder(traces, [("kind", "training")]).cases)
    cases += simulated(range(seeds))
    found: list[Run | None] = []
    for _, some in spread(try_all, cases, Where(jobs), _lost, at_once=1):
        found += some
        print(f"\r{len(found)} of {len(cases)}", end="", file=sys.stderr, flush=True)
    return [one for one in found if one is not None], seeds


def _lost(case: Case, why: str) -> Run | None:
    sys.exit(f"{case.id}: {why}")


if __name__ == "__main__":
    main()
