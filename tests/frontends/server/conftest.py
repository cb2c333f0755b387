"""A server in this process below a prefix, with our routes and nothing else of ours running."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tornado.httpclient
from pytest_jupyter.jupyter_server import *  # noqa: F403 - fixtures are taken by their names
from traitlets.config import Config

from jupyter_gpupredict.run import store_dir
from tests.frontends.server.traces import KERNEL


@pytest.fixture
def jp_server_config():
    return Config({"ServerApp": {"jpserver_extensions": {"jupyter_gpupredict": True}}})


@pytest.fixture
def jp_base_url():
    return "/user/x/"


@pytest.fixture
def server(jp_serverapp):
    """The server, with the kernel of the made-up traces among its own."""
    state = jp_serverapp.web_app.settings["gpupredict"]
    state.serves(KERNEL, lambda _: True)
    yield jp_serverapp
    state.close()


@pytest.fixture
def store(server) -> Path:
    folder = store_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Client:
    """Asks our routes and returns (status, reply)."""

    def __init__(self, fetch) -> None:
        self._fetch = fetch

    async def get(self, path: str, **query: object) -> tuple[int, object]:
        params = {key: str(value) for key, value in query.items()}
        return await self._ask(path, method="GET", params=params)

    async def post(self, path: str, body: object = "") -> tuple[int, object]:
        text = body if isinstance(body, str) else json.dumps(body)
        return await self._ask(path, method="POST", body=text)

    async def _ask(self, path: str, **how: object) -> tuple[int, object]:
        try:
            reply = await self._fetch("gpupredict", "v1", *path.split("/"), **how)
        except tornado.httpclient.HTTPClientError as error:
            reply = error.response
        media = reply.headers["Content-Type"]
        if media.startswith(("text/", "image/")):
            return reply.code, reply.body.decode("utf-8", "replace")
        return reply.code, json.loads(reply.body)


@pytest.fixture
def client(server, store, jp_fetch) -> Client:
    return Client(jp_fetch)
