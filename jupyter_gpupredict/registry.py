"""Names -> classes, as strings: the only place that names a concrete adapter.

A third party registers the same kind of class through an entry point of the group
`jupyter_gpupredict.<kind>`; those are asked only when a name is not in our own tables.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any

from jupyter_gpupredict.core.errors import ConfigError, UnknownName

SOURCES = {
    "gpm": "telemetry.gpm:GpmSource",
    "nvml": "telemetry.nvml:NvmlSource",
    "cpu": "telemetry.cpu:CpuSource",
    "prometheus": "telemetry.prometheus:PrometheusSource",
    "replay": "telemetry.replay:ReplaySource",
    "synthetic": "telemetry.synthetic:SyntheticSource",
}
WATCHES = {
    "nvml": "telemetry.watches.nvml:NvmlWatch",
    "host": "telemetry.watches.host:HostWatch",
}
HINTS = {
    "keras": "hints.keras:KerasHint",
    "lightning": "hints.lightning:LightningHint",
    "pytorch_lightning": "hints.lightning:PytorchLightningHint",
    "tqdm": "hints.tqdm:TqdmHint",
    "transformers": "hints.transformers:TransformersHint",
}
PREDICTORS = {
    "windows": "predictors.windows:WindowsRule",
    "histogram": "predictors.histogram:HistogramRule",
    "epoch_mix": "predictors.epoch_mix:EpochMix",
}
WORKLOADS = {
    "job": "exporters.workloads.job:Job",
    "knative": "exporters.workloads.knative:Knative",
    "nuclio": "exporters.workloads.nuclio:Nuclio",
    "rayjob": "exporters.workloads.rayjob:RayJob",
    "kserve": "exporters.workloads.kserve:KServe",
    "fission": "exporters.workloads.fission:Fission",
    "openfaas": "exporters.workloads.openfaas:OpenFaas",
    "ecs": "exporters.workloads.ecs:Ecs",
    "fastpod": "exporters.workloads.fastpod:FastPod",
    "local": "exporters.workloads.local:Local",
    "cloudrun": "exporters.workloads.cloudrun:CloudRun",
}
SHARING = {
    "device-plugin": "exporters.sharing.device_plugin:DevicePlugin",
    "mps": "exporters.sharing.mps:Mps",
    "gke": "exporters.sharing.gke:Gke",
    "hami": "exporters.sharing.hami:Hami",
    "dra": "exporters.sharing.dra:Dra",
    "kai": "exporters.sharing.kai:Kai",
    "volcano": "exporters.sharing.volcano:Volcano",
    "ecs-mps": "exporters.sharing.ecs_mps:EcsMps",
    "fast-gshare": "exporters.sharing.fast_gshare:FastGshare",
    "mps-v3": "exporters.sharing.mps_v3:MpsV3",
    "none": "exporters.sharing.none:NoSharing",
}
PRESETS: dict[str, tuple[str, dict[str, float]]] = {
    "default": ("windows", {"window_s": 300.0, "agree": 2, "tolerance_points": 2.0}),
    "quick": ("windows", {"window_s": 120.0, "agree": 3, "tolerance_points": 5.0}),
    "accurate": ("histogram", {"window_s": 60.0, "agree": 10, "tolerance_points": 2.0}),
}
"""Rule name -> (predictor, its settings); figures in docs/how-it-works.md."""


def names(kind: str) -> tuple[str, ...]:
    """Return the names registered under a kind, ours first, then third parties'."""
    ours = tuple(_table(kind))
    return ours + tuple(sorted(p.name for p in _plugins(kind) if p.name not in ours))


def load(kind: str, name: str) -> type[Any]:
    """Return the class registered under a name.

    Args:
        kind: `sources`, `watches`, `hints`, `predictors`, `workloads` or `sharing`.
        name: A registered name.

    Raises:
        UnknownName: No such name; the nearest one is suggested.
        ConfigError: A third party's adapter does not import.
    """
    table = _table(kind)
    if name in table:
        module, _, attribute = table[name].partition(":")
        loaded = importlib.import_module(f"jupyter_gpupredict.{module}")
        found: type[Any] = getattr(loaded, attribute)
        return found
    for plugin in _plugins(kind):
        if plugin.name == name:
            try:
                found = plugin.load()
            except Exception as error:
                raise ConfigError(f"{kind} {name!r} does not load: {error}") from error
            return found
    raise UnknownName(kind.removesuffix("s"), name, names(kind))


def _table(kind: str) -> dict[str, str]:
    return {
        "sources": SOURCES,
        "watches": WATCHES,
        "hints": HINTS,
        "predictors": PREDICTORS,
        "workloads": WORKLOADS,
        "sharing": SHARING,
    }[kind]


def _plugins(kind: str) -> tuple[metadata.EntryPoint, ...]:
    return tuple(metadata.entry_points(group=f"jupyter_gpupredict.{kind}"))
