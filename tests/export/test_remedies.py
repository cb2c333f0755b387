"""Credentials are taken out of code, which then does the same with what it is given."""

import ast
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import InvalidOption, SecretFound
from jupyter_gpupredict.export import export_run
from jupyter_gpupredict.export.deployment import Cell, CodeRequest
from jupyter_gpupredict.export.function.remedies import Remedy
from jupyter_gpupredict.export.function.secrets import suspects
from tests.export import credentials
from tests.export.test_folder import execute, measured

TOKEN = credentials.draw(credentials.KINDS["Hugging Face"], 1)
HEX = credentials.draw(credentials.KINDS["W&B"], 1)


def applied(way, source):
    remedy = Remedy(way)
    return remedy, remedy.apply(source, "line {}".format)


def export(folder, *sources, **code):
    cells = [Cell(f"In [{n}]", source) for n, source in enumerate(sources, start=1)]
    return export_run(
        measured(sources[-1]), workload="local", sharing="mps", name="x", force=True,
        output=folder, code=CodeRequest(tuple(cells), folder.parent, **code),
    )  # fmt: skip


@pytest.mark.parametrize("way", ["env", "param"])
def test_what_is_found_is_taken_out_on_the_same_lines(way):
    for kind, placement, credential, code in list(credentials.every(0))[way == "env" :: 3]:
        if not suspects(code):
            continue
        remedy, changed = applied(way, code)
        ast.parse(changed)
        assert changed.count("\n") == code.count("\n"), (kind, placement)
        assert credential not in str(remedy)
        if remedy.given != {"setting"}:  # else the slice leaves the statement out
            assert suspects(changed) == [], (kind, placement)


@given(st.text(max_size=20), st.text(max_size=20), st.booleans())
def test_a_literal_keeps_its_value(before, after, in_f_string):
    text = f"{before} {TOKEN} {after}"
    braced = text.replace("{", "{{").replace("}", "}}")
    code = f"f{braced!r}" if in_f_string else repr(text)
    remedy, changed = applied("env", f"x = {code}")
    scope = {"os": os}
    os.environ.update({name: value for value, name in remedy.names.items()})
    try:
        exec(changed, scope)
    finally:
        for name in remedy.names.values():
            del os.environ[name]
    assert scope["x"] == text
    assert TOKEN not in changed


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        (f"wandb.login({HEX!r})", 'wandb.login(os.environ["WANDB_API_KEY"])'),
        (f"os.environ['THE_KEY'] = {HEX!r}", "os.environ['THE_KEY'] = os.environ[\"THE_KEY\"]"),
        (f"def f():\n    return{TOKEN!r}", 'def f():\n    return os.environ["HF_TOKEN"]'),
        (f"a = 1  # {TOKEN}", "a = 1  # left out: it held what looks like a credential"),
        (
            f"x = ('https://me:'\n  '{HEX}@a.example')",
            "x = (('https://me:' + os.environ['URL_PASSWORD'] + '@a.example'\n))",
        ),
        ("pwd = 'hunter2'", 'pwd = os.environ["PWD_2"]'),
        (f"u = n * 2 + {TOKEN!r} + end", "u = (n * 2 + os.environ['HF_TOKEN'] + end)"),
        (f"u = head + {TOKEN.encode()!r}", "u = (head + os.environ['HF_TOKEN'].encode())"),
    ],
)  # fmt: skip
def test_the_environment_gives_it(code, changed):
    remedy = Remedy("env", {"PWD"})
    assert remedy.apply(code, "line {}".format) == changed


def test_one_credential_has_one_name_and_another_another():
    other = TOKEN[:-3] + "abc"
    remedy, changed = applied("env", f"a({TOKEN!r}, {TOKEN!r}, {other!r})")
    assert list(remedy.names.values()) == ["HF_TOKEN", "HF_TOKEN_2"]
    assert changed.count('"HF_TOKEN"') == 2


def test_a_pragma_lets_it_stay_and_is_told(tmp_path):
    code = f"x = len({TOKEN!r})  # pragma: allowlist secret\nx"
    assert applied("env", code)[1] == code
    outcome = export(tmp_path / "f", code)
    assert any("In [1] line 1" in one and "pragma" in one for one in outcome.warnings)


