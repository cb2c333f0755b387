import math
import random
from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import NotEnoughSamples
from jupyter_gpupredict.predict.windows import Counter, SlidingWindows, agree

ratios = st.floats(0, 1)
coverages = st.one_of(st.sampled_from([0.5, 0.95, 0.999, 1.0]), st.floats(0, 1))


class Scanned:
    """A counter that keeps its bins and scans them: the definition, word for word."""

    def __init__(self):
        self.bins = [0.0] * 101
        self.seconds = 0.0

    def add(self, value, weight_s):
        self.bins[math.ceil(100 * value - 1e-9)] += weight_s
        self.seconds += weight_s

    def merge(self, other, factor):
        self.bins = [a + factor * b for a, b in zip(self.bins, other.bins, strict=True)]
        self.seconds += factor * other.seconds

    def percent(self, coverage):
        totals = list(accumulate(self.bins))
        wanted = min(coverage * self.seconds - 1e-9, totals[-1])
        return min(b for b in range(101) if totals[b] >= wanted)


@given(st.lists(ratios, min_size=1, max_size=200), st.floats(0.5, 0.99))
def test_covering_usage_is_the_smallest_whole_percent_that_covers(values, coverage):
    counter = Counter()
    for value in values:
        counter.add(value, 1.0)
    percent = round(100 * counter.covering_ratio(coverage))
    bins = [math.ceil(100 * v - 1e-9) for v in values]

    def covered(p):
        return sum(b <= p for b in bins)

    assert covered(percent) >= coverage * len(values) - 1e-6
    assert percent == 0 or covered(percent - 1) < coverage * len(values)


@given(
    st.lists(
        st.tuples(ratios, st.one_of(st.floats(1e-9, 1e9), st.just(0.2)), coverages), min_size=1
    )
)
def test_after_every_reading_the_answer_is_the_definitions(readings):
    counter, scanned = Counter(), Scanned()
    for value, weight_s, coverage in readings:
        counter.add(value, weight_s)
        scanned.add(value, weight_s)
        for asked in (coverage, 0.95, coverage):
            assert counter.covering_ratio(asked) == scanned.percent(asked) / 100


@given(
    st.lists(st.tuples(ratios, st.integers(1, 64)), min_size=1),
    st.fractions(0, 1, max_denominator=1000),
)
def test_ties_count_as_covered(readings, coverage):
    # 64ths add up without rounding, so that the exact definition must be met, ties included
    counter = Counter()
    bins = [0] * 101
    for value, weight in readings:
        counter.add(value, weight / 64)
        bins[math.ceil(100 * value - 1e-9)] += weight
        totals = list(accumulate(bins))
        for asked in (coverage, Fraction(totals[len(readings) % 101], totals[-1])):
            # 1e-9 s in 64ths; the shares lie 1/1000 of a 64th apart or are ties
            wanted = asked * totals[-1] - Fraction(64, 10**9)
            percent = min(b for b in range(101) if totals[b] >= wanted)
            assert counter.covering_ratio(float(asked)) == percent / 100


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 100), st.sampled_from([0.2, 1.0, 1 / 3, None]))
def test_long_runs_agree_with_the_definition(seed, levels, weight_s):
    draw = random.Random(seed)
    counter, scanned = Counter(), Scanned()
    for number in range(1500):
        value = draw.randrange(levels + 1) / levels
        weight = weight_s or draw.choice((1e-6, 0.1, 1e3)) * draw.random()
        counter.add(value, weight)
        scanned.add(value, weight)
        if number % 250 == 249:  # as the histogram rule fades what is old
            faded, scanned_faded = Counter(), Scanned()
            factor = draw.choice((0.0, 0.3, 2.0))
            faded.add(value, weight)
            scanned_faded.add(value, weight)
            faded.covering_ratio(0.5)
            faded.merge(counter, factor)
            scanned_faded.merge(scanned, factor)
            counter, scanned = faded, scanned_faded
        asked = draw.choice((0.95, 0.95, 0.5, draw.random()))
        assert counter.covering_ratio(asked) == scanned.percent(asked) / 100


def test_all_of_a_long_run_is_covered_by_its_highest_reading():
    # three sums of 0.1 s drift apart: `seconds` ends above what the bins hold
    counter = Counter()
    for _ in range(20_000):
        for value in (0.2, 0.3, 0.4):
            counter.add(value, 0.1)
    assert sum(counter._bins) < counter.seconds - 1e-9
    assert counter.covering_ratio(1.0) == 0.4


def test_nothing_has_no_covering_usage():
    with pytest.raises(NotEnoughSamples):
        Counter().covering_ratio(0.95)


def test_windows_do_not_overlap_and_keep_the_boundary_on_the_left():
    windows = SlidingWindows(10.0, 0.0, 0.95)
    closed = [w for t in range(1, 22) for w in windows.add(float(t), 0.5, 1.0)]
    # t = 10 belongs to (0, 10], t = 11 closes it; t = 21 closes (10, 20]
    assert [(w.from_s, w.to_s, len(w.readings)) for w in closed] == [(0, 10, 10), (10, 20, 10)]
    assert all(w.fill_ratio == 1.0 and not w.void for w in closed)


def test_a_hole_makes_void_windows():
    windows = SlidingWindows(10.0, 0.0, 0.95)
    windows.add(1.0, 0.5, 1.0)
    closed = windows.add(35.0, 0.5, 1.0)
    assert [w.void for w in closed] == [True, True, True]
    assert math.isnan(closed[1].mean_ratio)


def test_figures_agree_up_to_the_tolerance_and_no_further():
    assert agree([(0.50, 0.40), (0.52, 0.42)], 0.02)
    assert not agree([(0.50, 0.40), (0.53, 0.40)], 0.02)  # covering usages
    assert not agree([(0.50, 0.40), (0.50, 0.43)], 0.02)  # means
