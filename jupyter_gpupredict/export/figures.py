"""The numbers that a manifest carries, from a run: rounding, refusals and warnings in one place.

Two shares are kept apart and never converted into one another: the share of the SMs, which MPS
caps, and the share of the time, which HAMi and Volcano cap. A backend takes the one it applies.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

from jupyter_gpupredict.core import metrics, options
from jupyter_gpupredict.core.answer import answer, brief
from jupyter_gpupredict.core.devices import is_mig
from jupyter_gpupredict.core.errors import Fix, InvalidOption, Refused
from jupyter_gpupredict.core.events import RECORDING
from jupyter_gpupredict.core.words import percent
from jupyter_gpupredict.export.deployment import Figures, Restriction
from jupyter_gpupredict.export.function.container import IMAGE, slug
from jupyter_gpupredict.predict.memory import MARGIN

if TYPE_CHECKING:
    from jupyter_gpupredict.core.metrics import Basis
    from jupyter_gpupredict.core.recommendation import MemoryEstimate, Recommendation
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.core.series import Device
    from jupyter_gpupredict.export.deployment import Origin, SmMethod
    from jupyter_gpupredict.export.request import ExportRequest

MemoryFrom = Literal["target", "observed", "user"]
INSIST = Fix("Export it anyway: each file then says so", {"force": True})
HOST_MARGIN, SHARED_MARGIN = 1.2, 1.5
"""Host memory is the peak and a fifth more; shared memory, which comes in bursts, and a half."""
CARDS_MIB = {
    "nvidia-l4": 23034,
    "nvidia-rtx-pro-6000": 97887,
    "nvidia-tesla-t4": 15360,
    "nvidia-tesla-v100": 16384,
    "nvidia-tesla-a100": 40960,
    "nvidia-a100-80gb": 81920,
    "nvidia-h100-80gb": 81559,
    "nvidia-h200-141gb": 143771,
}
"""Names under which platforms offer accelerators -> memory as the driver reports it."""
ACCELERATOR_LABELS = ("cloud.google.com/gke-accelerator", "run.googleapis.com/accelerator")
PRODUCT_LABEL = "nvidia.com/gpu.product"
"""The label that GPU feature discovery puts on nodes: the model's name with hyphens."""


def figures(run: Run, request: ExportRequest, tool_version: str) -> Figures:
    """Return the whole percents, MiB and seconds of a run, rounded up.

    Raises:
        Refused: The run's data is not what a deployment should rest on, and nobody insisted.
        InvalidOption: The user's own figure is out of range.
    """
    main = run.recommendation
    if main is None:
        raise Refused("nothing was measured, so there is nothing to export", "run the cell again")
    started = run.started
    _check_user(request)
    _same_model(run)
    cpu = started.share.metric == "cpu_util_ratio"
    doubts = _doubts(run, cpu=cpu)
    warnings = [one for _, one in doubts]
    if started.source == RECORDING:
        warnings.append(f"The figures behind this file come from a recording ({started.origin}).")
    device = _device(run)
    gpu = None if cpu else device
    sm_percent, sm_from, sm_method = _sm_share(run, request, gpu)
    if sm_method == "geometry":
        warnings.append(_by_geometry(run, request))
    if request.headroom_sm_percent and sm_percent is not None and sm_from != "user":
        added = f"{request.headroom_sm_percent:g} %"
        warnings.append(f"The SM share includes a headroom of {added} that the user added.")
    time_ratio = None if cpu else _settled(run, "time_share")
    time_percent = None if time_ratio is None else metrics.time_percent(time_ratio)
    memory_mib, memory_from = _memory(run, request, warnings, total_mib=_total_mib(gpu))
    if doubts and not request.force:
        hint = "insist with --force (force=True); the manifest then says so"
        raise Refused("; ".join(one for one, _ in doubts), hint, [INSIST])
    expected_s, high_s = _runtime(run, main)
    certified = main.confidence.certified_ratio if main.confidence else None
    host_mib, cpu_count = _host(run, main, device, cpu=cpu)
    shared = run.host_peak.shared_bytes if run.host_peak else 0.0
    return Figures(
        name=slug(request.name),
        sm_percent=sm_percent,
        time_percent=time_percent,
        memory_mib=memory_mib,
        timeout_s=None if expected_s is None else metrics.timeout_s(expected_s, high_s),
        host_memory_mib=host_mib,
        shared_mib=None if run.host_peak is None else metrics.mib(SHARED_MARGIN * shared),
        cpu_count=cpu_count,
        state=main.state,
        answer=tuple(answer(run).lines()),
        source=started.source,
        share_from=sm_from if sm_percent is not None else "estimate",
        memory_from=memory_from,
        tool_version=tool_version,
        coverage_ratio=main.coverage_target_ratio,
        certified_percent=None if certified is None else math.floor(100 * certified + 1e-9),
        watched_s=main.watched_s,
        gpu_name=gpu.name if gpu else None,
        gpu_total_mib=_total_mib(gpu),
        sm_count=gpu.sm_count if gpu else None,
        session_id=run.session_id,
        code_hash=started.code_hash,
        gpus=run.gpus,
        processes=run.processes,
        ranks=max(1, len(run.ranks)),
        hosts=started.hosts,
        partial=bool(run.partial),
        mig=gpu is not None and is_mig(gpu.uuid),
        predicted_runtime_s=expected_s,
        sm_from=sm_from,
        sm_method=sm_method,
        warnings=tuple(warnings),
    )


