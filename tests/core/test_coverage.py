import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core import coverage as module
from jupyter_gpupredict.core.coverage import covering_windows
from jupyter_gpupredict.core.errors import InvalidOption

coverages = st.one_of(st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.floats(0, 1))


def by_sorting(percents, window, coverage):
    rows = np.sort(percents[: len(percents) // window * window].reshape(-1, window), axis=1)
    wanted = math.ceil(coverage * window - 1e-9)
    return rows[:, wanted - 1] if wanted else np.zeros(len(rows), np.uint8)


@given(st.lists(st.integers(0, 100), max_size=200), st.integers(1, 40), coverages)
def test_each_window_gets_the_least_percent_that_covers(values, window, coverage):
    percents = np.array(values, np.uint8)
    found = covering_windows(percents, window, coverage)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, by_sorting(percents, window, coverage))


@given(
    st.integers(0, 2**32),
    st.one_of(
        st.sampled_from([1, 7, 8, 9, 300, 2039, 2040, 2041, 4080, 4081, 10_007]),
        st.integers(1, 5000),
    ),
    st.sampled_from([0, 1, 50, 100, 255]),
    coverages,
)
def test_long_windows_overflow_no_lane(seed, window, top, coverage):
    draw = np.random.default_rng(seed)
    percents = draw.integers(0, top, 3 * window + window // 2, np.uint8, endpoint=True)
    percents[:window] = top  # one value alone: each lane is as full as it gets
    found = covering_windows(percents, window, coverage)
    assert len(found) == 3
    np.testing.assert_array_equal(found, by_sorting(percents, window, coverage))


def test_blocks_join_without_a_seam(monkeypatch):
    percents = np.random.default_rng(1).integers(0, 101, 10_000, np.uint8)
    whole = covering_windows(percents, 30)
    for block in (1, 100, 3100):  # less than a window, 3 windows, and 103 with 24 left over
        monkeypatch.setattr(module, "_BLOCK", block)
        np.testing.assert_array_equal(covering_windows(percents, 30), whole)


def test_a_view_with_a_stride_is_judged_like_its_copy():
    percents = np.random.default_rng(2).integers(0, 101, 2000, np.uint8)[::2]
    assert not percents.flags.c_contiguous
    np.testing.assert_array_equal(
        covering_windows(percents, 30), covering_windows(percents.copy(), 30)
    )


def test_the_samples_are_left_as_they_were():
    percents = np.arange(100, dtype=np.uint8)
    percents.setflags(write=False)
    assert covering_windows(percents, 100).tolist() == [94]  # 95 values lie at or below 94


@pytest.mark.parametrize(
    ("percents", "window", "coverage"),
    [
        (np.zeros(10, np.uint8), 0, 0.95),
        (np.zeros(10, np.uint8), 5, 1.1),
        (np.zeros(10, np.uint8), 5, math.nan),
        (np.zeros(10), 5, 0.95),
        (np.zeros((2, 5), np.uint8), 5, 0.95),
    ],
)
def test_what_has_no_answer_is_refused(percents, window, coverage):
    with pytest.raises(InvalidOption):
        covering_windows(percents, window, coverage)
