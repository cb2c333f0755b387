"""The answer as data, the word for how sure it is, and a row for each device."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jupyter_gpupredict.core.events import RECORDING
from jupyter_gpupredict.core.plain import one_line
from jupyter_gpupredict.core.recommendation import LEAST_ACTIVE_S, LEAST_N_EFF
from jupyter_gpupredict.core.words import gib, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_gpupredict.core.metrics import Basis
    from jupyter_gpupredict.core.recommendation import Recommendation, SmNeed
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.core.series import Device

Word = Literal[
    "settled", "settling", "provisional", "changed", "observed", "not used yet", "no GPU",
    "too short",
]  # fmt: skip
Tone = Literal["good", "wait", "bad", "plain"]
"""Key of a colour; each view has one table of them."""
ShareMethod = Literal["time", "gpm", "geometry", "verified"]
"""How a share came about; `time`: it is a share of the time and none of the SMs."""

SIGNS: dict[Word, tuple[str, Tone]] = {
    "settled": ("●", "good"),
    "provisional": ("◕", "wait"),
    "settling": ("◐", "wait"),
    "changed": ("▲", "bad"),
    "observed": ("◇", "plain"),
    "not used yet": ("○", "plain"),
    "no GPU": ("□", "plain"),
    "too short": ("◔", "plain"),
}
"""Word -> a shape, so that colour is never all there is, and its tone."""
TOO_SHORT_S = 5.0
SLACK_RATIO = 0.05
"""Coverage on later readings may lie so far under its aim for the figure to stay settled."""
WITHDRAWN_RATIO = 0.10
"""Beyond this, on readings of `WITHDRAWN_S`, it does not hold any more."""
WITHDRAWN_S = 20.0
MAX_DEVICES = 64
_PROFILE = re.compile(r"\bMIG\s+(\S+)|\b(\d+g\.\d+gb\S*)")


@dataclass(frozen=True, slots=True)
class Figure:
    """The share that is needed; low and high differ where two ends are known."""

    low_ratio: float
    high_ratio: float
    """What exports take."""
    basis: Basis
    method: ShareMethod


@dataclass(frozen=True, slots=True)
class SpeedPoint:
    """What a share of the SMs was found to keep, beside a curve by geometry."""

    share_ratio: float
    speed_ratio: float
    """Of the speed on all SMs."""
    method: ShareMethod


@dataclass(frozen=True, slots=True)
class Action:
    """What can be done now."""

    id: Literal["export", "verify", "sweep", "details", "compare"]
    label: str
    command: str
    """The same where there are no buttons; empty: there is no command."""


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device of several, or one rank."""

    name: str
    index: int | None
    mig: str
    """MIG profile, such as `1g.10gb`; empty: a whole GPU."""
    uuid: str
    ending: str
    """The last characters of the UUID, which tell equal devices apart."""
    share: str
    memory: str
    word: Word
    sign: str
    tone: Tone
    rank: int | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the details."""

    label: str
    value: str
    help: str = ""
    """One sentence on the term."""
    term: str = ""
    """Its entry in docs/glossary.md; empty: it needs none."""


@dataclass(frozen=True, slots=True)
class Details:
    """What stands under the fold: at most 12 rows."""

    usage: tuple[Row, ...]
    memory: tuple[Row, ...]
    measuring: tuple[Row, ...]
    problems: tuple[str, ...]
    """Texts of libraries and drivers, and of our own machinery; last, small, to be copied."""
    ids: str


class Brief(NamedTuple):
    """One run's answer in one line, for lists."""

    headline: str
    word: Word
    sign: str
    tone: Tone
    device: str
    """Short words for where it ran."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One run's answer."""

    session_id: str
    headline: str
    word: Word
    sign: str
    tone: Tone
    meaning: str
    """Second line: what the figure means."""
    evidence: str
    """Third line: what it rests on, and what would make it sure."""
    notes: tuple[str, ...]
    """What changes the figure's meaning, a line each."""
    actions: tuple[Action, ...]
    devices: tuple[DeviceRow, ...]
    """Empty for a single device."""
    details: Details
    figure: Figure | None
    """None: nothing was used, or nothing is stated."""
    predicted: bool
    """Whether the figure is a prediction and not only an observation."""
    memory_bytes: float | None
    """What the memory part of the headline says."""
    simulated: str
    """Why these are no measurements: `recorded`, `replayed`, `simulated`; empty: they are."""
    device: str
    """Short words for where it ran."""
    need: SmNeed | None
    """What its kernels need of the SMs, with the curve; None: not known, or it was capped."""
    points: tuple[SpeedPoint, ...]
    """Beside that curve."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, as JSON has it."""
        return dataclasses.asdict(self)

    def lines(self) -> Iterator[str]:
        """Yield the card as text, a line each, without details."""
        yield f"{self.sign} {self.headline} [{self.word}]"
        yield from filter(None, (self.meaning, self.evidence))
        yield from (f"note: {note}" for note in self.notes)


