"""The OpenAPI document says what the routes do, and what a trace holds."""

import copy
import json
import re
from pathlib import Path

import jsonschema
import jsonschema_rs
import pytest

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.core.trace import event_from_json
from jupyter_gpupredict.frontends.server.handlers import ROUTES
from jupyter_gpupredict.frontends.server.openapi import PATHS, document, panel
from jupyter_gpupredict.frontends.server.schemas import ref
from jupyter_gpupredict.run.store import SESSION_ID as STORED_ID
from tests.frontends.server import traces
from tests.frontends.server.test_access import filled
from tests.frontends.server.test_export import WISH

DOCUMENT = document("/user/x/")
ROOT = Path(__file__).resolve().parents[3]
EVENTS = [
    json.loads(line)
    for line in (ROOT / "tests" / "data" / "events" / "every-kind.jsonl").read_text().splitlines()
]


def validator(path, verb, status):
    """Return a validator of what a route answers with a status."""
    answer = PATHS[path][verb]["responses"][str(status)]
    (media,) = answer["content"].values()
    schema = media["schema"]
    return jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_every_route_is_documented_and_every_documented_route_is_there():
    assert list(PATHS) == list(ROUTES)
    for path, handler in ROUTES.items():
        verbs = {v for v in ("get", "post") if hasattr(getattr(handler, v), "__wrapped__")}
        assert verbs == set(PATHS[path]), path


def test_the_document_is_whole():
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    referred = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT))
    assert set(referred) <= set(DOCUMENT["components"]["schemas"])
    names = [op["operationId"] for verbs in PATHS.values() for op in verbs.values()]
    assert len(set(names)) == len(names)
    for path, verbs in PATHS.items():
        for operation in verbs.values():
            told = {"{" + p["name"] + "}" for p in operation["parameters"] if p["in"] == "path"}
            assert told == {part for part in path.split("/") if part.startswith("{")}


def test_ids_have_the_form_of_the_store():
    pattern = DOCUMENT["components"]["schemas"]["Stopping"]["properties"]["session_id"]["pattern"]
    assert pattern.strip("^$").replace("[0-9]", r"\d") == STORED_ID.pattern.replace("[0-9]", r"\d")


async def test_the_document_is_served(client):
    status, served = await client.get("openapi.json")
    assert (status, served) == (200, DOCUMENT)


RECORDING = "t_s,gpu_util_pct\n1,50\n2,60\n"


async def test_replies_are_as_documented(client, store, driver):
    run = traces.session_id(1)
    traces.write(
        store,
        run,
        [
            traces.started(run),
            traces.samples(1, [0.5, float("nan")]),
            ev.StateChanged(2, 2.0, "watching", "converged", "why"),
            ev.RecommendationUpdated(3, 3.0, traces.advice()),
        ],
    )
    traces.whole_run(store, traces.session_id(2), memory=None)
    traces.write(store, traces.session_id(3), [traces.started(traces.session_id(3), pid=0)])
    for path, verbs in PATHS.items():
        for verb in verbs:
            if verb == "get":
                query = {"since": f"{run}:-1"} if path.endswith("/runs") else {}
                status, reply = await client.get(filled(path), **query)
            elif path.endswith(("/delete", "/restore")):  # of a run that is over
                over = path.replace("{session}", traces.session_id(2))
                status, reply = await client.post(filled(over))
            else:
                wishes = {"label": {"pinned": True}, "recordings": RECORDING}
                wish = wishes.get(path.rpartition("/")[2], WISH)
                status, reply = await client.post(filled(path), wish)
            assert status in (200, 202), (path, reply)
            validator(path, verb, status).validate(reply)


@pytest.mark.parametrize(
    ("verb", "path", "ask", "status"),
    [
        ("get", "/sessions", {"limit": 0}, 400),
        ("get", "/sessions/{session}", {}, 404),
        ("post", "/sessions/{session}/export", {"name": "x"}, 404),
        ("post", "/kernels/{kernel}/runs/{run}/stop", {}, 404),
    ],
)
async def test_errors_are_as_documented(client, verb, path, ask, status):
    asked = client.get(filled(path), **ask) if verb == "get" else client.post(filled(path), ask)
    got, reply = await asked
    assert got == status
    validator(path, verb, status).validate(reply)


def read(event):
    """Return whether the reader of traces takes an event."""
    try:
        event_from_json(json.dumps(event))
    except GpuPredictError:
        return False
    return True


OF_EVENTS = jsonschema_rs.Draft202012Validator(  # the faster one: some thousand are asked about
    {**ref("Event"), "components": DOCUMENT["components"]}
)


def documented(event):
    return OF_EVENTS.is_valid(event)


def places(node, path=()):
    """Yield the path of every value in a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


def changed(event, path, change):
    made = copy.deepcopy(event)
    node = made
    for key in path[:-1]:
        node = node[key]
    change(node, path[-1])
    return made


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["event"])
def test_the_document_takes_of_an_event_what_the_reader_of_traces_takes(event):
    """But for rules that no schema says, of which the bins of a profile are one."""
    assert documented(event)
    verdicts = set()
    for path in places(event):
        if "bins" in path:
            continue
        for value in (None, "x", True, 0.5, {"x": 1}, []):
            other = changed(event, path, lambda node, key, put=value: node.__setitem__(key, put))
            if path[-1] in ("times_s", "values") and value == []:
                continue  # as many times as values
            assert documented(other) == read(other), (path, value)
            verdicts.add(read(other))
    assert verdicts == {True, False}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["event"])
def test_older_and_newer_events_are_as_documented(event):
    for path in places(event):
        if isinstance(path[-1], int) or "bins" in path:
            continue
        older = changed(event, path, lambda node, key: node.__delitem__(key))
        assert documented(older) == read(older), path
        newer = changed(event, path, lambda node, _: node.__setitem__("brand_new", {"x": [1]}))
        assert documented(newer) == read(newer), path


def test_the_panel_has_the_schemas_as_they_are_now():
    text = (ROOT / "labextension" / "src" / "schema.json").read_text()
    assert json.loads(text) == panel(), "make types"
