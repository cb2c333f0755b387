"""Rows of a recording, in memory and in a file: the same to whoever reads them."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core import rows as rows_module
from jupyter_gpupredict.core.rows import Rows, Unsorted

CELL = st.none() | st.floats(allow_nan=False, allow_infinity=False)
MANY = st.lists(st.tuples(st.floats(0, 1e9), st.tuples(CELL, CELL)), max_size=40)


@pytest.fixture(params=[8 << 20, 100, 0], ids=["memory", "both", "file"])
def held(request, monkeypatch):
    monkeypatch.setattr(rows_module, "HELD_BYTES", request.param)


@given(MANY, st.integers(-50, 50), st.integers(-50, 50))
def test_they_are_the_sequence_that_was_appended(given_rows, first, last):
    for most in (8 << 20, 100, 0):
        rows_module.HELD_BYTES, kept = most, rows_module.HELD_BYTES
        try:
            rows = Rows(2, given_rows)
        finally:
            rows_module.HELD_BYTES = kept
        assert list(rows) == given_rows
        assert rows == tuple(given_rows)
        assert rows[first:last] == tuple(given_rows[first:last])
        assert [rows[k] for k in range(-len(rows), len(rows))] == given_rows + given_rows
        assert pickle.loads(pickle.dumps(rows)) == rows  # noqa: S301 - our own


@given(MANY)
def test_what_comes_in_any_order_is_sorted_and_equal_times_stay_as_they_came(given_rows):
    rows_module.PIECE_ROWS, kept = 3, rows_module.PIECE_ROWS
    try:
        rows = Unsorted(2)
        for row in given_rows:
            rows.append(*row)
    finally:
        rows_module.PIECE_ROWS = kept
    assert list(rows) == sorted(given_rows, key=lambda row: row[0])


def test_they_grow_while_they_are_read(held):
    rows = Rows(1)
    for number in range(30):
        rows.append(float(number), (None,))
        assert rows[-1] == (float(number), (None,))
        assert rows[0] == (0.0, (None,))
        assert len(list(rows)) == number + 1
    with pytest.raises(IndexError):
        rows[30]


def test_a_long_recording_is_not_held_in_memory(monkeypatch):
    monkeypatch.setattr(rows_module, "HELD_BYTES", 1 << 10)
    rows = Rows(3)
    for number in range(1000):
        rows.append(float(number), (0.5, None, 2.0))
    assert len(rows._held) <= 1 << 10
    assert sum(time_s for time_s, _ in rows) == 499500.0
