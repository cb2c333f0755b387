"""A session, wired: source, rules, store, views, hints."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import platform
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from jupyter_gpupredict import registry
from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.answer import brief
from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.events import SessionStarted
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.run import fold
from jupyter_gpupredict.core.words import gib, percent, span
from jupyter_gpupredict.run.adapters import (
    DRIVEN,
    WorkerSources,
    make_engine,
    make_mix,
    make_rule,
    make_source,
)
from jupyter_gpupredict.run.options import code_hash, first_line
from jupyter_gpupredict.run.progress import progress_hooks, progress_hub
from jupyter_gpupredict.run.store import STORE_S, Recorder, build_store
from jupyter_gpupredict.run.tuning import changed_since, tuned_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jupyter_gpupredict.core.events import SessionFinished
    from jupyter_gpupredict.core.protocols import (
        ChildProcess,
        Clock,
        CudaUse,
        HostMemory,
        ShareHold,
        Subscriber,
        TelemetrySource,
    )
    from jupyter_gpupredict.core.recommendation import MemoryEstimate, Recommendation
    from jupyter_gpupredict.core.series import SourceInfo
    from jupyter_gpupredict.run.options import SessionConfig
    from jupyter_gpupredict.run.session import Session
    from jupyter_gpupredict.run.store import Store
    from jupyter_gpupredict.run.windows import KernelWindows

    Ends = tuple[SessionStarted, SessionFinished]

OF_SOURCE = (
    "source", "simulated", "share", "memory", "period_s", "devices", "series", "scope", "origin",
    "buffer_s", "hosts",
)  # fmt: skip
"""What a run's first event takes from its source, field by field."""
ISOLATED = "ran isolated, as the function that an export would write, in a process of its own"

OPEN_S, STOP_S, WHOLE_S = 2.0, 1.5, 2.75
"""What a driver that does not answer may cost a cell: before it, after it, and in all."""


def build_session(
    config: SessionConfig,
    *,
    code: str | None = None,
    kernel_id: str | None = None,
    notebook: str = "",
    cell_id: str = "",
    subscribers: Sequence[Subscriber] = (),
    live: bool = False,
    on_state: Callable[[Recommendation], None] | None = None,
    on_limit: Callable[[], object] | None = None,
    child: ChildProcess | None = None,
    share: ShareHold | None = None,
    cluster: object = None,
) -> Session:
    """Return a session that is wired and not started.

    Args:
        config: The options.
        code: The cell's source without its magic line; its hash and first line are kept.
        kernel_id: The kernel it runs in, for the panel.
        notebook: Path of the notebook as the server names it; empty: not known.
        cell_id: The notebook's id of the cell; empty: not known.
        subscribers: Views; the trace's recorder is added.
        live: A view is attached, so read at its frame rate.
        on_state: Called on the sampler thread after each change of state.
        on_limit: Called when `max_seconds` are over, on a thread of its own.
        child: The process to measure, with what it starts; None: this one.
        share: What applies MPS limits to this process; None: nothing does.
        cluster: The value of the variable that `config.cluster` names, where it names one.

    Raises:
        ConfigError: `config.cluster` names no cluster, or its library is not installed.
    """
    from jupyter_gpupredict.core.threads import within
    from jupyter_gpupredict.run.analysis import Analysis
    from jupyter_gpupredict.run.ranks import Ranks
    from jupyter_gpupredict.run.session import Patience, Session
    from jupyter_gpupredict.run.threads import shared_delivery

    clock = SystemClock()
    store = build_store()
    warnings: list[str] = []
    try:
        within(STORE_S, _prepare, store)
    except (OSError, TraceError) as error:
        warnings.append(f"this run is not stored: {error}")
    session_id = store.new_id(clock.wall())
    recorders = [] if warnings else [Recorder(store.path(session_id))]

    # this machine's driver may hang; other sources have limits of their own
    may_hang = config.source in DRIVEN and config.cluster is None
    of_code = None if code is None else code_hash(code)
    tuning, outline = tuned_numbers(code or "")

    @functools.cache
    def found(info: SourceInfo) -> Ends | None:
        if of_code is None or warnings:
            return None
        try:
            return within(STORE_S, _earlier_run, store, of_code, outline, info)
        except (OSError, TraceError) as error:
            session.errors.append(f"earlier runs were not looked at: {error}")
            return None

    def earlier(info: SourceInfo) -> Ends | None:
        before = found(info)
        return before if before and before[0].code_hash == of_code else None

    def changed(info: SourceInfo) -> tuple[str, tuple[MemoryEstimate, str] | None]:
        if not config.prior:
            return "", None
        before = None if earlier(info) else found(info)
        return changed_since(before, tuning, config.scale_prior)

    def make_analysis(info: SourceInfo) -> Analysis | Ranks:
        if info.ranks:
            return Ranks(info, make_one)
        return make_one(info)

    def make_one(info: SourceInfo) -> Analysis:
        memory_age_s = min(300.0, config.window_s or 300.0)
        before = earlier(info)
        ended = before[1] if before and config.prior else None
        last = ended.recommendation if ended else None
        return Analysis(
            info,
            lambda: make_rule(config, info.period_s),
            lambda: make_mix(config, info.period_s),
            config.coverage,
            memory_age_s=memory_age_s,
            prior=ended.profile if ended else None,
            prior_memory=last.memory if last else None,
            scaled_memory=changed(info)[1],
            begin_s=0.0,
            others_only=_cuda_unused(child) if may_hang else None,
        )

    def make_header(info: SourceInfo) -> SessionStarted:
        return SessionStarted(
            seq=0,
            t_s=0.0,
            session_id=session_id,
            started_at=clock.wall().isoformat(timespec="milliseconds"),
            config={k: v for k, v in asdict(config).items() if k not in ("path", "url")},
            versions={
                "jupyter_gpupredict": __version__,
                "python": platform.python_version(),
                **dict(info.versions),
            },
            notes=info.notes if child is None else (*info.notes, ISOLATED),
            kernel_id=kernel_id,
            host=platform.node(),
            pid=os.getpid(),
            code_hash=of_code,
            notebook=notebook,
            cell_id=cell_id,
            first_line="" if code is None else first_line(code),
            last_time=_last_time(earlier(info)),
            environment=environment(),
            tuning=tuning,
            outline_hash=outline,
            changed=changed(info)[0],
            **{name: getattr(info, name) for name in OF_SOURCE},
        )

    here = may_hang or config.source == "cpu"
    session = Session(
        source=_source(config, cluster, session_id, clock, child, lambda: session),
        make_analysis=make_analysis,
        make_header=make_header,
        subscribers=[*recorders, *subscribers],
        delivery=shared_delivery(),
        clock=clock,
        session_id=session_id,
        patience=Patience(OPEN_S, STOP_S, WHOLE_S) if may_hang else Patience(),
        progress=progress_hub(),
        hooks=progress_hooks() if child is None else None,
        share=child.share if share is None and child is not None else share,
        live=live,
        own_process=child is None,
        host=_host_memory(child) if here else None,
        max_seconds=config.max_seconds,
        # asked each second: `exists` makes and drops an exception, `access` does not
        stop_requested=None
        if warnings
        else functools.partial(os.access, store.stop_mark(session_id), os.F_OK),
        on_state=on_state,
        on_limit=on_limit,
        windows=_windows(config, clock, child),
    )
    session.errors.extend(warnings)
    return session


