"""A session, wired: source, rules, store, views, hints."""

from __future__ import annotations

import functools
import math
import os
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING

from jupyter_gpupredict import registry
from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.clock import SystemClock
from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.events import SessionStarted
from jupyter_gpupredict.run.clusters import DRIVEN, WorkerSources, make_engine
from jupyter_gpupredict.run.environment import environment
from jupyter_gpupredict.run.options import code_hash
from jupyter_gpupredict.run.rules import make_mix, make_rule, rule_options
from jupyter_gpupredict.run.sources import make_source
from jupyter_gpupredict.run.stored import STORE_S, build_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.clock import Clock
    from jupyter_gpupredict.core.events import SessionFinished
    from jupyter_gpupredict.core.protocols import (
        ChildProcess,
        HintSource,
        SessionHandle,
        ShareHold,
        Subscriber,
        TelemetrySource,
    )
    from jupyter_gpupredict.core.recommendation import Recommendation
    from jupyter_gpupredict.core.series import Batch, SourceInfo
    from jupyter_gpupredict.run.hooks import Hooks
    from jupyter_gpupredict.run.options import SessionConfig
    from jupyter_gpupredict.run.progress import Board
    from jupyter_gpupredict.run.store import Store

    Ends = tuple[SessionStarted, SessionFinished]

ISOLATED = "ran isolated, as the function that an export would write, in a process of its own"

OPEN_S, STOP_S, WHOLE_S = 2.0, 1.5, 2.75
"""What a driver that does not answer may cost a cell: before it, after it, and in all."""


def build_session(
    config: SessionConfig,
    *,
    code: str | None = None,
    kernel_id: str | None = None,
    subscribers: Sequence[Subscriber] = (),
    live: bool = False,
    on_state: Callable[[Recommendation], None] | None = None,
    on_limit: Callable[[], None] | None = None,
    child: ChildProcess | None = None,
    share: ShareHold | None = None,
    cluster: object = None,
) -> SessionHandle:
    """Return a session that is wired and not started.

    Args:
        config: The options.
        code: The cell's source without its magic line; only its hash is kept.
        kernel_id: The kernel it runs in, for the panel.
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
    from jupyter_gpupredict.run.analysis import Analysis
    from jupyter_gpupredict.run.deadline import within
    from jupyter_gpupredict.run.delivery import shared
    from jupyter_gpupredict.run.ranks import Ranks
    from jupyter_gpupredict.run.recorder import Recorder
    from jupyter_gpupredict.run.session import Patience, Session

    clock = SystemClock()
    store = build_store()
    warnings: list[str] = []
    try:
        within(STORE_S, _prepare, store)
    except (OSError, TraceError) as error:
        warnings.append(f"this run is not stored: {error}")
    session_id = store.new_id(clock.wall())
    recorders = [] if warnings else [Recorder(store.path(session_id))]

    @functools.cache
    def earlier(info: SourceInfo) -> Ends | None:
        if code is None or warnings:
            return None
        try:
            return within(STORE_S, _earlier_run, store, code_hash(code), info)
        except (OSError, TraceError) as error:
            session.errors.append(f"earlier runs were not looked at: {error}")
            return None

    def left_s() -> float:
        return session.left_s()

    def hand_over(batch: Batch) -> None:
        session.hand_over(batch)

    def make_analysis(info: SourceInfo) -> Analysis | Ranks:
        if info.ranks:
            return Ranks(info, make_one, config.coverage)
        return make_one(info)

    def make_one(info: SourceInfo) -> Analysis:
        options = rule_options(config, info.period_s)
        memory_age_s = min(300.0, options.window_s or 300.0)
        before = earlier(info)
        known = before[1].profile if before else None
        return Analysis(
            info,
            lambda: make_rule(config.rule, options),
            lambda: make_mix(config, info.period_s),
            config.coverage,
            memory_age_s=memory_age_s,
            prior=known if config.prior else None,
            begin_s=0.0,
        )

    def make_header(info: SourceInfo) -> SessionStarted:
        return SessionStarted(
            seq=0,
            t_s=0.0,
            session_id=session_id,
            started_at=clock.wall().isoformat(timespec="milliseconds"),
            source=info.source,
            simulated=info.simulated,
            share=info.share,
            memory=info.memory,
            period_s=info.period_s,
            devices=info.devices,
            series=info.series,
            config={k: v for k, v in asdict(config).items() if k not in ("path", "url")},
            versions={
                "jupyter_gpupredict": __version__,
                "python": platform.python_version(),
                **dict(info.versions),
            },
            notes=info.notes if child is None else (*info.notes, ISOLATED),
            scope=info.scope,
            origin=info.origin,
            buffer_s=info.buffer_s,
            kernel_id=kernel_id,
            host=platform.node(),
            hosts=info.hosts,
            pid=os.getpid(),
            code_hash=None if code is None else code_hash(code),
            last_time=_last_time(earlier(info)),
            environment=environment(),
        )

    session = Session(
        source=_source(config, cluster, session_id, clock, child, left_s, hand_over),
        make_analysis=make_analysis,
        make_header=make_header,
        subscribers=[*recorders, *subscribers],
        delivery=shared(),
        clock=clock,
        session_id=session_id,
        patience=Patience(OPEN_S, STOP_S, WHOLE_S) if _asks_driver(config) else Patience(),
        board=progress_board(),
        hooks=progress_hooks() if child is None else None,
        share=child.share if share is None and child is not None else share,
        live=live,
        own_process=child is None,
        max_seconds=config.max_seconds,
        # asked each second: `exists` makes and drops an exception, `access` does not
        stop_requested=None
        if warnings
        else functools.partial(os.access, store.stop_mark(session_id), os.F_OK),
        on_state=on_state,
        on_limit=on_limit,
    )
    session.errors.extend(warnings)
    return session


def _asks_driver(config: SessionConfig) -> bool:
    """Whether the source may hang in this machine's driver; others have limits of their own."""
    return config.source in DRIVEN and config.cluster is None


