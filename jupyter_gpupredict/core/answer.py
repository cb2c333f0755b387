"""What a person sees first of a run: what it needs, and how sure that is. Every view shows this.

Made of a `Run` alone, so that live, stored, replayed and distributed runs answer alike. Views lay
it out and add nothing.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.plain import one_line
from jupyter_gpupredict.core.recommendation import LEAST_ACTIVE_S, LEAST_N_EFF
from jupyter_gpupredict.core.rounding import sm_percent
from jupyter_gpupredict.core.words import gib, percent, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.core.metrics import Basis
    from jupyter_gpupredict.core.recommendation import MemoryEstimate, Recommendation
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
OFTEN_RATIO = 0.05
"""Throttling and gaps that take more of the time than this change what the figure means."""
MAX_DEVICES = 64
_PROFILE = re.compile(r"\bMIG\s+(\S+)|\b(\d+g\.\d+gb\S*)")
_DONE = re.compile(r"(\d+(?: of \d+)?) (epoch|step)s complete")
_NO_MEMORY = re.compile(r"OutOfMemory|MemoryError")


@dataclass(frozen=True, slots=True)
class Figure:
    """The share that is needed; low and high differ where two ends are known."""

    low_ratio: float
    high_ratio: float
    """What exports take."""
    basis: Basis
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
    """Why these are no measurements: `replayed`, `simulated`; empty: they are."""
    device: str
    """Short words for where it ran."""

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
    if word == "too short" or (word == "not used yet" and not _is_cpu(run)):
        return word
    if run.outcome == "failed":
        return "observed"
    if over and word == "settling":
        word = "observed"
    interrupted = run.outcome in ("interrupted", "lost")
    if _is_cpu(run) and not (interrupted and word == "observed"):
        return "no GPU"
    return word


def _standing(run: Run, one: Recommendation | None) -> Word:
    """Return how far the figure itself has come, whatever became of the run."""
    if _watched_s(run) < TOO_SHORT_S:
        return "too short"
    if one is None or one.capped:
        return "observed"
    active_s = _active_s(one)
    if one.state == "stale":
        return "changed"
    if active_s <= 0.0:
        return "not used yet"
    if one.state != "converged":
        return "observed" if one.state == "abstained" else "settling"
    lack = _lack_ratio(one)
    since_s = _watched_s(run) - (one.converged_at_s or 0.0)
    if lack > WITHDRAWN_RATIO and since_s >= WITHDRAWN_S:
        return "changed"
    if active_s < LEAST_ACTIVE_S or _n_eff(one) < LEAST_N_EFF:
        return "settling"
    return "provisional" if lack > SLACK_RATIO else "settled"


def _watched_s(run: Run) -> float:
    """Return for how long readings were taken; a replay that is faster has the trace's own time."""
    main = run.recommendation
    return run.duration_s if main is None else max(run.duration_s, main.watched_s)


def _active_s(one: Recommendation) -> float:
    return one.watched_s if one.active_s is None else one.active_s


def _n_eff(one: Recommendation) -> float:
    return math.inf if one.confidence is None else one.confidence.n_eff


def _lack_ratio(one: Recommendation) -> float:
    """Return by how much the coverage on later readings lies under its aim."""
    if one.coverage_ratio is None:
        return 0.0
    return one.coverage_target_ratio - one.coverage_ratio - 1e-9


# ---- the card ----------------------------------------------------------------------------------


def brief(run: Run) -> Brief:
    """Return a run's answer in one line."""
    counted = run.each_gpu()
    word = _word(run, counted)
    figure = _figure(run, counted, stated=_predicts(run, word))
    return _brief(run, word, figure, _fullest(counted))


def answer(run: Run) -> Answer:
    """Return what a run's views say first."""
    counted = run.each_gpu()
    word = _word(run, counted)
    predicted = _predicts(run, word)
    figure = _figure(run, counted, stated=predicted)
    memory = _fullest(counted)
    line = _brief(run, word, figure, memory)
    return Answer(
        session_id=run.session_id,
        headline=line.headline,
        word=word,
        sign=line.sign,
        tone=line.tone,
        meaning=_meaning(run, word, figure, memory),
        evidence=_evidence(run, word, figure),
        notes=tuple(map(one_line, _notes(run))),
        actions=_actions(run, word, figure),
        devices=_devices(run),
        details=_details(run),
        figure=figure,
        predicted=predicted,
        memory_bytes=_memory_bytes(memory),
        simulated=_simulated(run),
        device=_where(run),
    )