def _host_memory(child: ChildProcess | None) -> HostMemory:
    """Return what follows the memory of the process that runs the code, and of its children."""
    made: HostMemory = registry.load("watches", "memory")(None if child is None else child.pid)
    return made


def _cuda_unused(child: ChildProcess | None) -> Callable[[], bool]:
    """Return what says whether the process that runs the code has not come to CUDA yet."""
    made: CudaUse = registry.load("watches", "cuda")(None if child is None else child.pid)
    return made.unused


def _windows(
    config: SessionConfig, clock: Clock, child: ChildProcess | None
) -> KernelWindows | None:
    """Return what records this process's kernels, where that was asked for."""
    if not config.kernels or child is not None:
        return None
    from jupyter_gpupredict.run.windows import KernelWindows

    return KernelWindows(clock)


def _source(
    config: SessionConfig,
    cluster: object,
    session_id: str,
    clock: Clock,
    child: ChildProcess | None,
    session: Callable[[], Session],
) -> TelemetrySource:
    """Return this machine's source, or that of a cluster's workers."""
    if config.cluster is not None:
        engine = make_engine(config.cluster, cluster, session_id)
        if engine is not None:
            from jupyter_gpupredict.sources.cluster import ClusterSource

            return ClusterSource(engine, WorkerSources(config), clock)
    pid = None if child is None else child.pid
    return make_source(
        config,
        clock,
        pid,
        left_s=lambda: session().left_s(),
        hand_over=lambda batch: session().hand_over(batch),
    )


def _prepare(store: Store) -> None:
    store.prepare()
    store.prune()


def _earlier_run(store: Store, code: str, outline: str | None, info: SourceInfo) -> Ends | None:
    """Return the ends of the newest run of this code, or of one with other tuned numbers."""
    same = _newest(store.of_code(code), info)
    if same is not None or outline is None:
        return same
    return _newest(store.of_code(outline, field="outline_hash"), info)


def _newest(runs: Iterator[Ends], info: SourceInfo) -> Ends | None:
    """Return the newest of these runs that has this source, metric, device and driver.

    One that was measured to its end comes before newer ones that were not.
    """
    newest: Ends | None = None
    wanted = _kind(info)
    for started, finished in runs:
        advice = finished.recommendation
        if advice is None or advice.capped or wanted is None or _kind(started) != wanted:
            continue
        if finished.profile is not None:
            return started, finished
        newest = newest or (started, finished)
    return newest


def _kind(of: SourceInfo | SessionStarted) -> tuple[str | None, ...] | None:
    """Return what must be the same for two runs to be compared; None: its device is not known."""
    device = {one.uuid: one.name for one in of.devices}.get(of.share.device)
    driver = dict(of.versions).get("driver")
    return None if device is None else (device, of.source, of.share.metric, of.origin, driver)


def _last_time(before: Ends | None) -> str:
    """Return the figures of an earlier run in words; empty when there is none."""
    if before is None:
        return ""
    started, finished = before
    advice = finished.recommendation
    if advice is None or advice.target_ratio is None:
        return ""
    memory = advice.memory.peak_bytes if advice.memory else math.nan
    peak = "" if math.isnan(memory) else f", memory peak {gib(memory)}"
    return (
        f"{started.started_at[:10]}: {percent(advice.target_ratio)}, {brief(fold(before)).word}; "
        f"mean {percent(advice.mean_ratio)}{peak}, took {span(finished.duration_s)}"
    )


def environment() -> str:
    """Return a digest of host, installation and Python: equal where the packages are the same."""
    installed = "\0".join((platform.node(), sys.prefix, platform.python_version()))
    return hashlib.sha256(installed.encode()).hexdigest()[:16]


def shutdown() -> None:
    """End the delivery thread, if there is one (on unload)."""
    from jupyter_gpupredict.run.threads import shared_delivery

    shared_delivery().shutdown()
