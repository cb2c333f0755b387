"""What administrators see in Jupyter's event system."""

import io
import json
import logging

import pytest

from jupyter_gpupredict.frontends.server import runs
from tests.frontends.server import traces
from tests.frontends.server.test_export import WISH

RUN = traces.session_id(1)


@pytest.fixture
def told(server):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    server.event_logger.register_handler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    server.event_logger.remove_handler(handler)


async def test_start_once_stop_and_export(client, store, told):
    traces.write(store, RUN, [traces.started(RUN)])
    for _ in range(2):
        await client.get(f"kernels/{traces.KERNEL}/runs")
    await client.post(f"kernels/{traces.KERNEL}/runs/{RUN}/stop")
    traces.write(store, RUN, [traces.finished(1)])
    wish = {**WISH, "image": "registry.example/canary"}
    assert (await client.post(f"sessions/{RUN}/export", {**wish, "preview": True}))[0] == 200
    assert (await client.post(f"sessions/{RUN}/export", wish))[0] == 200
    kept = [record for record in told() if record["__schema__"] == runs.SCHEMA_ID]
    assert [record["action"] for record in kept] == ["start", "stop", "export"]
    assert {record["session_id"] for record in kept} == {RUN}
    assert {record["__schema_version__"] for record in kept} == {"1"}
    assert "canary" not in json.dumps(kept)
