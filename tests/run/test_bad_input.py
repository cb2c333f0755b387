"""What docs/events.md promises of recorded traces, held against many that are not as they should.

Every table goes through `predict_recording`, as `jupyter gpupredict predict` does.
"""

import json
import math
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import TraceError, Truncated
from jupyter_gpupredict.run import predict_recording
from tests.traces import read_trace

OPTIONS = {"window_s": 10.0, "agree": 2, "tolerance_points": 3.0}
level = st.sampled_from([0, 30, 31, 60, 61, 100])
body = st.lists(level, min_size=40, max_size=150)


def table(rows):
    lines = [f"{t!r},{'' if u is None else u}\n" for t, u in rows]
    return ["t_s,gpu_util_pct\n", *lines]


def predicted(rows, **options):
    return predict_recording(read_trace(table(rows), "x.csv"), **OPTIONS, **options)


def steady(values, period_s=1.0):
    return [(period_s * number, value) for number, value in enumerate(values, 1)]


def without_notes(found):
    """Return a prediction without its notes, which the answer has among its own."""
    answer = found["answer"]
    notes = [each for each in answer["notes"] if each not in found["notes"]]
    return {**found, "notes": [], "answer": {**answer, "notes": notes}}


@settings(max_examples=60, deadline=None)
@given(body, st.data())
def test_rows_whose_time_does_not_rise_are_as_if_they_were_not_there(values, data):
    rows = steady(values)
    bad = list(rows)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(1, len(bad)))
        before = max(t for t, _ in bad[:at])
        bad.insert(at, (data.draw(st.floats(-10, before)), data.draw(level)))
    # a row that was put in front of a good one must not shadow it: only those behind a later time
    assert without_notes(predicted(bad)) == without_notes(predicted(rows))
    assert any("does not rise" in note for note in predicted(bad)["notes"])


def test_a_hole_of_centuries_costs_no_more_than_one_of_days():
    def peak_bytes(hole_s):
        rows = steady([50] * 60)
        tracemalloc.start()
        found = predicted([*rows, *((t + hole_s, u) for t, u in rows)])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (found["state"], found["target_pct"]) == ("converged", 50)
        return peak

    peak_bytes(1e6)
    assert peak_bytes(9e10) < 2 * peak_bytes(1e6)


@pytest.mark.parametrize("time_s", [-8.98e307, 8.98e307, 1e12, -1e12])
def test_a_time_that_no_clock_shows_is_as_if_it_were_not_there(time_s):
    rows = steady([30, 60] * 30)
    found = predicted([*rows[:20], (time_s, 100), *rows[20:]])
    assert without_notes(found) == without_notes(predicted(rows))
    assert any("no clock shows" in note for note in found["notes"])


@settings(max_examples=60, deadline=None)
@given(body, st.lists(st.sampled_from([-1, 101, 1e9, "nan", "N/A", "[Not Supported]", ""])))
def test_what_is_no_share_is_missing_and_never_zero(values, junk):
    """A reading that is missing changes nothing but the weight of the one after it: at most twice
    the period. So a table with junk reads as the table with blanks."""
    rows, blank = steady(values), steady(values)
    for number, bad in enumerate(junk):
        at = (7 * number + 3) % len(rows)
        rows[at] = (rows[at][0], bad)
        blank[at] = (blank[at][0], None)
    assert without_notes(predicted(rows)) == without_notes(predicted(blank))


@settings(max_examples=60, deadline=None)
@given(st.integers(21, 60), st.floats(3.0, 500.0))
def test_a_hole_is_not_filled_in(before, hole_s):
    """Two windows of 10 s with 55 % of readings lost in the second: it is void.

    What follows the hole is long enough to hold two thirds of the active time by itself.
    """
    rows = [(float(t), 50) for t in range(1, before + 1)]
    rows += [(before + hole_s + t, 50) for t in range(1, 120)]
    found = predicted(rows)
    assert found["state"] == "converged"
    # never from a window that holds the hole's time as if it had been read
    assert found["target_pct"] == 50
    longer = predicted(
        [(float(t), 50) for t in range(1, 12)] + [(t + 11.0 + hole_s, 50) for t in range(1, 120)]
    )
    first_whole_s = 11.0 + hole_s if hole_s > 12.0 else 0.0
    assert longer["converged_at_s"] > first_whole_s


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 1.0, 2.0]), level), min_size=60, max_size=200))
def test_mixed_periods_weigh_by_time(steps):
    """Every second given twice, at its middle and at its end, is the same run."""
    now, rows, twice = 0.0, [], []
    for step_s, value in steps:
        twice.append((now + step_s / 2, value))
        now += step_s
        rows.append((now, value))
        twice.append((now, value))
    one, two = predicted(rows), predicted(twice)
    json.dumps(one, allow_nan=False)
    # weights are capped at two periods, so that only runs without such steps must agree
    gaps = [b[0] - a[0] for a, b in zip([(0.0, 0), *rows], rows, strict=False)]
    if max(gaps) <= 2 * min(gaps) and one["state"] == two["state"] == "abstained":
        assert one["mean_pct"] == pytest.approx(two["mean_pct"], abs=0.5)


@settings(max_examples=60, deadline=None)
@given(body, st.floats(1.0, 80.0))
def test_cutting_the_trace_after_the_decision_does_not_change_it(values, more_s):
    rows = steady(values)
    whole = predicted(rows)
    if whole["converged_at_s"] is None:
        return
    cut = predicted([row for row in rows if row[0] <= whole["converged_at_s"] + more_s])
    for key in (
        "state",
        "converged_at_s",
        "target_pct",
        "mean_pct",
        "mem_target_mib",
        "confidence",
    ):
        assert cut[key] == whole[key]
    end_s = whole["converged_at_s"] + more_s
    assert cut["guard"]["alarms"] == [t for t in whole["guard"]["alarms"] if t <= end_s]


@given(st.integers(0, 50))
def test_a_trace_without_activity_abstains(count):
    rows = [(float(t), 0) for t in range(1, count + 2)]
    found = predicted(rows)
    assert (found["state"], found["target_pct"], found["mean_pct"]) == ("abstained", 1, 0.0)


def test_a_trace_without_a_row_is_one_line():
    with pytest.raises(Truncated) as caught:
        predicted([])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", [[(1.0, None)], [(1.0, "N/A"), (2.0, None)]])
def test_a_trace_without_a_reading_abstains_and_says_so(rows):
    found = predicted(rows)
    assert (found["state"], found["reason"]) == ("abstained", "no reading was taken")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(allow_nan=True, allow_infinity=True), st.one_of(level, st.none())),
        min_size=1,
        max_size=60,
    )
)
def test_any_numbers_at_all_give_an_answer_or_one_line(rows):
    try:
        found = predicted(rows)
    except TraceError as error:
        assert "\n" not in str(error)
        return
    json.dumps(found, allow_nan=False)
    assert 1 <= found["target_pct"] <= 100
    assert 0.0 <= found["mean_pct"] <= 100.0
    assert math.isfinite(found["confidence"]["n_eff"])
