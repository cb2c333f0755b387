"""`%%gpupredict --cluster` in a real kernel: by variable, over Dask, and over `%%px`."""

import json

import pytest

from tests.integration.kernels import Kernel
from tests.integration.processes import dask_cluster

pytestmark = pytest.mark.integration
DASK = """
import distributed, json
client = distributed.Client({cluster})
client.wait_for_workers(2, timeout=30)
def threads():
    import threading
    return [one.name for one in threading.enumerate() if one.name.startswith("gpupredict")]
%load_ext jupyter_gpupredict
"""
LOCAL = """distributed.LocalCluster(
    n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50)"""
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
        assert kernel.run(DASK.format(cluster=LOCAL)).status == "ok"
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


def test_an_interrupt_leaves_no_sampler_on_the_workers(environ, tmp_path):
    """On workers that it does not reach, as on other machines; what their tasks do is Dask's."""
    pytest.importorskip("distributed")
    with dask_cluster(tmp_path, 2) as (address, _), Kernel(**environ) as kernel:
        assert kernel.run(DASK.format(cluster=repr(address))).status == "ok"
        longer = f"print(1); {WORK.replace(', 2, ', ', 20, ')}"
        reply = kernel.run(f"{MAGIC}\n{longer}", interrupt_after=2.0)
        assert reply.status == "error"
        assert "KeyboardInterrupt" in reply.tracebacks[0]
        result, left = told(kernel.run(RESULT))
        assert (result["outcome"], left) == ("interrupted", [[], []])
        assert result["samples"] > 5


IPP = """
import ipyparallel, json
cluster = ipyparallel.Cluster(n=2, log_level=40)
client = cluster.start_and_connect_sync()
client.wait_for_engines(2)
client[:].activate()
def threads():
    import threading
    return [one.name for one in threading.enumerate() if one.name.startswith("gpupredict")]
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
            # ipyparallel keeps an interrupt to itself, and hands it to the engines
            sleep = "import time\\ntime.sleep(12)"
            cell = f"print(1)\nget_ipython().run_cell_magic('px', '--block', '{sleep}')"
            kernel.run(f"{MAGIC}\n{cell}", interrupt_after=2.0)
            ended = told(kernel.run("print(json.dumps(run.to_dict()))"))
            left = told(kernel.run("print(json.dumps(client[:].apply_sync(threads)))"))
        finally:
            kernel.run("cluster.stop_cluster_sync()")
        assert len(result["ranks"]) == 2, (result, reply.text())
        assert result["partial"] == []
        assert result["samples"] > 20
        assert ended["duration_s"] < 10.0
        assert ended["samples"] > 5
        assert left == [[], []]
