"""The words for figures: one place, so that every view says the same."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.events import RECORDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.events import SessionStarted
    from jupyter_gpupredict.core.recommendation import (
        AllocatorPeak,
        AppliedShare,
        MemoryEstimate,
        Recommendation,
        SmNeed,
        Verified,
    )
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.core.series import Series

MEMORY_BASIS = {
    "process": "this process tree, CUDA context included",
    "device-wide": "device-wide: other processes are in it",
    "rss": "host memory of this process tree, not GPU memory",
    "allocator": "in use by the framework, which took the rest in advance",
}


def percent(ratio: float | None) -> str:
    """Return a ratio as whole percent; `-` when there is none."""
    return "-" if ratio is None or math.isnan(ratio) else f"{100 * ratio:.0f} %"


def gib(size_bytes: float) -> str:
    """Return bytes in GiB with one decimal; less than 0.1 GiB in MiB.

    >>> gib(7.93 * 2**30), gib(42 * 2**20)
    ('7.9 GiB', '42 MiB')
    """
    found = size_bytes / (1 << 30)
    return f"{found:.1f} GiB" if found >= 0.095 else f"{size_bytes / (1 << 20):.0f} MiB"


def moment(time_s: float) -> str:
    """Return a time since the beginning to the second.

    >>> moment(130.2), moment(42.0), moment(7380.0)
    ('2 min 10 s', '42 s', '2 h 03 min')
    """
    whole = round(time_s)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else span(time_s)


def span(seconds: float | None) -> str:
    """Return a time span, such as `1 h 05 min` or `12 s`."""
    if seconds is None or math.isnan(seconds):
        return "-"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def label(started: SessionStarted) -> str:
    """Return what the readings are, above all when they are not a GPU's."""
    if started.source == "replay":
        return f"SIMULATED: replay of a recording ({started.origin})"
    if started.source == RECORDING:
        return f"a recording, not measured here ({started.origin})"
    if started.simulated:
        return f"SIMULATED: synthetic readings ({started.origin})"
    names = Counter(device.name for device in started.devices)
    device = ", ".join(name if n == 1 else f"{n} x {name}" for name, n in names.items())
    if started.source == "cpu":
        return f"CPU of this process tree, no GPU ({device})"
    return f"{device}, read by {started.source}"


def rank(one: Recommendation | Series) -> str:
    """Return what a rank of a distributed run is called."""
    return f"GPU {one.device[-8:]}" if one.rank is None else f"rank {one.rank}"


def device(one: Series, started: SessionStarted) -> str:
    """Return what one of several devices is called: its rank, its number, or its id's end."""
    found = (other.index for other in started.devices if other.uuid == one.device)
    index = next(found, None) if one.rank is None else None
    return rank(one) if index is None else f"GPU {index}"


def throttled(causes: Sequence[tuple[str, float]]) -> str:
    """Return what held the clocks down, and how much of the time; empty for nothing."""
    return ", ".join(f"{cause} {percent(ratio)} of the time" for cause, ratio in causes)


def neighbors(run: Run) -> str:
    """Return who was on the GPU beside the run; empty for nobody that is known."""
    if not run.other_processes:
        return ""
    words = "1 other process" if run.other_processes == 1 else f"{run.other_processes} others"
    return f"{words} on the GPU: the share is of all of them together"


def elsewhere(run: Run) -> str:
    """Return a warning where the run was on other devices than the one that is predicted."""
    main = run.started.share.device
    if not run.used or main in run.used:
        return ""
    return f"this run's processes were on {', '.join(run.used)}, not on {main}: see --device"


def refresh(run: Run) -> str:
    """Return how often the readings are new, as they came; empty for made or replayed ones."""
    started = run.started
    if started.simulated or math.isnan(run.refresh_s):
        return ""
    kept = "" if started.buffer_s is None else ", from the driver's own buffer"
    return f"new every {run.refresh_s:.2g} s{kept}"


def certified(recommendation: Recommendation) -> str:
    """Return what is certified of the watched part, in words."""
    found = recommendation.confidence
    if found is None:
        return "not available: nothing has converged"
    if found.certified_ratio is None:
        return f"too few independent seconds to certify anything (n_eff {found.n_eff:.0f})"
    return (
        f"at least {percent(found.certified_ratio)} of the time of what was watched, with "
        f"{percent(found.level)} confidence (n_eff {found.n_eff:.0f})"
    )


def bounds(recommendation: Recommendation) -> str:
    """Return where the covering usage of the watched part lies; empty where nothing converged."""
    found = recommendation.confidence
    if found is None:
        return ""
    covers = f"{percent(recommendation.coverage_target_ratio)} of the time"
    level = f"with {percent(found.level)} confidence each"
    low, high = found.lower_ratio, found.upper_ratio
    if low is None and high is None:
        return f"too few independent seconds to bound what covers {covers}"
    if high is None and low is not None and low >= 1.0:
        return f"the whole device for {covers} ({level})"
    if high is None:
        return f"at least {percent(low)} for {covers}, not bounded from above yet ({level})"
    if low is None:
        return f"at most {percent(high)} for {covers} ({level})"
    return f"{percent(low)} to {percent(high)} for {covers} ({level})"


def mps(applied: AppliedShare | None) -> str:
    """Return how the run stood to MPS; empty where it was not asked for and not seen."""
    if applied is None:
        return ""
    if not applied.active:
        return f"ran without MPS: {applied.reason}"
    cap = f"CAPPED at {applied.cap}" if applied.shown else f"asked for {applied.cap}"
    limits = [cap if applied.capped else "not capped"]
    if applied.memory_limit_bytes is not None:
        limits.append(f"memory limit {gib(applied.memory_limit_bytes)}")
    if applied.joined:
        limits.append("a daemon that was there already")
    standing = {True: "a client of MPS", False: "ran without MPS", None: "set up for MPS"}
    words = f"{standing[applied.attached]} ({', '.join(limits)})"
    return f"{words}: {applied.reason}" if applied.reason else words


