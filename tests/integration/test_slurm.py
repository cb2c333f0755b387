"""An exported Slurm script, accepted and run by Debian's Slurm, ranks by three nodes.

`make test-cluster` unpacks the programs; `GPUPREDICT_SLURM` names the folder they lie in.
"""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest

from jupyter_gpupredict.run import code_hash
from tests.export.runs import breadth, ranked
from tests.export.test_folder import export
from tests.slurm import Cluster

ROOT = os.environ.get("GPUPREDICT_SLURM", "")
CELL = """
import os
import pathlib
import time
pause = 0.0
names = ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
         "CUDA_VISIBLE_DEVICES", "SLURM_JOB_NAME", "SLURM_SHARDS_ON_NODE", "TOKEN_OF_TEST")
out = pathlib.Path(os.environ["GPUPREDICT_OUTPUTS"])
(out / "checkpoint").write_text("step 1")
time.sleep(pause)
{name: os.environ.get(name) for name in names}
"""


MEETING = """
import os
import socket
import time
fail = False
names = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK",
         "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE")
here = {name: os.environ[name] for name in names}
if fail:
    if here["RANK"] == "1":
        raise RuntimeError("no luck")
    time.sleep(600)
place = ("127.0.0.1", int(here["MASTER_PORT"]))  # n1, whose name no resolver knows here
met = []
if here["RANK"] == "0":
    with socket.create_server(place) as server:
        for _ in range(int(here["WORLD_SIZE"]) - 1):
            with server.accept()[0] as peer:
                met.append(peer.recv(100).decode())
else:
    while not met:
        try:
            with socket.create_connection(place, 60) as peer:
                peer.sendall(here["RANK"].encode())
                met.append("0")
        except ConnectionRefusedError:
            time.sleep(0.1)
{**here, "met": sorted(met)}
"""
"""A cell whose ranks have to be there at the same time to end."""


@pytest.fixture(scope="module")
def slurm():
    if not (Path(ROOT) / "usr/sbin/slurmd").exists() or not ROOT:
        pytest.skip("Slurm is not here: make test-cluster")


@pytest.fixture(scope="module", params=["mps", "shard"])
def cluster(slurm, request):
    count = {"mps": 100, "shard": 4}[request.param]
    with Cluster(ROOT, request.param, count) as started:
        started.gres = request.param
        yield started


