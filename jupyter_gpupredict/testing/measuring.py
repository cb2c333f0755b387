"""Checks of what measures: sources, readers of recordings, rules and progress hints."""

from __future__ import annotations

import gzip
import io
import math
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import SourceUnavailable, TraceError
from jupyter_gpupredict.core.metrics import METRICS, REASONS, largest
from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.sources.reading import Content

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.protocols import HintSource, TelemetrySource
    from jupyter_gpupredict.core.series import Batch, SourceInfo
    from jupyter_gpupredict.predict import Predictor
    from jupyter_gpupredict.sources.reading import Reader
    from jupyter_gpupredict.sources.recording import Trace

UNITS = ("epoch", "step")
_SLACK = 1e-9


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def monotonic_s(self) -> float:
        """Return the seconds it shows."""
        return self.now_s

    def wall(self) -> datetime:
        """Return the first of January 2026, that many seconds later."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now_s)

    def advance(self, seconds: float) -> None:
        """Move it."""
        self.now_s += seconds


# ---- sources ----------------------------------------------------------------------------------


def check_source(
    make: Callable[[], TelemetrySource],
    *,
    between: Callable[[], None] = lambda: None,
    reads: int = 3,
    works: bool = True,
) -> SourceInfo | None:
    """Check a telemetry source: it opens, describes itself, reads, closes, and opens again.

    Args:
        make: Returns a new source, wired to whatever it reads.
        between: Called before each read: moves a clock, or waits for the next reading.
        reads: How often it is read.
        works: False: it must refuse to open here, with `SourceUnavailable`.

    Returns:
        What it said of itself; None where it refused.
    """
    source = make()
    source.close()  # nothing is open yet
    try:
        info = source.open()
    except SourceUnavailable as refusal:
        if works or not refusal.message:
            raise AssertionError(f"it does not open: {refusal or 'without a reason'}") from refusal
        source.close()
        return None
    assert works, "it opened, and was to refuse"
    try:
        _check_info(info)
        last_s: dict[object, float] = {}
        taken = 0
        for number in range(reads):
            between()
            batch = source.read(slow=number == 0)
            _check_batch(batch, info, last_s)
            taken += sum(len(one.values) for one in batch.readings if one.series == info.share)
            if batch.exhausted:
                break
        assert taken, f"no reading of {info.share.metric} in {reads} reads"
    finally:
        source.close()
        source.close()
    again = make()
    assert again.open().share == info.share, "opened once more it measures something else"
    again.close()
    return info


def _check_info(info: SourceInfo) -> None:
    assert info.source, "SourceInfo.source is empty: give the registered name"
    assert info.period_s > 0.0, f"period_s is {info.period_s}"
    assert info.devices, "it names no device"
    assert info.share in info.series, "the share is not among the series"
    named = {one.uuid for one in info.devices}
    for one in info.series:
        assert one.metric in METRICS, f"{one.metric} is unknown: see core.metrics.METRICS"
        assert one.device in named, f"{one.metric} is of {one.device!r}, which it does not name"
    assert METRICS[info.share.metric].basis, f"{info.share.metric} is a share of nothing"


def _check_batch(batch: Batch, info: SourceInfo, last_s: dict[object, float]) -> None:
    for one in batch.readings:
        metric = one.series.metric
        assert one.series in info.series, f"{metric} was not announced by open()"
        assert len(one.times_s) == len(one.values), f"{metric}: times and values differ in length"
        for time_s, value in zip(one.times_s, one.values, strict=True):
            assert math.isfinite(time_s), f"{metric}: a stamp is {time_s}"
            assert time_s >= last_s.get(one.series, -math.inf), f"{metric}: stamps go back"
            last_s[one.series] = time_s
            if metric.endswith("_ratio") and not math.isnan(value):
                assert 0.0 <= value <= 1.0, f"{metric} is {value}: a ratio is 0 to 1"
            assert not math.isinf(value), f"{metric} is infinite"
    for lack in batch.unavailable:
        assert lack.reason in REASONS, (
            f"{lack.reason!r} is not a known reason: core.metrics.REASONS"
        )


# ---- readers ----------------------------------------------------------------------------------


def check_reader(
    make: Callable[[], Reader],
    sample: bytes,
    *,
    others: Sequence[bytes] = (),
    options: ReadOptions | None = None,
    cuts: int = 40,
) -> Trace:
    """Check a reader of recordings: it knows its format, reads it, and survives what is broken.

    Args:
        make: Returns a new reader; often its class.
        sample: A whole recording of its format.
        others: Recordings of other formats, which it must not take for its own.
        options: What the sample does not say of itself.
        cuts: How often the sample is cut, and as often changed at a few random places.

    Returns:
        What it read from the sample.
    """
    given = options or ReadOptions()
    assert make().label, "it does not say what it reads: label"
    assert make().detect(_content(sample)), "it does not detect its own sample"
    for number, other in enumerate((b"", b"\0\xff" * 99, b"hello\n", *others)):
        assert not make().detect(_content(other)), f"it takes another format ({number}) for its own"
    found = make().read(_content(sample), given)
    _check_trace(found)
    assert make().read(_content(sample), given) == found, "read again it gives something else"
    assert make().read(_content(gzip.compress(sample)), given) == found, "gzip changes it"
    drawn = random.Random(1)
    for number in range(cuts):
        cut = sample[: len(sample) * number // cuts]
        changed = bytearray(sample)
        for _ in range(drawn.randint(1, 8)):
            changed[drawn.randrange(len(changed))] = drawn.randrange(256)
        for broken in (cut, bytes(changed)):
            try:
                make().detect(_content(broken))
                _check_trace(make().read(_content(broken), given))
            except TraceError:
                continue
    return found


def _content(data: bytes) -> Content:
    return Content(io.BytesIO(data), "sample")


def _check_trace(found: Trace) -> None:
    assert found.origin, "Trace.origin is empty: say what made the recording"
    named = {one.uuid for one in found.devices}
    assert named, "it names no device"
    assert found.series, "it holds no series"
    for one in found.series:
        assert one.metric in METRICS, f"{one.metric} is unknown: see core.metrics.METRICS"
        assert one.device in named, f"{one.metric} is of {one.device!r}, which it does not name"
    assert found.rows, "no row was read: raise Truncated"
    before_s = -math.inf
    for time_s, values in found.rows:
        assert before_s < time_s < math.inf, f"times do not rise at {time_s}"
        before_s = time_s
        assert len(values) == len(found.series), "a row has not one value for each series"
        for series, value in zip(found.series, values, strict=True):
            assert value is None or 0.0 <= value <= largest(series.metric), (
                f"{series.metric} is {value}: missing is None"
            )


# ---- rules ------------------------------------------------------------------------------------


def check_rule(make: Callable[[RuleOptions], Predictor], *, fires_within_s: float = 7200.0) -> None:
    """Check a stop rule on made-up usage of one reading a second.

    Args:
        make: Returns a new rule; often its class.
        fires_within_s: By then steady use must have made it fire.
    """
    rule = make(RuleOptions(period_s=1.0))
    assert rule.predict() is None, "it predicts before the first reading"
    assert not rule.windows(), "it shows windows before the first reading"
    fired_s = math.nan
    for second in range(1, int(fires_within_s) + 1):
        found = rule.update(float(second), 0.5, 1.0)
        if found is not None:
            fired_s = found.converged_at_s
            assert 0.5 - _SLACK <= found.target_ratio <= 0.55, (
                f"at a steady 50 % it targets {found.target_ratio}"
            )
            assert abs(found.mean_ratio - 0.5) < 0.01, f"its mean of 50 % is {found.mean_ratio}"
            assert fired_s <= second + _SLACK, "it fires with a reading that is still to come"
            assert len(found.times_s) == len(found.values) > 0, "it pools no readings"
            break
    assert not math.isnan(fired_s), f"steady use does not make it fire in {fires_within_s:g} s"
    _check_deterministic(make)
    _check_never_below(make)


def _check_deterministic(make: Callable[[RuleOptions], Predictor]) -> None:
    """Two rules that are given the same readings agree: it keeps nothing outside of itself."""
    first, second = make(RuleOptions(period_s=1.0)), make(RuleOptions(period_s=1.0))
    for number in range(1, 2000):
        value = (number * 37 % 100) / 100
        one = first.update(float(number), value, 1.0)
        assert one == second.update(float(number), value, 1.0), "it is not deterministic"


def _check_never_below(make: Callable[[RuleOptions], Predictor]) -> None:
    """The whole span covered at `coverage`: never a share that most readings exceed."""
    rule = make(RuleOptions(period_s=1.0))
    values = [0.2 if number % 2 else 0.8 for number in range(4000)]
    for number, value in enumerate(values, 1):
        rule.update(float(number), value, 1.0)
    found = rule.predict()
    assert found is not None, "it says nothing of the whole span"
    assert found.target_ratio >= 0.8 - _SLACK, (
        f"half of the readings are 80 %, and it targets {found.target_ratio}"
    )


# ---- hints ------------------------------------------------------------------------------------


class ProgressRecorder:
    """A progress sink that keeps what it is given, in order."""

    def __init__(self) -> None:
        self.progressed: list[tuple[Unit, float, float | None, str]] = []
        self.phases: list[tuple[str, str]] = []

    def progress(self, unit: Unit, done: float, total: float | None, hint: str) -> None:
        """Keep a mark."""
        self.progressed.append((unit, done, total, hint))

    def phase(self, name: str, hint: str) -> None:
        """Keep a phase."""
        self.phases.append((name, hint))


class _Failing(ProgressRecorder):
    """Fails at every call: the loop must not notice."""

    def progress(self, unit: Unit, done: float, total: float | None, hint: str) -> None:
        raise RuntimeError("progress fails")

    def phase(self, name: str, hint: str) -> None:
        raise RuntimeError("phase fails")


def check_hint(
    make: Callable[[], HintSource], loop: Callable[[], object], *, unit: Unit = "epoch"
) -> ProgressRecorder:
    """Check a progress hint: it follows a loop, which does the same with it and without it.

    Args:
        make: Returns a new hint; often its class.
        loop: A training loop of the library, which is imported; returns what it computed.
        unit: What the loop is known to count.

    Returns:
        What the loop reported.
    """
    hint = make()
    assert hint.module, "it does not name the library's module"
    hint.detach()  # without attach
    alone = loop()
    recorder = ProgressRecorder()
    hint.attach(recorder)
    try:
        assert loop() == alone, "the loop gives something else when it is watched"
        hint.poll()
    finally:
        hint.detach()
        hint.detach()
    marks = [mark for mark in recorder.progressed if mark[0] == unit]
    assert marks, f"no {unit} was reported"
    done = -1.0
    for kind, so_far, total, name in recorder.progressed:
        assert kind in UNITS, f"{kind!r} is none of {UNITS}"
        assert name, "a mark does not name its hint"
        assert total is None or so_far <= total, f"{so_far:g} of {total:g}"
        if kind == unit:
            assert so_far >= done, f"{unit} falls from {done:g} to {so_far:g}"
            done = so_far
    before = len(recorder.progressed) + len(recorder.phases)
    assert loop() == alone, "detached, it still changes the loop"
    assert len(recorder.progressed) + len(recorder.phases) == before, "detached, it still listens"
    failing = make()
    failing.attach(_Failing())
    try:
        assert loop() == alone, "a sink that fails changes the loop"
    finally:
        failing.detach()
    return recorder