def _brief(run: Run, word: Word, figure: Figure | None, memory: MemoryEstimate | None) -> Brief:
    sign, tone = SIGNS[word]
    return Brief(_headline(run, word, figure, memory), word, sign, tone, _where(run))


def _predicts(run: Run, word: Word) -> bool:
    """Return whether the figure is a prediction: the CPU's has no word of its own for that."""
    main = run.recommendation
    return word in _STATED[:3] or (
        word == "no GPU" and main is not None and main.state == "converged"
    )


_ORDER: tuple[Word, ...] = (
    "changed", "observed", "settling", "provisional", "settled", "no GPU", "not used yet",
    "too short",
)  # fmt: skip


def _word(run: Run, counted: Sequence[Recommendation]) -> Word:
    """Return the word for a run; a share from too few windows of its kernels is not settled."""
    if not counted:
        return judge(run, None)
    word = _together([judge(run, one) for one in counted])
    by_kernels = run.verified_sm_ratio is None and counted[0].basis == "time_share"
    few = by_kernels and any(one.geometry and not one.geometry.settled for one in counted)
    return "settling" if few and word in ("settled", "provisional") else word


def _together(found: Sequence[Word]) -> Word:
    """Return the word for several GPUs: that of the least sure one that was used."""
    return min(found, key=_ORDER.index)


def _figure(run: Run, counted: Sequence[Recommendation], *, stated: bool) -> Figure | None:
    main = run.recommendation
    if main is None:
        return None
    verified = run.verified_sm_ratio
    if verified is not None and stated:
        return Figure(verified, verified, "sm_share", "verified")
    ratios = [ratio for one in counted if (ratio := _ratio(one)) is not None]
    needs = [one.geometry for one in counted if one.geometry is not None and not one.capped]
    if needs and len(needs) == len(counted) and main.basis == "time_share" and ratios:
        low, high = max(n.low_ratio for n in needs), max(n.high_ratio for n in needs)
        return Figure(low, high, "sm_share", "geometry")
    if not ratios:
        return None
    share = max(ratios)
    return Figure(share, share, main.basis, "gpm" if main.basis == "sm_share" else "time")


def _ratio(one: Recommendation) -> float | None:
    """Return the share of a recommendation; where none is predicted, the observed one."""
    if _active_s(one) <= 0.0:
        return None
    if one.target_ratio is not None:
        return one.target_ratio
    return one.mean_ratio if one.observed_ratio is None else one.observed_ratio


def _fullest(counted: Sequence[Recommendation]) -> MemoryEstimate | None:
    """Return the memory estimate of the GPU that needs most."""
    known = [one.memory for one in counted if one.memory and not math.isnan(one.memory.peak_bytes)]
    return max(known, key=lambda one: one.target_bytes or one.peak_bytes, default=None)


def _memory_bytes(memory: MemoryEstimate | None) -> float | None:
    if memory is None:
        return None
    return memory.peak_bytes if memory.target_bytes is None else memory.target_bytes


def _share_words(figure: Figure | None, run: Run) -> str:
    if figure is None:
        return "busy 0 % of the time"
    low, high = percent(figure.low_ratio), percent(figure.high_ratio)
    if figure.basis == "sm_share":
        both = high if low == high else f"{low[:-2]} to {high}"
        return f"needs {both} of the GPU's SMs"
    if _is_cpu(run):
        count = next((one.cpu_count for one in run.started.devices if one.cpu_count), None)
        return f"uses {high} of {'the CPU' if count is None else f'{count} CPU cores'}"
    return f"busy {high} of the time"


def _memory_words(memory: MemoryEstimate | None, word: Word, share: str) -> str:
    """Return the headline's second part; empty where no memory was read."""
    if memory is None:
        return ""
    kind = {"rss": " of host memory", "device-wide": " (whole GPU)"}.get(memory.basis, "")
    if memory.target_bytes is not None and word in _STATED:
        joint = " and " if share.startswith("needs") else ", needs "
        return f"{joint}{gib(memory.target_bytes)}{kind}"
    if word in (*_STATED, "not used yet"):
        return f", at least {gib(memory.peak_bytes)}{kind} so far"
    return f", peak {gib(memory.peak_bytes)}{kind}"


