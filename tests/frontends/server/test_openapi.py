"""The OpenAPI document says what the routes do."""

import jsonschema
import pytest

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.frontends.server.handlers import ROUTES
from jupyter_gpupredict.frontends.server.openapi import PATHS, document
from jupyter_gpupredict.run.store import SESSION_ID as STORED_ID
from tests.frontends.server import traces
from tests.frontends.server.test_access import filled
from tests.frontends.server.test_export import WISH

DOCUMENT = document("/user/x/")


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
            else:
                status, reply = await client.post(filled(path), WISH)
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
