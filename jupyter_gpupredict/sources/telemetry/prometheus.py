"""A DCGM exporter's series out of Prometheus: what a fleet's monitoring has recorded of a GPU.

The readings are the samples as they were scraped, with their own stamps: nothing is interpolated
or carried forward. They are as fine as the exporter's collect interval or the scrape interval,
whichever is longer, and describe the whole device.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import (
    InvalidOption,
    SourceLost,
    SourceUnavailable,
    TelemetryError,
)
from jupyter_gpupredict.core.metrics import METRICS, MIB, breadth_ratio, largest
from jupyter_gpupredict.core.series import (
    Batch,
    Device,
    Gap,
    Readings,
    Series,
    Share,
    SourceInfo,
    SourceOptions,
    Unavailable,
)
from jupyter_gpupredict.sources.driver.prometheus import PrometheusApi, Unanswered, matchers
from jupyter_gpupredict.sources.recording import Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jupyter_gpupredict.core.protocols import Clock
    from jupyter_gpupredict.sources.driver.prometheus import Stream

FIELDS = {metric.dcgm: metric.name for metric in METRICS.values() if metric.dcgm}
"""DCGM field -> our metric."""
SCALES = {
    "DCGM_FI_DEV_GPU_UTIL": 0.01,
    "DCGM_FI_DEV_MEM_COPY_UTIL": 0.01,
    "DCGM_FI_DEV_FB_USED": float(MIB),
}
"""The exporter's unit -> ours, where they differ; the profiling fields are ratios already."""
BREADTH, ENGINE, SM = "breadth_ratio", "gr_active_ratio", "sm_active_ratio"
BUSY, MEMORY = "gpu_util_ratio", "memory_used_bytes"
LOOK_BACK_S = 600.0
"""How much of the past shows which series there are and how often they are new."""
MIN_POLL_S = 5.0
MAX_BACKOFF_S = 60.0
GIVE_UP_S = 300.0
"""Without an answer for so long the source is lost; until then what was missed is fetched later."""
CHUNK_S = 6 * 3600.0
"""Asked for at once when a recording is read."""
LONGEST_S = 31 * 86_400.0
_TRIPS = 3

Points = dict[str, dict[float, float]]
"""Metric -> stamp on the server's wall clock -> value in our unit."""


