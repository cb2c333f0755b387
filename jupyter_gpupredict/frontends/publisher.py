"""Events -> frames: at most four a second, only what is new, one message each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.events import SessionFinished
from jupyter_gpupredict.core.run import History, RunFold
from jupyter_gpupredict.core.trace import without_nan
from jupyter_gpupredict.frontends.charts import figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.run import Row

MAX_ROWS = 240
"""Rows a view holds of each series: a whole frame stays below 15 kB."""
FURTHER_EVERY = 4
"""Once a second, at four frames: lines of further devices are sent whole, as they are short."""
KEYFRAME_EVERY = 20
"""A view that lost a message is whole again after five seconds."""
MAX_FAILURES = 5


class Port(Protocol):
    """Where frames go."""

    def push(self, frame: dict[str, Any]) -> None:
        """Send one message."""
        ...


class Publisher:
    """Folds events and sends frames; runs on the delivery thread alone."""

    name = "live view"

    def __init__(self, port: Port) -> None:
        self._port = port
        self._fold = RunFold(share=History(MAX_ROWS), memory=History(MAX_ROWS))
        self._seq = 0
        self._failures = 0
        self._generation = (0, 0)
        self._sent = (0, 0)
        self._said: dict[str, Any] = {}
        """The newest answer, as it was sent."""
        self._curve: tuple[tuple[Any, ...], str] = ((), "")
        """(what it shows, its picture)."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Fold the events and send one frame.

        Raises:
            Exception: Five messages in a row could not be sent.
        """
        for event in events:
            self._fold.add(event)
        ended = isinstance(events[-1], SessionFinished)
        generation = (self._fold.share.generation, self._fold.memory.generation)
        whole = ended or self._seq % KEYFRAME_EVERY == 0 or generation != self._generation
        try:
            self._port.push(self.keyframe() if whole else self._delta())
        except Exception:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                raise
        else:
            self._failures = 0
        self._generation = generation
        self._sent = tuple(  # type: ignore[assignment]  # two in, two out
            len(history) - history.open for history in (self._fold.share, self._fold.memory)
        )
        self._seq += 1

    def close(self) -> None:
        """Nothing is held."""

    def keyframe(self) -> dict[str, Any]:
        """Return everything a view needs to draw from nothing."""
        return self._frame("key", (0, 0))

    def _delta(self) -> dict[str, Any]:
        return self._frame("delta", self._sent)

    def _frame(self, kind: str, first: tuple[int, int]) -> dict[str, Any]:
        fold = self._fold
        advice = fold.recommendation
        return {
            "kind": kind,
            "seq": self._seq,
            "end": round(fold.last_t_s, 2),
            "share_from": first[0],
            "share": [
                [round(t, 2), _percent(low), _percent(high)]
                for t, low, high in fold.share.rows()[first[0] :]
            ],
            "memory_from": first[1],
            "memory": [_memory_row(row) for row in fold.memory.rows()[first[1] :]],
            **self._further(kind),
            "windows": [[round(w.from_s, 2), round(w.to_s, 2)] for w in fold.windows if not w.void],
            "target": _percent(advice.target_ratio) if advice else None,
            "finished": fold.finished is not None,
            "answer": self._answer(kind),
            **self._drawn(kind),
        }

    def _drawn(self, kind: str) -> dict[str, str]:
        """Return the picture of what fewer SMs cost: in keyframes, and where it is a new one."""
        advice = self._fold.recommendation
        if self._fold.started is None or advice is None or advice.geometry is None:
            return {}
        of = (advice.geometry, advice.target_ratio, advice.slowdown)
        same = of == self._curve[0]
        if not same:
            self._curve = of, figures.curve_svg(self._fold.record(live=True))
        return {"curve": self._curve[1]} if kind == "key" or not same else {}

    def _answer(self, kind: str) -> dict[str, Any] | None:
        """Return the card; without its details but in a keyframe, and None where it is the same."""
        if self._fold.started is None:
            return None
        made: dict[str, Any] = without_nan(answer(self._fold.record(live=True)).as_dict())
        details = made.pop("details")
        same, self._said = made == self._said, made
        if kind == "key":
            return {**made, "details": details}
        return None if same else made

    def _further(self, kind: str) -> dict[str, Any]:
        """Return the names of the devices, and the lines of those beside the first."""
        fold = self._fold
        due = kind == "key" or self._seq % FURTHER_EVERY == 0
        if fold.started is None or not fold.further or not due:
            return {}
        lines = [
            [
                words.device(series, fold.started),
                [[round(t, 1), _percent(high)] for t, _, high in history.rows()],
            ]
            for series, history in fold.further.items()
        ]
        return {"first": words.device(fold.started.share, fold.started), "further": lines}


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None or math.isnan(ratio) else round(100 * ratio, 1)


def _memory_row(row: Row) -> list[float | None]:
    time_s, _, high = row
    return [round(time_s, 2), None if math.isnan(high) else round(high / (1 << 20), 1)]
