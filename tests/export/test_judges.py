"""What others say of the manifests: the platforms' own schemas, models and tools.

They come with the extra `judges`, or are programs of the machine; what is missing is skipped, with
the reason. Our own checks have passed before anything is written.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from jupyter_gpupredict import registry
from tests.export.golden import example
from tests.export.runs import PAIRS, breadth, export, judged, ranked
from tests.export.test_read_back import TOGETHER
from tests.export.test_team import features, team_of

NEWEST = "1.37"
"""The schemas of kubernetes-validate 1.37.0, the newest when this was written."""
CORE = ("v1", "batch/v1", "resource.k8s.io/v1")
VARIANTS = ("plain", "team", "gpus", "ranks")
SEVERAL = {
    ("job", "mps"), ("job", "dra"), ("job", "hami"), ("rayjob", "mps"), ("rayjob", "dra"),
    ("rayjob", "hami"), ("nuclio", "mps"), ("nuclio", "hami"), ("local", "mps"),
    ("compose", "mps"), ("slurm", "slurm-mps"),
}  # fmt: skip
"""Pairs that hold two GPUs."""


def exists(pair, variant):
    fits = {"gpus": pair in SEVERAL, "ranks": pair[0] in TOGETHER}
    return fits.get(variant, True)


CASES = [(*pair, variant) for pair in PAIRS for variant in VARIANTS if exists(pair, variant)]


def two_gpus(found):
    """The same of a run on two GPUs, each of which needs that much."""
    first, second = (
        dataclasses.replace(found.recommendation, device=name) for name in ("GPU-1", "GPU-2")
    )
    used = frozenset({"GPU-1", "GPU-2"})
    return dataclasses.replace(found, used=used, recommendation=first, others=(second,))


def written(folder, workload, sharing, variant):
    found = example(workload, sharing)
    options = {}
    if variant == "ranks":
        found = ranked(found, 3)
    elif variant == "gpus":
        found = two_gpus(found)
    elif variant == "team":
        options = {"knative_features": features(workload), **team_of(workload)}
    export(
        found, folder, workload=workload, sharing=sharing, image="r.example.com/x:1", **options
    )  # fmt: skip
    return options.get("knative_features", ())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every supported pair in every variant: (workload, sharing, variant) -> (folder, features)."""
    top, found = tmp_path_factory.mktemp("judged"), {}
    for case in CASES:
        folder = top / "-".join(case)
        found[case] = folder, written(folder, *case)
    return found