def _sm_share(
    run: Run, request: ExportRequest, gpu: Device | None
) -> tuple[int | None, Origin, SmMethod | None]:
    """Return the SM share with its origin and method.

    The user's own comes before a verified one, that before one by SM activity, and the one by the
    geometry of the kernels last.
    """
    own = request.sm_percent
    if own is None and request.sm_share not in ("low", "high"):
        own = int(request.sm_share) if request.sm_share.isdecimal() else 0
        if not 1 <= own <= 100:
            raise InvalidOption(f"--sm-share {request.sm_share!r}", "low, high, or 1 to 100")
    if own is not None:
        return own, "user", None
    headroom = 1.0 + request.headroom_sm_percent / 100.0
    if run.verified_sm_ratio is not None:
        # verified as a percentage that a client was given: no more rounding to whole SMs
        percent = metrics.sm_percent(min(1.0, run.verified_sm_ratio * headroom), None)
        return percent, "verified", "verified"
    ratio = _settled(run, "sm_share")
    if gpu is not None and ratio is not None:
        percent = metrics.sm_percent(min(1.0, ratio * headroom), gpu.sm_count)
        return percent, "estimate", "gpm"
    each = [one.geometry for one in run.each_gpu()]
    needs = [one for one in each if one is not None]
    if gpu is None or not needs or len(needs) < len(each) or run.capped:
        return None, "estimate", None
    wanted = [one.low_ratio if request.sm_share == "low" else one.high_ratio for one in needs]
    # MPS rounds down to whole SMs: the smallest percentage that gives them
    percent = metrics.sm_percent(min(1.0, max(wanted) * headroom), needs[0].sms, 1)
    return percent, "estimate", "geometry"


def _by_geometry(run: Run, request: ExportRequest) -> str:
    need = next(one.geometry for one in run.each_gpu() if one.geometry is not None)
    low, high = (f"{100 * one:.0f}" for one in (need.low_ratio, need.high_ratio))
    speed = f"{100 * need.speed_ratio:.0f} %"
    said = (
        f"The SM share is the {request.sm_share} end of {low} to {high} %: the geometry of "
        f"{need.kernels} kernels, for {speed} of full speed; verify decides."
    )
    return said if need.settled else f"{said} Few of the run's kernels were recorded."


