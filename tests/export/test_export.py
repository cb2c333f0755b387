import itertools
import json
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import (
    ConfigError,
    ExportError,
    Incompatible,
    InvalidOption,
    OutputExists,
    Refused,
)
from jupyter_gpupredict.export.function.container import slug
from tests.export.runs import export as export_pair
from tests.export.runs import judged, run


def export(found, folder, **options):
    return export_pair(found, folder, **({"sharing": "mps"} | options))


def job(outcome):
    return yaml.safe_load(outcome.texts["deploy/job.yaml"])


def environment(document):
    container = document["spec"]["template"]["spec"]["containers"][0]
    return {one["name"]: one["value"] for one in container.get("env", [])}


def test_an_sm_share_becomes_the_active_thread_percentage(tmp_path):
    document = job(export(run(metric="breadth_ratio"), tmp_path / "f"))
    env = environment(document)
    # 36.4 % with an unknown SM count rounds up to 37; 5873.2 MiB to 5874
    assert env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "37"
    assert env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=5874M"
    stamps = document["metadata"]["annotations"]
    assert stamps["jupyter-gpupredict/basis"] == "sm_share"
    assert stamps["jupyter-gpupredict/sm-percent"] == "37"


@pytest.mark.parametrize("workload", ["job", "local"])
def test_a_time_share_never_becomes_an_sm_limit(tmp_path, workload):
    outcome = export(run(metric="gpu_util_ratio"), tmp_path / "f", workload=workload)
    text = "".join(outcome.texts[path] for path in outcome.texts if path.startswith("deploy/"))
    assert "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE" not in text
    assert "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT" in text
    assert "not a share of the SMs" in text


@pytest.mark.parametrize(
    "options",
    [
        {"state": "abstained"},
        {"state": "stale", "target": None},
        {"source": "replay"},
        {"source": "synthetic"},
        {"source": "cpu", "metric": "cpu_util_ratio"},
        {"settled": False},
    ],
)
def test_doubtful_data_is_refused_unless_one_insists(tmp_path, options):
    found = run(**options)
    with pytest.raises(Refused) as caught:
        export(found, tmp_path / "f")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "f").exists()
    outcome = export(found, tmp_path / "f", force=True)
    assert outcome.texts["deploy/job.yaml"].startswith("# ")
    stamps = job(outcome)["metadata"]["annotations"]
    assert stamps["jupyter-gpupredict/state"] == found.recommendation.state
    assert stamps["jupyter-gpupredict/source"] == found.started.source
    if not found.recommendation.memory.target_bytes:
        assert stamps["jupyter-gpupredict/memory-from"] == "observed"


def test_job_with_mps_needs_a_node_selector(tmp_path):
    with pytest.raises(ConfigError, match="node-selector"):
        export(run(), tmp_path / "f", node_selector={})


def test_a_pair_that_does_not_go_together_names_the_nearest(tmp_path):
    with pytest.raises(Incompatible, match="nearest: local with mps"):
        export(run(), tmp_path / "f", workload="local", sharing="none")


@pytest.mark.parametrize("option", [{"workload": "jbo"}, {"sharing": "mpss"}])
def test_an_unknown_name_is_suggested(tmp_path, option):
    with pytest.raises(ConfigError, match="did you mean"):
        export(run(), tmp_path / "f", **option)


def test_existing_files_are_never_touched_without_overwrite(tmp_path):
    folder = tmp_path / "f"
    export(run(), folder)
    (folder / "README.md").write_text("mine")
    with pytest.raises(OutputExists, match=r"README\.md"):
        export(run(), folder)
    assert (folder / "README.md").read_text() == "mine"
    export(run(), folder, overwrite=True)
    assert (folder / "README.md").read_text() != "mine"
    assert not [path for path in folder.iterdir() if path.name.startswith(".gpupredict")]


def test_a_dry_run_writes_nothing(tmp_path):
    outcome = export(run(), tmp_path / "f", dry_run=True)
    assert outcome.paths == ()
    assert not (tmp_path / "f").exists()


def test_a_credential_in_the_image_is_refused(tmp_path):
    with pytest.raises(ExportError, match="secret"):
        export(run(), tmp_path / "f", image="r/ghp_" + "a" * 36 + ":1")


def test_no_machine_name_or_uuid_is_written(tmp_path):
    texts = "".join(export(run(), tmp_path / "f").texts.values())
    assert "GPU-1" not in texts
    assert "20260101T000000Z" not in texts


def test_the_validator_accepts_every_folder(tmp_path, shared):
    kinds = list(itertools.product(("job", "local"), ("gpu_util_ratio", "breadth_ratio"), (0, 1)))
    folders = [tmp_path / f"{workload}-{metric}-{force}" for workload, metric, force in kinds]
    for folder, (workload, metric, force) in zip(folders, kinds, strict=True):
        found = run(metric=metric, state="abstained" if force else "converged")
        export(found, folder, workload=workload, force=bool(force), image="r.example.com/x:1")
    checked = subprocess.run(  # one for all: it takes seconds to load
        [sys.executable, shared / "tools" / "validate_manifest.py", *folders],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = judged(checked)
    assert [line for line in lines if ": error [" in line] == []
    for folder in folders:  # it has looked into each
        assert any(str(folder) in line for line in lines), folder


hostile = st.one_of(
    st.text(max_size=300), st.sampled_from(["no", "1e3", "", "a: b", "#x", "{{x}}", "${HOME}", "~"])
)


@settings(max_examples=80, deadline=None)
@given(
    name=hostile,
    image=st.from_regex(r"[a-z0-9][a-z0-9./-]{0,30}", fullmatch=True),
    value=st.sampled_from(["", "no", "1e3", "true", "0x1F", "null", "1_000", "a.b-c"]),
    share=st.floats(0.0001, 1.0),
    memory=st.floats(1, 1_500_000),
)
def test_what_is_written_reads_back(tmp_path_factory, name, image, value, share, memory):
    found = run(metric="breadth_ratio", target=share, memory=memory, total=None)
    outcome = export(
        found, "unused", name=name, image=image + ":1", node_selector={"k": value}, dry_run=True
    )
    document = job(outcome)
    pod = document["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"k": value}
    assert pod["containers"][0]["image"] == image + ":1"
    assert document["metadata"]["name"] == slug(name)
    percent = int(environment(document)["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"])
    assert percent - 1 < 100 * share + 1e-6
    assert percent >= 100 * share - 1e-6 or percent == 100
    record = json.loads(outcome.texts["gpupredict.json"])
    limit = environment(document)["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"]
    assert limit == f"0={record['export']['memory_mib']}M"
    assert record["export"]["memory_mib"] >= memory - 1e-3


@settings(max_examples=80, deadline=None)
@given(key=hostile, value=hostile, image=hostile)
def test_hostile_words_are_refused_or_written_as_they_are(key, value, image):
    try:
        outcome = export(
            run(metric="breadth_ratio"), "unused", name="x", image=image,
            node_selector={key: value}, dry_run=True,
        )  # fmt: skip
    except (ExportError, InvalidOption):
        return
    pod = job(outcome)["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {key: value}
    assert pod["containers"][0]["image"] == (image or pod["containers"][0]["image"])


@given(hostile)
def test_a_slug_is_a_dns_label(name):
    found = slug(name)
    assert len(found) <= 47
    assert found[0].isalpha()
    assert found.isascii()
    assert found == slug(name)
    assert not found.endswith("-")