def written(folder, cell, found, gres, **options):
    """Export a folder; return it with what stands in for the site's MPS daemon."""
    started = dataclasses.replace(found.started, code_hash=code_hash(cell))
    export(
        folder / "f", cell, run=dataclasses.replace(found, started=started), name="train_it",
        workload="slurm", sharing=f"slurm-{gres}", force=False, **options,
    )  # fmt: skip
    (folder / "f/.env").write_text("TOKEN_OF_TEST=given\n")
    (folder / "pipe").mkdir()
    (folder / "pipe/control").touch()
    return folder / "f", {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe")}


@pytest.fixture
def function(cluster, tmp_path):
    options = {"gres_count": 4} if cluster.gres == "shard" else {}
    return written(tmp_path, CELL, breadth(duration_s=100.0), cluster.gres, **options)


def outputs_of(folder, job):
    (path,) = folder.glob(f"*-{job}.out")
    return path.read_text()


def answer_of(folder, job):
    return json.loads(outputs_of(folder, job).splitlines()[-1])


def test_sbatch_accepts_the_script_and_runs_it_to_its_end(cluster, function):
    folder, environment = function
    tried = cluster.run("sbatch", "--test-only", "deploy/job.sbatch", folder=folder)
    assert tried.returncode == 0, tried.stderr
    job = cluster.submit("deploy/job.sbatch", folder=folder, **environment)
    assert cluster.finished(job) == "COMPLETED", outputs_of(folder, job)
    said = answer_of(folder, job)
    assert said["SLURM_JOB_NAME"] == "train-it"
    assert said["CUDA_VISIBLE_DEVICES"] == "0"
    assert said["TOKEN_OF_TEST"] == "given"
    if cluster.gres == "mps":
        assert said["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "37"
        assert said["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=5874M"
    else:
        assert said["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] is None
        assert said["SLURM_SHARDS_ON_NODE"] == "2"  # 37 % of 4, rounded up
    assert (folder / "outputs" / job / "checkpoint").read_text() == "step 1"


def test_parameters_reach_the_function_and_wrong_ones_fail(cluster, function):
    folder, environment = function
    job = cluster.submit("deploy/job.sbatch", '{"pause": 0.1}', folder=folder, **environment)
    assert cluster.finished(job) == "COMPLETED", outputs_of(folder, job)
    job = cluster.submit("deploy/job.sbatch", '{"pauze": 1}', folder=folder, **environment)
    assert cluster.finished(job) == "FAILED"
    assert "unknown parameters: pauze" in outputs_of(folder, job)


def test_two_share_the_gpu_and_a_third_waits(cluster, function):
    folder, environment = function
    jobs = [
        cluster.submit("deploy/job.sbatch", '{"pause": 60}', folder=folder, **environment)
        for _ in range(3)
    ]
    try:
        cluster._until(lambda: [cluster.state(one) for one in jobs].count("RUNNING") == 2)
        assert cluster.state(jobs[2]) == "PENDING"  # 3 x 37 % are more than a GPU
        kept = [folder / "outputs" / one / "checkpoint" for one in jobs[:2]]
        cluster._until(lambda: all(path.is_file() for path in kept))
    finally:
        cluster.run("scancel", *jobs)
    for job in jobs:
        assert cluster.finished(job) in ("CANCELLED", "FAILED")
    assert all(path.read_text() == "step 1" for path in kept)  # what there was is left


def test_without_a_daemon_nothing_runs_unlimited(cluster, function):
    if cluster.gres != "mps":
        pytest.skip("shards limit nothing")
    folder, _ = function
    nowhere = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "nowhere")}
    job = cluster.submit("deploy/job.sbatch", folder=folder, **nowhere)
    assert cluster.finished(job) == "FAILED"
    assert "no MPS daemon at" in outputs_of(folder, job)


def test_more_than_a_gpu_is_refused_by_sbatch(cluster, function):
    folder, _ = function
    script = folder / "deploy/job.sbatch"
    text = re.sub(rf"--gres={cluster.gres}:\d+", f"--gres={cluster.gres}:101", script.read_text())
    script.write_text(text)
    tried = cluster.run("sbatch", "--test-only", "deploy/job.sbatch", folder=folder)
    assert tried.returncode != 0


def test_ranks_start_together_on_a_node_each_and_fail_together(slurm, tmp_path):
    folder, environment = written(tmp_path, MEETING, ranked(breadth(duration_s=100.0), 3), "mps")
    with Cluster(ROOT, "mps", 100, nodes=3) as cluster:
        tried = cluster.run("sbatch", "--test-only", "deploy/job.sbatch", folder=folder)
        assert tried.returncode == 0, tried.stderr
        job = cluster.submit("deploy/job.sbatch", folder=folder, **environment)
        assert cluster.finished(job) == "COMPLETED", outputs_of(folder, job)
        lines = [one for one in outputs_of(folder, job).splitlines() if one.startswith("{")]
        ranks = sorted(map(json.loads, lines), key=lambda one: one["RANK"])
        assert [one.pop("met") for one in ranks] == [["1", "2"], ["0"], ["0"]]
        assert [one.pop("RANK") for one in ranks] == ["0", "1", "2"]
        each = {
            "MASTER_ADDR": "n1", "MASTER_PORT": "29500", "WORLD_SIZE": "3",
            "LOCAL_RANK": "0", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "37",
        }  # fmt: skip
        assert ranks == [each] * 3
        job = cluster.submit("deploy/job.sbatch", '{"fail": true}', folder=folder, **environment)
        assert cluster.finished(job) == "FAILED", outputs_of(folder, job)
        assert "no luck" in outputs_of(folder, job)
