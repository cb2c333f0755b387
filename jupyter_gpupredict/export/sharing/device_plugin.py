"""NVIDIA's Kubernetes device plugin (GPU Operator) with MPS sharing, and its configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod
from jupyter_gpupredict.export.deployment import (
    Capability,
    Document,
    Figures,
    Json,
    Restriction,
    SharePatch,
    Sharing,
)
from jupyter_gpupredict.export.documents import parse_yaml, yaml_text
from jupyter_gpupredict.export.findings import Manifest, Node, Pod, Report
from jupyter_gpupredict.export.shapes import check_shape
from jupyter_gpupredict.export.stamps import PREFIX

if TYPE_CHECKING:
    from jupyter_gpupredict.export.request import ExportRequest

PATH = "deploy/device-plugin-configmap.yaml"
RULE = "device-plugin"
SHARED_GPU = pod.SHARED_GPU


def _check_config_map(found: Node, report: Report) -> None:
    """Check a ConfigMap that holds configurations of the device plugin."""
    configs = [one for _, one in found["data"].pairs() if "sharing:" in str(one.value)]
    if report.stamps and not configs:
        report.add(RULE, found["data"], "the stamped figures are in no configuration")
    for text in configs:
        try:
            parsed = parse_yaml(str(text.value))
        except ValueError as error:
            report.add(RULE, text, f"cannot be read as YAML: {error}")
            continue
        if len(parsed) == 1 and isinstance(parsed[0], dict):
            check_shape("device-plugin", Node(parsed[0], text.path), report)
            _check_replicas(Node(parsed[0], text.path), report)
        else:
            report.add(RULE, text, "must be one mapping")


def _check_replicas(config: Node, report: Report) -> None:
    """Check that a replica holds the share."""
    names = ("sm-percent", "memory-mib", "gpu-total-mib")
    share, memory, total = (Node(report.stamps.get(name)).whole for name in names)
    for resource in config.at("sharing.mps.resources"):
        count = resource["replicas"].whole
        if count and share and 100 // count < share:
            message = f"{count} replicas get {100 // count} % each, below {share} %"
            report.add(RULE, config, message)
        elif count and total and memory and total // count < memory:
            message = f"{count} replicas get {total // count} MiB each, below {memory} MiB"
            report.add(RULE, config, message)


class DevicePlugin(Sharing):
    """One `nvidia.com/gpu.shared`; the plugin brings pipe directory and /dev/shm.

    Every client gets an equal part of the GPU, and the two variables tighten it.
    """

    about = "NVIDIA's device plugin (GPU Operator) with MPS"
    needs = frozenset({Capability.ENV, Capability.EXTENDED_RESOURCE, Capability.COMPANION})
    restricts = pod.ONE_GPU | {Restriction.NO_MIG}
    expresses = pod.SM_SHARE
    resources = (SHARED_GPU,)
    as_root = True
    manifests = (
        Manifest("v1", "ConfigMap", "configmap", _check_config_map, stamped=False),
        Manifest(
            schema="device-plugin",
            check=_check_replicas,
            only=lambda one: (
                one["version"].value == "v1" and "sharing" in one and "kind" not in one
            ),
            stamped=False,
        ),
    )

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return limit and environment with the administrator's companion; or a whole GPU.

        Raises:
            Unrepresentable: As `pod.equal_parts`.
        """
        fields: dict[str, Json] = {"tolerations": [pod.TOLERATED]}
        count, parts = pod.equal_parts(figures, request)
        comments = (*pod.open_share(figures, "sm_share"), parts)
        if count < 2:
            return pod.whole_gpu(figures, comments, **fields)
        said = (
            f"Nodes need {PATH.removeprefix('deploy/')} and the label "
            f"nvidia.com/device-plugin.config=mps-{count}; "
            "the container runs as the daemon's user."
        )
        return SharePatch(
            "sm_share",
            pod.mps_env(figures),
            limits=((SHARED_GPU, 1),),
            pod=fields,
            companions=(_companion(figures, request, count),),
            comments=(*comments, said),
        )

    def judge(self, pod: Pod, report: Report) -> None:
        """See whether the plugin brings the way to its daemon."""
        pod.routed |= SHARED_GPU in pod.limits


def _companion(figures: Figures, request: ExportRequest, count: int) -> Document:
    """Return the ConfigMap with the configuration of this share, under a name of its own.

    A second function's stands beside it. The operator reads one ConfigMap: the comments say how an
    entry gets into one that it reads already.
    """
    resource: Json = {"name": request.gpu_resource, "replicas": count}
    sharing: Json = {"mps": {"renameByDefault": True, "resources": [resource]}}
    inputs = (
        ("sm-percent", figures.sm_percent),
        ("memory-mib", figures.memory_mib),
        ("gpu-total-mib", figures.gpu_total_mib),
    )
    content: dict[str, Json] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"gpupredict-mps-{count}",
            "annotations": {PREFIX + key: str(value) for key, value in inputs if value is not None},
        },
        "data": {f"mps-{count}": yaml_text({"version": "v1", "sharing": sharing})},
    }
    config = json.dumps({"version": "v1", "sharing": sharing})
    entry = json.dumps({"data": {f"mps-{count}": config}})
    comments = (
        "For the cluster's administrator: equal parts of each GPU. In the operator's namespace:",
        f"kubectl apply --namespace NAMESPACE -f {PATH.removeprefix('deploy/')}",
        "The operator reads the ConfigMap that its ClusterPolicy names in "
        "spec.devicePlugin.config.name. Where it names none: kubectl patch clusterpolicies "
        f"cluster-policy --type merge --patch '{_policy(count)}'",
        "Where it names one, add the entry to that, and change none of the others: "
        f"kubectl patch configmap NAME --namespace NAMESPACE --type merge --patch '{entry}'",
    )
    return Document(PATH, content, comments)


def _policy(count: int) -> str:
    return json.dumps({"spec": {"devicePlugin": {"config": {"name": f"gpupredict-mps-{count}"}}}})
