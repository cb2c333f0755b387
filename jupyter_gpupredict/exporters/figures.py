"""The numbers that a manifest carries, from a run: rounding, refusals and warnings in one place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from jupyter_gpupredict.core import rounding
from jupyter_gpupredict.core.deployment import Figures
from jupyter_gpupredict.core.errors import InvalidOption, Refused
from jupyter_gpupredict.core.memory import MARGIN
from jupyter_gpupredict.exporters.naming import slug

if TYPE_CHECKING:
    from jupyter_gpupredict.core.deployment import ExportRequest
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.core.series import Device

MemoryFrom = Literal["target", "observed", "user"]


def figures(run: Run, request: ExportRequest, tool_version: str) -> Figures:
    """Return the whole percents and MiB of a run, rounded up.

    Raises:
        Refused: The run's data is not what a deployment should rest on, and nobody insisted.
        InvalidOption: The user's own figure is out of range.
    """
    told = run.recommendation
    if told is None:
        raise Refused("nothing was measured, so there is nothing to export", "run the cell again")
    started = run.started
    warnings: list[str] = []
    _check_user(request)
    if told.state != "converged":
        _insist(request, f"the prediction is {told.state}, not converged: {told.reason}")
        warnings.append(f"The prediction behind this file is {told.state}, not converged.")
    if started.simulated or started.source == "cpu":
        what = "CPU use, not GPU use" if started.source == "cpu" else "simulated data"
        _insist(request, f"this run measured {what} (source {started.source})")
        warnings.append(f"The figures behind this file come from {what}.")
    device = _device(run)
    sm_count = device.sm_count if device else None
    sm_percent = time_percent = None
    share_from: Literal["estimate", "user"] = "estimate"
    if told.target_ratio is not None:
        if told.basis == "sm_share":
            sm_percent = rounding.sm_percent(told.target_ratio, sm_count)
        else:
            time_percent = rounding.time_percent(told.target_ratio)
    if request.sm_percent is not None:
        sm_percent, share_from = request.sm_percent, "user"
    memory_mib, memory_from = _memory(run, request, warnings)
    certified = told.confidence.certified_ratio if told.confidence else None
    return Figures(
        name=slug(request.name),
        sm_percent=sm_percent,
        time_percent=time_percent,
        memory_mib=memory_mib,
        timeout_s=None,
        host_memory_mib=None,
        cpu_count=None,
        state=told.state,
        source=started.source,
        share_from=share_from,
        memory_from=memory_from,
        tool_version=tool_version,
        coverage_ratio=told.coverage_target_ratio,
        certified_percent=None if certified is None else round(100 * certified),
        watched_s=told.watched_s,
        gpu_name=device.name if device and started.source != "cpu" else None,
        gpu_total_mib=_total_mib(device) if started.source != "cpu" else None,
        sm_count=sm_count,
        session_id=run.session_id,
        code_hash=started.code_hash,
        warnings=tuple(warnings),
    )


def _memory(
    run: Run, request: ExportRequest, warnings: list[str]
) -> tuple[int | None, MemoryFrom | None]:
    if run.started.source == "cpu" and request.memory_mib is None:
        warnings.append("GPU memory is not limited: no GPU was read.")
        return None, None
    if request.memory_mib is not None:
        return request.memory_mib, "user"
    headroom = 1.0 + request.headroom_percent / 100.0
    told = run.recommendation
    memory = told.memory if told else None
    if memory is not None and memory.target_bytes is not None:
        return rounding.mib(memory.target_bytes * headroom), "target"
    reason = memory.reason if memory else "the source gives no memory reading"
    if memory is None or math.isnan(memory.peak_bytes) or memory.preallocated:
        raise Refused(f"no memory figure can be given: {reason}", "state one with --memory-mib N")
    if not request.force:
        raise Refused(
            f"the memory figure has not settled: {reason}",
            "state one with --memory-mib N, or insist with --force",
        )
    warnings.append("The memory limit is 1.15 x the peak seen so far, which had not settled.")
    return rounding.mib(MARGIN * memory.peak_bytes * headroom), "observed"


def _insist(request: ExportRequest, why: str) -> None:
    if not request.force:
        raise Refused(why, "insist with --force (force=True); the manifest then says so")


def _check_user(request: ExportRequest) -> None:
    if request.sm_percent is not None and not 1 <= request.sm_percent <= 100:
        raise InvalidOption(f"--sm-percent {request.sm_percent} is out of range", "1 to 100")
    if request.memory_mib is not None and not 1 <= request.memory_mib <= 1 << 24:
        raise InvalidOption(f"--memory-mib {request.memory_mib} is out of range", "MiB, at least 1")


def _device(run: Run) -> Device | None:
    wanted = run.started.share.device
    return next((one for one in run.started.devices if one.uuid == wanted), None)


def _total_mib(device: Device | None) -> int | None:
    if device is None or device.memory_total_bytes is None:
        return None
    return device.memory_total_bytes // rounding.MIB
