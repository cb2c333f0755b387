"""The composition root: options in, a wired session, a prediction or an export out."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.clock import Clock, SystemClock
from jupyter_gpupredict.core.errors import InvalidOption, TelemetryError, UnknownName
from jupyter_gpupredict.core.events import SessionStarted
from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.core.run import Run, fold
from jupyter_gpupredict.core.series import SourceOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.prior import Profile
    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.protocols import (
        HintSource,
        Predictor,
        ProgressPredictor,
        SessionHandle,
        Subscriber,
        TelemetrySource,
    )
    from jupyter_gpupredict.core.recommendation import Recommendation
    from jupyter_gpupredict.core.series import Batch, SourceInfo
    from jupyter_gpupredict.core.tracefile import Trace
    from jupyter_gpupredict.session.hooks import Hooks
    from jupyter_gpupredict.session.progress import Board
    from jupyter_gpupredict.session.store import RunHeader, Store

AUTO = ("nvml", "cpu")
"""What `--source auto` tries, best first."""
EPOCH_RULE = "epoch_mix"
"""The rule that takes over by itself where epochs and their number are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """The options of one run. Checked when made.

    Raises:
        InvalidOption: A value is outside its range.
        UnknownName: No such source or rule.
    """

    source: str = "auto"
    device: str | None = None
    """Device UUID, unique prefix or index; None: the first visible one."""
    interval_s: float | None = None
    """Seconds between readings where the source polls; None: the source's own."""
    rule: str = "default"
    window_s: float | None = None
    """Length of a sliding window; None: the rule's own."""
    agree: int | None = None
    """How many windows must agree."""
    tolerance_points: float | None = None
    """How far agreeing windows may lie apart, in percentage points."""
    epochs: int | None = None
    """Total number of epochs, when known."""
    coverage: float = 0.95
    max_seconds: float | None = None
    """Stop measuring after so long; None: with the cell."""
    prior: bool = True
    """Use an earlier run of the same code while this one goes alike."""
    until_converged: bool = False
    """Stop the cell itself when the prediction has converged."""
    path: str | None = None
    """The trace that `replay` plays."""
    speed: float | None = None
    """Replay so many times faster; 0 as fast as possible; None at its own pace."""
    scenario: str = "epochs"
    """What `synthetic` plays."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value on its own and the few combinations that make no sense."""
        if self.source != "auto" and self.source not in registry.names("sources"):
            raise UnknownName("source", self.source, ("auto", *registry.names("sources")))
        if self.rule not in rule_names():
            raise UnknownName("rule", self.rule, rule_names())
        _require_range("interval", self.interval_s, 0.02, 60.0, "seconds")
        _require_range("window", self.window_s, 1.0, 86_400.0, "seconds")
        _require_range("agree", self.agree, 2, 100, "windows")
        _require_range("tolerance", self.tolerance_points, 0.0, 50.0, "percentage points")
        _require_range("epochs", self.epochs, 1, 1_000_000, "epochs")
        _require_range("coverage", self.coverage, 0.5, 0.999, "a share of the time")
        _require_range("max-seconds", self.max_seconds, 0.1, 1e9, "seconds")
        _require_range("speed", self.speed, 0.0, 1e6, "times")
        if self.source == "replay" and not self.path:
            raise InvalidOption("source replay needs a trace", "--path TRACE")


def _require_range(name: str, value: float | None, low: float, high: float, unit: str) -> None:
    if value is None:
        return
    if not math.isfinite(value) or not low <= value <= high:
        raise InvalidOption(f"--{name} {value:g} is out of range", f"{low:g} to {high:g} {unit}")


def rule_names() -> tuple[str, ...]:
    """Return the presets and every other registered predictor."""
    presets = tuple(registry.PRESETS)
    covered = {EPOCH_RULE, *(predictor for predictor, _ in registry.PRESETS.values())}
    return presets + tuple(n for n in registry.names("predictors") if n not in covered)