def _source(
    config: SessionConfig,
    cluster: object,
    session_id: str,
    clock: Clock,
    child: ChildProcess | None,
    left_s: Callable[[], float],
    hand_over: Callable[[Batch], None],
) -> TelemetrySource:
    """Return this machine's source, or that of a cluster's workers."""
    if config.cluster is not None:
        engine = make_engine(config.cluster, cluster, session_id)
        if engine is not None:
            from jupyter_gpupredict.sources.cluster import ClusterSource

            return ClusterSource(engine, WorkerSources(config), clock)
    pid = None if child is None else child.pid
    return make_source(config, clock, pid, left_s=left_s, hand_over=hand_over)


def _prepare(store: Store) -> None:
    store.prepare()
    store.prune()


def _earlier_run(store: Store, code: str, info: SourceInfo) -> Ends | None:
    """Return the ends of the newest run of this code, source, metric, device and driver.

    One that was measured to its end comes before newer ones that were not.
    """
    newest: Ends | None = None
    for started, finished in store.of_code(code):
        told = finished.recommendation
        if told is None or told.capped or not _alike(started, info):
            continue
        if finished.profile is not None:
            return started, finished
        newest = newest or (started, finished)
    return newest


def _alike(started: SessionStarted, info: SourceInfo) -> bool:
    """Return whether a run was measured on the same kind of device in the same way."""
    device = {one.uuid: one for one in info.devices}.get(info.share.device)
    former = {one.uuid: one for one in started.devices}.get(started.share.device)
    return (
        device is not None
        and former is not None
        and former.name == device.name
        and started.source == info.source
        and started.share.metric == info.share.metric
        and started.origin == info.origin
        and started.versions.get("driver") == dict(info.versions).get("driver")
    )


def _last_time(before: Ends | None) -> str:
    """Return what an earlier run said, in words; empty when there is none."""
    if before is None:
        return ""
    started, finished = before
    told = finished.recommendation
    if told is None or told.target_ratio is None:
        return ""
    memory = told.memory.peak_bytes if told.memory else math.nan
    peak = "" if math.isnan(memory) else f", memory peak {memory / (1 << 20):.0f} MiB"
    return (
        f"{started.started_at[:10]}: {told.target_ratio:.0%} ({told.state}), "
        f"mean {told.mean_ratio or 0.0:.0%}{peak}, took {finished.duration_s:.0f} s"
    )


def progress_board() -> Board:
    """Return where progress is told in this process; free to call while nothing is measured."""
    from jupyter_gpupredict.run.progress import shared

    return shared()


@functools.cache
def progress_hooks() -> Hooks:
    """Return this process's progress hints; none is made before the first session starts."""
    from jupyter_gpupredict.run.hooks import Hooks

    def make(name: str) -> HintSource:
        made: HintSource = registry.load("hints", name)()
        return made

    return Hooks(lambda: registry.names("hints"), make, progress_board())


def shutdown() -> None:
    """End the delivery thread, if there is one (on unload)."""
    from jupyter_gpupredict.run.delivery import shared

    shared().shutdown()
