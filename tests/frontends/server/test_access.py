"""Who may ask what: tokens, prefix, XSRF, the authorizer, patterns, activity."""

import json

import pytest
import tornado.httpclient
from jupyter_server.auth import Authorizer

from jupyter_gpupredict.frontends.server.handlers import PREFIX, ROUTES, patterns
from jupyter_gpupredict.frontends.server.openapi import PATHS
from tests.frontends.server import traces

IDS = {
    "{kernel}": traces.KERNEL,
    "{run}": traces.session_id(1),
    "{session}": traces.session_id(1),
    "{form}": "svg",
}
EVERY = [(verb, path) for path, verbs in PATHS.items() for verb in verbs]


def filled(path):
    for name, value in IDS.items():
        path = path.replace(name, value)
    return path.lstrip("/")


async def ask(http, url, **how):
    try:
        return await http.fetch(url, follow_redirects=False, **how)
    except tornado.httpclient.HTTPClientError as error:
        return error.response


@pytest.mark.parametrize(("verb", "path"), EVERY)
async def test_no_route_answers_a_stranger(
    server, store, http_server_client, jp_base_url, verb, path
):
    traces.whole_run(store, traces.session_id(1))
    body = "{}" if verb == "post" else None
    reply = await ask(
        http_server_client,
        f"{jp_base_url}{PREFIX}/{filled(path)}",
        method=verb.upper(),
        body=body,
        headers={"Cookie": "_xsrf=abc", "X-XSRFToken": "abc"},  # so that it is not that
    )
    assert reply.code == 403
    assert set(json.loads(reply.body)) == {"message", "hint", "reason"}
    assert b"H200" not in reply.body


def test_every_handler_of_the_application_that_is_ours_is_a_route(server, jp_base_url):
    ours = [
        rule.matcher.regex.pattern
        for host in server.web_app.default_router.rules
        for rule in getattr(host.target, "rules", [])
        if "gpupredict" in getattr(getattr(rule.matcher, "regex", None), "pattern", "")
    ]
    known = {f"{jp_base_url}{pattern}$" for pattern, _ in patterns()}
    assert known <= set(ours)
    assert len(ours) == len(known) + 1  # BokehJS
    assert all(pattern.startswith(jp_base_url) for pattern in ours)


@pytest.mark.parametrize(("path", "handler"), ROUTES.items())
def test_every_verb_is_guarded_and_none_is_activity(path, handler):
    assert handler.auth_resource == "gpupredict"
    assert handler._track_activity is False
    for verb in ("get", "post", "put", "patch", "delete", "head"):
        method = getattr(handler, verb)
        assert hasattr(method, "__wrapped__") == (verb in PATHS[path]), verb


class Reader(Authorizer):
    """Lets users read and nothing else."""

    seen: list[tuple[str, str]] = []  # noqa: RUF012 - reset by the test

    def is_authorized(self, handler, user, action, resource):
        self.seen.append((action, resource))
        return action == "read"


async def test_the_authorizer_is_asked_for_each_verb(client, server, store):
    Reader.seen = []
    server.web_app.settings["authorizer"] = Reader(parent=server)
    traces.write(store, traces.session_id(1), [traces.started(traces.session_id(1))])
    assert (await client.get("sessions"))[0] == 200
    status, error = await client.post(filled("/kernels/{kernel}/runs/{run}/stop"))
    assert (status, error["reason"]) == (403, "not_allowed")
    assert (await client.post(filled("/sessions/{session}/export"), {"name": "x"}))[0] == 403
    assert Reader.seen == [("read", "gpupredict"), *[("write", "gpupredict")] * 2]
    assert not list(store.glob("*.stop"))


async def test_a_browser_needs_the_xsrf_header_to_post(
    server, store, http_server_client, jp_base_url
):
    run = traces.session_id(1)
    traces.write(store, run, [traces.started(run)])
    token = server.identity_provider.token
    page = await ask(http_server_client, f"{jp_base_url}api/status?token={token}")
    cookies = [header.partition(";")[0] for header in page.headers.get_list("Set-Cookie")]
    login = await ask(http_server_client, f"{jp_base_url}login?next=x", headers={})
    cookies += [header.partition(";")[0] for header in login.headers.get_list("Set-Cookie")]
    xsrf = next(one.partition("=")[2] for one in cookies if one.startswith("_xsrf="))
    url = f"{jp_base_url}{PREFIX}/{filled('/kernels/{kernel}/runs/{run}/stop')}"
    session = await ask(
        http_server_client,
        f"{jp_base_url}login?next=x",
        method="POST",
        body=f"password={token}&_xsrf={xsrf}",
        headers={"Cookie": "; ".join(cookies)},
    )
    cookies += [header.partition(";")[0] for header in session.headers.get_list("Set-Cookie")]
    headers = {"Cookie": "; ".join(cookies)}
    without = await ask(http_server_client, url, method="POST", body="", headers=headers)
    assert without.code == 403
    assert not list(store.glob("*.stop"))
    newest = next(one.partition("=")[2] for one in reversed(cookies) if one.startswith("_xsrf="))
    headers["X-XSRFToken"] = newest
    given = await ask(http_server_client, url, method="POST", body="", headers=headers)
    assert given.code == 202
    assert list(store.glob("*.stop"))


@pytest.mark.parametrize(
    "path",
    [
        "sessions/..%2F..%2Fsecret",
        "sessions/20260101T000000Z-h-1-abcd%2F..%2Fx/series",
        "sessions/20260101T000000Z-h-1-ABCD",
        "sessions/last",
        "sessions/20260101T000000Z-h-1-abcd.jsonl",
        "sessions/20260101T000000Z-%00-1-abcd",
        "kernels/..%2Fx/runs",
        "kernels/-x/runs",
        "kernels/" + "x" * 65 + "/runs",
    ],
)
async def test_nothing_that_is_no_id_reaches_a_handler(
    server, http_server_client, jp_base_url, jp_auth_header, path
):
    url = f"{jp_base_url}{PREFIX}/{path}"
    reply = await ask(http_server_client, url, headers=jp_auth_header)
    assert (reply.code, json.loads(reply.body)["reason"]) == (404, "not_found")
    reply = await ask(http_server_client, url, headers=jp_auth_header, method="POST", body="")
    assert (reply.code, json.loads(reply.body)["reason"]) == (404, "not_found")
    assert (await ask(http_server_client, url)).code == 403


async def test_a_request_is_no_activity(client, server, store):
    traces.whole_run(store, traces.session_id(1))
    before = server.web_app.last_activity()
    for verb, path in EVERY:
        if verb == "get":
            query = {"wait": 0} if path.endswith("/runs") else {}
            assert (await client.get(filled(path), **query))[0] == 200
        else:
            await client.post(filled(path), {"name": "x", "preview": True})
    assert server.web_app.last_activity() == before