def verified(found: Verified) -> str:
    """Return what was verified, in words."""
    what = {
        "verify": f"95 % interval {_ratio(found.low_ratio)} to {_ratio(found.high_ratio)} "
        f"from {found.pairs} pairs",
        "sweep": f"{_ratio(found.low_ratio)} to {_ratio(found.high_ratio)} in {found.pairs} passes",
    }
    sms = "" if found.sm_count is None else f" ({found.sm_count} SMs)"
    verdict = "keeps" if found.kept else "does not surely keep the speed:"
    return (
        f"{found.percent} % of the SMs{sms} {verdict} {_ratio(found.speed_ratio)} of the uncapped "
        f"speed ({what[found.method]}; {found.method}, {found.at[:10]}, {found.device})"
    )


def slowdown(recommendation: Recommendation) -> str:
    """Return what an SM share may cost in run time; empty where that is not known."""
    if recommendation.slowdown is None:
        return ""
    low, high = recommendation.slowdown
    return f"{low:.2f}x to {high:.2f}x the run time of all SMs, by SM activity; verify measures it"


def kernels(need: SmNeed) -> str:
    """Return what a share by geometry rests on.

    >>> from jupyter_gpupredict.core.recommendation import SmNeed
    >>> kernels(SmNeed(108, 30, 44, 0.9, (), 5200, "torch.profiler", windows=1, watched_s=0.4))
    'from 1 window of 0.4 s, 5,200 kernels'
    """
    then = " in an earlier run" if need.earlier else ""
    if need.windows:
        each = f"{need.watched_s / need.windows:.2g} s"
        windows = "1 window" if need.windows == 1 else f"{need.windows} windows"
        cost = f", {need.cost_s:.1f} s to take them" if need.cost_s >= 0.05 else ""
        return f"from {windows} of {each}{then}, {need.kernels:,} kernels{cost}"
    took = f"{need.watched_s:.2g} s"
    return f"from a profile by {need.by} of {took}{then}, {need.kernels:,} kernels"


def geometry(recommendation: Recommendation) -> str:
    """Return what its kernels tell of the SMs, beside SM activity where that is known; else ''."""
    need = recommendation.geometry
    if need is None:
        return ""
    found = f"{percent(need.low_ratio)} to {percent(need.high_ratio)} of {need.sms} SMs"
    steps = [one for one in need.curve if one[0] in (25.0, 50.0, 75.0)]
    parts = [f"{found} for {percent(need.speed_ratio)} of full speed, {kernels(need)}"]
    parts += [f"on {x:.0f} % {low:.2f}x to {high:.2f}x the run time" for x, low, high in steps]
    if recommendation.basis == "sm_share" and recommendation.target_ratio is not None:
        inside = need.low_ratio - 0.05 <= recommendation.target_ratio <= need.high_ratio + 0.05
        agrees = "agrees with" if inside else "differs from"
        parts.append(f"{agrees} SM activity, {percent(recommendation.target_ratio)}")
    if need.not_understood_ratio >= 0.005:
        parts.append(f"{percent(need.not_understood_ratio)} of their time not understood")
    return "; ".join(parts)


def sm_share_hint(run: Run) -> str:
    """Return how the share of the SMs can be had, for a GPU run that does not know it; else ''."""
    advice = [run.recommendation, *run.others]
    known = run.verified is not None or any(
        one and (one.basis == "sm_share" or one.geometry is not None) for one in advice
    )
    started = run.started
    if known or started.source == "cpu" or started.simulated:
        return ""
    asked = started.config.get("kernels") or started.config.get("cluster") or run.capped
    ways = "sweep measures it"
    if started.source == "nvml" and not asked:
        ways = "--kernels estimates it, sweep measures it"
    return f"SM share: not known from busy time, {ways}"


def _ratio(value: float) -> str:
    return f"{100 * value:.1f} %"


def time_left(recommendation: Recommendation) -> str:
    """Return the predicted rest and whole of the run; empty when nothing is known, or left."""
    advice = recommendation
    if advice.remaining_s is None or advice.total_s is None or advice.remaining_s < 0.5:
        return ""
    low, high = span(advice.remaining_low_s), span(advice.remaining_high_s)
    between = (
        f" ({low} to {high})"
        if advice.remaining_low_s is not None
        and advice.remaining_high_s is not None
        and low != high
        else ""
    )
    return f"about {span(advice.remaining_s)} left{between}, {span(advice.total_s)} in all"


def allocator(peak: AllocatorPeak | None) -> str:
    """Return what a framework's allocator says; empty where none does."""
    if peak is None:
        return ""
    bound = "at least" if peak.at_least else "at most"
    reserved = f", {gib(peak.reserved_bytes)} reserved" if peak.reserved_bytes > 0.0 else ""
    return f"{bound} {gib(peak.allocated_bytes)} in tensors{reserved}"


def memory(estimate: MemoryEstimate | None) -> str:
    """Return the memory figure with what it rests on."""
    if estimate is None:
        return "not available: the source gives no memory reading"
    basis = MEMORY_BASIS.get(estimate.basis, estimate.basis)
    if estimate.target_bytes is not None:
        return f"{gib(estimate.target_bytes)} ({estimate.reason}; {basis})"
    if math.isnan(estimate.peak_bytes):
        return f"not available: {estimate.reason}"
    return f"peak {gib(estimate.peak_bytes)}, no target yet: {estimate.reason}; {basis}"
