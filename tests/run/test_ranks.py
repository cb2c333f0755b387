"""What the ranks of a run say each, and together."""

import math

import pytest

from jupyter_gpupredict.core.events import StateChanged
from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.core.series import Device, Readings, Series, SourceInfo
from jupyter_gpupredict.predict.rules.epoch_mix import EpochMix
from jupyter_gpupredict.predict.rules.windows import WindowsRule
from jupyter_gpupredict.run.analysis import Analysis
from jupyter_gpupredict.run.ranks import Ranks, stragglers

SHARE, MEMORY = "gpu_util_ratio", "memory_used_bytes"


def info(count):
    devices = tuple(Device(f"GPU-{n}", "H200", memory_total_bytes=1 << 40) for n in range(count))
    return SourceInfo(
        source="nvml",
        devices=devices,
        series=tuple(Series(m, d.uuid, n) for n, d in enumerate(devices) for m in (SHARE, MEMORY)),
        share=Series(SHARE, "GPU-0", 0),
        memory=Series(MEMORY, "GPU-0", 0),
        period_s=1.0,
        ranks=True,
    )


def analysis(of):
    options = RuleOptions(window_s=20, agree=2, tolerance_points=2, coverage=0.95, period_s=1.0)
    return Analysis(of, lambda: WindowsRule(options), lambda: EpochMix(options), 0.95,
                    memory_age_s=10.0)  # fmt: skip


def feed(made, levels, seconds, start=0):
    """Give each rank a reading a second; returns the changes of the function's state."""
    changes = []
    for second in range(start, start + seconds):
        readings = []
        for n, value in levels.items():
            readings.append(Readings(Series(SHARE, f"GPU-{n}", n), (float(second),), (value,)))
            used = (10.0 + n) * 1e9
            readings.append(Readings(Series(MEMORY, f"GPU-{n}", n), (float(second),), (used,)))
        found = made.ingest(readings)
        changes += [one for one in found if isinstance(one, StateChanged)]
    return changes


@pytest.fixture
def ranks():
    return Ranks(info(3), analysis)


def test_each_rank_says_what_its_trace_alone_says_and_the_function_the_most(ranks):
    levels = {0: 0.30, 1: 0.50, 2: 0.40}
    feed(ranks, levels, 100)
    for n, value in levels.items():
        alone = analysis(info(1))
        series = Series(SHARE, "GPU-0", 0)
        for second in range(100):
            alone.ingest([Readings(series, (float(second),), (value,))])
        part = ranks.parts()[n]
        assert part.rank == n
        told = alone.recommendation()
        assert (part.state, part.target_ratio, part.converged_at_s) == (
            told.state, told.target_ratio, told.converged_at_s,
        )  # fmt: skip
    told = ranks.recommendation()
    assert (told.state, told.target_ratio) == ("converged", 0.50)
    assert told.mean_ratio == pytest.approx(0.40)
    assert told.memory.peak_bytes == 12e9  # the rank that needs most
    assert told.memory.target_bytes == pytest.approx(1.12 * 12e9)
    assert "3 of 3 ranks have settled" in told.reason


def test_it_has_converged_when_the_last_rank_has(ranks):
    feed(ranks, {0: 0.5, 1: 0.5}, 100)
    assert ranks.recommendation().state == "converged"
    changes = feed(ranks, {0: 0.5, 1: 0.5, 2: 0.5}, 10, start=100)  # a late worker
    assert ranks.recommendation().state == "watching"
    assert [(one.old, one.new) for one in changes] == [("converged", "watching")]
    feed(ranks, {0: 0.5, 1: 0.5, 2: 0.5}, 80, start=110)
    assert ranks.recommendation().state == "converged"


def test_a_lost_rank_is_not_waited_for_and_is_named(ranks):
    feed(ranks, {0: 0.5, 1: 0.5, 2: 0.5}, 10)
    feed(ranks, {0: 0.5, 1: 0.5}, 100, start=10)
    assert ranks.recommendation().state == "watching"
    (change,) = ranks.lose("GPU-2")
    assert (change.old, change.new) == ("watching", "converged")
    told = ranks.recommendation()
    assert "partial, without rank 2" in told.reason
    assert [one.lost for one in ranks.parts()] == [False, False, True]
    assert ranks.regain("GPU-2")[0].new == "watching"


def test_one_stale_rank_makes_the_function_stale(ranks):
    feed(ranks, {0: 0.3, 1: 0.3, 2: 0.3}, 100)
    assert ranks.recommendation().state == "converged"
    seen = []
    for second in range(100, 160):
        changes = feed(ranks, {0: 0.3, 1: 0.95, 2: 0.3}, 1, start=second)
        if any(one.new == "stale" for one in changes):
            told = ranks.recommendation()
            seen.append((told.state, told.target_ratio, [one.state for one in ranks.parts()]))
    assert seen == [("stale", None, ["converged", "stale", "converged"])]


def test_a_straggler_is_named_and_not_corrected(ranks):
    feed(ranks, {0: 0.80, 1: 0.82, 2: 0.40}, 100)
    assert [one.rank for one in stragglers(ranks.parts())] == [2]
    told = ranks.recommendation()
    assert "rank 2 is a straggler" in told.reason
    assert told.target_ratio == 0.82


def test_the_end_abstains_for_all(ranks):
    feed(ranks, {0: 0.5, 1: 0.5, 2: 0.5}, 10)
    (change,) = ranks.finish()
    assert change.new == "abstained"
    assert ranks.recommendation().target_ratio == 0.5  # observed, as for one device


def test_without_a_reading_there_is_no_figure(ranks):
    told = ranks.recommendation()
    assert (told.state, told.target_ratio, told.mean_ratio) == ("warming", None, None)
    assert ranks.parts() == ()
    feed(ranks, {0: math.nan}, 3)
    assert ranks.recommendation().target_ratio is None
