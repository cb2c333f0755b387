"""Answers of a Prometheus server to a range query, as JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.sources.cells import plausible
from jupyter_gpupredict.sources.logs import Log

if TYPE_CHECKING:
    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace

LARGEST_BYTES = 256 << 20
_MIB = 2.0**20
_PERCENT = ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_MEM_COPY_UTIL")
_KNOWN = {
    **{
        metric.dcgm: (metric.name, 0.01 if metric.dcgm in _PERCENT else 1.0)
        for metric in METRICS.values()
        if metric.dcgm
    },
    "DCGM_FI_DEV_FB_USED": ("memory_used_bytes", _MIB),
    "DCGM_FI_DEV_FB_FREE": ("free", _MIB),
    "DCGM_FI_DEV_FB_RESERVED": ("reserved", _MIB),
    "DCGM_FI_DEV_FB_TOTAL": ("total", _MIB),
    "nvidia_smi_utilization_gpu_ratio": ("gpu_util_ratio", 1.0),
    "nvidia_smi_memory_used_bytes": ("memory_used_bytes", 1.0),
    "nvidia_smi_memory_total_bytes": ("total", 1.0),
    "nvidia_gpu_duty_cycle": ("gpu_util_ratio", 0.01),
    "nvidia_gpu_memory_used_bytes": ("memory_used_bytes", 1.0),
    "nvidia_gpu_memory_total_bytes": ("total", 1.0),
}
"""Name of a series -> (what it is, scale): DCGM's exporter, and those of nvidia-smi and NVML."""
_SIZES = ("free", "reserved", "total")
_QUERY = "ask /api/v1/query_range for DCGM_FI_DEV_GPU_UTIL and DCGM_FI_DEV_FB_USED"


class PrometheusReader:
    """Reads the series of every GPU in an answer."""

    label = "JSON of a Prometheus range query"

    def detect(self, content: Content) -> bool:
        """Return whether it begins as an answer of Prometheus' HTTP API."""
        head = content.head[:2048]
        return head.lstrip(b"\xef\xbb\xbf \n\r").startswith(b"{") and b'"resultType"' in head

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the readings of every device."""
        data = content.stream().read(LARGEST_BYTES + 1)
        if len(data) > LARGEST_BYTES:
            raise Malformed(
                f"{content.name} is longer than {LARGEST_BYTES >> 20} MiB", "ask for less"
            )
        try:
            answer = json.loads(data)
            kind, series = answer["data"]["resultType"], answer["data"]["result"]
            if kind != "matrix":
                raise Malformed(f"{content.name} is the answer for one moment", _QUERY)
            return _read(series, content.name)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Malformed(
                f"{content.name} is not an answer of Prometheus", "was it cut?"
            ) from error


def _read(series: list[Any], name: str) -> Trace:
    devices: dict[str, tuple[dict[str, str], dict[str, dict[float, float]]]] = {}
    for one in series:
        labels: dict[str, str] = one["metric"]
        known = _KNOWN.get(labels.get("__name__", ""))
        if known is None:
            continue
        what, scale = known
        points = devices.setdefault(_key(labels), (labels, {}))[1].setdefault(what, {})
        for time_s, text in one["values"]:
            value = float(text)
            points[float(time_s)] = plausible(value, scale) if math.isfinite(value) else math.nan
    held = {what for _, columns in devices.values() for what in columns}
    if not any(METRICS[what].basis is not None for what in held - set(_SIZES)):
        raise Malformed(f"{name} holds no utilization of a GPU", _QUERY)
    metrics = [what for what in METRICS if what in held]
    log = Log(name, "prometheus", metrics)
    for key, (labels, columns) in devices.items():
        index = labels.get("gpu", labels.get("minor_number", ""))
        number = int(index) if index.isdecimal() and len(index) < 6 else None
        device = log.device(key, labels.get("modelName", labels.get("name", "")), number)
        device.total_bytes = _size(columns)
        for time_s in sorted({time_s for what in metrics for time_s in columns.get(what, ())}):
            device.add(time_s, [columns.get(what, {}).get(time_s, math.nan) for what in metrics])
    return log.trace()


def _key(labels: dict[str, str]) -> str:
    """Return what a GPU, or an instance of a divided one, is called."""
    uuid = next((labels[one] for one in ("UUID", "uuid") if labels.get(one)), "")
    place = (labels.get(one, "") for one in ("instance", "gpu", "minor_number"))
    whole = uuid or " ".join(part for part in place if part) or "gpu"
    return f"{whole}/{labels['GPU_I_ID']}" if labels.get("GPU_I_ID") else whole


def _size(columns: dict[str, dict[float, float]]) -> float:
    """Return the card's size: as given, else all memory that was seen at one time."""
    if "total" in columns:
        return max((value for value in columns["total"].values() if value > 0.0), default=0.0)
    parts = [columns[one] for one in ("memory_used_bytes", "free", "reserved") if one in columns]
    if "free" not in columns or len(parts) < 2:
        return 0.0
    sums = (sum(part.get(time_s, 0.0) for part in parts) for time_s in columns["free"])
    return max((value for value in sums if value > 0.0), default=0.0)