def code_hash(source: str) -> str:
    """Return the SHA-256 of a cell's source without its magic line, newlines normalised."""
    text = source.replace("\r\n", "\n").replace("\r", "\n")
    return hashlib.sha256(text.encode()).hexdigest()


# ---- measuring ---------------------------------------------------------------------------------


def build_session(
    config: SessionConfig,
    *,
    code: str | None = None,
    kernel_id: str | None = None,
    subscribers: Sequence[Subscriber] = (),
    live: bool = False,
    on_state: Callable[[Recommendation], None] | None = None,
    on_limit: Callable[[], None] | None = None,
) -> SessionHandle:
    """Return a session that is wired and not started.

    Args:
        config: The options.
        code: The cell's source without its magic line; only its hash is kept.
        kernel_id: The kernel it runs in, for the panel.
        subscribers: Views; the trace's recorder is added.
        live: A view is attached, so read at its frame rate.
        on_state: Called on the sampler thread after each change of state.
        on_limit: Called there when `max_seconds` are over.
    """
    from jupyter_gpupredict.session.analysis import Analysis
    from jupyter_gpupredict.session.delivery import shared
    from jupyter_gpupredict.session.recorder import Recorder
    from jupyter_gpupredict.session.session import Session

    clock = SystemClock()
    store = build_store()
    warnings: list[str] = []
    try:
        store.prepare()
        store.prune()
    except OSError as error:
        warnings.append(f"this run is not stored: {error}")
    session_id = store.new_id(clock.wall())
    recorders = [] if warnings else [Recorder(store.path(session_id))]

    @functools.cache
    def earlier(info: SourceInfo) -> RunHeader | None:
        return None if code is None else _earlier_run(store, code_hash(code), info)

    def make_analysis(info: SourceInfo) -> Analysis:
        options = _rule_options(config, info.period_s)
        memory_age_s = min(300.0, options.window_s or 300.0)
        before = earlier(info)
        known = before.finished.profile if before and before.finished else None
        return Analysis(
            info,
            lambda: _make_rule(config.rule, options),
            lambda: _make_mix(config, info.period_s),
            config.coverage,
            memory_age_s=memory_age_s,
            prior=known if config.prior else None,
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
            config={key: value for key, value in asdict(config).items() if key != "path"},
            versions={"jupyter_gpupredict": __version__, **dict(info.versions)},
            notes=info.notes,
            scope=info.scope,
            origin=info.origin,
            buffer_s=info.buffer_s,
            kernel_id=kernel_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            code_hash=None if code is None else code_hash(code),
            last_time=_last_time(earlier(info)),
        )

    session = Session(
        source=_make_source(config, clock),
        make_analysis=make_analysis,
        make_header=make_header,
        subscribers=[*recorders, *subscribers],
        delivery=shared(),
        clock=clock,
        board=progress_board(),
        hooks=_hooks(),
        live=live,
        max_seconds=config.max_seconds,
        stop_requested=lambda: store.stop_requested(session_id),
        on_state=on_state,
        on_limit=on_limit,
    )
    session.errors.extend(warnings)
    return session


def _earlier_run(store: Store, code: str, info: SourceInfo) -> RunHeader | None:
    """Return the newest finished run of this code with this source, metric, device and driver."""
    device = {one.uuid: one for one in info.devices}.get(info.share.device)
    for header in store.of_code(code):
        started = header.started
        former = {one.uuid: one for one in started.devices}.get(started.share.device)
        if (
            header.finished is not None
            and header.finished.recommendation is not None
            and started.source == info.source
            and started.share.metric == info.share.metric
            and started.origin == info.origin
            and former is not None
            and device is not None
            and former.name == device.name
            and started.versions.get("driver") == dict(info.versions).get("driver")
        ):
            return header
    return None


def _last_time(header: RunHeader | None) -> str:
    """Return what an earlier run said, in words; empty when there is none."""
    told = header.finished.recommendation if header and header.finished else None
    if header is None or header.finished is None or told is None or told.target_ratio is None:
        return ""
    memory = told.memory.peak_bytes if told.memory else math.nan
    peak = "" if math.isnan(memory) else f", memory peak {memory / (1 << 20):.0f} MiB"
    return (
        f"{header.started.started_at[:10]}: {told.target_ratio:.0%} ({told.state}), "
        f"mean {told.mean_ratio or 0.0:.0%}{peak}, took {header.finished.duration_s:.0f} s"
    )


