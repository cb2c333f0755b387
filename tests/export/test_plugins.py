"""A third party's workload and sharing backend, which nothing in the product knows by name."""

import dataclasses
import json
import shutil
from importlib import metadata

import pytest
import yaml

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.errors import Incompatible
from jupyter_gpupredict.export import targets, validate
from jupyter_gpupredict.export.deployment import (
    Capability,
    Document,
    Hosting,
    SharePatch,
    Sharing,
    Workload,
)
from jupyter_gpupredict.export.findings import Manifest
from jupyter_gpupredict.frontends.cli import main
from tests.export.runs import breadth, export

SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "apiVersion": {},
        "kind": {},
        "metadata": {"$ref": "kubernetes.json#/$defs/object"},
        "spec": {
            "properties": {
                "image": {"$ref": "kubernetes.json#/$defs/image"},
                "share": {"type": "string", "rule": "nomad", "says": "must be text, not {}"},
                "memory": {"type": "integer", "minimum": 1},
                "sms": {"type": "integer", "minimum": 1, "maximum": 100},
            },
            "required": ["image"],
            "additionalProperties": False,
        },
    },
}


def check(found, report):
    spec = found["spec"]
    report.carry("mem", spec["memory"].whole, spec["memory"])
    report.carry("sm", spec["sms"].whole, spec["sms"])
    if spec["image"].value.startswith("wrong"):
        report.add("nomad", spec["image"], "starts wrong")


class Nomad(Workload):
    carries = frozenset({Capability.ENV, Capability.EXTENDED_RESOURCE, Capability.COMPANION})
    sharing = "slices"
    hosting = Hosting("nomad job run deploy/nomad.yaml")
    refuses = (("none", "Nomad has no whole GPUs"),)

    def render(self, plan):
        from jupyter_gpupredict.export.pod import workload

        figures = plan.figures
        spec = {"image": plan.image, "share": "x"}
        spec |= {"memory": figures.memory_mib, "sms": figures.sm_percent}
        task = workload(("nomad.example/v1", "Task"), plan, spec)
        return (Document("deploy/nomad.yaml", task), *plan.patch.companions)


class Slices:
    """One that inherits nothing."""

    needs = frozenset({Capability.ENV})
    expresses = frozenset({"sm_pct", "memory_mib"})
    resources = ("nvidia.com/gpuslice",)
    as_root = True

    def patch(self, figures, request):
        return SharePatch("sm_share", limits=(("nvidia.com/gpuslice", 2),))

    def judge(self, pod, report):
        if "nvidia.com/gpuslice" in pod.limits:
            pod.limiter = "slices"
            report.carry("mem", pod.annotations["slices/mib"].whole, "slices/mib")
            if pod.spec["hostIPC"].value:
                report.add("slices", pod.spec["hostIPC"], "must not be")


@pytest.fixture
def plugins(monkeypatch, tmp_path):
    path = tmp_path / "nomad.json"
    path.write_text(json.dumps(SCHEMA))
    Nomad.manifests = (Manifest("nomad.example/v1", "Task", path, check),)
    found = {"workloads": ("nomad", Nomad), "sharing": ("slices", Slices)}

    @dataclasses.dataclass
    class Entry:
        name: str
        adapter: type

        def load(self):
            return self.adapter

    def entry_points(group):
        kind = group.removeprefix("jupyter_gpupredict.")
        return (Entry(*found[kind]),) if kind in found else ()

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


@pytest.mark.usefixtures("plugins")
def test_a_plugin_is_listed_with_its_default_and_its_reasons():
    pairs = {(one["workload"], one["sharing"]): one for one in targets()}
    assert pairs["nomad", "slices"]["supported"]
    assert pairs["nomad", "slices"]["default"]
    assert pairs["nomad", "slices"]["expresses"] == ["sm_pct", "memory_mib"]
    assert pairs["nomad", "device-plugin"]["supported"]
    assert not pairs["nomad", "device-plugin"]["default"]
    assert pairs["nomad", "none"]["reason"] == "Nomad has no whole GPUs"
    assert pairs["job", "slices"]["supported"]
    assert (
        pairs["fastpod", "slices"]["reason"] == "a FaSTPod's GPU is divided by its own annotations"
    )


