"""Residency by NVIDIA's rules, and the bracket of slowdowns by hand-made runs."""

import csv
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.metrics import sm_percent
from jupyter_gpupredict.predict import geometry as module
from jupyter_gpupredict.predict.geometry import (
    PERSISTENT,
    PLAIN,
    SPINNING,
    Kernels,
    Launches,
    kind_of,
    need_of,
    sms_at,
)
from jupyter_gpupredict.predict.occupancy import LIMITS, SmLimits, blocks_per_sm, limits_of

CAPABILITIES = [(7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)]


def fit(capability, threads, registers, shared_bytes):
    one = (np.array([value]) for value in (threads, registers, shared_bytes))
    return int(blocks_per_sm(*one, LIMITS[capability])[0])


@pytest.mark.parametrize(
    ("kernel", "blocks"),
    [
        ((256, 32, 0), (8, 4, 8, 6, 6, 8, 8, 6)),
        ((1024, 64, 0), (1,) * 8),
        ((1024, 65, 0), (0,) * 8),  # more registers than an SM has: it cannot be launched
        ((32, 16, 0), (32, 16, 32, 16, 24, 32, 32, 24)),
        ((96, 40, 0), (16, 10, 16, 16, 16, 16, 16, 16)),
        ((256, 64, 49152), (2, 1, 3, 2, 2, 4, 4, 2)),
        ((128, 56, 36864), (2, 1, 4, 2, 2, 6, 6, 2)),
        ((128, 218, 81920), (1, 0, 2, 1, 1, 2, 2, 1)),
        ((384, 168, 0), (1,) * 8),
    ],
)
def test_residency_is_what_nvidias_own_rules_give(kernel, blocks):
    assert tuple(fit(one, *kernel) for one in CAPABILITIES) == blocks


def test_residency_of_every_target(shared):
    with (shared / "kernels" / "occupancy_targets.csv").open() as file:
        for row in csv.DictReader(file):
            kernel = (int(row[name]) for name in ("block_threads", "regs", "smem_bytes"))
            threads, registers, shared_bytes = kernel
            for major, minor in CAPABILITIES:
                target = row[f"cc{major}{minor}"]
                found = fit((major, minor), threads, registers, shared_bytes)
                assert found == (0 if target == "-" else int(target)), row


def test_occupancy_as_xla_writes_it():
    # r * warps of a block / warps of an SM: 2 * 4 / 48 and 1 * 4 / 48 on Ada
    for registers, shared_bytes, percent in ((56, 36864, 16.6667), (218, 81920, 8.33333)):
        resident = fit((8, 9), 128, registers, shared_bytes) * 4 / (1536 / 32)
        assert 100 * resident == pytest.approx(percent, rel=1e-5)


def test_an_unknown_capability_uses_what_the_profile_says():
    assert limits_of((99, 0)) is None
    known = limits_of((99, 0), threads=2048, shared_bytes=233472)
    assert known == SmLimits(2048, 32, 233472, 1024, 128, assumed=True)
    assert limits_of((8, 0), threads=1, shared_bytes=1) == LIMITS[8, 0]


# ---- one kernel and one run -------------------------------------------------------------------

TWO_PER_SM = SmLimits(2048, 32, 2048, 0, 1)
"""Every kernel of 1,024 bytes of shared memory has two blocks on an SM."""


def launches(*rows, threads=32, shared_bytes=1024):
    """Launches of (start, duration, blocks) and a kind."""
    return Launches.of(
        (start, duration, blocks, threads, 16, shared_bytes, *(kind or (PLAIN,)))
        for start, duration, blocks, *kind in rows
    )


def run(*rows, sms=80, sm=TWO_PER_SM, interval_us=1e9, wall_us=None, **more):
    kernels = Kernels(sms, sm, interval_us)
    kernels.add(launches(*rows, **more))
    return kernels.geometry(wall_us)


def ratios(blocks, n, **more):
    """Return (lo, hi) of one kernel that runs all the time."""
    return run((0.0, 100.0, blocks), **more).slowdown(n)


def test_ratios_of_one_kernel():
    assert ratios(200, 40) == pytest.approx((1.5, 2.0))  # 3 waves for 2
    assert ratios(40, 20) == pytest.approx((1.0, 2.0))  # two on an SM: no further wave
    assert ratios(40, 10)[0] == pytest.approx(2.0)
    # with one block on an SM: 127 waves for 125, and never more than the SMs that are gone
    low, high = ratios(10_000, 79, shared_bytes=2048)
    assert low == pytest.approx(80 / 79)
    assert high == pytest.approx(80 / 79)
    assert run((0.0, 100.0, 40)).breadth_ratio == pytest.approx(0.5)
    for blocks, need in ((200, 50), (161, 41), (40, 20)):
        assert run((0.0, 100.0, blocks)).wide_need_ratio == need / 80