def _headline(run: Run, word: Word, figure: Figure | None, memory: MemoryEstimate | None) -> str:
    share = _share_words(figure, run)
    if word in ("observed", "changed"):
        share = share.replace("needs", "used", 1)
    held = _memory_words(memory, word, share)
    running = run.outcome == "running"
    if word == "too short" and running:
        text = f"watched {span(run.duration_s)} so far"
    elif word == "too short":
        error = f" by {run.error}" if run.error else ""
        text = f"too short to say: {run.outcome}{error} after {span(run.duration_s)}"
        text += _why_nothing(run)
    elif run.recommendation is None:
        text = f"nothing was read in {span(run.duration_s)}"
    elif run.outcome == "failed":
        text = f"stopped by {run.error or 'an error'}{_full(run, memory)}; {share}{held}"
    elif word == "not used yet":
        text = f"the GPU was not used{' yet' if running else ''}: {share}{held}"
    elif word in ("observed", "changed"):
        text = f"{share}{held}: observed, not predicted"
    else:
        text = share + held
    if run.gpus > 1:
        text += f", the largest of {run.gpus} GPUs"
    elif not run.ranks and len(run.started.devices) > 1 and run.recommendation is not None:
        text += f", on {words.device(run.started.share, run.started)}"
    begin = {"replayed": "Replayed: ", "simulated": "Simulated: "}.get(_simulated(run), "")
    begin = begin or ("CPU: " if _is_cpu(run) else "")
    return one_line(begin + text if begin else text[:1].upper() + text[1:])


def _why_nothing(run: Run) -> str:
    """Return why nothing was read of the share; empty where something was, or nobody knows."""
    share = run.started.share
    missing = next((one for one in run.unavailable if one.series == share), None)
    if run.samples or missing is None:
        return ""
    return f": {missing.detail or missing.reason.replace('_', ' ')}"


def _full(run: Run, memory: MemoryEstimate | None) -> str:
    """Return how full the memory was when it ran out; empty where something else went wrong."""
    if memory is None or not _NO_MEMORY.search(run.error):
        return ""
    total = max((one.memory_total_bytes or 0 for one in run.started.devices), default=0)
    peak = gib(memory.peak_bytes)
    return f" at {peak[:-4]} of {gib(total)}" if total and peak.endswith(" GiB") else f" at {peak}"


def _meaning(run: Run, word: Word, figure: Figure | None, memory: MemoryEstimate | None) -> str:
    main = run.recommendation
    if main is None:
        return one_line(f"not available: no reading was taken{_why_nothing(run)}")
    parts = []
    if main.capped:
        parts.append(main.reason)
    elif word == "changed":
        parts.append(_withdrawn(run, main))
    elif word in ("observed", "too short", "not used yet"):
        ended = {"failed": "the cell failed", "interrupted": "the cell was interrupted"}
        parts.append(f"{ended.get(run.outcome, '')}; {main.reason}".removeprefix("; "))
    elif figure is not None and figure.method == "geometry" and main.geometry is not None:
        parts.append(f"for {percent(main.geometry.speed_ratio)} of full speed, by kernel geometry")
        parts.append(f"busy {percent(_ratio(main))} of the time")
        parts.append(f"exports take {percent(figure.high_ratio)}")
    elif run.verified is not None and figure is not None and figure.method == "verified":
        parts.append(f"keeps {percent(run.verified.speed_ratio)} of full speed, tried")
    else:
        so_far = "" if word in ("settled", "provisional") else " so far"
        by = ", by SM activity" if figure is not None and figure.method == "gpm" else ""
        parts.append(f"covers {percent(main.coverage_target_ratio)} of the time{so_far}{by}")
    if memory is not None and memory.target_bytes is not None and word not in _OBSERVED:
        margin = memory.target_bytes / memory.peak_bytes - 1.0 if memory.peak_bytes else 0.0
        parts.append(f"peak {gib(memory.peak_bytes)} + {percent(margin)}")
    elif memory is not None and memory.preallocated:
        parts.append("the framework took the memory in advance: that is not what it needs")
    return one_line(" · ".join(parts))


_STATED = ("settled", "provisional", "settling", "no GPU")
_OBSERVED = ("observed", "changed", "too short", "not used yet")


