"""A long series in few rows, with every extreme kept, however it is cut into lines and blocks."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.trace import event_to_json
from jupyter_gpupredict.run import picture
from jupyter_gpupredict.run.picture import Envelope
from tests.frontends.server import traces

readings = st.lists(
    st.one_of(st.floats(0, 1).map(lambda v: round(v, 3)), st.just(math.nan)),
    min_size=1,
    max_size=400,
)


def rows_of(values, cuts, capacity, width):
    envelope, begin = Envelope(capacity), 0
    times = [float(n) for n in range(len(values))]
    for end in sorted({*cuts, len(values)}):
        if begin < end <= len(values):
            envelope.add(times[begin:end], values[begin:end])
            begin = end
    assert envelope.samples == len(values)
    return envelope.rows(width)


@given(readings, st.sets(st.integers(1, 400)), st.integers(4, 40), st.integers(2, 30))
def test_each_row_holds_the_extremes_of_its_span(values, cuts, capacity, width):
    ends, low, high = rows_of(values, cuts, capacity, width)
    assert len(ends) <= width
    assert ends[-1] == len(values) - 1
    assert (np.diff(ends) > 0).all()
    begin = 0
    for end, least, most in zip(ends, low, high, strict=True):
        span = [v for v in values[begin : int(end) + 1] if not math.isnan(v)]
        assert (least, most) == (min(span), max(span)) if span else math.isnan(least)
        begin = int(end) + 1


@settings(max_examples=40, deadline=None)
@given(values=readings, per_line=st.integers(1, 50), block=st.sampled_from([300, 1000, 1 << 18]))
def test_a_trace_gives_the_rows_of_its_readings(tmp_path_factory, values, per_line, block):
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    lines = [values[n : n + per_line] for n in range(0, len(values), per_line)]
    events = [traces.started("x"), *(traces.samples(n + 1, one) for n, one in enumerate(lines))]
    path.write_text("".join(event_to_json(event) + "\n" for event in events) + '{"event":"Sam')
    kept = picture.BLOCK_BYTES
    picture.BLOCK_BYTES = block
    try:
        drawing = picture.TracePicture(path).draw(4000, 60.0)
    finally:
        picture.BLOCK_BYTES = kept
    assert (drawing.complete, drawing.seq, drawing.duration_s) == (True, len(lines), len(lines))
    share = drawing.pictures[0]
    assert np.array_equal(share.low, values, equal_nan=True)
    assert share.times_s == tuple(t for e in events[1:] for t in e.readings[0].times_s)


def test_a_trace_of_another_hand_is_read_line_by_line(tmp_path):
    events = [traces.started("x"), traces.samples(1, [0.1, math.nan]), traces.samples(2, [0.9])]
    plain = [json.loads(event_to_json(event)) for event in events]
    spaced = tmp_path / "spaced.jsonl"  # blanks that our writer never leaves
    spaced.write_text("".join(json.dumps(one) + "\n" for one in plain))
    share = picture.TracePicture(spaced).draw(10, 60.0).pictures[0]
    assert np.array_equal(share.low, [0.1, math.nan, 0.9], equal_nan=True)


@pytest.mark.parametrize(
    "bad", ['"values":[1-2]', '"values":[0.5,0.6]', '"values":["x"]', '"values":{}', '"vals":[0.5]']
)
def test_a_damaged_line_costs_itself_alone(tmp_path, bad):
    events = [traces.started("x"), *(traces.samples(n, [n / 10]) for n in (1, 2, 3))]
    lines = [event_to_json(event) for event in events]
    lines[2] = lines[2].replace('"values":[0.2]', bad)
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(lines) + "\n")
    drawing = picture.TracePicture(path).draw(10, 60.0)
    assert drawing.pictures[0].low == (0.1, 0.3)
    assert drawing.seq == 3


def test_reading_stops_when_time_is_over_and_goes_on(tmp_path):
    path = tmp_path / "trace.jsonl"
    line = event_to_json(traces.samples(1, [0.25] * 50)) + "\n"
    path.write_text(event_to_json(traces.started("x")) + "\n" + line * 5000)
    drawn = picture.TracePicture(path)
    first = drawn.draw(100, 0.0)
    assert (first.complete, first.pictures) == (False, ())
    asked = 0
    while not (drawing := drawn.draw(100, 0.002)).complete:
        asked += 1
    assert asked > 1
    assert drawing.pictures[0].samples == 250_000
    assert drawn.draw(1000, 0.0).complete  # no time is left, and none is needed