def test_a_run_with_gaps_lies_between_absorbing_and_not():
    # two kernels of 200 us in 1,000 us, 40 blocks each, two on an SM
    kernels = (0.0, 200.0, 40), (500.0, 200.0, 40)
    gaps = run(*kernels, wall_us=1000.0)
    assert gaps.slowdown(10) == pytest.approx((1.0, 2.2))
    assert gaps.slowdown(20) == pytest.approx((1.0, 1.4))
    assert gaps.busy_ratio == pytest.approx(0.4)
    packed = run((0.0, 200.0, 40), (200.0, 200.0, 40))
    assert packed.slowdown(10) == pytest.approx((2.0, 4.0))


def test_gaps_absorb_inside_their_own_interval_only():
    kernels = (0.0, 100.0, 40), (900.0, 100.0, 40)
    assert run(*kernels).slowdown(10)[0] == pytest.approx(1.0)
    # in intervals of 100 us the busy ones have no gap: each takes twice as long
    assert run(*kernels, interval_us=100.0).slowdown(10)[0] == pytest.approx(1.2)


def test_concurrent_kernels_count_once_as_busy():
    both = run((0.0, 100.0, 40), (0.0, 100.0, 40))
    assert both.busy_ratio == pytest.approx(1.0)
    low, high = both.slowdown(10)
    assert (low, high) == pytest.approx((2.0, 4.0))  # half of each one's time is its own


def test_kernels_that_spin_are_not_stretched_and_must_be_resident():
    found = run((0.0, 100.0, 40, SPINNING), (100.0, 100.0, 8))
    assert found.collective_sms == 20
    assert found.slowdown(10) == pytest.approx((1.0, 1.0))
    assert found.need() == (4, 7)  # one wave on 4; of two kernels one takes 8/7 as long on 7
    assert need_of(found, "x").high_ratio == need_of(found, "x").low_ratio == 20 / 80


def test_persistent_kernels_shrink_with_the_sms():
    plain, persistent = (run((0.0, 100.0, 80, kind)) for kind in (PLAIN, PERSISTENT))
    assert plain.slowdown(40) == pytest.approx((1.0, 2.0))
    assert persistent.slowdown(40) == pytest.approx((2.0, 2.0))
    # one that fills the GPU, two blocks on each SM, does so whatever it is called
    full = run((0.0, 100.0, 160))
    for n in (79, 53, 40, 7, 1):
        assert full.slowdown(n) == pytest.approx((80 / n, 80 / n))


def test_what_is_not_understood_is_said_and_never_stretched():
    found = run((0.0, 300.0, 80), (300.0, 100.0, 80), sm=None)
    assert found.not_understood_ratio == 1.0
    assert found.slowdown(1) == (1.0, 1.0)
    mixed = Kernels(80, TWO_PER_SM)
    mixed.add(launches((0.0, 300.0, 80)))
    mixed.add(launches((300.0, 100.0, 80), shared_bytes=4096))
    assert mixed.geometry().not_understood_ratio == pytest.approx(0.25)


def test_records_without_a_duration_are_dropped_and_counted():
    found = run((0.0, 100.0, 8), (5.0, 0.0, 8), (6.0, -3.0, 8), (math.nan, 1.0, 8), (7.0, 1.0, 0))
    assert (found.kernels, found.dropped) == (1, 4)
    assert Kernels(80, TWO_PER_SM).geometry() is None


def test_names_tell_what_spins_and_what_persists():
    for name in ("ncclDevKernel_AllReduce", "void deep_ep::internode::dispatch", "NCCL_Send"):
        assert kind_of(name) == SPINNING
    assert kind_of("cutlass_80_persistent_gemm") == kind_of("gemm_StreamK_f16") == PERSISTENT
    assert kind_of("volta_sgemm_128x64_nn") == PLAIN


def test_the_percentage_of_mps_is_the_smallest_that_gives_the_sms():
    for sms in (16, 80, 108, 132, 148):
        for wanted in range(1, sms + 1):
            percent = sm_percent(wanted / sms, sms, 1)
            assert sms_at(sms, percent) >= wanted
            assert sms * (percent - 1) // 100 < wanted


def test_another_duty_scales_what_is_added():
    half = run((0.0, 500.0, 80), wall_us=1000.0).at_duty(0.25)
    assert half.busy_ratio == 0.25
    assert half.slowdown(40)[1] == pytest.approx(1.25)


# ---- many launches ----------------------------------------------------------------------------


