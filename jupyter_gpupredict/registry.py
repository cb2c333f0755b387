"""Names -> classes, as strings: the only place that names a concrete adapter.

A third party registers the same kind of class through an entry point of the group
`jupyter_gpupredict.<kind>`; those are asked only when a name is not in our own tables.
"""

from __future__ import annotations

import importlib
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import ConfigError, UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from importlib.metadata import EntryPoint

SOURCES = {
    "gpm": "sources.telemetry.nvml:GpmSource",
    "nvml": "sources.telemetry.nvml:NvmlSource",
    "cpu": "sources.telemetry.cpu:CpuSource",
    "prometheus": "sources.telemetry.prometheus:PrometheusSource",
    "replay": "sources.telemetry.simulated:ReplaySource",
    "synthetic": "sources.telemetry.simulated:SyntheticSource",
}
WATCHES = {
    "nvml": "sources.driver.inventory:NvmlWatch",
    "host": "sources.driver.processes:HostWatch",
    "memory": "sources.driver.processes:MemoryWatch",
    "cuda": "sources.driver.processes:CudaWatch",
}
HINTS = {
    "keras": "run.hints.keras:KerasHint",
    "lightning": "run.hints.lightning:LightningHint",
    "pytorch_lightning": "run.hints.lightning:PytorchLightningHint",
    "tqdm": "run.hints.tqdm:TqdmHint",
    "transformers": "run.hints.transformers:TransformersHint",
}
PREDICTORS = {
    "windows": "predict.rules.windows:WindowsRule",
    "epoch_mix": "predict.rules.epoch_mix:EpochMix",
}
READERS = {
    "events": "sources.readers.events:EventsReader",
    "columns": "sources.readers.columns:ColumnsReader",
    "kernels": "sources.readers.kernels:KernelsReader",
    "nsys-csv": "sources.readers.nsys_csv:NsysCsvReader",
    "nsys-sqlite": "sources.readers.nsys_sqlite:NsysSqliteReader",
    "xla": "sources.readers.xla:XlaReader",
    "kineto": "sources.readers.kineto:KinetoReader",
    "dmon": "sources.readers.dmon:DmonReader",
    "dcgmi": "sources.readers.dmon:DcgmiReader",
    "smi-screen": "sources.readers.screens:SmiScreenReader",
    "gpustat": "sources.readers.screens:GpustatReader",
    "nvitop": "sources.readers.nvitop:NvitopReader",
    "wandb": "sources.readers.wandb:WandbReader",
    "prometheus": "sources.readers.prometheus:PrometheusReader",
    "foreign": "sources.readers.foreign:ForeignReader",
    "nvidia-smi": "sources.readers.nvidia_smi:SmiReader",
}
"""Formats of recordings; the first that detects its own reads."""
WORKLOADS = {
    "job": "export.platforms.job:Job",
    "knative": "export.platforms.knative:Knative",
    "nuclio": "export.platforms.nuclio:Nuclio",
    "rayjob": "export.platforms.rayjob:RayJob",
    "kserve": "export.platforms.kserve:KServe",
    "fission": "export.platforms.fission:Fission",
    "openfaas": "export.platforms.openfaas:OpenFaas",
    "ecs": "export.platforms.ecs:Ecs",
    "fastpod": "export.platforms.fastpod:FastPod",
    "local": "export.platforms.local:Local",
    "cloudrun": "export.platforms.cloudrun:CloudRun",
    "slurm": "export.platforms.slurm:Slurm",
    "compose": "export.platforms.compose:Compose",
}
SHARING = {
    "device-plugin": "export.sharing.device_plugin:DevicePlugin",
    "mps": "export.sharing.mps:Mps",
    "gke": "export.sharing.gke:Gke",
    "hami": "export.sharing.hami:Hami",
    "dra": "export.sharing.dra:Dra",
    "kai": "export.sharing.kai:Kai",
    "volcano": "export.sharing.volcano:Volcano",
    "ecs-mps": "export.platforms.ecs:EcsMps",
    "fast-gshare": "export.platforms.fastpod:FastGshare",
    "mps-v3": "export.platforms.local:MpsV3",
    "none": "export.platforms.cloudrun:NoSharing",
    "slurm-mps": "export.platforms.slurm:SlurmMps",
    "slurm-shard": "export.platforms.slurm:SlurmShard",
}
PRESETS: dict[str, tuple[str, dict[str, float]]] = {
    "default": ("windows", {"window_s": 75.0, "agree": 8, "noise": 5.0}),
    "quick": ("windows", {"window_s": 120.0, "agree": 3, "noise": 5.0}),
    "accurate": ("windows", {"window_s": 115.0, "agree": 8, "noise": 2.0}),
}
"""Rule name -> (predictor, its settings); figures in docs/how-it-works.md."""


def names(kind: str) -> tuple[str, ...]:
    """Return the names registered under a kind, ours first, then third parties'."""
    ours = tuple(_table(kind))
    return ours + tuple(sorted(p.name for p in _plugins(kind) if p.name not in ours))


def load(kind: str, name: str) -> type[Any]:
    """Return the class registered under a name.

    Args:
        kind: `sources`, `watches`, `hints`, `predictors`, `readers`, `workloads` or `sharing`.
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


def public(package: str, modules: Sequence[str], name: str) -> Any:
    """Return a public name of a package from the first of its modules that has it."""
    loaded = (importlib.import_module(f"{package}.{module}") for module in modules)
    return next(getattr(module, name) for module in loaded if hasattr(module, name))


def lazy(package: str, modules: Sequence[str], names: Sequence[str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__`, which loads its public names when they are used."""

    def load(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return public(package, modules, name)

    return load


def _table(kind: str) -> dict[str, str]:
    return {
        "sources": SOURCES,
        "watches": WATCHES,
        "hints": HINTS,
        "predictors": PREDICTORS,
        "readers": READERS,
        "workloads": WORKLOADS,
        "sharing": SHARING,
    }[kind]


def installation() -> Hashable:
    """Return what differs once something was installed: the key for what metadata say.

    Every look reads the metadata of all that is installed, and one export takes dozens.
    """
    return tuple(map(_changed, sys.path))


def _plugins(kind: str) -> tuple[EntryPoint, ...]:
    return _installed(f"jupyter_gpupredict.{kind}", installation())


@lru_cache(maxsize=16)
def _installed(group: str, _: Hashable) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group."""
    from importlib import metadata  # slow to load, and rarely needed

    return tuple(metadata.entry_points(group=group))


def _changed(place: str) -> tuple[str, int]:
    """Return a place of `sys.path` and when something was put there; 0: it is not there."""
    try:
        return place, Path(place).stat().st_mtime_ns
    except (OSError, ValueError):
        return place, 0
