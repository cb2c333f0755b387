"""Dynamic resource allocation: a claim whose MPS settings NVIDIA's driver reads."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from jupyter_gpupredict.core.deployment import Capability, ExportRequest, Figures, Json, SharePatch
from jupyter_gpupredict.core.findings import Manifest, Pod, Report, at, items, join, table, whole
from jupyter_gpupredict.core.protocols import Sharing
from jupyter_gpupredict.export import pod
from jupyter_gpupredict.export.shapes import MIB, check_shape, quantity

API, KIND = "resource.k8s.io/v1", "ResourceClaimTemplate"
DRIVER = "gpu.nvidia.com"
CLAIM = "gpu"


def _devices(found: Any) -> tuple[dict[str, Any], str]:
    """Return the devices of a claim or its template, and their path."""
    inner = ("spec", "spec") if at(found, "kind") == KIND else ("spec",)
    return table(at(found, *inner, "devices")), ".".join((*inner, "devices"))


def _requests(found: Any) -> list[str]:
    return [str(at(one, "name")) for one in items(_devices(found)[0].get("requests"))]


def _check(found: dict[str, Any], report: Report) -> None:
    """Check a resource claim or its template, with the driver's own parameters."""
    (devices, path), names = _devices(found), _requests(found)
    if len(set(names)) < len(names):
        report.add("dra", path, "one request is given twice")
    configured: list[Any] = []
    for position, config in enumerate(items(devices.get("config"))):
        where = f"{path}.config[{position}]"
        for one in items(at(config, "requests")) or names:
            if one not in names:
                report.add("dra", where, f"{one!r} is not a request of this claim")
            if one in configured:
                report.add("dra", where, f"{one!r} is configured twice")
            configured.append(one)
        if at(config, "opaque", "driver") == DRIVER:
            parameters = table(at(config, "opaque", "parameters"))
            _check_parameters(parameters, f"{where}.opaque.parameters", report)


def _check_parameters(parameters: dict[str, Any], where: str, report: Report) -> None:
    check_shape("dra-gpu-config", parameters, report, where)
    settings, path = table(at(parameters, "sharing", "mpsConfig")), f"{where}.sharing.mpsConfig"
    if 1 <= (percent := whole(settings.get("defaultActiveThreadPercentage")) or 0) <= 100:
        report.carry("sm", Decimal(percent), path)
    sizes = [settings.get("defaultPinnedDeviceMemoryLimit")]
    sizes += table(settings.get("defaultPerDevicePinnedMemoryLimit")).values()
    for size in (one for one in sizes if one is not None):
        amount = quantity(size)
        if amount is None or amount < MIB:
            report.add("dra", path, f"{size!r} is not a quantity of at least 1Mi")
        else:
            report.carry("mem", amount // MIB, path)  # the driver drops the rest


class Dra(Sharing):
    """A ResourceClaimTemplate in front of the workload (Kubernetes 1.34 or newer)."""

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
        template: dict[str, Json] = {
            "apiVersion": API,
            "kind": KIND,
            "metadata": {"name": name},
            "spec": {"spec": {"devices": devices}},
        }
        claims: Json = [{"name": CLAIM, "resourceClaimTemplateName": name}]
        return SharePatch(
            "sm_share",
            pod={**pod.selected(request), "resourceClaims": claims},
            claims=(CLAIM,),
            before=(template,),
            comments=(
                *pod.open_share(figures, "sm_share"),
                "The driver's feature gate MPSSupport must be on; it is alpha and off by default.",
            ),
        )

    def judge(self, pod: Pod, report: Report) -> None:
        """Check that claims and requests name one another."""
        here = report.named("ResourceClaim", KIND)
        known: dict[str, list[str] | None] = {}
        pod.routed |= bool(items(pod.spec.get("resourceClaims")))
        for position, claim in enumerate(map(table, items(pod.spec.get("resourceClaims")))):
            where = f"{join(pod.path, 'resourceClaims')}[{position}]"
            fields = ("resourceClaimName", "resourceClaimTemplateName")
            names = [str(claim[field]) for field in fields if field in claim]
            if len(names) != 1:
                report.add("dra", where, "one of claim and claim template is needed")
            if claim.get("name") in known:
                report.add("dra", where, f"{claim.get('name')!r} is given twice")
            known[str(claim.get("name"))] = _requests(here.get(names[0])) if names else None
            if names and here and names[0] not in here:
                report.add("dra", where, f"this file has no claim {names[0]!r}")
        used = set()
        for container, path in pod.containers:
            for position, one in enumerate(items(at(container, "resources", "claims"))):
                where = f"{join(path, 'resources', 'claims')}[{position}]"
                name, request = at(one, "name"), at(one, "request")
                if name in used:
                    report.add("dra", where, f"{name!r} is used twice")
                used.add(name)
                if name not in known:
                    report.add("dra", where, f"{name!r} is not a claim of this pod")
                elif request is not None and request not in (known[name] or [request]):
                    report.add("dra", where, f"{request!r} is not a request of that claim")
        for name in sorted(set(known) - used):
            report.warn("dra", join(pod.path, "resourceClaims"), f"no container uses {name!r}")
