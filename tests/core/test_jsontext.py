"""JSON from outside: read as `json` reads it where it is within the bounds, refused elsewhere."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core import plain

LONGEST = 10**plain.LONGEST_INTEGER
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - LONGEST, LONGEST - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


@given(PLAIN, st.booleans())
def test_what_is_within_the_bounds_is_read_as_it_is(value, escaped):
    assert plain.parse(json.dumps(value, ensure_ascii=escaped).encode()) == value


@given(st.binary())
def test_anything_else_is_a_value_error(body):
    try:
        plain.parse(body)
    except ValueError:
        return
    json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        100_000 * b"[",
        (plain.DEEPEST + 1) * b"[" + (plain.DEEPEST + 1) * b"]",
        100_000 * b'{"a":',
        b'"\\"' + 100_000 * b"[",
        100_000 * b'["\\\\",',
        b"[1e400]",
        b"[-1e400]",
        b"[NaN]",
        b"[-Infinity]",
        b"[" + 400 * b"9" + b"]",
        b'["\\ud800"]',
        b'{"\\uDFFF": 1}',
        json.dumps([1]).encode("utf-16"),
        b"\xef\xbb\xbf[]",
    ],
)
def test_what_is_beyond_the_bounds_is_a_value_error(body):
    with pytest.raises(ValueError, match=r"."):
        plain.parse(body)


def test_brackets_in_texts_are_no_depth_and_commas_no_values():
    value = {"a": 1000 * "[{,", "b\\": '"' + 1000 * "["}
    assert plain.parse(json.dumps(value).encode(), 1, 2) == value
    assert plain.parse(32 * b"[" + 32 * b"]") is not None


def test_the_amount_is_bounded():
    assert plain.parse(b"[1,2,3]", most=3) == [1, 2, 3]
    for many in (b"[1,2,3,4,5,6,7]", b"[[],[],[],[]]"):
        with pytest.raises(ValueError, match="more than 3 values"):
            plain.parse(many, most=3)