def _settled(run: Run, basis: Basis) -> float | None:
    """Return the share of one basis; None where the run has none that may be deployed.

    Of several GPUs it is the largest, since a function's limits hold for each of them. The
    main share has passed the refusals before. One beside it must have converged too: no stamp in
    the manifest would tell that it had not.
    """
    main = run.each_gpu()
    beside = (one for one in run.beside if one.state == "converged" and one not in main)
    here = {one.device for one in main}
    settled = [*main, *(one for one in beside if one.device in here)]
    ratios = [one.target_ratio for one in settled if one.basis == basis]
    return max((ratio for ratio in ratios if ratio is not None), default=None)


def _runtime(run: Run, main: Recommendation) -> tuple[float | None, float | None]:
    """Return the seconds of a whole run and an upper bound of them.

    A run that went to its end is its own measurement; before, the prediction from its progress.
    A simulated run's clock says nothing of a real one, except where it replays a recording at its
    own pace, which is not known here: its measured duration is not used.
    """
    if run.outcome == "completed" and not run.started.simulated:
        return run.duration_s, None
    return main.total_s, main.total_high_s


def _host(
    run: Run, main: Recommendation, device: Device | None, *, cpu: bool
) -> tuple[int | None, float | None]:
    """Return host memory in MiB and CPUs, from a run that measured them.

    Memory by proportional sizes, in which pages that several processes share count once, goes
    before the sum of resident ones.
    """
    memory, cpus = main.memory, device.cpu_count if device and cpu else None
    peak = memory.peak_bytes if memory is not None and memory.basis == "rss" else math.nan
    if run.host_peak is not None:
        peak = run.host_peak.memory_bytes
    size_mib = None if math.isnan(peak) else metrics.mib(HOST_MARGIN * peak)
    if cpus is None or main.target_ratio is None:
        return size_mib, None
    return size_mib, metrics.cpus(main.target_ratio, cpus)


def _memory(
    run: Run, request: ExportRequest, warnings: list[str], *, total_mib: int | None
) -> tuple[int | None, MemoryFrom | None]:
    if request.memory_mib is not None:
        return request.memory_mib, "user"
    if run.started.share.metric == "cpu_util_ratio":
        warnings.append("GPU memory is not limited: no GPU was read.")
        return None, None
    headroom = 1.0 + request.headroom_percent / 100.0
    if request.headroom_percent:
        added = f"{request.headroom_percent:g} %"
        warnings.append(f"Memory includes a headroom of {added} that the user added.")
    memory = _largest(run)
    if memory is not None and memory.target_bytes is not None:
        return metrics.mib(memory.target_bytes * headroom), "target"
    reason = memory.reason if memory else "the source gives no memory reading"
    if memory is None or math.isnan(memory.peak_bytes):
        said = f"no memory figure can be given: {reason}"
        raise Refused(said, "state one with --memory-mib N", [_memory_limit(None)])
    seen = metrics.mib(MARGIN * memory.peak_bytes * headroom)
    if not request.force:
        hint = "state one with --memory-mib N, or insist with --force"
        said = f"the memory figure has not settled: {reason}"
        raise Refused(said, hint, [_memory_limit(min(seen, total_mib or seen)), INSIST])
    warnings.append(f"The memory limit is {MARGIN} x the peak seen so far, which had not settled.")
    if total_mib is not None and seen > total_mib:
        warnings.append("That is more than the card has: the card's own size is the limit.")
        seen = total_mib
    return seen, "observed"


def _memory_limit(suggested_mib: int | None) -> Fix:
    return Fix("Memory limit in MiB", {"memory_mib": suggested_mib}, asks=True, assumed=1)


def _largest(run: Run) -> MemoryEstimate | None:
    """Return the memory of the GPU that needs most, or of the first that has no figure."""
    each = [one.memory for one in run.each_gpu()]
    open_yet = [one for one in each if one is None or one.target_bytes is None]
    if open_yet or not each:
        return next(iter(open_yet), None)
    return max(each, key=lambda one: (one and one.target_bytes) or 0.0)