@pytest.mark.usefixtures("plugins")
def test_a_plugin_is_refused_in_its_own_words():
    with pytest.raises(Incompatible, match=r"Nomad has no whole GPUs"):
        export(breadth(), workload="nomad", sharing="none", dry_run=True)


@pytest.mark.usefixtures("plugins")
def test_a_plugin_is_exported_with_its_default_and_validated(tmp_path, capsys):
    folder = tmp_path / "f"
    export(breadth(), folder, workload="nomad", image="r.example.com/x:1")
    path = folder / "deploy" / "nomad.yaml"
    document = yaml.safe_load(path.read_text())
    image = "r.example.com/x:1"
    assert document["spec"] == {"image": image, "share": "x", "memory": 5874, "sms": 37}
    assert "nomad job run deploy/nomad.yaml" in (folder / "README.md").read_text()
    assert main(["validate", str(folder)]) == 0, capsys.readouterr().out
    document["spec"] |= {"share": 1, "extra": 2, "image": "wrong:1", "memory": 5875}
    path.write_text(yaml.safe_dump(document))
    found = {
        (one["rule"], one["where"], one["message"])
        for file in validate(folder) if file.path == str(path) for one in file.findings
    }  # fmt: skip
    assert found == {
        ("nomad", "spec.share", "must be text, not 1"),
        ("schema", "spec.extra", "unknown field"),
        ("nomad", "spec.image", "starts wrong"),
        ("read-back", "spec.memory", "5875 MiB, and 5874 by the prediction"),
    }


@pytest.mark.usefixtures("plugins")
def test_a_plugins_sharing_is_judged_on_any_pod(tmp_path):
    folder = tmp_path / "f"
    path = folder / "job.yaml"
    outcome = export(breadth(), workload="job", dry_run=True, image="r.example.com/x:1")
    job = yaml.safe_load(outcome.texts["deploy/job.yaml"])
    container = job["spec"]["template"]["spec"]["containers"][0]
    del container["resources"]["limits"]["nvidia.com/gpu.shared"]
    container["resources"]["limits"]["nvidia.com/gpuslice"] = 2
    job["spec"]["template"]["metadata"] = {"annotations": {"slices/mib": "5874"}}
    job["spec"]["template"]["spec"]["hostIPC"] = True
    container["env"] = [container["env"][0]]
    folder.mkdir()
    path.write_text(yaml.safe_dump(job))
    (file,) = validate(path)
    assert {(one["rule"], one["message"]) for one in file.findings} == {
        ("slices", "must not be"),
        ("mps-conflict", "slices sets and enforces its own limits"),
    }


def test_a_plugin_is_found_that_is_installed_while_we_run_and_gone_once_it_is_removed(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    before = registry.names("workloads")
    installed = tmp_path / "late-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[jupyter_gpupredict.workloads]\nlate = tests.export.test_plugins:Nomad\n"
    )
    assert registry.names("workloads") == (*before, "late")
    assert registry.load("workloads", "late").__name__ == "Nomad"
    shutil.rmtree(installed)
    assert registry.names("workloads") == before


def test_without_the_plugin_its_resource_is_a_slip(tmp_path):
    path = tmp_path / "pod.yaml"
    limits = {"nvidia.com/gpuslice": 2}
    container = {"name": "a", "image": "r/x:1", "resources": {"limits": limits}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    path.write_text(yaml.safe_dump(pod | {"spec": {"containers": [container]}}))
    assert "resource" in {one["rule"] for one in validate(path)[0].findings}


def test_an_adapter_that_inherits_has_every_default():
    class Bare(Sharing):
        needs = frozenset()
        expresses = frozenset()

        def patch(self, figures, request):
            return SharePatch("none")

    assert Bare().restricts == frozenset()
    assert Bare().resources == ()
    assert not Bare().as_root
    assert Bare().judge(None, None) is None