def _withdrawn(run: Run, main: Recommendation) -> str:
    """Return when and why the prediction was withdrawn."""
    if main.state == "converged":
        held, aim = percent(main.coverage_ratio), percent(main.coverage_target_ratio)
        return f"the prediction held {held} of the time since, not {aim}"
    if main.withdrawn is None:
        times = [one.t_s for one in run.states if one.new == "stale"]
        at = f" at {words.moment(times[-1])}" if times else ""
        return f"usage rose above the prediction{at}; it was withdrawn"
    ratio, at_s = main.withdrawn
    at = words.moment(at_s)
    return f"usage rose above the predicted {percent(ratio)} at {at}; the prediction was withdrawn"


def _evidence(run: Run, word: Word, figure: Figure | None) -> str:
    main = run.recommendation
    if main is None:
        return ""
    whole = "" if main.total_s is None else f" of about {span(main.total_s)}"
    parts = [f"watched {span(_watched_s(run))}{whole}"]
    if main.state == "converged" and main.coverage_ratio is not None:
        parts.append(f"held {percent(main.coverage_ratio)} of the time since")
    if run.outcome == "running" and word in ("settling", "changed", "too short", "no GPU"):
        parts += ["learning again"] if word == "changed" else []
        parts.append(_to_be_sure(main))
    elif word in ("no GPU", "observed") and main.state != "converged":
        parts.append("no prediction")
    if (of := _DONE.search(main.progress)) is not None:
        parts.append(f"{of[2]}s {of[1]}")
    parts.append(_where(run))
    if figure is not None and figure.method == "geometry" and main.geometry is not None:
        parts.append(words.kernels(main.geometry))
    if figure is not None and figure.method == "time" and words.sm_share_hint(run):
        parts.append("SM share: not known from busy time, sweep measures it")
    return one_line(" · ".join(part for part in parts if part))


def _to_be_sure(main: Recommendation) -> str:
    """Return how much more would make the figure sure; empty where that is not known."""
    if main.sure_in_s is not None:
        return f"about {span(main.sure_in_s)} more to be sure"
    if main.state == "converged":
        left_s = LEAST_ACTIVE_S - _active_s(main)
        return f"{span(left_s)} more to be sure" if left_s > 0 else "too few readings to be sure"
    return main.reason


def _notes(run: Run) -> Iterator[str]:
    """Yield what changes the figure's meaning."""
    if run.applied is not None and (run.applied.capped or not run.applied.active):
        yield words.mps(run.applied)
    yield from filter(None, (words.elsewhere(run), words.neighbors(run)))
    slow = [(cause, ratio) for cause, ratio in run.throttled if ratio >= OFTEN_RATIO]
    if slow:
        yield f"the clocks were held down: {words.throttled(slow)}"
    if run.missing_s > OFTEN_RATIO * max(run.duration_s, 1.0):
        yield f"no readings for {span(run.missing_s)} of {span(run.duration_s)}"
    if run.lost_reason:
        yield f"the driver stopped answering: {run.lost_reason}"
    yield from (f"lost: {one}" for one in run.partial)


def _actions(run: Run, word: Word, figure: Figure | None) -> tuple[Action, ...]:
    if run.recommendation is None or word == "too short":
        return ()
    of = run.session_id
    if not of:
        return ()  # a recording that is not stored
    sure = word in ("settled", "no GPU")
    found = [Action("export", "Export…" if sure else "Export anyway…", f"%gpupredict export {of}")]
    if not _is_cpu(run) and not run.started.simulated and not run.capped:
        by_sm = figure is not None and figure.basis == "sm_share"
        found.append(
            Action("verify", "Verify…", f"%gpupredict verify {of}{_ends(figure)}")
            if by_sm
            else Action("sweep", "Sweep…", f"%gpupredict sweep {of}")
        )
    return (
        *found,
        Action("details", "Details", f"%gpupredict show {of}"),
        Action("compare", "Compare", ""),
    )


def _ends(figure: Figure | None) -> str:
    """Return the option that tries the lower end of a bracket; empty where it has one end."""
    if figure is None or figure.low_ratio == figure.high_ratio:
        return ""
    return f" --at {sm_percent(figure.low_ratio, None)}"


# ---- devices -----------------------------------------------------------------------------------


