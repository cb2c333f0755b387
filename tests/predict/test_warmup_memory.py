import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.predict.memory import MemoryPeak
from jupyter_gpupredict.predict.windows import FalseStart

GIB = float(1 << 30)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.01, 5.0)), max_size=200))
def test_a_false_start_needs_a_minute_of_idle_and_nearly_no_activity(readings):
    watch = FalseStart()
    active = idle = seen = 0.0
    for value, weight in readings:
        found = watch.update(value, weight)
        seen += weight
        active += weight if value >= 0.01 else 0.0
        idle = 0.0 if value >= 0.01 else idle + weight
        if found:
            assert idle >= 60.0 - 1e-6
            assert active < 0.05 * seen + 1e-9
            return
        assert idle < 60.0 + 1e-6 or active >= 0.05 * seen - 1e-9


def watched(readings, begin=0.0, **options):
    peak = MemoryPeak(**options)
    peak.begin(begin)
    for time_s, value in readings:
        peak.update(time_s, value)
    return peak


def test_a_peak_is_believed_when_it_has_stood():
    peak = watched([(0.0, 1 * GIB), (10.0, 4 * GIB), (20.0, 3 * GIB)], age_s=300.0)
    fresh = peak.estimate(100.0, 80 * GIB, "process")
    assert (fresh.target_bytes, fresh.peak_bytes) == (None, 4 * GIB)
    assert "90 s old" in fresh.reason
    assert peak.estimate(310.0, 80 * GIB, "process").target_bytes == pytest.approx(4.48 * GIB)


def test_growth_of_one_percent_keeps_the_peak_old_and_more_makes_it_fresh():
    small = watched([(0.0, 100.0), (400.0, 100.9)], begin=math.nan)
    assert small.estimate(401.0, None, "process").target_bytes == pytest.approx(1.12 * 100.9)
    large = watched([(0.0, 100.0), (400.0, 102.0)], begin=math.nan)
    assert large.estimate(401.0, None, "process").target_bytes is None


def test_a_staircase_gets_a_larger_margin_and_has_to_stand_for_longer():
    steps = [(0.0, 4 * GIB), (100.0, 5 * GIB), (110.0, 5.5 * GIB), (400.0, 6 * GIB)]
    once = watched(steps[:3]).estimate(500.0, None, "process")
    assert once.target_bytes == pytest.approx(1.20 * 5.5 * GIB)  # 110 s belongs to the rise at 100
    twice = watched(steps)
    assert twice.estimate(900.0, None, "process").target_bytes == pytest.approx(1.30 * 6 * GIB)
    again = watched([*steps, (1500.0, 7 * GIB)])
    # a third of 1900 s is more than 300 s, and 400 s is less
    assert again.estimate(1900.0, None, "process").target_bytes is None
    assert again.estimate(2300.0, None, "process").target_bytes == pytest.approx(1.30 * 7 * GIB)


def test_what_grows_in_the_first_minute_or_by_little_is_no_rise():
    start = watched([(0.0, 1 * GIB), (20.0, 3 * GIB), (59.0, 4 * GIB), (90.0, 4.1 * GIB)])
    assert start.estimate(500.0, None, "process").target_bytes == pytest.approx(1.12 * 4.1 * GIB)


def test_no_target_lies_beyond_the_card_nor_below_the_peak():
    full = watched([(0.0, 1 * GIB), (90.0, 75 * GIB)])
    found = full.estimate(900.0, 80 * GIB, "process")
    assert found.target_bytes == 80 * GIB
    assert found.reason.endswith("no more than the card has")
    assert full.estimate(900.0, 70 * GIB, "process").target_bytes == 75 * GIB


def test_epochs_to_come_hold_the_target_back():
    peak = watched([(0.0, 1 * GIB), (10.0, 4 * GIB)])
    held = peak.estimate(1000.0, 80 * GIB, "process", "1 of two epochs")
    assert (held.target_bytes, held.reason) == (None, "1 of two epochs")


def test_a_framework_that_takes_the_card_is_recognised_by_its_share():
    taken = watched([(0.0, 0.5 * GIB), (30.0, 75 * GIB)]).estimate(900.0, 80 * GIB, "process")
    assert taken.preallocated
    assert taken.target_bytes is None
    assert "TF_FORCE_GPU_ALLOW_GROWTH" in taken.reason
    late = watched([(0.0, 0.5 * GIB), (90.0, 75 * GIB)]).estimate(900.0, 80 * GIB, "process")
    assert not late.preallocated  # it grew into the card: that is need


def test_without_the_cards_size_nobody_says_that_it_was_full():
    flat = watched([(1.0, 9.6 * GIB), (30.0, 10 * GIB), (400.0, 10 * GIB)])
    told = flat.estimate(400.0, None, "device-wide")
    assert (told.preallocated, told.target_bytes) == (False, pytest.approx(11.2 * GIB))
    assert "flat from the first reading" in told.reason
    grown = watched([(1.0, 2 * GIB), (30.0, 10 * GIB), (400.0, 10 * GIB)])
    assert "flat" not in grown.estimate(400.0, None, "device-wide").reason


def test_no_target_above_the_card():
    grown = watched([(1.0, 2 * GIB), (90.0, 22 * GIB), (400.0, 22 * GIB)])
    told = grown.estimate(400.0, 24 * GIB, "device-wide")
    # 1.12 x 22 GiB is 24.64 GiB
    assert told.target_bytes == 24 * GIB
    assert "no more than the card has" in told.reason
    assert grown.estimate(400.0, 40 * GIB, "device-wide").target_bytes == pytest.approx(24.64 * GIB)


def test_host_memory_is_never_called_preallocated():
    assert not watched([(1.0, 10 * GIB)]).estimate(400.0, None, "rss").preallocated


def test_a_missing_reading_is_no_reading():
    peak = watched([(0.0, math.nan), (1.0, math.nan)])
    assert math.isnan(peak.estimate(5.0, None, "process").peak_bytes)