_UNSURE = {"stale": "was withdrawn", "abstained": "had not settled when the run ended"}
"""State -> what is said of its figure."""


def _doubts(run: Run, *, cpu: bool) -> list[tuple[str, str]]:
    """Return why a deployment should not rest on this run, each with what its files then say."""
    found = [
        (
            f"the figure {_UNSURE.get(one.state, 'has not settled')}: {one.reason}",
            f"The figure behind this file {_UNSURE.get(one.state, 'has not settled')}.",
        )
        for one in run.each_gpu()
        if one.state != "converged"
    ]
    main = run.recommendation
    if not found and main is not None and brief(run).word in ("provisional", "changed"):
        held, aim = percent(main.coverage_ratio), percent(main.coverage_target_ratio)
        said = f"later readings bear the prediction out for {held} of the time, not {aim}"
        found.append((said, f"{said.capitalize()}."))
    if run.partial:
        said = f"The run behind this file is partial: {'; '.join(run.partial)}."
        found.append((f"this run is partial: {run.partial[0]}", said))
    of = run.started
    recorded = of.source == RECORDING and of.origin != "synthetic"
    if (of.simulated and not recorded) or cpu:
        what = "CPU use, not GPU use" if cpu else "simulated data"
        said = f"this run measured {what} (source {of.source})"
        found.append((said, f"The figures behind this file come from {what}."))
    return found


def _check_user(request: ExportRequest) -> None:
    if request.image and not IMAGE.fullmatch(request.image):
        said = f"{request.image[:80]!r} is not an image reference"
        raise InvalidOption(said, "such as registry.example.com/train:1")
    options.check(request)


def _device(run: Run) -> Device | None:
    wanted = run.started.share.device
    return next((one for one in run.started.devices if one.uuid == wanted), None)


def _same_model(run: Run) -> None:
    """Refuse one share for ranks on different GPU models: the same percent is not as much of each.

    Raises:
        Refused: There is more than one model.
    """
    names = {one.uuid: one.name for one in run.started.devices}
    models = sorted({names[one.device] for one in run.ranks if one.device in names})
    if len(models) > 1:
        hint = "run the ranks of one model at a time and export each"
        raise Refused(f"the ranks ran on different GPU models: {', '.join(models)}", hint)


def _total_mib(device: Device | None) -> int | None:
    if device is None or device.memory_total_bytes is None:
        return None
    return device.memory_total_bytes // metrics.MIB


def bounded(
    figures: Figures,
    request: ExportRequest,
    restrictions: frozenset[Restriction],
    max_run_s: int | None,
    accelerator: str | None,
) -> Figures:
    """Return the figures as this pair may carry them, with its warnings.

    Args:
        figures: The run's figures.
        request: What the user asked for.
        restrictions: Of the workload and the sharing backend together.
        max_run_s: Longest run of a stock platform; None: any.
        accelerator: The accelerator that the target asks for by name.

    Raises:
        Refused: The pair cannot carry them; the line says what would.
    """
    several = (
        f"{request.workload} starts one function at a time, and the run had {figures.ranks} ranks"
    )
    one_gpu = (
        f"{request.workload} with {request.sharing} holds one GPU, the run used {figures.gpus}"
    )
    indexed = "job starts them together, as an Indexed Job"
    mig = f"{request.sharing} does not share MIG instances, and the run was measured on one"
    memory = f"{request.sharing} needs a memory limit, and no GPU was read"
    job = Fix("Use job with mps", {"workload": "job", "sharing": "mps"})
    hami = Fix("Use job with hami", {"workload": "job", "sharing": "hami"})
    limit = _memory_limit(None)
    for restriction, wanted, said, hint, fixes in (
        (
            Restriction.MEMORY_REQUIRED,
            figures.memory_mib is None,
            memory,
            "--memory-mib N",
            (limit,),
        ),
        (Restriction.ONE_GPU, figures.gpus > 1, one_gpu, "job with mps, dra or hami", (job, hami)),
        (Restriction.ONE_RANK, figures.ranks > 1, several, indexed, (job,)),
        (Restriction.NO_MIG, figures.mig, mig, "job with mps, or job with hami", (job, hami)),
    ):
        if wanted and restriction in restrictions:
            raise Refused(said, hint, fixes)
    warnings = list(figures.warnings)
    if figures.ranks > 1:
        warnings.append(_replicas(figures))
    if figures.processes > 1:
        warnings.append(_several(figures.processes, request, restrictions))
    _fits_card(figures, request, accelerator)
    warnings.extend(_other_card(figures, request, accelerator))
    limit_s = _within_time(figures, request, max_run_s)
    return dataclasses.replace(figures, timeout_s=limit_s, warnings=tuple(warnings))