# ---- the word ----------------------------------------------------------------------------------


def judge(run: Run, one: Recommendation | None) -> Word:
    """Return the word for one recommendation of a run."""
    over = run.outcome != "running"
    word = _standing(run, one)
    if word == "too short" or (word == "not used yet" and not is_cpu(run)):
        return word
    if run.outcome == "failed":
        return "observed"
    if over and word == "settling":
        word = "observed"
    interrupted = run.outcome in ("interrupted", "lost")
    if is_cpu(run) and not (interrupted and word == "observed"):
        return "no GPU"
    return word


def _standing(run: Run, one: Recommendation | None) -> Word:
    """Return how far the figure itself has come, whatever became of the run."""
    if is_profile(run, one) and one is not None and one.state in ("warming", "abstained"):
        return "observed"
    if watched_s(run) < TOO_SHORT_S:
        return "too short"
    if one is None or one.capped:
        return "observed"
    active_s = active_s_of(one)
    if one.state == "stale":
        return "changed"
    if active_s <= 0.0:
        return "not used yet"
    if one.state != "converged":
        return "observed" if one.state == "abstained" else "settling"
    lack = _lack_ratio(one)
    since_s = watched_s(run) - (one.converged_at_s or 0.0)
    if lack > WITHDRAWN_RATIO and since_s >= WITHDRAWN_S:
        return "changed"
    if active_s < LEAST_ACTIVE_S or _n_eff(one) < LEAST_N_EFF:
        return "settling"
    return "provisional" if lack > SLACK_RATIO else "settled"


def is_profile(run: Run, one: Recommendation | None) -> bool:
    """Return whether a recording is of kernels: what they need is known, however short it is."""
    need = None if one is None else one.geometry
    return need is not None and not need.windows and run.started.source == RECORDING


def watched_s(run: Run) -> float:
    """Return for how long readings were taken; a replay that is faster has the trace's own time."""
    main = run.recommendation
    return run.duration_s if main is None else max(run.duration_s, main.watched_s)


def active_s_of(one: Recommendation) -> float:
    """Return for how long the device was used; of an old trace, how long it was watched."""
    return one.watched_s if one.active_s is None else one.active_s


def _n_eff(one: Recommendation) -> float:
    return math.inf if one.confidence is None else one.confidence.n_eff


def _lack_ratio(one: Recommendation) -> float:
    """Return by how much the coverage on later readings lies under its aim."""
    if one.coverage_ratio is None:
        return 0.0
    return one.coverage_target_ratio - one.coverage_ratio - 1e-9


def ratio_of(one: Recommendation) -> float | None:
    """Return the share of a recommendation; where none is predicted, the observed one."""
    if active_s_of(one) <= 0.0:
        return None
    if one.target_ratio is not None:
        return one.target_ratio
    return one.mean_ratio if one.observed_ratio is None else one.observed_ratio


STATED = ("settled", "provisional", "settling", "no GPU")
OBSERVED = ("observed", "changed", "too short", "not used yet")


