"""Stored and live runs in small objects: for lists of thousands, and for who follows a kernel."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.answer import brief
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.events import SessionFinished
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.run import RunFold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.card import Answer, Tone, Word
    from jupyter_gpupredict.core.metrics import Basis
    from jupyter_gpupredict.core.run import Advising, Ends, Run

NOTHING = "-"
"""The cursor of someone who knows of no run."""
_AS_STARTED = (
    "session_id", "started_at", "kernel_id", "host", "pid", "source", "origin", "simulated",
    "scope", "code_hash", "last_time", "notebook", "cell_id", "first_line",
)  # fmt: skip
"""Fields of a summary that are those of `SessionStarted`."""
_PLACE = re.compile(r"([0-9A-Za-z.-]{1,128}):(-1|[0-9]{1,12})(!?)")


@dataclass(frozen=True, slots=True)
class Summary:
    """One run. Numbers that are not known are None."""

    session_id: str
    started_at: str
    kernel_id: str | None = None
    host: str = ""
    pid: int = 0
    source: str = ""
    origin: str = ""
    simulated: bool = False
    scope: str = "device"
    metric: str = ""
    devices: tuple[tuple[str, str], ...] = ()
    """(UUID, name) of each."""
    code_hash: str | None = None
    last_time: str = ""
    outcome: str = ""
    """As `Run.outcome`; empty: without an end, and nobody has looked whether it still runs."""
    state: str = "warming"
    reason: str = "no reading was taken yet"
    target_ratio: float | None = None
    mean_ratio: float | None = None
    coverage_target_ratio: float | None = None
    coverage_ratio: float | None = None
    memory_peak_bytes: float | None = None
    memory_target_bytes: float | None = None
    memory_basis: str | None = None
    duration_s: float = 0.0
    samples: int | None = None
    size_bytes: int = 0
    problem: str = ""
    """What of its trace is damaged, as far as it was looked at; empty: nothing."""
    notebook: str = ""
    cell_id: str = ""
    first_line: str = ""
    """Notebook and cell, as in `SessionStarted`."""
    headline: str = ""
    word: Word = "too short"
    sign: str = ""
    tone: Tone = "plain"
    device: str = ""
    """The answer in one line, as in `core.answer.Brief`."""
    name: str = ""
    note: str = ""
    """What the user calls the run, and says of it."""
    pinned: bool = False

    @property
    def label(self) -> str:
        """The words for the share metric."""
        return METRICS[self.metric].label if self.metric in METRICS else self.metric

    @property
    def basis(self) -> Basis | None:
        """What the share is a share of."""
        return METRICS[self.metric].basis if self.metric in METRICS else None

    @property
    def over(self) -> bool:
        """Whether the run has an end, or is known to have none."""
        return self.outcome not in ("", "running")

    def text(self) -> str:
        """Return the words a search looks in, in lower case."""
        devices = " ".join(part for device in self.devices for part in device)
        return (
            f"{self.session_id} {self.kernel_id} {self.host} {self.source} {self.origin} "
            f"{self.metric} {devices} {self.state} {self.outcome} {self.code_hash} {self.problem} "
            f"{self.notebook} {self.first_line} {self.headline} {self.word} "
            f"{self.name} {self.note} {'pinned' if self.pinned else ''}"
        ).lower()


ORDERS: dict[str, Callable[[Summary], Any]] = {
    "when": lambda run: 0,  # as they come: the newest first
    "headline": lambda run: -(run.target_ratio or run.mean_ratio or -1.0),
    "notebook": lambda run: run.notebook,
    "device": lambda run: run.device,
    "duration": lambda run: -run.duration_s,
}
"""Order of a list -> what it goes by; equal ones stay newest first."""


def cut(
    runs: Sequence[Summary], order: str, before: str | None, limit: int
) -> tuple[tuple[Summary, ...], str | None]:
    """Return the runs that come after this one in an order, and the last of them if there are more.

    Args:
        runs: Newest first.
        order: One of `ORDERS`.
        before: A run's id; None: from the beginning.
        limit: How many at most.
    """
    found = sorted(runs, key=ORDERS[order])
    begin = next((n for n, one in enumerate(found, 1) if one.session_id == before), 0)
    some = tuple(found[begin : begin + limit])
    return some, some[-1].session_id if len(found) > begin + limit else None


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs of a long list."""

    found: tuple[Summary, ...]
    total: int
    """Runs that are stored."""
    searched: int
    """Of these, how many were looked at; fewer than all when time ran out."""
    before: str | None
    """Where the next page begins; None: this was the last."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a run is known."""

    run: str
    seq: int
    """Events up to this one are known; -1: none."""
    over: bool = False
    """Its end is known too."""


