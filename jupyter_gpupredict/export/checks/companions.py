"""Rules of what stands beside a workload: resource claims, and the device plugin."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.checks import clusters, values
from jupyter_gpupredict.export.checks.shapes import join
from jupyter_gpupredict.export.checks.values import at, items, table, whole
from jupyter_gpupredict.export.documents import parse_yaml

if TYPE_CHECKING:
    from jupyter_gpupredict.export.checks.ledger import Ledger


def claim(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a resource claim or its template, with the driver's own parameters."""
    inner = ("spec", "spec") if found.get("kind") == "ResourceClaimTemplate" else ("spec",)
    devices, path = table(at(found, *inner, "devices")), ".".join((*inner, "devices"))
    names = [str(at(one, "name")) for one in items(devices.get("requests"))]
    ledger.claims[str(at(found, "metadata", "name"))] = names
    if len(set(names)) < len(names):
        ledger.add("dra", path, "one request is given twice")
    for position, request in enumerate(items(devices.get("requests"))):
        if len({"exactly", "firstAvailable"} & set(table(request))) != 1:
            where = f"{path}.requests[{position}]"
            ledger.add("dra", where, "needs one of exactly and firstAvailable")
    configured: list[Any] = []
    for position, config in enumerate(items(devices.get("config"))):
        where = f"{path}.config[{position}]"
        for one in items(at(config, "requests")) or names:
            if one not in names:
                ledger.add("dra", where, f"{one!r} is no request of this claim")
            if one in configured:
                ledger.add("dra", where, f"{one!r} is configured twice")
            configured.append(one)
        if at(config, "opaque", "driver") != "gpu.nvidia.com":
            ledger.add("dra", where, "the driver must be gpu.nvidia.com")
            continue
        _gpu_config(table(at(config, "opaque", "parameters")), f"{where}.opaque.parameters", ledger)


def _gpu_config(parameters: dict[str, Any], where: str, ledger: Ledger) -> None:
    for place, message in clusters.GPU_CONFIG(parameters, where):
        ledger.add("dra", place, message)
    sharing = table(parameters.get("sharing"))
    settings, path = table(sharing.get("mpsConfig")), join(where, "sharing.mpsConfig")
    if "mpsConfig" in sharing and sharing.get("strategy") != "MPS":
        ledger.add("dra", path, "goes with strategy MPS alone")
    if "timeSlicingConfig" in sharing and sharing.get("strategy") != "TimeSlicing":
        ledger.add("dra", path, "timeSlicingConfig goes with strategy TimeSlicing alone")
    percent = settings.get("defaultActiveThreadPercentage")
    if percent is not None:
        if isinstance(percent, int) and 1 <= percent <= 100:
            ledger.carry("sm", Decimal(percent), path)
        else:
            ledger.add("dra", path, f"percentage {percent!r} is not from 1 to 100")
    sizes = [settings.get("defaultPinnedDeviceMemoryLimit")]
    sizes += table(settings.get("defaultPerDevicePinnedMemoryLimit")).values()
    for size in sizes:
        if size is None:
            continue
        found = values.quantity(size)
        if found is None or found < values.MIB:
            ledger.add("dra", path, f"{size!r} is no quantity of at least 1Mi")
        else:
            ledger.carry("mem", found // values.MIB, path)  # the driver drops the rest


def config_map(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a ConfigMap that holds configurations of the device plugin."""
    holds = any("sharing:" in str(text) for text in table(found.get("data")).values())
    if ledger.stamps and not holds:
        ledger.add("device-plugin", "data", "the stamped figures are in no configuration")
    for key, text in table(found.get("data")).items():
        if not isinstance(text, str) or "sharing:" not in text:
            continue
        where = join("data", str(key))
        try:
            parsed = parse_yaml(text)
        except ValueError as error:
            ledger.add("device-plugin", where, f"is no YAML: {error}")
            continue
        if len(parsed) == 1 and isinstance(parsed[0], dict):
            plugin(parsed[0], where, ledger)
        else:
            ledger.add("device-plugin", where, "must be one mapping")


def plugin(config: dict[str, Any], where: str, ledger: Ledger) -> None:
    """Check a configuration of the device plugin: its shape, and whether a share fits."""
    for place, message in clusters.PLUGIN_CONFIG(config, where):
        ledger.add("device-plugin", place, message)
    sharing = table(at(config, "sharing", "mps"))
    if sharing and sharing.get("renameByDefault") is not True:
        message = "without renameByDefault the resource keeps its name and is no share"
        ledger.add("device-plugin", where, message)
    stamps = ledger.stamps
    share, memory = whole(stamps.get("sm-percent")), whole(stamps.get("memory-mib"))
    total = whole(stamps.get("gpu-total-mib"))
    for resource in items(sharing.get("resources")):
        count = whole(at(resource, "replicas"))
        if count is None:
            continue
        if not 2 <= count <= 100:
            ledger.add("device-plugin", where, f"{count} replicas: at least 2 share a GPU")
        elif share and 100 // count < share:
            message = f"{count} replicas get {100 // count} % each, below {share} %"
            ledger.add("device-plugin", where, message)
        elif total and memory and total // count < memory:
            message = f"{count} replicas get {total // count} MiB each, below {memory} MiB"
            ledger.add("device-plugin", where, message)
