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
ROOT = PACKAGE.parent
PANEL = ROOT / "labextension"
SCRIPTS = [
    *PACKAGE.rglob("*.py"),
    PACKAGE / "frontends" / "charts" / "view.js",
    *(one for one in PANEL.glob("src/**/*.ts*") if "__tests__" not in one.parts),
]
PROSE = [ROOT / "docs" / "options.md", PANEL / "src" / "schema.json", *PANEL.glob("schema/*.json")]
"""Every option's help; what the panel's forms and the settings say."""
DETAILS = {"jupyter_gpupredict/core/words.py", "labextension/src/schema.d.ts"}
"""The first one's `certified` stands under Details; a field's name in the second one."""


def texts(path):
    """Yield the texts of a module that are no docstrings, those inside f-strings too."""
    if path.suffix != ".py":
        code = re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", path.read_text(), flags=re.DOTALL)
        yield from code.splitlines()
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""  # a docstring, or one of a field
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda one: one.relative_to(ROOT).as_posix())
def test_no_text_holds_a_turn_of_the_list(path):
    place = path.relative_to(ROOT).as_posix()
    found = [text for text in map(str, texts(path)) if FORBIDDEN.search(text)]
    if place in DETAILS:
        found = [text for text in found if "n_eff" not in text]
    assert [text for text in found if text not in KNOWN] == []


@pytest.mark.parametrize("path", PROSE, ids=lambda one: one.name)
def test_no_help_holds_a_turn_of_the_list(path):
    found = [line for line in path.read_text().splitlines() if FORBIDDEN.search(line)]
    assert [line for line in found if line.strip(' ":,{') not in KNOWN] == []


def test_the_list_finds_what_it_forbids():
    for text in ("this is no share", "told of it", "60 % covers 95 % of it (converged)", "n_eff 5"):
        assert FORBIDDEN.search(text)
    assert not FORBIDDEN.search("it is no longer there")
