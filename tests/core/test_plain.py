"""Text from elsewhere: nothing in it steers a terminal, a page or a list."""

import html
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core import plain

SEEN = st.text(st.characters(categories=["L", "N", "P", "S"]) | st.just(" "))


def steers(text):
    """Return the signs that are not to reach a terminal."""
    return [sign for sign in text if unicodedata.category(sign)[0] == "C" or sign in "\u2028\u2029"]


@given(st.text())
def test_only_what_can_be_seen_is_left(text):
    assert steers(plain.one_line(text)) == []
    assert {*steers(plain.lines(text))} <= {"\n", "\t"}
    assert len(plain.lines(text)) == len(text)
    assert plain.lines(text).count("\n") == text.count("\n")
    assert "<" not in plain.html(text)
    assert html.unescape(plain.html(text)) == plain.lines(text)
    assert steers(plain.markdown(text)) == []
    plain.lines(text).encode()  # no half characters


@given(SEEN)
def test_what_can_be_seen_stays(text):
    assert plain.one_line(text) == plain.lines(text) == text
    assert html.unescape(plain.html(text)) == text


@given(st.text("<>[]()!|#`~*_-+\\: a\n\x1b"))
def test_markdown_is_a_paragraph_without_tags_and_links(text):
    told = plain.markdown(text)
    bare = re.sub(r"\\[!-/:-@[-`{-~]", "x", told)  # what is escaped is text
    assert not re.search(r"[<|]|\][(\[:]", bare)
    assert not re.match(r"[#>+*_-]|```|~~~", bare if told[:1] != "\\" else "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("`pip install x` was left out", None),
        ("In [3] line 1: x * y_1 was left out; see train_fn.py", None),
        ("- item", r"\- item"),
        ("```sh", r"\```sh"),
        ("![x](http://h)", r"![x\](http://h)"),
        ("a\n# b", "a # b"),
        (r"\<b>", r"\\\<b>"),
    ],
)
def test_markdown_stays_readable(text, told):
    assert plain.markdown(text) == (text if told is None else told)


def test_a_span_of_code_has_one_end():
    assert plain.code_span("a`b\nc") == "`a'b c`"
