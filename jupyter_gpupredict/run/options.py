"""The options of one run, checked when they are made."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.errors import InvalidOption, UnknownName

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
    mps: bool = False
    """Run as a client of MPS."""
    mps_percentage: int | None = None
    """Share of the SMs under MPS, 1..100; below 100 the run is capped and predicts nothing."""
    memory_limit_mib: int | None = None
    """Device memory of the process under MPS, in binary MiB."""
    path: str | None = None
    """The trace that `replay` plays."""
    speed: float | None = None
    """Replay so many times faster; 0 as fast as possible; None at its own pace."""
    scenario: str = "epochs"
    """What `synthetic` plays."""
    seed: int = 0
    cluster: str | None = None
    """Where the cell's work runs: a Dask scheduler's address, or `auto`."""
    url: str | None = None
    """The server that `prometheus` asks; credentials come from the environment alone."""
    match: str | None = None
    """Label matchers that say which of its GPUs."""

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
        _require_range("mps-percentage", self.mps_percentage, 1, 100, "percent of the SMs")
        _require_range("memory-limit", self.memory_limit_mib, 1, 1 << 30, "MiB")
        for name, given in (
            ("mps-percentage", self.mps_percentage),
            ("memory-limit", self.memory_limit_mib),
        ):
            if given is not None and not self.mps:
                raise InvalidOption(f"--{name} is a limit of MPS", "add --mps")
        if self.mps and self.simulated:
            raise InvalidOption(f"--source {self.source} runs nothing under MPS", "leave --mps out")
        if self.mps and self.cluster is not None:
            raise InvalidOption(
                "--mps makes this process a client, and --cluster measures those of others",
                "leave one of them out",
            )
        if self.until_converged and (self.mps_percentage or 100) < 100:
            raise InvalidOption(
                "--until-converged never ends under a cap: a capped run predicts nothing",
                "leave --mps-percentage out",
            )
        if self.source == "replay" and not self.path:
            raise InvalidOption("source replay needs a trace", "--path TRACE")
        if self.source == "prometheus" and not self.url:
            raise InvalidOption("source prometheus needs a server", "--url https://HOST:9090")

    @property
    def simulated(self) -> bool:
        """Whether the readings are not those of this process."""
        return self.source in ("replay", "synthetic")


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
    """Return the SHA-256 of a cell's source without its magic line, newlines normalised.

    Those at its end do not count: IPython adds one, or not, by the way that a cell is run.
    """
    text = source.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    return hashlib.sha256(text.encode()).hexdigest()
