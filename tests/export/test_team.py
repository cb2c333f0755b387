"""What a team asks for stands wherever a platform has a place for it, and is refused elsewhere."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import yaml

from jupyter_gpupredict.core.errors import ExportError, InvalidOption
from jupyter_gpupredict.core.options import options_of
from jupyter_gpupredict.core.recommendation import HostPeak
from jupyter_gpupredict.export.compatibility import adapters, carried
from jupyter_gpupredict.export.request import ExportRequest
from jupyter_gpupredict.export.team import OWN, PLACES, framework_variables
from tests.export.golden import example
from tests.export.runs import PAIRS, breadth, export, manifests, run

TEAM = {
    "namespace": "research",
    "labels": {"cost-center": "c42"},
    "annotations": {"example.com/contact": "ml-team"},
    "service_account": "trainer",
    "pull_secrets": ["registry-login"],
    "env": {"DATA_ROOT": "/data/imagenet"},
    "env_from": ["configmap:training-defaults"],
    "volumes": ["claim:datasets:/data"],
    "tolerations": ["dedicated=gpu:NoSchedule"],
    "queue": "night",
    "priority_class": "batch-low",
    "run_as_user": 4711,
    "retries": 3,
    "ttl_s": 777,
    "gres_count": 50,
    "region": "eu-north-1",
    "modules": ["cuda/12.4"],
}
"""An option each -> a value whose words stand in the manifest."""
ROLE = "arn:aws:iam::123456789012:role/trainer"
WORDS = {
    "labels": "c42",
    "annotations": "ml-team",
    "env": "imagenet",
    "run_as_user": "4711",
    "gres_count": "counts 50 ",
}


def words(name):
    value = TEAM[name]
    if name in ("volumes", "env_from", "tolerations"):
        return value[0].replace("=", ":").split(":")[1]
    return WORDS.get(name, value[0] if isinstance(value, list) else str(value))


def features(workload):
    return tuple(adapters().workloads[workload].switchable.values())


def places(workload):
    return carried(adapters().workloads[workload], features(workload))


def team_of(workload):
    """Return the options that a workload has a place for."""
    team = TEAM | ({"service_account": ROLE} if workload == "ecs" else {})
    return {name: value for name, value in team.items() if PLACES[name] in places(workload)}


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_option_stands_in_the_file_or_is_refused(pair):
    workload, sharing = pair
    common = {
        "workload": workload, "sharing": sharing, "dry_run": True,
        "knative_features": features(workload),
    }  # fmt: skip
    fitting = team_of(workload)
    outcome = export(example(*pair), **common, **fitting)
    text = "".join(manifests(outcome).values())
    for name in fitting:
        assert words(name) in text, name
    for name in set(TEAM) - set(fitting):
        with pytest.raises(InvalidOption, match=f"{workload} has no place for"):
            export(example(*pair), **common, **{name: TEAM[name]})
    assert outcome.texts == export(example(*pair), **common, **fitting).texts


def pod(found=None, **options):
    outcome = export(found or breadth(), dry_run=True, **options)
    job = list(yaml.safe_load_all(outcome.texts["deploy/job.yaml"]))[-1]
    return job, job["spec"]["template"]["spec"], outcome


def test_where_a_job_holds_them():
    job, inside, _ = pod(sharing="dra", **team_of("job"))
    assert job["metadata"]["namespace"] == "research"
    assert job["metadata"]["labels"] == {
        "cost-center": "c42", "kueue.x-k8s.io/queue-name": "night",
    }  # fmt: skip
    assert job["spec"]["suspend"] is True  # until Kueue has a place
    assert job["spec"]["ttlSecondsAfterFinished"] == 777
    assert job["spec"]["backoffLimit"] == 3
    assert job["spec"]["template"]["metadata"]["labels"] == {"cost-center": "c42"}
    assert inside["serviceAccountName"] == "trainer"
    assert inside["imagePullSecrets"] == [{"name": "registry-login"}]
    assert inside["priorityClassName"] == "batch-low"
    assert inside["tolerations"][-1] == {
        "key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule",
    }  # fmt: skip
    (volume,) = inside["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": "datasets"}
    (container,) = inside["containers"]
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/data"}]
    assert {"name": "DATA_ROOT", "value": "/data/imagenet"} in container["env"]
    assert container["envFrom"][-1] == {"configMapRef": {"name": "training-defaults"}}
    assert container["securityContext"] == {"runAsUser": 4711}


@pytest.mark.parametrize(
    ("sharing", "where"),
    [
        ("kai", {"kai.scheduler/queue": "night"}),
        ("volcano", {"scheduling.volcano.sh/queue-name": "night"}),
    ],
)
def test_a_queue_is_named_where_its_scheduler_looks(sharing, where):
    job, _, _ = pod(example("job", sharing), sharing=sharing, queue="night")
    inner = job["spec"]["template"]["metadata"]
    assert where.items() <= {**inner.get("labels", {}), **inner.get("annotations", {})}.items()
    assert "suspend" not in job["spec"]
    assert "kueue" not in json.dumps(job)


def test_deadlines_count_running_and_only_disruptions_are_tried_again():
    job, inside, outcome = pod()
    assert "activeDeadlineSeconds" not in job["spec"]  # which would count queueing
    assert inside["activeDeadlineSeconds"] == 1440  # 2 x 700 s in whole minutes
    assert inside["restartPolicy"] == "Never"
    assert job["spec"]["backoffLimit"] == 0
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert rules == [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    ]
    assert "tries" not in outcome.texts["deploy/job.yaml"]
    text = pod(retries=2)[2].texts["deploy/job.yaml"]
    assert "Each of 3 tries has the time limit: together up to 4320 s." in text


def test_the_gpu_resource_has_the_clusters_name():
    _, inside, outcome = pod(breadth(target=0.8), gpu_resource="nvidia.com/a100")
    assert inside["containers"][0]["resources"]["limits"]["nvidia.com/a100"] == 1
    assert "nvidia.com/gpu" not in json.dumps(inside["containers"])
    _, inside, outcome = pod(gpu_resource="nvidia.com/a100")
    assert inside["containers"][0]["resources"]["limits"]["nvidia.com/a100.shared"] == 1
    companion = yaml.safe_load(outcome.texts["deploy/device-plugin-configmap.yaml"])
    (config,) = map(yaml.safe_load, companion["data"].values())
    assert config["sharing"]["mps"]["resources"][0]["name"] == "nvidia.com/a100"


def test_restricted_is_what_the_standard_asks_for():
    _, inside, _ = pod(sharing="dra", restricted=True)
    (container,) = inside["containers"]
    context = container["securityContext"]
    assert context["runAsNonRoot"]
    assert context["readOnlyRootFilesystem"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not context["allowPrivilegeEscalation"]
    mounted = {one["mountPath"] for one in container["volumeMounts"]}
    assert mounted == {"/tmp", "/home/function", "/outputs"}  # what a run writes to
    for sharing, why in (("device-plugin", "runs as root"), ("gke", "needs host IPC")):
        with pytest.raises(InvalidOption, match=why):
            pod(sharing=sharing, restricted=True)
    assert pod(breadth(target=0.8), restricted=True)  # a whole GPU has no daemon
    with pytest.raises(InvalidOption, match="root"):
        pod(sharing="dra", restricted=True, run_as_user=0)


# ---- outputs -------------------------------------------------------------------------------------


def test_outputs_that_a_claim_keeps():
    _, inside, outcome = pod(sharing="dra", outputs="claim:results")
    (volume,) = inside["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": "results"}
    (container,) = inside["containers"]
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/outputs"}]
    assert {"name": "GPUPREDICT_OUTPUTS", "value": "/outputs"} in container["env"]
    assert "Nothing keeps" not in outcome.texts["deploy/job.yaml"]


def test_outputs_that_an_object_store_keeps():
    _, inside, outcome = pod(outputs="bucket:s3://results/runs")
    env = {one["name"]: one["value"] for one in inside["containers"][0]["env"]}
    assert env["GPUPREDICT_OUTPUTS_URL"] == "s3://results/runs"
    assert "Nothing keeps" not in outcome.texts["deploy/job.yaml"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Nothing keeps /outputs"),
        ({"outputs": "/data/out"}, "Nothing keeps /data/out"),
        ({"outputs": "/data/out", "volumes": ["empty:/data"]}, "Nothing keeps /data/out"),
        ({"outputs": "/data/out", "volumes": ["claim:a:/data"]}, ""),
        ({"volumes": ["claim:a:/outputs"]}, ""),
        ({"outputs": "/database", "volumes": ["claim:a:/data"]}, "Nothing keeps /database"),
    ],
)
def test_the_file_says_when_nothing_keeps_the_outputs(options, said):
    text = pod(**options)[2].texts["deploy/job.yaml"]
    assert said in text
    assert ("Nothing keeps" in text) == bool(said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"outputs": "hostpath:/mnt"}, "not known"),
        ({"outputs": "results"}, "not known"),
        ({"outputs": "bucket:s3"}, "not known"),
        ({"outputs": "claim:No_Name"}, "not known"),
        ({"volumes": ["hostpath:/mnt:/mnt"]}, "a path of the node is not mounted"),
        ({"volumes": ["claim:a:relative"]}, "not known"),
        ({"volumes": ["claim:a:/x/../../etc"]}, "not known"),
        ({"volumes": ["empty:a:/x"]}, "not known"),
        ({"tolerations": ["a:Never"]}, "not a toleration"),
        ({"tolerations": ["=x"]}, "not a toleration"),
        ({"env_from": ["vault:a"]}, "vault:a"),
        ({"env": {"A B": "c"}}, "not the name of a variable"),
        ({"workload": "ecs", "outputs": "claim:results"}, "no place for volumes"),
        ({"workload": "ecs", "service_account": "trainer"}, "the ARN of a role"),
    ],
)
def test_what_cannot_be_mounted_or_read_is_refused(options, said):
    with pytest.raises(InvalidOption, match=said) as caught:
        export(breadth(), dry_run=True, **options)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_credential_in_a_variable_is_refused():
    with pytest.raises(ExportError, match="secret"):
        export(breadth(), dry_run=True, env={"WANDB_API_KEY": "x" * 40})


# ---- profiles ------------------------------------------------------------------------------------

PROFILE = """
namespace = "research"
queue = "night"
pull_secrets = ["registry-login"]
retries = 2