def _replicas(figures: Figures) -> str:
    if figures.processes > 1:
        return (
            f"The run's processes were on {figures.ranks} GPUs, up to {figures.processes} on one: "
            "each replica is a GPU, with the limits of all that ran on it, and not a rank."
        )
    return f"The run had {figures.ranks} ranks: each replica is one, with all of these limits."


def _several(count: int, request: ExportRequest, restrictions: frozenset[Restriction]) -> str:
    if Restriction.PER_CONTAINER not in restrictions:
        return (
            f"{count} CUDA processes were seen: the limits, which all of them together would fill, "
            "hold for each."
        )
    if not request.per_process:
        raise Refused(
            f"{count} CUDA processes were seen, and {request.sharing} limits the container",
            "--per-process gives it what all of them together used, or use job with device-plugin",
        )
    return f"{count} CUDA processes were seen: the container gets what they used together."


def _card(request: ExportRequest, accelerator: str | None) -> str | None:
    selector = dict(request.node_selector)
    named = (selector[label] for label in ACCELERATOR_LABELS if label in selector)
    return next(named, accelerator)


def _fits_card(figures: Figures, request: ExportRequest, accelerator: str | None) -> None:
    card = _card(request, accelerator)
    total = CARDS_MIB.get(card) if card else figures.gpu_total_mib
    if figures.memory_mib is not None and total is not None and figures.memory_mib > total:
        raise Refused(
            f"{figures.memory_mib} MiB is more than {card or figures.gpu_name} has ({total} MiB)",
            f"another GPU, or --memory-mib N up to {total}",
            [_memory_limit(total)],
        )


def _other_card(figures: Figures, request: ExportRequest, accelerator: str | None) -> list[str]:
    """Return the warning that percents of one GPU model were written for another."""
    if figures.gpu_name is None:
        return []
    product = dict(request.node_selector).get(PRODUCT_LABEL)
    card = product or _card(request, accelerator)
    measured = figures.gpu_name.lower().replace("-", " ").split()
    wanted = [word for word in (card or "").lower().replace("-", " ").split() if word != "tesla"]
    if card is None or all(word in measured or word.endswith("gb") for word in wanted):
        return []
    return [f"The share was measured on {figures.gpu_name}, and the target asks for {card}."]


def _within_time(figures: Figures, request: ExportRequest, max_run_s: int | None) -> int | None:
    cap_s = request.max_timeout_s if request.max_timeout_s is not None else max_run_s
    runtime_s = figures.predicted_runtime_s
    if cap_s is None or figures.timeout_s is None or runtime_s is None:
        return figures.timeout_s
    if runtime_s > cap_s:
        raise Refused(
            f"the run takes {runtime_s:.0f} s, and {request.workload} ends one after {cap_s} s",
            "use job, or --max-timeout N where the platform allows more",
            [
                Fix(
                    "The longest run that your platform allows, in seconds",
                    {"max_timeout_s": math.ceil(runtime_s)},
                    asks=True,
                ),
                Fix("Use a job, which may run for any time", {"workload": "job", "sharing": ""}),
            ],
        )
    return min(figures.timeout_s, cap_s)
