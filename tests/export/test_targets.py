import itertools
import json
import subprocess
import sys

import pytest

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.errors import Incompatible, InvalidOption
from jupyter_gpupredict.export import targets
from jupyter_gpupredict.frontends.cli import main
from tests.export.golden import CASES, FOLDER, example, files, texts
from tests.export.runs import PAIRS, UUID, breadth, export, judged, manifests, ranked, run

HOST = {"mps", "gke", "kai", "volcano"}
TABLE = {
    "slurm": {"slurm-mps", "slurm-shard"},
    "compose": {"mps"},
    "job": {"device-plugin", "hami", "dra"} | HOST,
    "knative": {"device-plugin", "hami"},
    "nuclio": {"device-plugin", "hami", "mps", "gke"},
    "rayjob": {"device-plugin", "hami", "dra"} | HOST,
    "kserve": {"device-plugin", "hami"},
    "fission": {"device-plugin", "hami"},
    "openfaas": {"device-plugin", "hami"},
    "ecs": {"ecs-mps"},
    "fastpod": {"fast-gshare"},
    "local": {"mps", "mps-v3"},
    "cloudrun": {"none"},
}
FEATURES = [
    f"kubernetes.podspec-{end}"
    for end in ("hostipc", "volumes-hostpath", "nodeselector", "schedulername", "runtimeclassname")
]


def test_the_whole_product_is_what_the_table_says():
    pairs = {(p["workload"], p["sharing"]): p for p in targets()}
    assert set(pairs) == set(itertools.product(registry.WORKLOADS, registry.SHARING))
    for (workload, sharing), pair in pairs.items():
        assert pair["supported"] == (sharing in TABLE[workload])
        assert bool(pair["reason"]) != pair["supported"]
        assert (pair["expresses"] == []) == (not pair["supported"])


def test_what_a_pair_expresses():
    found = {(p["workload"], p["sharing"]): set(p["expresses"]) for p in targets()}
    assert found["job", "device-plugin"] == {"sm_pct", "memory_mib", "timeout_s"}
    assert found["job", "hami"] == {"time_pct", "memory_mib", "timeout_s"}
    assert found["fastpod", "fast-gshare"] == {"sm_pct", "time_pct", "memory_mib"}
    assert found["ecs", "ecs-mps"] == {"sm_pct", "memory_mib"}
    assert found["cloudrun", "none"] == {"timeout_s"}


@pytest.mark.parametrize("pair", list(itertools.product(registry.WORKLOADS, registry.SHARING)))
def test_every_pair_renders_or_is_refused_with_its_reason(pair):
    workload, sharing = pair
    listed = next(p for p in targets() if (p["workload"], p["sharing"]) == pair)
    if listed["supported"]:
        assert manifests(export(example(*pair), workload=workload, sharing=sharing, dry_run=True))
        return
    with pytest.raises(Incompatible) as caught:
        export(example(*pair), workload=workload, sharing=sharing, dry_run=True)
    assert listed["reason"] in str(caught.value)
    near = caught.value.hint.removeprefix("nearest: ").partition(";")[0].split(" with ")
    assert tuple(near) in PAIRS
    assert workload == near[0] or sharing == near[1]


@pytest.mark.parametrize("workload", ["knative", "kserve"])
@pytest.mark.parametrize("sharing", sorted(HOST))
def test_knative_features_allow_what_a_stock_one_switches_off(workload, sharing):
    with pytest.raises(Incompatible, match="--knative-features"):
        export(example(workload, sharing), workload=workload, sharing=sharing, dry_run=True)
    outcome = export(
        example(workload, sharing), workload=workload, sharing=sharing, dry_run=True,
        knative_features=FEATURES,
    )  # fmt: skip
    assert "schedulerName" in "".join(outcome.texts.values()) or sharing in ("mps", "gke")


