"""What an earlier run of the same configuration is worth: watched and wrong, with and without it.

Every ordered pair of runs of one group is taken: the first is the earlier run, the second is
predicted twice, without and with it. Groups share one vote each. A group of recordings may hold
runs that were no repeats after all, such as one beside other work; the pairs that are alike in the
end, within three points of mean and covering usage, are given as well.

Run: python -m benchmarks.repeats TRACES [--skip FAMILY ...]

TRACES is a folder with an INDEX.tsv. Name the families in which the series of a group are no
repeats (devices of one job) with --skip.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence

from benchmarks.machine import header
from benchmarks.paired import paired_difference
from jupyter_gpupredict.backtest.cases import Recorded, folder
from jupyter_gpupredict.backtest.score import (
    Answer,
    Scored,
    Truth,
    covering_pct,
    score,
    summarise,
    truth,
)
from jupyter_gpupredict.core.recommendation import Profile
from jupyter_gpupredict.predict.prior import ProfileBuilder
from jupyter_gpupredict.predict.windows import is_active
from jupyter_gpupredict.run import predict_recording
from jupyter_gpupredict.sources.recording import Trace

RULES = ("default", "accurate", "quick")
ALIKE_POINTS = 3.0
SHOWN = ("watched_ratio", "fc", "fccov", "guarded_fccov", "slack_points", "mean_error_points")


def profile(trace: Trace, coverage: float, metric: str | None = None) -> Profile | None:
    """Return what a recorded run used when; None when it was never active."""
    share = trace.share_series(metric)
    period_s = trace.period_s(share)
    builder: ProfileBuilder | None = None
    last_s = None
    for time_s, value in trace.points(share):
        gap_s = period_s if last_s is None else time_s - last_s
        last_s, weight_s = time_s, min(gap_s, 2.0 * period_s)
        if builder is None and is_active(value):
            builder = ProfileBuilder(time_s - weight_s, period_s, coverage)
        if builder is not None:
            builder.add(time_s, value, weight_s)
    return None if builder is None else builder.profile()


def alike(one: Truth, other: Truth) -> bool:
    """Return whether two runs turned out to use as much as each other."""
    apart = (
        abs(one.values_pct.mean() - other.values_pct.mean()),
        abs(covering_pct(one.values_pct) - covering_pct(other.values_pct)),
    )
    return bool(max(apart) <= ALIKE_POINTS)


def pairs(cases: Sequence[Recorded], rule: str) -> tuple[list[Scored], list[Scored], set[str]]:
    """Return the scores without and with an earlier run, in the same order, and who are alike."""
    without, with_prior, near = [], [], set[str]()
    groups: dict[str, list[Recorded]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    for group, held in groups.items():
        traces = [case.load()[0] for case in held]
        truths = [truth(trace) for trace in traces]
        alone = [predict_recording(trace, rule=rule) for trace in traces]
        for former, later in itertools.permutations(range(len(held)), 2):
            told = predict_recording(traces[later], rule=rule, prior=profile(traces[former], 0.95))
            name = f"{held[former].id} > {held[later].id}"
            if alike(truths[former], truths[later]):
                near.add(name)
            for found, scores in ((alone[later], without), (told, with_prior)):
                answer = Answer.of(found)
                scores.append(Scored(name, group, held[later].family, score(truths[later], answer)))
    return without, with_prior, near


def told(title: str, without: Sequence[Scored], with_prior: Sequence[Scored]) -> None:
    before, after = summarise(without).macro, summarise(with_prior).macro
    print(f"\n{title}: {len(without)} pairs of {len({one.group for one in without})} groups")
    for measure in SHOWN:
        print(f"  {measure:<20} {before[measure] or 0:.3f} -> {after[measure] or 0:.3f}")
    apart = paired_difference(with_prior, without, lambda one: one.watched_ratio)
    if apart is not None:
        print(f"  watched, difference  {apart.mean:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces")
    parser.add_argument("--skip", action="append", default=[], metavar="FAMILY")
    options = parser.parse_args()
    found = folder(options.traces, [("kind", "training")]).cases
    counts: dict[str, int] = {}
    for case in found:
        counts[case.group] = counts.get(case.group, 0) + 1
    cases = [c for c in found if counts[c.group] > 1 and c.family not in options.skip]
    print(header())
    for rule in RULES:
        without, with_prior, near = pairs(cases, rule)
        told(f"{rule}, all pairs", without, with_prior)
        told(
            f"{rule}, alike in the end",
            [one for one in without if one.id in near],
            [one for one in with_prior if one.id in near],
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