# ---- whole folders ---------------------------------------------------------------------------

CELLS = (
    f"prefix = {HEX!r}\nsecret_key = 'correct horse'\nunused = {TOKEN!r}",
    f"import tools\n# once {HEX}\nx = [tools.f({TOKEN!r}), prefix[:2], secret_key]\nx",
)


def beside(folder):
    (folder / "tools.py").write_text(
        f'"""Tools."""\n\ndef f(x, key={HEX!r}):\n    return x + key\n'
    )


def test_no_file_holds_what_the_environment_gives(tmp_path):
    beside(tmp_path)
    outcome = export(tmp_path / "f", *CELLS, secrets="env")
    written = "".join(outcome.texts.values()) + "".join(outcome.warnings)
    assert not [one for one in (TOKEN, HEX, "correct horse") if one in written]
    names = outcome.texts[".env.example"].split("\n")[1:-1]
    assert names == ["HF_TOKEN=", "PREFIX_SECRET=", "SECRET_KEY="]
    assert "In [2] line 3 held what looks like a Hugging Face token" in written
    ended = execute(tmp_path / "f", HF_TOKEN="a", PREFIX_SECRET="bcd", SECRET_KEY="e")
    assert json.loads(ended.stdout) == {"result": ["abcd", "bc", "e"]}, ended.stderr


def test_no_file_holds_what_the_caller_gives(tmp_path):
    outcome = export(
        tmp_path / "f", CELLS[0], f"x = [{TOKEN!r}, prefix[:2], secret_key]\nx", secrets="param"
    )
    written = "".join(outcome.texts.values()) + "".join(outcome.warnings)
    assert not [one for one in (TOKEN, HEX, "correct horse") if one in written]
    assert execute(tmp_path / "f").returncode == 2  # they are required
    body = json.dumps({"hf_token": "a", "prefix": "bcd", "secret_key": "e"})
    ended = execute(tmp_path / "f", body)
    assert json.loads(ended.stdout) == {"result": ["a", "bc", "e"]}, ended.stderr


def test_a_function_with_a_credential_as_a_default(tmp_path):
    cell = f"def fit(n=2, api_key={HEX!r}):\n    return [n, api_key]"
    outcome = export(tmp_path / "f", cell, secrets="env")
    assert HEX not in "".join(outcome.texts.values())
    ended = execute(tmp_path / "f", API_KEY="a")
    assert json.loads(ended.stdout) == {"result": [2, "a"]}, ended.stderr
    with pytest.raises(SecretFound, match=r"In \[1\] line 1 holds what looks like the value of"):
        export(tmp_path / "g", cell)


def test_what_cannot_be_taken_out_is_refused_with_the_ways_on(tmp_path):
    cell = f"y = 1\nmatch y:\n    case {TOKEN!r}:\n        pass\ny"
    with pytest.raises(SecretFound, match=r"In \[1\] line 3 .* Hugging Face.*--secrets env"):
        export(tmp_path / "f", cell, secrets="env")
    beside(tmp_path)
    with pytest.raises(SecretFound, match=r"tools\.py line 3"):
        export(tmp_path / "f", "import tools\ntools.f('a')", secrets="param")
    with pytest.raises(InvalidOption, match="env or param"):
        export(tmp_path / "f", "1", secrets="vault")


def test_what_is_left_out_is_told_without_its_credentials(tmp_path):
    setting = f"import json, os\njson.JSONEncoder(x={TOKEN!r}).default.set_config({HEX!r})"
    outcome = export(tmp_path / "f", setting, f"%load_ext {HEX}\njson.dumps(1)", mode="strict")
    assert any(
        "In [1] line 2: json.JSONEncoder().default.set_config" in w for w in outcome.warnings
    )
    told = "".join(outcome.texts.values()) + "".join(outcome.warnings)
    assert TOKEN not in told
    assert HEX not in told
    with pytest.raises(SecretFound, match="README"):
        export(tmp_path / "g", f"?a['{TOKEN}']", "1")