def drawn(count, shapes=50, seed=1):
    """Launches of a few shapes, some at the same time, in the order of their starts."""
    draw = np.random.default_rng(seed)
    which = draw.integers(0, shapes, count)
    facts = (draw.integers(1, 900, shapes), draw.integers(1, 9, shapes) * 64,
             draw.integers(16, 65, shapes), draw.integers(0, 9000, shapes))  # fmt: skip
    duration = draw.gamma(1.0, 20.0, count) + 1.0
    start = np.cumsum(duration * draw.uniform(0.7, 2.0, count))
    kinds = np.zeros(count, dtype=np.int64)
    return Launches(start, duration, *(fact[which] for fact in facts), kinds)


def piece(whole, first, end):
    return Launches(*(getattr(whole, name)[first:end] for name in Launches.__slots__))


def test_streamed_in_pieces_it_is_the_same(monkeypatch):
    whole = drawn(60_000)
    once = Kernels(108, LIMITS[8, 0])
    once.add(whole)
    expected = once.geometry()
    monkeypatch.setattr(module, "HELD", 8_000)
    monkeypatch.setattr(module, "_ROWS", 16)
    monkeypatch.setattr(module, "_BLOCK", 1_000)
    monkeypatch.setattr(module, "_CELLS", 20_000)
    streamed = Kernels(108, LIMITS[8, 0])
    for first in range(0, 60_000, 700):
        streamed.add(piece(whole, first, first + 700))
    found = streamed.geometry()
    assert found.need() == expected.need()
    assert found.busy_ratio == pytest.approx(expected.busy_ratio)
    np.testing.assert_allclose(found.high, expected.high, rtol=1e-9)
    np.testing.assert_allclose(found.low, expected.low, atol=5e-4)


def test_what_is_held_does_not_grow(monkeypatch):
    monkeypatch.setattr(module, "HELD", 5_000)
    monkeypatch.setattr(module, "_ROWS", 32)
    monkeypatch.setattr(module, "LATE_US", 1e4)
    peaks = []
    for count in (20_000, 160_000):
        whole = drawn(count)
        tracemalloc.start()
        kernels = Kernels(16, LIMITS[8, 6])
        for first in range(0, count, 1000):
            kernels.add(piece(whole, first, first + 1000))
        kernels.geometry()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_any_number_of_different_launches_takes_bounded_matrices(monkeypatch):
    monkeypatch.setattr(module, "_CELLS", 1 << 16)
    whole = drawn(4000, shapes=4000)
    kernels = Kernels(132, LIMITS[9, 0])
    kernels.add(whole)
    monkeypatch.setattr(module, "_CELLS", 1 << 26)
    once = Kernels(132, LIMITS[9, 0])
    once.add(whole)
    np.testing.assert_allclose(kernels.geometry().low, once.geometry().low, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e5), st.floats(0.5, 5e4), st.integers(1, 400),
            st.sampled_from([PLAIN, SPINNING, PERSISTENT]),
        ),
        min_size=1, max_size=40,
    )
)  # fmt: skip
def test_whatever_runs_the_bracket_is_one(rows):
    found = run(*rows, interval_us=2e4)
    n = np.arange(1, 81)
    low, high = np.array(found.low), np.array(found.high)
    assert (low <= high + 1e-9).all()
    assert (low >= 1.0 - 1e-9).all()
    assert (high <= 80 / n + 1e-9).all()
    assert (np.diff(high) <= 1e-9).all()
    assert 0.0 < found.busy_ratio <= 1.0
    low, high = found.need()
    assert 1 <= low <= high <= 80
    assert found.slowdown(80) == pytest.approx((1.0, 1.0))


def test_the_reference_figures_of_recorded_runs(shared):
    seen = 0
    with (shared / "kernels/INDEX.tsv").open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["need90_lo_pct"]]
    for row in rows:
        names = ("start_us", "dur_us", "grid_blocks", "block_threads", "regs", "smem_bytes")
        with (shared / "kernels" / row["file"]).open() as file:
            records = [
                (*(float(one[name] or 0) for name in names), kind_of(one["name"]))
                for one in csv.DictReader(file)
            ]
        major, minor = row["compute_capability"].split(".")
        kernels = Kernels(int(row["sms"]), LIMITS[int(major), int(minor)])
        kernels.add(Launches.of(records))
        found = kernels.geometry()
        low, high = found.need()
        half = found.slowdown(sms_at(found.sms, 50))
        for value, name in (
            (100 * found.busy_ratio, "busy_share"), (100 * found.breadth_ratio, "mean_breadth"),
            (100 * half[0], "S50_lo"), (100 * half[1], "S50_hi"),
        ):  # fmt: skip
            assert value == pytest.approx(100 * float(row[name]), abs=0.1), (row["id"], name)
        for value, name in (
            (low / found.sms, "need90_lo_pct"), (high / found.sms, "need90_hi_pct"),
            (found.wide_need_ratio, "p95_need_pct"),
        ):  # fmt: skip
            assert 100 * value == pytest.approx(float(row[name]), abs=0.1), (row["id"], name)
        seen += 1
    assert seen == len(rows) >= 27
