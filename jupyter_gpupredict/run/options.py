"""The options of one run, checked when they are made."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.errors import InvalidOption, UnknownName
from jupyter_gpupredict.core.options import check, option
from jupyter_gpupredict.run.tuning import MEMORY_POWERS

EPOCH_RULE = "epoch_mix"
"""The rule that takes over by itself where epochs and their number are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """The options of one run. Checked when made.

    Raises:
        InvalidOption: A value is outside its range.
        UnknownName: No such source or rule.
    """

    source: str = option(
        "auto",
        "auto, gpm (SM activity, Hopper and later), nvml (busy time), cpu (this process tree), "
        "prometheus (a DCGM exporter's series), replay or synthetic",
        metavar="NAME",
    )
    device: str | None = option(
        None,
        "which GPU, or several: 0,1; by itself the first visible one",
        metavar="UUID|INDEX|all",
    )
    interval_s: float | None = option(
        None,
        "seconds between readings where we poll",
        metavar="S",
        short=("--interval",),
        low=0.02,
        high=60.0,
        unit="seconds",
    )
    rule: str = option("default", "default, quick or accurate", metavar="NAME")
    window_s: float | None = option(
        None,
        "length of a sliding window in seconds",
        metavar="S",
        short=("--window",),
        low=1.0,
        high=86_400.0,
        unit="seconds",
    )
    agree: int | None = option(
        None, "how many windows in a row must agree", metavar="K", low=2, high=100, unit="windows"
    )
    tolerance_points: float | None = option(
        None,
        "how far agreeing windows may lie apart, in percentage points",
        metavar="POINTS",
        short=("--tolerance",),
        low=0.0,
        high=50.0,
        unit="percentage points",
    )
    epochs: int | None = option(
        None,
        "total number of epochs, when known",
        metavar="N",
        low=1,
        high=1_000_000,
        unit="epochs",
    )
    coverage: float = option(
        0.95,
        "share of the time that the predicted share has to cover",
        metavar="RATIO",
        low=0.5,
        high=0.999,
        unit="of the time",
    )
    max_seconds: float | None = option(
        None,
        "measure no longer than this; with --until-converged the cell stops then, too",
        metavar="S",
        low=0.1,
        high=1e9,
        unit="seconds",
    )
    prior: bool = option(
        True, "converge sooner when an earlier run of the same code went like this one"
    )
    scale_prior: str = option(
        "",
        "scale the memory peak of an earlier run, of code that differs in tuned numbers alone, by "
        "how this number grew since",
        metavar="NAME",
        choices=tuple(MEMORY_POWERS),
    )
    kernels: bool = option(
        False,
        "record the kernels for a moment now and then, by the profiler that is there, and tell "
        "from their geometry how many SMs are needed; has not run on a GPU yet",
    )
    until_converged: bool = option(False, "stop the cell cleanly once the prediction has converged")
    mps: bool = option(
        False, "run as a client of NVIDIA MPS, if CUDA has not started in this process yet"
    )
    mps_percentage: int | None = option(
        None,
        "limit it to so much of the SMs; below 100 the run predicts nothing",
        metavar="P",
        low=1,
        high=100,
        unit="percent of the SMs",
    )
    memory_limit_mib: int | None = option(
        None,
        "limit its device memory under MPS, in MiB",
        metavar="MIB",
        short=("--memory-limit",),
        low=1,
        high=1 << 30,
        unit="MiB",
    )
    cluster: str | None = option(
        None,
        "measure the workers of a cluster: a Dask scheduler's address, a variable that holds a "
        "Dask or ipyparallel client, or auto",
        metavar="ADDRESS|NAME",
    )
    path: str | None = option(None, "the trace that --source replay plays", metavar="TRACE")
    speed: float | None = option(
        None,
        "replay so many times faster; 0: at once",
        metavar="X",
        low=0.0,
        high=1e6,
        unit="times",
    )
    scenario: str = option("epochs", "what --source synthetic plays", metavar="NAME")
    seed: int = option(0, "seed of --source synthetic", metavar="N")
    url: str | None = option(
        None,
        "the server of --source prometheus; credentials come from the environment alone",
        metavar="URL",
    )
    match: str | None = option(
        None, "which of its GPUs, such as 'Hostname=\"gpu7\"'", metavar="MATCHERS"
    )

    def __post_init__(self) -> None:
        """Check every value on its own and the few combinations that make no sense."""
        if self.source != "auto" and self.source not in registry.names("sources"):
            raise UnknownName("source", self.source, ("auto", *registry.names("sources")))
        if self.rule not in rule_names():
            raise UnknownName("rule", self.rule, rule_names())
        check(self)
        for name, given in (
            ("mps-percentage", self.mps_percentage),
            ("memory-limit-mib", self.memory_limit_mib),
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
        if self.scale_prior and not self.prior:
            raise InvalidOption("--scale-prior uses an earlier run", "leave --no-prior out")
        if self.kernels and (self.simulated or self.cluster is not None):
            raise InvalidOption("--kernels records those of this process", "leave it out")
        if self.kernels and (self.mps_percentage or 100) < 100:
            raise InvalidOption(
                "--kernels says nothing of a capped run", "leave --mps-percentage out"
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


def rule_names() -> tuple[str, ...]:
    """Return the presets and every other registered predictor."""
    presets = tuple(registry.PRESETS)
    covered = {EPOCH_RULE, *(predictor for predictor, _ in registry.PRESETS.values())}
    return presets + tuple(n for n in registry.names("predictors") if n not in covered)


_TEXT = re.compile(r"""(?P<mark>\"{3}|'{3}|["'])(?:\\.|(?!(?P=mark)).)*(?:(?P=mark)|$)""")
FIRST_LINE_CHARACTERS = 80


def first_line(source: str) -> str:
    r"""Return the first line of a cell that does something, for lists of runs.

    Imports count only where there is nothing else. Texts are left out: one may be a credential.

    >>> first_line("# my model\nimport torch\nfit(model, key='abc', epochs=3)  # slow")
    "fit(model, key='…', epochs=3)"
    """
    found = ""
    for raw in source.splitlines():
        line = _TEXT.sub(lambda text: f"{text['mark']}…{text['mark']}", raw.strip())
        line = line.partition("#")[0].rstrip()
        if not line or line.startswith(("%", "!", "@")):
            continue
        found = found or line
        if not line.startswith(("import ", "from ")):
            found = line
            break
    return found if len(found) <= FIRST_LINE_CHARACTERS else f"{found[:FIRST_LINE_CHARACTERS]}…"


def code_hash(source: str) -> str:
    """Return the SHA-256 of a cell's source without its magic line, newlines normalised.

    Those at its end do not count: IPython adds one, or not, by the way that a cell is run.
    """
    text = source.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    return hashlib.sha256(text.encode()).hexdigest()
