"""`%%gpupredict --cluster` in a real kernel: by variable, over Dask, and over `%%px`."""

import json

import pytest

from tests.integration.kernels import Kernel

pytestmark = pytest.mark.integration
DASK = """
import distributed, json
client = distributed.Client(distributed.LocalCluster(
    n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50))
def threads():
    import threading
    return [one.name for one in threading.enumerate() if one.name.startswith("gpupredict")]
%load_ext jupyter_gpupredict
"""
RESULT = "print(json.dumps([run.to_dict(), list(client.run(threads).values())]))"
MAGIC = "%%gpupredict --source synthetic --cluster client -q -o run"
WORK = "import time; client.gather([client.submit(time.sleep, 2, pure=False) for _ in range(2)])"


@pytest.fixture
def environ(tmp_path):
    return {"JUPYTER_DATA_DIR": str(tmp_path / "data"), "IPYTHONDIR": str(tmp_path / "ipython")}


def told(reply):
    assert reply.status == "ok", reply.tracebacks
    return json.loads(reply.text("stdout").strip().splitlines()[-1])


def test_over_dask(environ):
    pytest.importorskip("distributed")
    with Kernel(**environ) as kernel:
        assert kernel.run(DASK).status == "ok"
        reply = kernel.run(f"{MAGIC}\n{WORK}")
        assert reply.status == "ok", reply.tracebacks
        result, left = told(kernel.run(RESULT))
        assert len(result["ranks"]) == 2
        assert result["simulated"]
        assert result["partial"] == []
        assert left == [[], []]
        # a cell that raises is the user's affair, and nothing is left either
        reply = kernel.run(f"{MAGIC}\n{WORK}\n1/0")
        assert reply.status == "error"
        assert "ZeroDivisionError" in reply.tracebacks[0]
        result, left = told(kernel.run(RESULT))
        assert (result["outcome"], left) == ("failed", [[], []])
        # `auto` finds the current client; a name that is none is one line
        reply = kernel.run(f"{MAGIC.replace('client', 'auto')}\n{WORK}")
        assert reply.status == "ok", reply.tracebacks
        assert len(told(kernel.run(RESULT))[0]["ranks"]) == 2
        reply = kernel.run(f"{MAGIC.replace('client', 'nobody')}\n{WORK}")
        assert reply.status == "error"
        assert "no such variable" in reply.text("stderr")
        kernel.run("client.cluster.close(); client.close()")


IPP = """
import ipyparallel, json
cluster = ipyparallel.Cluster(n=2, log_level=40)
client = cluster.start_and_connect_sync()
client.wait_for_engines(2)
client[:].activate()
%load_ext jupyter_gpupredict
"""


def test_over_px(environ):
    pytest.importorskip("ipyparallel")
    with Kernel(**environ) as kernel:
        reply = kernel.run(IPP)
        assert reply.status == "ok", reply.tracebacks
        try:
            reply = kernel.run(f"{MAGIC}\n%%px --block\nimport time\ntime.sleep(3)")
            assert reply.status == "ok", reply.tracebacks
            result = told(kernel.run("print(json.dumps(run.to_dict()))"))
        finally:
            kernel.run("cluster.stop_cluster_sync()")
        assert len(result["ranks"]) == 2, (result, reply.text())
        assert result["partial"] == []
        assert result["samples"] > 20