class PrometheusSource:
    """One GPU of those that `--match` and `--device` leave."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._api: PrometheusApi | None = None
        self._selector = self._uuid = self._share = ""
        self._to_monotonic_s = 0.0
        """Server's wall clock -> our monotonic one."""
        self._scrape_s = MIN_POLL_S
        self._seen_s: dict[str, float] = {}
        """Metric -> newest stamp handed on, server's clock; outlives a loss."""
        self._polled_s, self._answered_s = -math.inf, 0.0
        self._backoff_s = 0.0
        self._quiet = False
        """Whether the server's silence has been reported."""

    def open(self) -> SourceInfo:
        """Find the GPU, its series, their period and the offset of the server's clock.

        Raises:
            SourceUnavailable: No server, no such series, or several GPUs.
            PermissionDenied: The server wants credentials, or others.
            InvalidOption: `--url`, `--match` or `--device` is wrong.
        """
        self.close()
        api = PrometheusApi(self._options.url or "", self._options.environ)
        self._to_monotonic_s, error_s = self._synchronise(api)
        now_s = self._clock.monotonic_s()
        gpu = _Gpu(self._single(self._find(api, LOOK_BACK_S, now_s - self._to_monotonic_s)))
        self._selector = self._select(f"UUID={json.dumps(gpu.device.uuid)}")
        self._scrape_s, self._share = gpu.scrape_s, gpu.share
        self._api, self._uuid = api, gpu.device.uuid
        self._polled_s = self._answered_s = now_s
        for metric in gpu.points:  # what was before is not this run's
            self._seen_s.setdefault(metric, now_s - self._to_monotonic_s - self._scrape_s)
        duty = gpu.series[ENGINE] if gpu.share == BREADTH else None
        memory = gpu.series.get(MEMORY)
        driver = gpu.labels.get("DCGM_FI_DRIVER_VERSION", "")
        return SourceInfo(
            source="prometheus",
            devices=(gpu.device,),
            series=tuple(gpu.series.values()),
            share=gpu.series[gpu.share],
            memory=memory,
            period_s=gpu.period_s,
            duty=duty,
            also=() if duty is None else (Share(duty, memory=memory),),
            buffer_s=LOOK_BACK_S,  # it keeps what we have not fetched yet
            versions=(("driver", driver),) if driver else (),
            notes=(*gpu.notes(), f"clocks compared to within {1000 * error_s:.0f} ms"),
        )

    def read(self, *, slow: bool) -> Batch:
        """Return what was scraped since the last call; asks every 5 s or scrape at the most.

        Raises `SourceLost` when the server refuses, or has not answered for five minutes.
        """
        now_s = self._clock.monotonic_s()
        wait_s = max(MIN_POLL_S, self._scrape_s, self._backoff_s)
        if self._api is None or now_s - self._polled_s < wait_s:
            return Batch()
        self._polled_s = now_s
        # Once more what the last answer held the end of: storage may have had it late.
        since_s = min(self._seen_s.values()) + self._to_monotonic_s - 2.0 * self._scrape_s
        span_s = min(now_s - since_s, LOOK_BACK_S + GIVE_UP_S)
        try:
            streams = self._api.streams(self._selector, span_s, now_s - self._to_monotonic_s)
        except Unanswered as error:
            wait_s = max(error.after_s, 2.0 * self._backoff_s, MIN_POLL_S)
            self._backoff_s = min(MAX_BACKOFF_S, wait_s)
            if now_s - self._answered_s > GIVE_UP_S:
                raise SourceLost(error.message, error.hint, error.reason) from error
            quiet, self._quiet = self._quiet, True
            lack = Unavailable(Series(self._share, self._uuid), "timed_out", str(error))
            return Batch(unavailable=() if quiet else (lack,))
        except TelemetryError as error:
            raise SourceLost(error.message, error.hint, error.reason) from error
        self._backoff_s, self._answered_s, self._quiet = 0.0, now_s, False
        return self._fresh(_points(streams))

    def close(self) -> None:
        """Forget the server; may be called twice."""
        self._api = None

    def record(self, from_s: float, to_s: float) -> Trace:
        """Return what was recorded of one GPU in `(from, to]`, Unix seconds; raises as `open`."""
        if not 0.0 < to_s - from_s <= LONGEST_S:
            message = "--from to --to is not a time of up to 31 days"
            raise InvalidOption(message, "give a --from before --to")
        api = PrometheusApi(self._options.url or "", self._options.environ)
        streams: list[Stream] = []
        for number in range(math.ceil((to_s - from_s) / CHUNK_S)):
            begin_s = from_s + number * CHUNK_S
            span_s = min(CHUNK_S, to_s - begin_s)
            streams += self._find(api, span_s, begin_s + span_s)
        gpu = _Gpu(self._single(streams))
        columns = gpu.points.values()

        def cell(values: dict[float, float], stamp: float) -> float | None:
            value = values.get(stamp)
            return None if value is None or math.isnan(value) else value

        rows = tuple(
            (stamp - from_s, tuple(cell(values, stamp) for values in columns))
            for stamp in sorted({stamp for values in columns for stamp in values})
        )
        series, main = tuple(gpu.series.values()), gpu.series[gpu.share]
        return Trace(
            "prometheus", rows, series, (gpu.device,), "prometheus", gpu.notes(), main=main
        )

    def _find(self, api: PrometheusApi, span_s: float, end_s: float) -> list[Stream]:
        return [
            stream
            for stream in api.streams(self._select(), span_s, end_s)
            if stream.labels.get("UUID") and stream.labels.get("__name__") in FIELDS
        ]

    def _select(self, *further: str) -> str:
        parts = ['__name__=~"' + "|".join(FIELDS) + '"', *further]
        if self._options.match:
            parts.append(matchers(self._options.match))
        return "{" + ",".join(parts) + "}"

    def _single(self, streams: Sequence[Stream]) -> list[Stream]:
        wanted = self._options.device
        labels_of = {one.labels["UUID"]: one.labels for one in streams}
        uuids = sorted(
            uuid
            for uuid, labels in labels_of.items()
            if wanted is None or uuid.startswith(wanted) or labels.get("gpu") == wanted
        )
        if not uuids:
            hint = "does it scrape a DCGM exporter? see --match and --device"
            raise SourceUnavailable("Prometheus holds no series of such a GPU", hint, "no_data_yet")
        if len(uuids) > 1:
            some = ", ".join(uuids[:3]) + (", ..." if len(uuids) > 3 else "")
            hint = "name one with --device UUID, or narrow --match"
            raise SourceUnavailable(f"{len(uuids)} GPUs match: {some}", hint)
        chosen = [one for one in streams if one.labels["UUID"] in uuids]
        if len({one.labels.get("GPU_I_ID", "") for one in chosen}) > 1:
            hint = "choose an instance: --match 'GPU_I_ID=\"1\"'"
            raise SourceUnavailable(f"GPU {uuids[0]} is divided (MIG)", hint, "mig")
        return chosen

    def _synchronise(self, api: PrometheusApi) -> tuple[float, float]:
        """Return (server's wall clock -> our monotonic one, its error), from the shortest trip."""
        trips = []
        for _ in range(_TRIPS):
            sent_s, server_s = self._clock.monotonic_s(), api.now_s()
            error_s = (self._clock.monotonic_s() - sent_s) / 2.0
            trips.append((sent_s + error_s - server_s, error_s))
        return min(trips, key=lambda trip: trip[1])

    def _fresh(self, points: Points) -> Batch:
        """Return what is newer than what was returned before."""
        readings, gaps = [], []
        for metric, values in points.items():
            seen_s = self._seen_s.get(metric)
            if seen_s is None:
                continue  # it began after the run did
            stamps = sorted(stamp for stamp in values if stamp > seen_s)
            if not stamps:
                continue
            if metric == self._share:
                gaps = [
                    Gap(a + self._to_monotonic_s, b + self._to_monotonic_s, "source")
                    for a, b in pairwise((seen_s, *stamps))
                    if b - a > 3.0 * self._scrape_s
                ]
            self._seen_s[metric] = stamps[-1]
            times_s = tuple(stamp + self._to_monotonic_s for stamp in stamps)
            taken = tuple(values[stamp] for stamp in stamps)
            readings.append(Readings(Series(metric, self._uuid), times_s, taken))
        return Batch(tuple(readings), gaps=tuple(gaps))