[labels]
team = "vision"
tier = "batch"
"""


def test_a_profile_lies_beneath_what_is_given(tmp_path):
    path = tmp_path / "team.toml"
    path.write_text(PROFILE)
    job, inside, _ = pod(profile=str(path), queue="day", labels={"tier": "urgent"})
    labels = job["metadata"]["labels"]
    assert labels == {"team": "vision", "tier": "urgent", "kueue.x-k8s.io/queue-name": "day"}
    assert job["metadata"]["namespace"] == "research"
    assert job["spec"]["backoffLimit"] == 2
    assert inside["imagePullSecrets"] == [{"name": "registry-login"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("queues = 'a'", "did you mean queue"),
        ("queue = 7", "must be text"),
        ("retries = 'many'", "must be a whole number"),
        ("retries = 1000", "1000"),
        ("pull_secrets = 'a'", "must be a list"),
        ("output = '/etc'", "output"),
        ("queue = ", "not TOML"),
        ("[labels]\nteam = 1", "must be text"),
    ],
)
def test_a_profile_that_is_wrong_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "team.toml"
    path.write_text(text)
    with pytest.raises(InvalidOption, match=said) as caught:
        export(run(), dry_run=True, profile=str(path))
    assert "team.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_profile_that_is_not_there(tmp_path):
    with pytest.raises(InvalidOption, match=r"none\.toml"):
        export(run(), dry_run=True, profile=str(tmp_path / "none.toml"))


def test_every_option_of_a_team_has_a_place():
    """A new option is one of an export, of a function, or has a capability that carries it."""
    of_function = {
        "workload", "sharing", "image", "clients", "headroom_percent", "headroom_sm_percent",
        "per_process", "max_timeout_s", "knative_features", "gpu_uuid", "accelerator", "outputs",
        "sm_share",
    }  # fmt: skip
    names = {one.name for one in options_of(ExportRequest)}
    assert names == of_function | set(PLACES) | set(OWN)
    assert {one.name for one in dataclasses.fields(ExportRequest)} - names == {"scheduled"}


# ---- memory of the machine -----------------------------------------------------------------------


def measured(memory_mib, shared_mib, **options):
    peak = HostPeak(memory_mib * 2**20, shared_mib * 2**20)
    return breadth(host_peak=peak, **options)


def test_memory_of_the_machine_is_what_was_measured():
    _, inside, outcome = pod(measured(1000, 10), sharing="dra")
    # 1000 MiB x 1.2
    assert inside["containers"][0]["resources"]["limits"]["memory"] == "1200Mi"
    assert inside["containers"][0]["resources"]["requests"]["memory"] == "1200Mi"
    text = outcome.texts["deploy/job.yaml"]
    assert "CPU is a round figure, not a measured one." in text
    assert "host memory are round" not in text


@pytest.mark.parametrize(
    ("shared_mib", "expected"),
    [(400, {"medium": "Memory", "sizeLimit": "600Mi"}), (10, None), (None, {"medium": "Memory"})],
)
def test_shared_memory_is_as_large_as_it_was_used(shared_mib, expected):
    found = run(target=0.8) if shared_mib is None else measured(1000, shared_mib, target=0.8)
    _, inside, _ = pod(found)  # a whole GPU: no daemon whose /dev/shm it would be
    volumes = {one["name"]: one["emptyDir"] for one in inside.get("volumes", [])}
    assert volumes.get("shm") == expected
    mounts = inside["containers"][0].get("volumeMounts", [])
    assert [one["mountPath"] for one in mounts] == (["/dev/shm"] if expected else [])


@pytest.mark.parametrize("shared_mib", [400, None, 10])
def test_shared_memory_where_a_platform_has_no_volumes(shared_mib):
    """A field of its own, or words; 400 MiB x 1.5."""
    options = {"target": 0.2, "duration_s": 200.0}
    found = run(**options) if shared_mib is None else measured(1000, shared_mib, **options)
    by_time = run(**options, host_peak=found.host_peak)
    task = json.loads(export(found, workload="ecs", dry_run=True).texts["deploy/ecs-task.json"])
    (container,) = task["containerDefinitions"]
    sizes = {400: {"sharedMemorySize": 600}, None: {"sharedMemorySize": 8192}}
    assert container.get("linuxParameters") == sizes.get(shared_mib)
    outcome = export(by_time, workload="fission", sharing="hami", dry_run=True)
    environment, _ = yaml.safe_load_all(outcome.texts["deploy/fission.yaml"])
    inner = environment["spec"]["runtime"].get("podspec")
    if shared_mib == 10:
        assert inner is None
    else:
        (one,) = inner["containers"]
        assert one["name"] == environment["metadata"]["name"]  # what Fission merges it with
        assert one["volumeMounts"] == [{"name": "shm", "mountPath": "/dev/shm"}]
        assert inner["volumes"][0]["emptyDir"]["medium"] == "Memory"
    said = {400: "the run needs 600 MiB", None: "was not measured"}.get(shared_mib)
    for workload, sharing in (("openfaas", "hami"), ("cloudrun", "none")):
        outcome = export(by_time, workload=workload, sharing=sharing, dry_run=True)
        words = f"{workload} has no field for /dev/shm"
        for text in (outcome.texts["README.md"], " ".join(outcome.warnings)):
            assert (words in text) == (said is not None)
            assert said is None or said in text


def test_the_daemon_of_mps_keeps_its_own_shared_memory():
    _, inside, _ = pod(measured(1000, 400))
    assert "volumes" not in inside


def test_frameworks_that_take_a_whole_card_are_told():
    figures = SimpleNamespace(memory_mib=5602, gpu_total_mib=50000)
    # 5602 / 1.12 = 5001.8 MiB, a tenth of the card; the margin is for what is not JAX's
    assert framework_variables(figures, "jax==0.5\n") == {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.1"}
    assert framework_variables(figures, "# x\ntensorflow==2.19\nnumpy==2") == {
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }  # fmt: skip
    assert framework_variables(figures, "numpy==2\n") == {}
    assert framework_variables(figures, "torch==2.14.1+cu130\n") == {
        "PYTORCH_CUDA_ALLOC_CONF": "per_process_memory_fraction:0.112"
    }
    for older in ("torch==2.12.0\n", "torch==1.13.1\n", "torchvision==2.14.0\n", "torch\n"):
        assert framework_variables(figures, older) == {}
    small = SimpleNamespace(memory_mib=60000, gpu_total_mib=50000)
    assert framework_variables(small, "torch==2.14.1\n") == {}
    unknown = SimpleNamespace(memory_mib=5602, gpu_total_mib=None)
    assert framework_variables(unknown, "jax==0.5") == {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    assert framework_variables(SimpleNamespace(memory_mib=None, gpu_total_mib=1), "jax==1") == {}
