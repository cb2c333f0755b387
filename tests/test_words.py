"""No text that a user sees speaks in the terms of the machinery, or in turns nobody reads fast."""

import ast
import re
from pathlib import Path

import pytest

import jupyter_gpupredict

PACKAGE = Path(jupyter_gpupredict.__file__).parent
FORBIDDEN = re.compile(r"\bis no (?!longer)|\btold of\b|covers .*\(converged\)|\bn_eff\b")
KNOWN = {"n_eff"}
"""A field's name in JSON."""
SCRIPTS = [*PACKAGE.rglob("*.py"), PACKAGE / "frontends" / "charts" / "view.js"]
DETAILS = {"core/words.py"}
"""Its `certified` stands under Details."""


def texts(path):
    """Yield the texts of a module that are no docstrings, those inside f-strings too."""
    if path.suffix != ".py":
        yield from re.findall(r'"([^"\n]*)"|`([^`]*)`', path.read_text())
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""  # a docstring, or one of a field
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda one: one.relative_to(PACKAGE).as_posix())
def test_no_text_holds_a_turn_of_the_list(path):
    place = path.relative_to(PACKAGE).as_posix()
    found = [text for text in map(str, texts(path)) if FORBIDDEN.search(text)]
    if place in DETAILS:
        found = [text for text in found if "n_eff" not in text]
    assert [text for text in found if text not in KNOWN] == []


def test_the_list_finds_what_it_forbids():
    for text in ("this is no share", "told of it", "60 % covers 95 % of it (converged)", "n_eff 5"):
        assert FORBIDDEN.search(text)
    assert not FORBIDDEN.search("it is no longer there")
