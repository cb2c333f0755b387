"""System metrics of Weights & Biases: `wandb-events.jsonl`, and tables exported from them."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.sources.logs import Log
from jupyter_gpupredict.sources.tables import cells_of, layout_in
from jupyter_gpupredict.sources.titled import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace

_KEY = re.compile(r"(?:(?P<run>.*) - )?system[./]gpu\.(?P<device>\d+)\.(?P<what>\w+)")
_COLUMNS = {
    "gpu": ("gpu_util_ratio", 0.01, "utilization_pct"),
    "memoryAllocatedBytes": ("memory_used_bytes", 1.0, "memory_used [bytes]"),
    "powerWatts": ("power_watts", 1.0, "power [W]"),
}
"""Their name -> (metric, scale, a title that is known)."""
_METRICS = [metric for metric, _, _ in _COLUMNS.values()]
_TIMES = ("_timestamp", "_runtime")
_OTHER_TIMES = ("Relative Time (Process)", "Relative Time (Wall)", "Timestamp", "Time")
_AVERAGED = "a reading of wandb is an average of up to 30 s: short peaks do not show"


def _known(title: str) -> str:
    """Return a title of wandb as one that is known."""
    found = _KEY.fullmatch(title)
    if found is not None and found["what"] in _COLUMNS:
        return f"gpu{found['device']}_{_COLUMNS[found['what']][2]}"
    if title == "_runtime":
        return "runtime [s]"
    return "timestamp" if title in _TIMES + _OTHER_TIMES else ""


class WandbReader:
    """Reads what wandb recorded of every GPU of a run."""

    label = "wandb-events.jsonl, and system metrics exported from Weights & Biases"

    def detect(self, content: Content) -> bool:
        """Return whether the first lines name a GPU's metrics as wandb does."""
        lines = content.first_lines[:5]
        if lines and lines[0].startswith("{"):
            return any(_KEY.search(line) for line in lines if '"system.' in line)
        return layout_in([cells_of(line) for line in lines[:1]], _known) is not None

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the readings of every device."""
        first = next(iter(content.first_lines), "")
        if first.startswith("{"):
            return _read_events(content)
        runs = {found["run"] for cell in cells_of(first) if (found := _KEY.fullmatch(cell))}
        if len(runs) > 1:
            raise Malformed(f"{content.name} holds {len(runs)} runs", "export one run at a time")
        return Table(content, options, "wandb", _known).trace().noted(_AVERAGED)


def _read_events(content: Content) -> Trace:
    log, strays, kept = Log(content.name, "wandb", _METRICS), 0, 0
    for line in content.lines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            strays += bool(line.strip())
            continue
        for device, time_s, values in _readings(event if isinstance(event, dict) else {}):
            log.device(f"gpu{device}", index=device).add(time_s, values)
            kept += 1
    if strays > kept:
        raise Malformed(f"{content.name}: {strays} lines are not JSON", "was the file cut?")
    if strays:
        log.note(f"{strays} lines that are not JSON were left out")
    log.note(_AVERAGED)
    return log.trace()


def _readings(event: dict[str, Any]) -> Iterator[tuple[int, float, list[float]]]:
    time_s = next((found for name in _TIMES if (found := _number(event.get(name))) >= 0.0), None)
    if time_s is None:
        return
    devices: dict[int, dict[str, float]] = {}
    for key, value in event.items():
        named = _KEY.fullmatch(key)
        if named is not None and named["what"] in _COLUMNS and len(named["device"]) < 5:
            metric, scale, _ = _COLUMNS[named["what"]]
            devices.setdefault(int(named["device"]), {})[metric] = scale * _number(value)
    for device, held in devices.items():
        yield device, time_s, [held.get(metric, math.nan) for metric in _METRICS]


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) and abs(value) < 1e18 else math.nan
