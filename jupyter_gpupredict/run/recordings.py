"""What a rule would have predicted from a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.clock import SystemClock
from jupyter_gpupredict.core.errors import UnknownName
from jupyter_gpupredict.core.metrics import BY_CSV, METRICS
from jupyter_gpupredict.core.series import SourceOptions
from jupyter_gpupredict.run.options import SessionConfig
from jupyter_gpupredict.run.rules import make_mix, make_rule, rule_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.recommendation import Profile, Recommendation
    from jupyter_gpupredict.core.recording import Trace
    from jupyter_gpupredict.predict import Predictor


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
    return predict_recording(
        open_recording(path),
        rule=rule,
        metric=metric,
        guard=guard,
        epochs=epochs,
        window_s=window_s,
        agree=agree,
        tolerance_points=tolerance_points,
        coverage=coverage,
    )


def open_recording(path: str) -> Trace:
    """Return the trace in a file: our own `.jsonl`, a CSV in our columns, or a log of `nvidia-smi`.

    Raises:
        TraceError: The file is unreadable, in one line.
    """
    from jupyter_gpupredict.core.tracefile import open_trace

    return open_trace(path)


def fetch_recording(
    url: str, from_s: float, to_s: float, *, match: str | None = None, device: str | None = None
) -> Trace:
    """Return what a Prometheus server recorded of one GPU.

    Args:
        url: The server; credentials come from the environment alone.
        from_s: Where it begins, seconds since 1970.
        to_s: Where it ends.
        match: Label matchers that say which GPU.
        device: Its UUID, a unique prefix of one, or its index.

    Raises:
        TelemetryError: The server cannot be asked, or holds no such series.
        InvalidOption: An option is wrong.
    """
    options = SourceOptions(url=url, match=match, device=device)
    recorded: Trace = registry.load("sources", "prometheus")(options, SystemClock()).record(
        from_s, to_s
    )
    return recorded


def check_recording_options(options: dict[str, Any]) -> None:
    """Raise where arguments of `predict_recording` are wrong whatever the trace.

    Raises:
        InvalidOption, UnknownName: One is.
    """
    names = ("rule", "epochs", "window_s", "agree", "tolerance_points")
    SessionConfig(**{name: options[name] for name in names})
    metric = options.get("metric")
    if metric is not None and metric not in METRICS and metric not in BY_CSV:
        raise UnknownName("metric", metric, BY_CSV)


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
    from jupyter_gpupredict.run.offline import predict

    config = SessionConfig(
        rule=rule if isinstance(rule, str) else "default",
        epochs=epochs,
        window_s=window_s,
        agree=agree,
        tolerance_points=tolerance_points,
        coverage=coverage,
    )

    def rule_of(period_s: float) -> Predictor:
        if isinstance(rule, str):
            return make_rule(rule, rule_options(config, period_s))
        return rule(period_s)

    return predict(
        trace,
        rule_of,
        lambda period_s: make_mix(config, period_s),
        metric=metric,
        guard=guard,
        coverage=coverage,
        prior=prior,
        marks=marks,
        watch=watch,
    )