def need_of(run: Run) -> SmNeed | None:
    """Return what a run's kernels need of the SMs."""
    main = run.recommendation
    return None if main is None or main.capped else main.geometry


def speed_points(run: Run) -> tuple[SpeedPoint, ...]:
    """Return what SM activity says and what was verified; empty where there is no curve."""
    main, tried = run.recommendation, run.verified
    if main is None or need_of(run) is None:
        return ()
    found = []
    if main.basis == "sm_share" and main.target_ratio and main.slowdown:
        found.append(SpeedPoint(main.target_ratio, 1.0 / main.slowdown[1], "gpm"))
    if tried is not None:
        found.append(SpeedPoint(tried.percent / 100.0, tried.speed_ratio, "verified"))
    return tuple(found)


# ---- devices -----------------------------------------------------------------------------------


def device_rows(run: Run) -> tuple[DeviceRow, ...]:
    """Return a row for each device, where there are several."""
    main = run.recommendation
    if main is None:
        return ()
    rows = run.ranks or (main, *(one for one in run.others if one.metric == main.metric))
    if len(rows) < 2:
        return ()
    known = {one.uuid: one for one in run.started.devices}
    return tuple(_device_row(run, one, known.get(one.device)) for one in rows[:MAX_DEVICES])


def _device_row(run: Run, one: Recommendation, device: Device | None) -> DeviceRow:
    word = judge(run, one)
    ratio, memory = ratio_of(one), one.memory
    of = "of the SMs" if one.basis == "sm_share" else "of the time"
    held = ""
    if memory is not None and not math.isnan(memory.peak_bytes):
        target = memory.target_bytes if word not in OBSERVED else None
        held = gib(target) if target is not None else f"peak {gib(memory.peak_bytes)}"
    sign, tone = SIGNS[word]
    name = device.name if device else ""
    return DeviceRow(
        name=one_line(short(name)),
        index=device.index if device else None,
        mig=profile(name) if one.device.startswith("MIG-") else "",
        uuid=one_line(one.device),
        ending=one_line(one.device)[-4:],
        share="-" if ratio is None else f"{percent(ratio)} {of}",
        memory=held,
        word=word,
        sign=sign,
        tone=tone,
        rank=one.rank,
        lost=one.lost,
    )


def profile(name: str) -> str:
    """Return the MIG profile in a device's name; empty where there is none.

    >>> profile("NVIDIA H100 80GB HBM3 MIG 1g.10gb"), profile("NVIDIA H100 80GB HBM3")
    ('1g.10gb', '')
    """
    found = _PROFILE.search(name)
    return (found[1] or found[2]) if found else ""


def short(name: str) -> str:
    """Return a device's name without its maker, form and memory's kind.

    >>> short("NVIDIA A100-SXM4-80GB"), short("NVIDIA H100 80GB HBM3 MIG 1g.10gb")
    ('A100 80GB', 'H100 80GB')
    """
    name = _PROFILE.sub("", name.removeprefix("NVIDIA ")).replace("-", " ")
    return " ".join(re.sub(r"\b(SXM\d*|PCIe|PCIE|NVL|HBM\w*)\b", "", name).split())


def where(run: Run) -> str:
    """Return short words for the GPU that a run was on; empty for the CPU."""
    devices = run.started.devices
    main = next((one for one in devices if one.uuid == run.started.share.device), None)
    main = main or next(iter(devices), None)
    if main is None or is_cpu(run):
        return ""
    mig = f" MIG {profile(main.name)}" if main.uuid.startswith("MIG-") else ""
    return one_line(f"{short(main.name)}{mig}")


def is_cpu(run: Run) -> bool:
    """Return whether the share is one of the CPU."""
    return run.started.share.metric == "cpu_util_ratio"


def simulated_as(run: Run) -> str:
    """Return why these are no measurements; empty: they are."""
    started = run.started
    why = {"replay": "replayed", RECORDING: "recorded"}.get(started.source)
    return why or ("simulated" if started.simulated else "")