def _points(streams: Iterable[Stream]) -> Points:
    """Return the streams by metric, in our units, with the SM share while busy beside them.

    A pod's labels change when it does: the streams of one GPU before and after are one series.
    """
    found: Points = {}
    for stream in streams:
        field = stream.labels["__name__"]
        metric, scale = FIELDS[field], SCALES.get(field, 1.0)
        values = found.setdefault(metric, {})
        for stamp, value in zip(stream.times_s, stream.values, strict=True):
            values[stamp] = _plausible(metric, value * scale)
    if ENGINE in found and SM in found:
        both = sorted(found[ENGINE].keys() & found[SM].keys())
        found[BREADTH] = {t: breadth_ratio(found[SM][t], found[ENGINE][t]) for t in both}
    return {metric: values for metric, values in found.items() if values}


def _plausible(metric: str, value: float) -> float:
    """Return a value, or NaN for DCGM's blank ones and what no such metric can be."""
    if not math.isfinite(value) or value < 0.0:
        return math.nan
    return value if value <= largest(metric) else math.nan


class _Gpu:
    """What the streams of one GPU hold, how often its share is scraped, and how often it is new.

    An exporter that collects every 30 s and is scraped every 15 s says everything twice; the lower
    quartile of the times between changes tells.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.points = points = _points(streams)
        self.labels = streams[0].labels
        name, index = self.labels.get("modelName") or "GPU", self.labels.get("gpu", "")
        number = int(index) if index.isascii() and index.isdecimal() else None
        self.device = Device(self.labels["UUID"], name, number)
        self.series = {metric: Series(metric, self.device.uuid) for metric in points}
        self.share = next((one for one in (BREADTH, BUSY, ENGINE) if one in points), "")
        if not self.share:
            hint = "the exporter's list must name DCGM_FI_DEV_GPU_UTIL"
            message = "Prometheus holds no utilization of that GPU"
            raise SourceUnavailable(message, hint, "not_supported")
        # a share while busy is often NaN
        values = points[ENGINE if self.share == BREADTH else self.share]
        stamps = sorted(values)
        apart_s = sorted(b - a for a, b in pairwise(stamps))
        self.scrape_s = apart_s[len(apart_s) // 2] if apart_s else MIN_POLL_S
        changed = [b for a, b in pairwise(stamps) if values[a] != values[b]]
        apart_s = sorted(b - a for a, b in pairwise(changed))
        self._change_s = apart_s[len(apart_s) // 4] if len(apart_s) >= 4 else None
        self.period_s = max(self.scrape_s, self._change_s or 0.0)

    def notes(self) -> tuple[str, str]:
        """Return whose figures they are and how often they are new, in words."""
        labels, names = self.labels, ("namespace", "pod", "container")
        where = labels.get("Hostname", "")
        pod = "/".join(labels[name] for name in names if labels.get(name))
        origin = "from a DCGM exporter: device-wide, memory holds other tenants, too"
        origin += (f"; host {where}" if where else "") + (f"; pod {pod}" if pod else "")
        new = f"new about every {self.period_s:g} s"
        if self._change_s is None:
            new = f"scraped every {self.scrape_s:g} s; how often it is new could not be seen"
        elif self.period_s >= 1.5 * self.scrape_s:
            new = f"scraped every {self.scrape_s:g} s, {new}"
        return origin, new