@pytest.mark.parametrize(("workload", "sharing"), [("knative", "device-plugin"), ("ecs", None)])
def test_a_node_selector_that_has_no_place_is_refused(workload, sharing):
    with pytest.raises(InvalidOption, match="node selector"):
        export(
            example(workload, sharing), workload=workload, sharing=sharing, dry_run=True,
            node_selector={"a": "b"},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("workload", "sharing"),
    [("job", "device-plugin"), ("ecs", "ecs-mps"), ("cloudrun", "none"), ("local", "mps")],
)
def test_the_sharing_backend_has_a_default(workload, sharing):
    run_ = example(workload, sharing)
    assert manifests(export(run_, workload=workload, dry_run=True)) == manifests(
        export(run_, workload=workload, sharing=sharing, dry_run=True)
    )


def test_the_default_pair_writes_the_administrators_companion():
    paths = set(manifests(export(breadth(), dry_run=True)))
    assert paths == {"deploy/job.yaml", "deploy/device-plugin-configmap.yaml"}


@pytest.mark.parametrize("case", CASES)
def test_the_golden_files_are_what_is_written(case):
    """After a change on purpose: python -m tests.export.golden"""
    golden = {path.name: path.read_text(encoding="utf-8") for path in (FOLDER / case).iterdir()}
    written = {path.split("/")[-1]: text for path, text in texts(case).items()}
    assert written == golden


def test_no_golden_file_is_left_over():
    assert {path.parent.name for path in files()} == set(CASES)


def every_folder(tmp_path):
    """Write every pair from an SM share, a time share and an unsettled run."""
    runs = {
        "sm": breadth(duration_s=250.0),
        "time": run(duration_s=250.0),
        "forced": breadth(duration_s=250.0, state="abstained", settled=False),
        "unknown": breadth(outcome="stopped"),
        "ranks": ranked(breadth(duration_s=250.0), hosts=2),
    }
    for kind, found in runs.items():
        for workload, sharing in PAIRS:
            if kind == "ranks" and workload not in ("job", "rayjob", "fastpod", "ecs", "slurm"):
                continue  # these start one function at a time
            folder = tmp_path / kind / f"{workload}-{sharing}"
            export(
                found, folder, workload=workload, sharing=sharing, force=kind == "forced",
                image="r.example.com/x:1",
            )  # fmt: skip
            yield folder


def test_the_validator_accepts_every_pair(tmp_path, shared):
    # it knows nothing of Compose
    folders = [one for one in every_folder(tmp_path) if not one.name.startswith("compose")]
    checked = subprocess.run(
        [sys.executable, shared / "tools" / "validate_manifest.py", "-q", *folders],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = judged(checked)
    assert [line for line in lines if ": error [" in line] == []
    told = {line.partition("[")[2].partition("]")[0] for line in lines}
    assert told <= {"share-open", "unconverged", "dependency"}


def test_validate_reads_every_folder_back(tmp_path, capsys):
    for folder in every_folder(tmp_path):
        assert main(["validate", str(folder)]) == 0, capsys.readouterr().out
    capsys.readouterr()
    assert main(["validate", str(folder), "--json"]) == 0
    assert {one["path"] for one in json.loads(capsys.readouterr().out)}


def test_validate_tells_a_changed_figure(tmp_path, capsys):
    export(breadth(), tmp_path / "f")
    path = tmp_path / "f" / "deploy" / "job.yaml"
    path.write_text(path.read_text().replace('"37"', '"38"'))
    assert main(["validate", str(tmp_path / "f")]) == 1
    said = capsys.readouterr().out
    assert "read-back" in said
    assert "by the prediction" in said
    assert all(line.startswith(str(tmp_path)) for line in said.splitlines())


def test_validate_says_what_it_does_not_know(tmp_path, capsys):
    path = tmp_path / "thing.yaml"
    path.write_text("apiVersion: example.com/v1\nkind: Thing\n")
    assert main(["validate", str(path)]) == 0
    assert "unchecked" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nothing.yaml", "notes.txt", "empty"])
def test_validate_of_nothing_is_bad_input(tmp_path, capsys, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("a")
    assert main(["validate", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_of_the_machine_is_written(tmp_path):
    for folder in every_folder(tmp_path):
        for path in folder.rglob("*"):
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                words = ["GPU-1", "host-1", "20260101T", str(tmp_path)]
                assert not [word for word in words if word in text], path
                if path.name != "mps.toml":
                    assert UUID not in text
