"""Epochs, phases and the rest of a run; every expected number is worked out beside it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core.progress import OTHER, Authority, EpochGate, Phase, Progress
from jupyter_gpupredict.predict.epochs import (
    MAX_PHASES,
    PhaseLedger,
    Spread,
    StepPace,
    rest_of_epochs,
)


def epoch(time_s, done, total=None, hint="api"):
    return Progress(time_s, "epoch", done, total, hint)


def test_the_first_epoch_is_closed_but_not_learned():
    book = PhaseLedger(0.95)
    book.begin_epochs(0.0)
    for second in range(30):
        book.add(0.9 if second < 10 else 0.5, 1.0)
        if second % 10 == 9:
            book.close_epoch(second + 1.0)
    assert (book.complete, book.learned_epochs) == (3, 2)
    assert book.learned[OTHER].counter.mean_ratio() == pytest.approx(0.5)  # epochs 2 and 3
    assert book.whole().mean_ratio() == pytest.approx((10 * 0.9 + 20 * 0.5) / 30)
    assert (book.durations_s.count, book.durations_s.mean) == (2, 10.0)


def test_seconds_of_a_phase_are_the_clocks_though_readings_are_missing():
    book = PhaseLedger(0.95)
    book.begin_epochs(0.0)
    book.close_epoch(5.0)
    book.enter("train", 5.0)
    book.add(0.8, 1.0)  # one second of reading in six seconds of training
    book.enter("validation", 11.0)
    book.add(0.2, 1.0)
    assert book.elapsed_s("validation", 13.0) == 2.0
    book.close_epoch(15.0)
    assert (book.learned["train"].seconds, book.learned["validation"].seconds) == (6.0, 4.0)
    assert book.learned["train"].counter.seconds == 1.0


def test_epochs_that_nobody_told_apart_are_shared_out():
    book = PhaseLedger(0.95)
    book.begin_epochs(0.0)
    book.close_epoch(10.0)
    book.add(0.5, 30.0)
    book.close_epoch(40.0, count=3)
    assert (book.learned_epochs, book.durations_s.mean) == (3, 10.0)


def test_a_loop_that_makes_up_phase_names_does_not_make_us_grow():
    book = PhaseLedger(0.95)
    for number in range(1000):
        book.enter(f"phase {number}", float(number))
        book.add(0.5, 1.0)
    assert len(book.seen) == MAX_PHASES
    assert len(book.current) <= MAX_PHASES + 1


@given(st.lists(st.floats(0.0, 1e6), min_size=2, max_size=50))
def test_spread_is_mean_and_sample_variance(values):
    seen = Spread()
    for value in values:
        seen.add(value)
    mean = math.fsum(values) / len(values)
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    assert seen.mean == pytest.approx(mean, rel=1e-9, abs=1e-6)
    assert seen.variance() == pytest.approx(variance, rel=1e-6, abs=1e-3)


def test_the_interval_of_the_rest():
    # durations 9, 11, 10: mean 10, variance 1, two degrees of freedom, t = 4.303
    # ten epochs left: sd = sqrt(1 * (10 + 100 / 3)) = 6.5828, half = 28.326
    seen = Spread()
    for seconds in (9.0, 11.0, 10.0):
        seen.add(seconds)
    rest = rest_of_epochs(100.0, 10.0, seen)
    assert rest.low_s == pytest.approx(71.674, abs=1e-3)
    assert rest.high_s == pytest.approx(128.326, abs=1e-3)
    single = Spread()
    single.add(10.0)
    assert rest_of_epochs(90.0, 9.0, single).high_s is None


def test_steps_alone_are_timed_over_the_last_fifth():
    pace = StepPace()
    for step in range(101):  # the first half takes 3 s a step, the second 1 s
        pace.update(3.0 * step if step <= 50 else 150.0 + (step - 50), step, 200.0)
    rest = pace.remaining(200.0)
    assert rest.expected_s == pytest.approx(100.0)
    assert (rest.low_s, rest.high_s) == (pytest.approx(100.0), pytest.approx(100.0))
    assert pace.remaining(230.0).expected_s == pytest.approx(70.0)  # 30 s without a mark


@given(st.lists(st.tuples(st.floats(0.001, 10), st.integers(1, 50)), min_size=1, max_size=600))
def test_a_pace_is_bounded_and_never_negative(steps):
    pace = StepPace()
    time_s, done = 0.0, 0
    for seconds, count in steps:
        time_s, done = time_s + seconds, done + count
        pace.update(time_s, done, done + 1000.0)
    rest = pace.remaining(time_s)
    assert len(pace._marks) <= 256
    if rest is not None:
        assert rest.expected_s >= 0.0
        if rest.low_s is not None:
            assert rest.low_s <= rest.expected_s <= rest.high_s


def test_a_pace_without_a_total_says_nothing():
    pace = StepPace()
    for step in range(10):
        pace.update(float(step), step, None)
    assert pace.remaining(10.0) is None


def test_the_gate_opens_after_two_whole_epochs_with_a_validation_between():
    gate = EpochGate()
    assert gate.reason(100.0) == ""  # nobody speaks of epochs
    for mark in (
        epoch(0.0, 0, 5),
        Phase(8.0, "validation", "api"),
        epoch(10.0, 1, 5),
        Phase(10.0, "train", "api"),
    ):
        gate.update(mark)
    assert "1 of the two" in gate.reason(15.0)
    gate.update(epoch(20.0, 2, 5))
    assert gate.reason(20.0) == ""
    assert gate.reason(19.0) != ""  # at that time it was still closed


def test_a_run_of_a_single_epoch_is_not_held_back():
    gate = EpochGate()
    gate.update(epoch(0.0, 0, 1))
    assert gate.reason(5.0) == ""
    two = EpochGate()
    two.update(epoch(0.0, 0, 2))
    assert two.reason(5.0) != ""


def test_the_gate_waits_for_a_validation_that_has_begun():
    gate = EpochGate()
    for mark in (epoch(0.0, 0), epoch(5.0, 1), Phase(8.0, "validation", "x"), epoch(9.0, 2)):
        gate.update(mark)
    assert "validation" in gate.reason(9.5)
    gate.update(Phase(11.0, OTHER, "x"))
    assert gate.reason(11.0) == ""


def test_the_better_hint_takes_over_and_keeps_the_word():
    chair = Authority()
    assert chair.accepts(epoch(0.0, 0, hint="tqdm"))
    assert chair.accepts(Phase(0.0, "train", "tqdm"))
    assert chair.accepts(epoch(1.0, 0, hint="keras"))
    assert not chair.accepts(epoch(2.0, 1, hint="tqdm"))
    assert not chair.accepts(epoch(2.0, 1, hint="transformers"))  # an equal, who came later
    assert chair.accepts(Progress(2.0, "step", 1, 9, "tqdm"))  # of steps nobody better speaks
    assert chair.accepts(epoch(3.0, 1, hint="api"))