def _devices(run: Run) -> tuple[DeviceRow, ...]:
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
    ratio, memory = _ratio(one), one.memory
    of = "of the SMs" if one.basis == "sm_share" else "of the time"
    held = ""
    if memory is not None and not math.isnan(memory.peak_bytes):
        target = memory.target_bytes if word not in _OBSERVED else None
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


def _where(run: Run) -> str:
    devices = run.started.devices
    main = next((one for one in devices if one.uuid == run.started.share.device), None)
    main = main or next(iter(devices), None)
    if main is None or _is_cpu(run):
        return ""
    mig = f" MIG {profile(main.name)}" if main.uuid.startswith("MIG-") else ""
    return one_line(f"{short(main.name)}{mig}")


def _is_cpu(run: Run) -> bool:
    return run.started.share.metric == "cpu_util_ratio"


def _simulated(run: Run) -> str:
    started = run.started
    if started.source == "replay":
        return "replayed"
    return "simulated" if started.simulated else ""


# ---- details -----------------------------------------------------------------------------------


def _details(run: Run) -> Details:
    """Return at most twelve rows: what is empty is left out."""
    main = run.recommendation
    usage: list[Row] = []
    memory: list[Row] = []
    if main is not None:
        of = METRICS[main.metric].label
        usage = [
            Row(
                "covers",
                f"{percent(main.target_ratio)} {of} for {percent(main.coverage_target_ratio)} "
                "of the time"
                if main.target_ratio is not None
                else "",
                "The smallest usage that is at or above what was used for that part of the time.",
                "covering usage",
            ),
            Row("mean", f"{percent(main.mean_ratio)} {of}" if main.mean_ratio is not None else ""),
            Row(
                "proven",
                words.certified(main),
                "What the watched seconds prove; neighbouring seconds resemble each other.",
                "certified coverage",
            ),
            Row(
                "between",
                words.bounds(main),
                "Where the figure lies for certain, each side with 95 % confidence.",
                "bounds",
            ),
            Row("beside it", "; ".join(filter(None, (_beside(run, one) for one in run.beside)))),
            Row(
                "kernels",
                words.geometry(main),
                "How many SMs the launches of its kernels can use, and what fewer would cost.",
                "kernel",
            ),
            Row(
                "run time",
                words.slowdown(main),
                "How much longer the same work may take at that share of the SMs.",
                "SM share while busy",
            ),
        ]
        usage += [Row("tried", words.verified(run.verified))] if run.verified is not None else []
        memory = [
            Row("memory", words.memory(main.memory), "The peak with a margin on top.", "target"),
            Row("framework", words.allocator(run.allocator)),
        ]
    measuring = [
        Row("read by", words.label(run.started), "Where the readings come from.", "source"),
        Row("readings", _readings(run), "One value of one metric at one time.", "reading"),
        Row("progress", _progress(main)),
        Row("MPS", words.mps(run.applied), "Lets several processes share a GPU.", "MPS"),
        Row("last time", run.started.last_time),
        Row("clocks", words.throttled(run.throttled)),
    ]
    usage, memory, measuring = (
        [dataclasses.replace(row, value=one_line(row.value)) for row in group if row.value]
        for group in (usage, memory, measuring)
    )
    return Details(
        usage=tuple(usage[:5]),
        memory=tuple(memory),
        measuring=tuple(measuring[: 12 - len(usage[:5]) - len(memory)]),
        problems=tuple(map(one_line, _problems(run))),
        ids=one_line(f"{run.outcome}; session {run.session_id}"),
    )


def _beside(run: Run, one: Recommendation) -> str:
    """Return a further share, such as the time beside the SMs; empty for one of another device."""
    main = run.recommendation
    if main is None or one.metric == main.metric:
        return ""
    return f"{percent(_ratio(one))} {METRICS[one.metric].label}, {judge(run, one)}"


def _readings(run: Run) -> str:
    every = words.refresh(run)
    return f"{run.samples}, {every}" if every else f"{run.samples}"


def _progress(main: Recommendation | None) -> str:
    if main is None:
        return ""
    return "; ".join(part for part in (main.progress, words.time_left(main)) if part)


def _problems(run: Run) -> Iterator[str]:
    for one in run.unavailable:
        yield f"no {METRICS[one.series.metric].label}: {one.reason} {one.detail}".strip()
    yield from run.started.notes
    yield from run.errors
