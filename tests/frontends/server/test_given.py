"""What a client gives is held to the document's own bounds; what it gets names no place."""

import json

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.frontends.server import base, handlers
from jupyter_gpupredict.frontends.server.base import without_places
from jupyter_gpupredict.frontends.server.schemas import COMPONENTS, QUERIES
from tests.frontends.server import traces
from tests.frontends.server.test_export import CELL, EXPORT, RUN, WISH

FIELDS = COMPONENTS["ExportRequest"]["properties"]
BEYOND = {
    "maxLength": lambda bound, _: (bound + 1) * "x",
    "minLength": lambda bound, _: (bound - 1) * "x",
    "minimum": lambda bound, _: bound - 1,
    "maximum": lambda bound, _: bound + 1,
    "maxItems": lambda bound, one: (bound + 1) * [example(one["items"])],
    "maxProperties": lambda bound, _: {str(n): "" for n in range(bound + 1)},
    "pattern": lambda *_: "a\n",
    "type": lambda kind, _: {"boolean": 1, "string": 1, "integer": True}.get(kind, "x"),
}
"""Keyword -> what breaks it, given the bound and the schema it stands in."""


def example(schema):
    if schema.get("$ref"):
        return CELL
    return {"string": "x", "boolean": True, "integer": 5, "array": [], "object": {}}[schema["type"]]


def broken(schema):
    """Yield (keyword, a value that breaks it) for all the bounds of a schema."""
    for one in schema.get("anyOf", [schema]):
        if one.get("type") == "null":
            continue
        for keyword, bound in one.items():
            if keyword in BEYOND:
                yield keyword, BEYOND[keyword](bound, one)


WRONG = [(name, keyword, value) for name, one in FIELDS.items() for keyword, value in broken(one)]
WRONG_CELLS = [
    (name, keyword, value)
    for name, one in COMPONENTS["Cell"]["properties"].items()
    for keyword, value in broken(one)
]


def body(**changes):
    return json.dumps({**WISH, "cells": [CELL], "notebook": "a.ipynb", **changes}).encode()


def test_what_is_left_out_is_as_the_document_says():
    made = base.body_of(b'{"name": "a", "preview": true}', "ExportRequest")
    assert made == {
        **{name: one["default"] for name, one in FIELDS.items() if "default" in one},
        "name": "a",
        "preview": True,
    }


@pytest.mark.parametrize(("name", "keyword", "value"), WRONG, ids=lambda one: str(one)[:20])
def test_every_bound_of_the_document_is_held(name, keyword, value):
    base.body_of(body(), "ExportRequest")
    with pytest.raises(InvalidOption) as caught:
        base.body_of(body(**{name: value}), "ExportRequest")
    assert name in str(caught.value)
    assert len(str(caught.value)) < 350


@pytest.mark.parametrize(("name", "keyword", "value"), WRONG_CELLS, ids=lambda one: str(one)[:20])
def test_every_bound_of_a_cell_is_held(name, keyword, value):
    with pytest.raises(InvalidOption, match=rf"cells\[1\].*{name}"):
        base.body_of(body(cells=[CELL, {**CELL, name: value}]), "ExportRequest")


@pytest.mark.parametrize("operation", QUERIES)
def test_every_bound_of_a_query_is_held(operation):
    for name, schema in QUERIES[operation].items():
        assert base.query_of(operation, name, None) == schema.get("default")
        for keyword, value in broken(schema):
            text = "[]" if keyword == "type" and schema["type"] != "string" else str(value)
            if keyword == "type" and schema["type"] == "string":
                continue  # all that a query holds is a string
            with pytest.raises(InvalidOption):
                base.query_of(operation, name, text)
        for text in ("nan", "inf", "1e999", "1_0", "true", ""):
            if schema["type"] != "string":
                with pytest.raises(InvalidOption):
                    base.query_of(operation, name, text)


@pytest.mark.parametrize(
    "sent",
    [
        100_000 * "[",
        '{"name":' * 50 + "1" + "}" * 50,
        json.dumps({**WISH, "cells": 100_000 * [[]], "notebook": "a.ipynb"}),
        json.dumps({**WISH, "node_selector": {str(n): "" for n in range(100_000)}}),
        json.dumps({**WISH, "sm_percent": 10**400}),
        '{"name": "x", "preview": true, "sm_percent": 1e400}',
        '{"name": "x", "preview": true, "sm_percent": NaN}',
        '{"name": "\\ud800", "preview": true}',
        '{"name": "' + (base.LONGEST_BODY + 1) * "x" + '"}',
    ],
    ids=range(9),
)
async def test_a_hostile_body_is_refused_in_one_line(client, store, sent):
    traces.whole_run(store, RUN)
    status, error = await client.post(EXPORT, sent)
    assert (status, error["reason"]) == (400, "bad_request")
    assert len(error["message"]) < 300
    assert "\n" not in error["message"]


@drawn(st.recursive(st.none() | st.integers() | st.text(), st.lists), st.sampled_from([*FIELDS]))
def test_no_value_of_a_field_is_more_than_refused(value, name):
    try:
        made = base.body_of(body(**{name: value}), "ExportRequest")
    except InvalidOption:
        return
    assert made[name] == value


# ---- places of the machine --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cannot write /srv/my books/a/b: no", "cannot write a/b: no"),
        ("'/srv/my books' is full", "'.' is full"),
        ("/srv/my books2/a", "my books2/a"),  # another folder than the root
        ("[Errno 13]: '/etc/ssl/key.pem'", "[Errno 13]: 'key.pem'"),
        ("see /tmp/x, and /tmp/y.", "see x, and y."),
        ("at:/a/b", "at:b"),
        ("http://host/a/b and exports/a and 3/4 and ~/c", None),
        ("kernels/{id}/runs and nvidia.com/gpu and / alone", None),
    ],
)
def test_a_place_is_told_as_a_client_may_know_it(text, told):
    assert without_places(text, "/srv/my books") == (text if told is None else told)


async def test_no_answer_names_a_place_of_the_machine(
    client, store, jp_root_dir, tmp_path, driver, monkeypatch
):
    errors = (f"[Errno 28] No space left on device: '{store}/x.jsonl'", f"{jp_root_dir}/a.csv")
    traces.whole_run(store, RUN, notes=(f"replaying {tmp_path}/b.csv",))
    live = traces.session_id(2)
    traces.write(store, live, [traces.started(live), traces.finished(1, errors=errors)])
    (jp_root_dir / "file").write_text("")
    (jp_root_dir / "full").mkdir()
    (jp_root_dir / "full" / "README.md").write_text("")
    said = [
        await client.get(f"sessions/{live}"),
        await client.get(f"sessions/{RUN}"),
        await client.get("sessions"),
        await client.get(f"kernels/{traces.KERNEL}/runs", since=f"{live}:-1"),
        await client.get("doctor"),
        await client.post(EXPORT, {**WISH, "output": "file/below"}),
        await client.post(EXPORT, {**WISH, "output": "file"}),
        await client.post(EXPORT, {**WISH, "output": "full"}),
        await client.post(EXPORT, {**WISH, "output": "/etc/x"}),
    ]
    assert [status for status, _ in said[-4:]] == [422, 422, 409, 400]
    assert said[-2][1]["message"].startswith("full already holds README.md")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(handlers, "store_problem", lambda: f"not a folder: '{store}'")
    said.append(await client.get("status"))
    assert said[-1][1]["store"]["message"] == "not a folder: 'sessions'"
    for _, reply in said:
        assert str(tmp_path) not in json.dumps(reply)
        assert str(jp_root_dir) not in json.dumps(reply)
