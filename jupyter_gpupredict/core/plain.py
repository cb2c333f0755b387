r"""Text from a driver, a trace, a server or a notebook, made safe to show.

Control characters, marks that turn the writing direction and half characters become blanks: they
would steer a terminal, or show something else than what is there.
"""

from __future__ import annotations

import html as markup
import re

_MARKDOWN = re.compile(r"[\\<|]|\](?=[(\[:])|^(?:[#>+*_-]|`(?=``)|~(?=~~))")
"""What begins a tag, a link, a cell of a table, or another block than a paragraph."""


def lines(text: str) -> str:
    """Return a text with its line breaks and tabs, and nothing else that cannot be seen."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else " " for sign in text)


def one_line(text: str) -> str:
    r"""Return a text as one line.

    >>> one_line("H200\x1b[31m\u202e\n")
    'H200 [31m  '
    """
    return "".join(sign if sign.isprintable() else " " for sign in text)


def html(text: str) -> str:
    """Return a text for HTML, between tags or in an attribute."""
    return markup.escape(lines(text))


def markdown(text: str) -> str:
    r"""Return a text as one line of Markdown; its code spans and emphasis stay.

    >>> markdown("# <b>[a](b)")
    '\\# \\<b>[a\\](b)'
    """
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text).strip())


def code_span(text: str) -> str:
    """Return a text as one span of code in Markdown."""
    return f"`{one_line(text).replace('`', chr(39))}`"
