"""The server's routes, asked by a signed-in user and by a stranger; no browser needed."""

import json

import bokeh
import pytest

pytestmark = pytest.mark.e2e
ROUTE = f"gpupredict/bokehjs/{bokeh.__version__}.js"


def test_bokehjs_for_those_who_are_signed_in(lab):
    status, headers, body = lab.get(ROUTE)
    assert status == 200
    assert headers["Content-Type"].startswith("text/javascript")
    assert headers["Cache-Control"].startswith("private")
    assert b"Bokeh" in body[:2000]


def test_nothing_for_a_stranger(lab):
    status, headers, body = lab.get(ROUTE, token=False)
    assert status in (302, 403)
    assert b"Bokeh" not in body
    if status == 302:
        assert "/login" in headers["Location"]


def test_another_version_is_refused_with_the_reason(lab):
    status, _, body = lab.get("gpupredict/bokehjs/0.0.1.js")
    assert status == 404
    assert bokeh.__version__ in json.loads(body)["reason"]


@pytest.mark.parametrize(
    "path", ["gpupredict/bokehjs/..%2F..%2Fsecret.js", "gpupredict/bokehjs/.js"]
)
def test_no_other_file_is_served(lab, path):
    assert lab.get(path)[0] == 404


def test_a_request_is_no_activity(lab):
    before = json.loads(lab.get("api/status")[2])["last_activity"]
    lab.get(ROUTE)
    assert json.loads(lab.get("api/status")[2])["last_activity"] == before