def objects(folder):
    """Return (path, object) of every YAML document in a folder's deploy/."""
    return [
        (path, one)
        for path in sorted((folder / "deploy").glob("*.yaml"))
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def test_kubernetes_own_schemas(folders):
    judge = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    seen = set()
    for folder, _ in folders.values():
        for path, one in objects(folder):
            if one.get("apiVersion") in CORE:
                judge.validate(one, NEWEST, strict=True)
                seen.add((one["apiVersion"], one["kind"], path.name))
    kinds = {kind for _, kind, _ in seen}
    assert kinds == {"Job", "Service", "ConfigMap", "ResourceClaim", "ResourceClaimTemplate"}


def test_amazons_own_model(folders):
    session = pytest.importorskip("botocore.session", reason="pip install botocore")
    from botocore.validate import ParamValidator

    model = session.Session().get_service_model("ecs").operation_model("RegisterTaskDefinition")
    tasks = [folder / "deploy/ecs-task.json" for folder, _ in folders.values()]
    tasks = [json.loads(path.read_text()) for path in tasks if path.is_file()]
    assert len(tasks) == 3  # plain, team, ranks
    for task in tasks:
        assert ParamValidator().validate(task, model.input_shape).generate_report() == ""


def test_cloudformations_own_check(folders):
    """The same fields as of a template, whose names begin with a capital letter."""
    api = pytest.importorskip("cfnlint.api", reason="pip install cfn-lint")
    tasks = {case[2]: one for case, (one, _) in folders.items() if case[0] == "ecs"}
    assert set(tasks) == {"plain", "team", "ranks"}
    for variant, folder in tasks.items():
        task = json.loads((folder / "deploy/ecs-task.json").read_text())
        resource = {"Type": "AWS::ECS::TaskDefinition", "Properties": capitals(task)}
        template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Task": resource}}
        errors = [one for one in api.lint_all(json.dumps(template)) if one.rule.id[0] == "E"]
        said = [one.message for one in errors]
        # the README says so, too: the region is the user's to name
        assert said == ([] if variant == "team" else ["'awslogs-region' is a required property"])


def capitals(node):
    if isinstance(node, list):
        return [capitals(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {key[0].upper() + key[1:]: capitals(one) for key, one in node.items()}
    return found | ({"Options": node["options"]} if "options" in node else {})


def test_kustomize_builds_every_base_and_an_overlay(folders, tmp_path):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here")
    every = [folder for folder, _ in folders.values()]
    bases = [one for one in every if (one / "deploy/Kustomization").is_file()]
    workloads = {one.name.split("-")[0] for one in bases}
    assert workloads == {"job", "knative", "rayjob", "kserve", "fission", "fastpod"}
    for folder in bases:
        if not folder.name.endswith("plain"):
            continue
        overlay = tmp_path / folder.name
        overlay.mkdir()
        content = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "overlaid",
            "resources": [os.path.relpath(folder / "deploy", overlay)],
        }
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(content))
        ended = subprocess.run(
            ["kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", str(overlay)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        built = list(yaml.safe_load_all(ended.stdout))
        assert {one["metadata"]["namespace"] for one in built} == {"overlaid"}
        (named,) = yaml.safe_load((folder / "deploy/Kustomization").read_text())["resources"]
        assert len(built) == sum(path.name == named for path, _ in objects(folder))


def test_the_compose_specification(folders):
    judge = pytest.importorskip("compose_spec", reason="pip install compose-spec")
    texts = [
        (folder / "deploy/compose.yaml").read_text()
        for case, (folder, _) in folders.items() if case[0] == "compose"
    ]  # fmt: skip
    assert len(texts) == 3  # plain, team, two GPUs
    for text in texts:
        assert judge.PyCompose.from_yaml(text).service_names() == ["train"]
        with pytest.raises(ValueError, match="ipcs"):  # it knows what there is not
            judge.PyCompose.from_yaml(text.replace("ipc:", "ipcs:"))


def test_bash_reads_every_script(folders):
    scripts = [
        path for folder, _ in folders.values() for path in folder.rglob("*")
        if path.suffix in (".sh", ".sbatch")
    ]  # fmt: skip
    assert len(scripts) > 5
    for path in scripts:
        ended = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr


BEHIND = (
    # its schema of GpuConfig is older than the field, which the driver's guide to MPS documents
    ("-dra-team/", "Additional properties are not allowed ('multiUser' was unexpected)"),
    # it counts a pod's GPUs by its limits alone: here NVIDIA_VISIBLE_DEVICES names both
    ("-mps-gpus/", "'0=5874M,1=5874M' for 1 visible GPU(s)"),
)
"""Folders, and what the checker says of them because it knows less."""


def test_the_checker_from_outside(folders, shared):
    checker = shared / "tools" / "validate_manifest.py"
    for allowed in sorted({on for _, on in folders.values()}):
        # it knows nothing of Compose, whose own check stands above
        known = [case for case in folders if case[0] != "compose"]
        names = [str(folders[case][0]) for case in known if folders[case][1] == allowed]
        more = ["--knative-features", ",".join(allowed)] if allowed else []
        ended = subprocess.run(
            [sys.executable, checker, "-q", *more, *names],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        errors = [line for line in judged(ended) if ": error [" in line]
        behind = [one for one in errors if any(a in one and b in one for a, b in BEHIND)]
        assert [one for one in errors if one not in behind] == []


def test_every_workload_is_judged():
    assert {case[0] for case in CASES} == set(registry.WORKLOADS)
    ranked_pairs = {case[:2] for case in CASES if case[2] == "ranks"}
    assert ranked_pairs >= {("job", "dra"), ("slurm", "slurm-mps")}


def test_a_second_export_changes_nothing_of_the_first(tmp_path):
    """Two functions with different shares: no object has a name that the other's has."""
    names = {}
    for name, share in (("first", 0.2), ("second", 0.45)):
        export(breadth(target=share), tmp_path / name, name=name)
        for _, one in objects(tmp_path / name):
            names.setdefault((one["kind"], one["metadata"]["name"]), set()).add(name)
            assert "namespace" not in one["metadata"]
    assert {kind for kind, _ in names} == {"Job", "ConfigMap"}
    assert all(len(owners) == 1 for owners in names.values()), names