Cursor = tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class RunNews:
    """What is new of one run."""

    summary: Summary
    lines: tuple[str, ...]
    """Events as they lie in the trace, one JSON object each."""
    answer: Answer | None = None
    """None: nothing of it is new."""


@dataclass(frozen=True, slots=True)
class News:
    """What is new of a kernel's runs."""

    runs: tuple[RunNews, ...]
    """Newest first; empty: nothing is new."""
    cursor: Cursor
    """What is known with this."""
    more: bool = False
    """There is more already than one reply holds."""


def summarise(ends: Ends, size_bytes: int = 0) -> Summary:
    """Return the summary of a trace of this length."""
    started = ends.started
    summary = Summary(
        **{name: getattr(started, name) for name in _AS_STARTED},
        metric=started.share.metric,
        devices=tuple((one.uuid, one.name) for one in started.devices),
        size_bytes=size_bytes,
        outcome="lost" if ends.ended else "",
        problem=ends.problem,
    )
    if ends.newest is not None:
        summary = updated(summary, ends.newest)
    return answered(summary, ends)


def run_of(ends: Ends, outcome: str) -> Run:
    """Return a run with its figures and without its readings."""
    folded = RunFold()
    for event in (ends.started, ends.newest):
        if event is not None:
            folded.add(event)
    return folded.record(live=outcome in ("", "running"))


def answered(summary: Summary, ends: Ends) -> Summary:
    """Return a run's summary with its answer in one line."""
    return replace(summary, **brief(run_of(ends, summary.outcome))._asdict())


def damaged(session_id: str, problem: str, size_bytes: int = 0) -> Summary:
    """Return the summary of a trace without a beginning that can be read: its id says when."""
    return Summary(
        session_id,
        datetime.fromtimestamp(began_s(session_id), UTC).isoformat(),
        outcome="lost",
        reason="its trace cannot be read",
        size_bytes=size_bytes,
        problem=problem,
    )


def updated(summary: Summary, last: Advising) -> Summary:
    """Return a run's summary with the figures of a later event."""
    advice = last.recommendation
    memory = advice.memory if advice else None
    finished = last if isinstance(last, SessionFinished) else None
    return replace(
        summary,
        outcome=finished.outcome if finished else summary.outcome,
        state=advice.state if advice else summary.state,
        reason=advice.reason if advice else "no reading was taken",
        target_ratio=advice.target_ratio if advice else None,
        mean_ratio=advice.mean_ratio if advice else None,
        coverage_target_ratio=advice.coverage_target_ratio if advice else None,
        coverage_ratio=advice.coverage_ratio if advice else None,
        memory_peak_bytes=finite(memory.peak_bytes) if memory else None,
        memory_target_bytes=memory.target_bytes if memory else None,
        memory_basis=memory.basis if memory else None,
        duration_s=finished.duration_s if finished else last.t_s,
        samples=finished.samples if finished else None,
    )


@functools.lru_cache(maxsize=4096)
def began_s(session_id: str) -> float:
    """Return when a run began, in whole seconds since 1970; 0 when its id names no time."""
    try:
        return datetime.strptime(session_id[:16], "%Y%m%dT%H%M%S%z").timestamp()
    except ValueError:
        return 0.0


def finite(value: float) -> float | None:
    """Return a number; None where it is NaN or infinite."""
    return value if math.isfinite(value) else None


def parse_cursor(text: str) -> Cursor:
    """Return the cursor in a text.

    Raises:
        InvalidOption: It is not a cursor.

    >>> parse_cursor("20260101T000000Z-h-1-abcd:41!")
    (Place(run='20260101T000000Z-h-1-abcd', seq=41, over=True),)
    """
    if text == NOTHING:
        return ()
    places = []
    for part in text.split(","):
        found = _PLACE.fullmatch(part)
        if found is None:
            raise InvalidOption(
                f"{part[:60]!r} is not a place in a run", "pass the cursor of the last reply back"
            )
        places.append(Place(found[1], int(found[2]), found[3] == "!"))
    return tuple(places)


def cursor_text(cursor: Cursor) -> str:
    """Return a cursor as text.

    >>> cursor_text((Place("b", 4), Place("a", 9, over=True)))
    'b:4,a:9!'
    """
    parts = [f"{place.run}:{place.seq}{'!' if place.over else ''}" for place in cursor]
    return ",".join(parts) or NOTHING
