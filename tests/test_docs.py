"""The documents that repeat the code say what the code says."""

import dataclasses
import re
from pathlib import Path

from docs import compatibility, options
from jupyter_gpupredict.core.events import EVENTS, SCHEMA

ROOT = Path(__file__).resolve().parents[1]


def test_the_generated_pages_are_up_to_date():
    for made in (compatibility, options):
        assert made.TARGET.read_text(encoding="utf-8") == made.page(), made.__name__


def test_the_glossary_is_short():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert 15 <= text.count("\n| ") - 1 <= 25


def test_the_events_page_names_every_event_and_field():
    text = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", text))
    for name, kind in EVENTS.items():
        fields = {field.name for field in dataclasses.fields(kind)}
        assert {name, *fields} <= named, name
    assert f"(`SCHEMA` {SCHEMA})" in text


def test_every_link_and_picture_is_there():
    for page_path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page_path.read_text(encoding="utf-8")):
            assert (page_path.parent / target).exists(), f"{page_path.name}: {target}"


def test_the_examples_are_the_plug_ins_that_are_tested():
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- (\S+) -->\n\n```python\n(.*?)```", text, re.DOTALL)
    assert len(shown) == 6
    for path, code in shown:
        assert code == (ROOT / path).read_text(encoding="utf-8"), path
