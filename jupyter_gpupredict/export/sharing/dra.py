"""Dynamic resource allocation: a claim whose MPS settings NVIDIA's driver reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod
from jupyter_gpupredict.export.deployment import Capability, Figures, Json, SharePatch, Sharing
from jupyter_gpupredict.export.findings import Manifest, Node, Pod, Report
from jupyter_gpupredict.export.shapes import MIB, check_shape, quantity

if TYPE_CHECKING:
    from jupyter_gpupredict.export.request import ExportRequest

API, KIND = "resource.k8s.io/v1", "ResourceClaimTemplate"
DRIVER = "gpu.nvidia.com"
CLAIM = "gpu"


def _devices(found: Node) -> Node:
    """Return the devices of a claim or its template."""
    spec = found["spec"]["spec"] if found["kind"].value == KIND else found["spec"]
    return spec["devices"]


def _requests(found: Node) -> list[str]:
    return [str(one["name"].value) for one in _devices(found)["requests"]]


def _check(found: Node, report: Report) -> None:
    """Check a resource claim or its template, with the driver's own parameters."""
    devices, names = _devices(found), _requests(found)
    if len(set(names)) < len(names):
        report.add("dra", devices, "one request is given twice")
    configured: list[str] = []
    for config in devices["config"]:
        for one in [str(one.value) for one in config["requests"]] or names:
            if one not in names:
                report.add("dra", config, f"{one!r} is not a request of this claim")
            if one in configured:
                report.add("dra", config, f"{one!r} is configured twice")
            configured.append(one)
        if config.at("opaque.driver").value == DRIVER:
            _check_parameters(config.at("opaque.parameters"), report)


def _check_parameters(parameters: Node, report: Report) -> None:
    check_shape("dra-gpu-config", parameters, report)
    settings = parameters.at("sharing.mpsConfig")
    if 1 <= (percent := settings["defaultActiveThreadPercentage"].whole or 0) <= 100:
        report.carry("sm", percent, settings)
    sizes = [settings["defaultPinnedDeviceMemoryLimit"].value]
    sizes += settings["defaultPerDevicePinnedMemoryLimit"].table.values()
    for size in (one for one in sizes if one is not None):
        amount = quantity(size)
        if amount is None or amount < MIB:
            report.add("dra", settings, f"{size!r} is not a quantity of at least 1Mi")
        else:
            report.carry("mem", amount // MIB, settings)  # the driver drops the rest


class Dra(Sharing):
    """A claim in front of the workload (Kubernetes 1.34 or newer), which several pods may name.

    Ranks have a template instead, since those that name one claim are on one GPU.
    """

    about = "resource claims that NVIDIA's DRA driver reads"
    needs = frozenset({Capability.RESOURCE_CLAIM})
    expresses = pod.SM_SHARE
    manifests = (
        Manifest(API, KIND, "resourceclaimtemplate", _check, stamped=False),
        Manifest(API, "ResourceClaim", "resourceclaim", _check, stamped=False),
    )

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the claim and the fields that use it."""
        settings: dict[str, Json] = {}
        if figures.sm_percent is not None:
            settings["defaultActiveThreadPercentage"] = figures.sm_percent
        if request.run_as_user is not None:
            settings["multiUser"] = True  # else functions of other users wait for one another
        if figures.memory_mib is not None:
            settings["defaultPinnedDeviceMemoryLimit"] = f"{figures.memory_mib}Mi"
        sharing: dict[str, Json] = {"strategy": "MPS"}
        if settings:
            sharing["mpsConfig"] = settings
        exactly: dict[str, Json] = {"deviceClassName": DRIVER}
        if figures.gpus > 1:
            exactly["count"] = figures.gpus
        parameters: dict[str, Json] = {
            "apiVersion": "resource.nvidia.com/v1beta1",
            "kind": "GpuConfig",
            "sharing": sharing,
        }
        config: Json = {"requests": [CLAIM], "opaque": {"driver": DRIVER, "parameters": parameters}}
        devices: Json = {"requests": [{"name": CLAIM, "exactly": exactly}], "config": [config]}
        name = f"{figures.name}-gpu"
        alone = figures.ranks > 1
        spec: dict[str, Json] = {"devices": devices}
        found: dict[str, Json] = {
            "apiVersion": API,
            "kind": KIND if alone else "ResourceClaim",
            "metadata": pod.named(name, request),
            "spec": {"spec": spec} if alone else spec,
        }
        field = "resourceClaimTemplateName" if alone else "resourceClaimName"
        claims: Json = [{"name": CLAIM, field: name}]
        said = (
            "Each rank gets a claim of its own, and so a GPU that nothing else is on."
            if alone
            else f"Pods that name the claim {name} share its GPU, each with these limits; the "
            "scheduler does not count how many fit."
        )
        return SharePatch(
            "sm_share",
            pod={"tolerations": [pod.TOLERATED], "resourceClaims": claims},
            claims=(CLAIM,),
            before=(found,),
            comments=(
                *pod.open_share(figures, "sm_share"),
                said,
                "The driver's feature gate MPSSupport must be on; it is alpha and off by default.",
            ),
        )

    def judge(self, pod: Pod, report: Report) -> None:
        """Check that claims and requests name one another."""
        here, claims = report.named("ResourceClaim", KIND), pod.spec["resourceClaims"]
        known: dict[str, list[str]] = {}
        for claim in claims:
            pod.routed, own = True, str(claim["name"].value)
            fields = ("resourceClaimName", "resourceClaimTemplateName")
            names = [str(claim[field].value) for field in fields if field in claim]
            if len(names) != 1:
                report.add("dra", claim, "one of claim and claim template is needed")
            if own in known:
                report.add("dra", claim, f"{own!r} is given twice")
            known[own] = _requests(here.get(names[0], Node())) if names else []
            if names and here and names[0] not in here:
                report.add("dra", claim, f"this file has no claim {names[0]!r}")
        used = set()
        for one in (one for container in pod for one in container["resources"]["claims"]):
            name, request = str(one["name"].value), one["request"].value
            if name in used:
                report.add("dra", one, f"{name!r} is used twice")
            used.add(name)
            if name not in known:
                report.add("dra", one, f"{name!r} is not a claim of this pod")
            elif request is not None and request not in (known[name] or [request]):
                report.add("dra", one, f"{request!r} is not a request of that claim")
        for name in sorted(set(known) - used):
            report.warn("dra", claims, f"no container uses {name!r}")