def progress_board() -> Board:
    """Return where progress is told in this process; free to call while nothing is measured."""
    from jupyter_gpupredict.session.progress import shared

    return shared()


@functools.cache
def _hooks() -> Hooks:
    """Return this process's progress hints; none is made before the first session starts."""
    from jupyter_gpupredict.session.hooks import Hooks

    def make(name: str) -> HintSource:
        made: HintSource = registry.load("hints", name)()
        return made

    return Hooks(lambda: registry.names("hints"), make, progress_board())


def shutdown() -> None:
    """End the delivery thread, if there is one (on unload and at exit)."""
    from jupyter_gpupredict.session.delivery import shared

    shared().shutdown()


class _FirstThatOpens:
    """The best source that works here, with the reasons why better ones do not."""

    def __init__(self, options: SourceOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._source: TelemetrySource | None = None

    def open(self) -> SourceInfo:
        """Open the first source of `AUTO` that can be opened.

        Raises:
            SourceUnavailable: None can; the last one's reason.
        """
        from dataclasses import replace

        if self._source is not None:  # re-opened after a loss: stay with what was chosen
            return self._source.open()
        passed_over: list[str] = []
        for name in AUTO:
            source: TelemetrySource = registry.load("sources", name)(self._options, self._clock)
            try:
                info = source.open()
            except TelemetryError as error:
                if name == AUTO[-1]:
                    raise
                passed_over.append(f"{name} not used: {error.message}")
                continue
            self._source = source
            return replace(info, notes=(*passed_over, *info.notes))
        raise AssertionError("AUTO is empty")

    def read(self, *, slow: bool) -> Batch:
        """Read the chosen source."""
        assert self._source is not None  # noqa: S101 - opened before
        return self._source.read(slow=slow)

    def close(self) -> None:
        """Close the chosen source."""
        if self._source is not None:
            self._source.close()


def _make_source(config: SessionConfig, clock: Clock) -> TelemetrySource:
    options = SourceOptions(
        device=config.device,
        interval_s=config.interval_s,
        path=config.path,
        speed=config.speed,
        scenario=config.scenario,
        seed=config.seed,
    )
    if config.source == "auto":
        return _FirstThatOpens(options, clock)
    source: TelemetrySource = registry.load("sources", config.source)(options, clock)
    return source


def _rule_options(config: SessionConfig, period_s: float) -> RuleOptions:
    _, preset = registry.PRESETS.get(config.rule, ("", {}))
    given = {
        "window_s": config.window_s,
        "agree": config.agree,
        "tolerance_points": config.tolerance_points,
    }
    chosen: dict[str, Any] = {
        key: value if value is not None else preset.get(key) for key, value in given.items()
    }
    if chosen["agree"] is not None:
        chosen["agree"] = int(chosen["agree"])
    return RuleOptions(**chosen, coverage=config.coverage, period_s=period_s, epochs=config.epochs)


def _make_rule(rule: str, options: RuleOptions) -> Predictor:
    predictor, _ = registry.PRESETS.get(rule, (rule, {}))
    made: Predictor = registry.load("predictors", predictor)(options)
    return made


def _make_mix(config: SessionConfig, period_s: float) -> ProgressPredictor:
    """Return the rule that learns from epochs; its tolerance is its own unless one is given."""
    options = RuleOptions(
        tolerance_points=config.tolerance_points,
        coverage=config.coverage,
        period_s=period_s,
        epochs=config.epochs,
    )
    made: ProgressPredictor = registry.load("predictors", EPOCH_RULE)(options)
    return made


# ---- what was measured -------------------------------------------------------------------------


def store_dir() -> Path:
    """Return the directory of the stored sessions."""
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "gpupredict" / "sessions"


def build_store() -> Store:
    """Return the session store of this user."""
    from jupyter_gpupredict.session.store import Store

    return Store(store_dir())


def list_runs(limit: int | None = None) -> list[RunHeader]:
    """Return the stored runs, newest first."""
    headers: list[RunHeader] = []
    for header in build_store().headers():
        if limit is not None and len(headers) >= limit:
            break
        headers.append(header)
    return headers


def read_events(session_id: str) -> Iterator[Event]:
    """Yield the events of a stored run.

    Args:
        session_id: A full id, a unique beginning or end of one, or `last`.

    Raises:
        UnknownName: There is no such run.
        TraceError: The trace is damaged.
    """
    store = build_store()
    return store.events(store.resolve(session_id))


def read_run(session_id: str) -> Run:
    """Return a stored run; arguments and errors as `read_events`."""
    return fold(read_events(session_id))


def request_stop(session_id: str) -> None:
    """End the measuring of a live run, in whatever process it is; its cell goes on.

    Raises:
        UnknownName: There is no such run.
    """
    store = build_store()
    store.request_stop(store.resolve(session_id))


def predict_trace(
    path: str,
    *,
    rule: str = "default",
    metric: str | None = None,
    guard: bool = True,
    epochs: int | None = None,
    window_s: float | None = None,
    agree: int | None = None,
    tolerance_points: float | None = None,
    coverage: float = 0.95,
) -> dict[str, Any]:
    """Return what a rule would have predicted from a recorded trace, reading it causally.

    Args:
        path: Our own `.jsonl`, a CSV in our columns, or a log of `nvidia-smi --query-gpu`.
        rule: A preset or predictor name.
        metric: Name of a share metric, ours or the CSV's; None: the trace's best.
        guard: Whether to watch for a stale prediction after convergence.
        epochs: Total number of epochs, when known.
        window_s: Overrides the rule's own window, in seconds.
        agree: Overrides how many windows must agree.
        tolerance_points: Overrides how far they may lie apart, in percentage points.
        coverage: Share of the time to cover, 0..1.

    Returns:
        The JSON object of `jupyter gpupredict predict --json`.

    Raises:
        TraceError: The file is unreadable, in one line.
        InvalidOption, UnknownName: An option is wrong.
    """
    from jupyter_gpupredict.core.tracefile import open_trace

    return predict_recording(
        open_trace(path),
        rule=rule,
        metric=metric,
        guard=guard,
        epochs=epochs,
        window_s=window_s,
        agree=agree,
        tolerance_points=tolerance_points,
        coverage=coverage,
    )


def predict_recording(
    trace: Trace,
    *,
    rule: str | Callable[[float], Predictor] = "default",
    metric: str | None = None,
    guard: bool = True,
    epochs: int | None = None,
    window_s: float | None = None,
    agree: int | None = None,
    tolerance_points: float | None = None,
    coverage: float = 0.95,
    prior: Profile | None = None,
    marks: Sequence[Mark] | None = None,
    watch: Callable[[float, Recommendation], None] | None = None,
) -> dict[str, Any]:
    """Return what a rule would have predicted from a trace in memory; as `predict_trace`.

    Args:
        trace: The trace.
        rule: A preset or predictor name, or what makes a rule from the nominal period in seconds.
        metric: As `predict_trace`, and so are the options down to `coverage`.
        guard: Whether to watch for a stale prediction after convergence.
        epochs: Total number of epochs, when known.
        window_s: Overrides the rule's own window, in seconds.
        agree: Overrides how many windows must agree.
        tolerance_points: Overrides how far they may lie apart, in percentage points.
        coverage: Share of the time to cover, 0..1.
        prior: What an earlier run of the same code used.
        marks: What hints said during the run, in order of time; None: what the trace holds.
        watch: Called with the time and what is recommended, a few hundred times and at each change.

    Raises:
        TraceError: The trace does not hold the metric.
        InvalidOption, UnknownName: An option is wrong.
    """
    from jupyter_gpupredict.session.offline import predict

    config = SessionConfig(
        rule=rule if isinstance(rule, str) else "default",
        epochs=epochs,
        window_s=window_s,
        agree=agree,
        tolerance_points=tolerance_points,
        coverage=coverage,
    )

    def make_rule(period_s: float) -> Predictor:
        if isinstance(rule, str):
            return _make_rule(rule, _rule_options(config, period_s))
        return rule(period_s)

    return predict(
        trace,
        make_rule,
        lambda period_s: _make_mix(config, period_s),
        metric=metric,
        guard=guard,
        coverage=coverage,
        prior=prior,
        marks=marks,
        watch=watch,
    )


# ---- exporting ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What an export wrote, or would write."""

    paths: tuple[Path, ...]
    """Written files; empty for a dry run."""
    texts: dict[str, str]
    """Path in the folder -> text."""
    warnings: tuple[str, ...]


def export(
    run: Run,
    *,
    workload: str,
    sharing: str,
    name: str,
    output: str | Path,
    image: str = "",
    node_selector: Mapping[str, str] | None = None,
    force: bool = False,
    overwrite: bool = False,
    sm_percent: int | None = None,
    memory_mib: int | None = None,
    dry_run: bool = False,
) -> ExportOutcome:
    """Write a run as a function folder; arguments as `Result.export`.

    Raises:
        UnknownName, InvalidOption, ExportError: One clear line; nothing is written.
    """
    from jupyter_gpupredict.core.deployment import ExportRequest
    from jupyter_gpupredict.exporters.documents import render
    from jupyter_gpupredict.exporters.manifest import compose
    from jupyter_gpupredict.exporters.package import write

    for kind, given in (("workloads", workload), ("sharing", sharing)):
        registry.load(kind, given)  # an unknown name is refused before anything else
    request = ExportRequest(
        workload=workload,
        sharing=sharing,
        name=name,
        image=image,
        node_selector=tuple(sorted((node_selector or {}).items())),
        force=force,
        sm_percent=sm_percent,
        memory_mib=memory_mib,
    )
    composed = compose(run, request, _made("workloads"), _made("sharing"), __version__)
    texts = {document.path: render(document) for document in composed.documents}
    paths: tuple[Path, ...] = ()
    if not dry_run:
        paths = write(composed.documents, Path(output), overwrite=overwrite)
    return ExportOutcome(paths, texts, composed.warnings)


def targets() -> list[dict[str, Any]]:
    """Return every pair of workload and sharing backend, with the reason where it is refused."""
    from jupyter_gpupredict.exporters import compatibility

    workloads, sharings = _made("workloads"), _made("sharing")
    pairs = []
    for workload, runs in workloads.items():
        for sharing, divides in sharings.items():
            reason = compatibility.refusal(workload, runs.carries, sharing, divides.needs)
            expresses = ["sm_pct", "memory_mib"] if sharing == "mps" else []
            pairs.append(
                {
                    "workload": workload,
                    "sharing": sharing,
                    "supported": not reason,
                    "reason": reason,
                    "expresses": [] if reason else expresses,
                }
            )
    return pairs


def _made(kind: str) -> dict[str, Any]:
    return {name: registry.load(kind, name)() for name in registry.names(kind)}


# ---- what works here ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceProbe:
    """Whether a source can be opened here."""

    name: str
    works: bool
    found: str
    hint: str


def probe_sources() -> list[SourceProbe]:
    """Open and close each real source once; nothing is changed on any device."""
    probes = []
    for name in AUTO:
        source: TelemetrySource = registry.load("sources", name)(SourceOptions(), SystemClock())
        try:
            info = source.open()
        except TelemetryError as error:
            probes.append(SourceProbe(name, False, f"{error.reason}: {error.message}", error.hint))
        else:
            found = "; ".join(f"{device.name} ({device.uuid})" for device in info.devices)
            probes.append(SourceProbe(name, True, found, ""))
        finally:
            source.close()
    return probes


def store_problem() -> str:
    """Return why runs cannot be stored; empty when they can."""
    try:
        build_store().prepare()
    except OSError as error:
        return str(error)
    return ""
