import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core.counter import Counter
from jupyter_gpupredict.core.errors import NotEnoughSamples
from jupyter_gpupredict.core.window import SlidingWindows

ratios = st.floats(0, 1)


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


def test_nothing_has_no_covering_usage():
    with pytest.raises(NotEnoughSamples):
        Counter().covering_ratio(0.95)


def test_windows_do_not_overlap_and_keep_the_boundary_on_the_left():
    windows = SlidingWindows(10.0, 0.0, 0.95)
    closed = [w for t in range(1, 22) for w in windows.add(float(t), 0.5, 1.0)]
    # t = 10 belongs to (0, 10], t = 11 closes it; t = 21 closes (10, 20]
    assert [(w.from_s, w.to_s, len(w.values)) for w in closed] == [(0, 10, 10), (10, 20, 10)]
    assert all(w.fill_ratio == 1.0 and not w.void for w in closed)


def test_a_hole_makes_void_windows():
    windows = SlidingWindows(10.0, 0.0, 0.95)
    windows.add(1.0, 0.5, 1.0)
    closed = windows.add(35.0, 0.5, 1.0)
    assert [w.void for w in closed] == [True, True, True]
    assert math.isnan(closed[1].mean_ratio)
