"""tqdm: looks once a second at the bars that are alive.

tqdm keeps them in a private set, which its subclasses (notebook, auto, rich) share; nothing is
hooked. Marks are therefore up to one poll late, and a whole epoch shorter than that may be missed.
A `for` loop writes its count to the bar when it redraws, every 0.1 s by default.

Which bar counts epochs? Taking steps for epochs would let a prediction settle after three batches;
taking epochs for steps only forgoes a gain. So a bar counts epochs when something says so:

- its unit says epoch, or its description does without a number ("Epochs");
- or another bar with a length has run inside it;
- or it is alone, nothing in its description speaks of something else than training, its length is
  at most 100, and an iteration takes 10 s or more: no shorter cycle is worth the risk.

"Epoch 3/10" describes the steps of one epoch, mostly one bar after the other: there the number says
how many epochs are complete. Every other bar counts steps. Bars of bytes (downloads) and bars that
have not moved since before the session are nobody's loop.
"""

from __future__ import annotations

import re
import sys
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.run.hints import Reporter

if TYPE_CHECKING:
    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.protocols import ProgressSink

FEW = 100
"""The longest bar that may count epochs without saying so."""
SLOW_S = 10.0
"""The shortest iteration of such a bar."""
_NUMBERED = re.compile(r"epoch\W{0,3}(\d+)(?:\s*(?:/|of)\s*(\d+))?", re.IGNORECASE)
_EPOCH = re.compile(r"epoch", re.IGNORECASE)
_TRAINING = re.compile(r"\W*|.*(?:train|fit|learn|epoch).*", re.IGNORECASE | re.DOTALL)
_BYTES = re.compile(r"\s*[kmg]?i?(?:b|bytes?)\s*", re.IGNORECASE)


class TqdmHint:
    """Progress of `tqdm` bars."""

    module = "tqdm.std"

    def __init__(self) -> None:
        self._reporter = Reporter("tqdm")
        self._kind: Any = None
        self._known: dict[int, _Bar] = {}
        self._reported: dict[Unit, tuple[float, float | None]] = {}
        self._steps: tuple[float, float, float] | None = None
        """(steps in an epoch, epochs complete, steps done) as reported."""
        self._first_number: int | None = None

    def attach(self, sink: ProgressSink) -> None:
        """Note the bars that are there; each counts once it moves."""
        library: Any = sys.modules[self.module]
        self._kind = library.tqdm
        self._known, self._reported, self._steps, self._first_number = {}, {}, None, None
        for bar in self._bars():
            bar.moved = False
            self._known[bar.key] = bar
        self._reporter.open(sink)

    def poll(self) -> None:
        """Report what has changed since the last look."""
        if self._kind is None:
            return
        live = self._look()
        gone = [bar for key, bar in self._known.items() if key not in live]
        self._known = live
        for bar in gone:
            self._end(bar)
        bars = sorted(
            (bar for bar in live.values() if bar.moved), key=lambda bar: (bar.place, bar.began_s)
        )
        if bars:
            self._report_bars(bars)

    def detach(self) -> None:
        """Forget the bars."""
        self._reporter.close()
        self._kind = None
        self._known = {}

    def _bars(self) -> list[_Bar]:
        """Return the bars that are alive and could be somebody's loop."""
        bars: list[Any] = []
        for _ in range(3):  # another thread may add one meanwhile; tqdm's own lock could stall us
            try:
                bars = list(self._kind._instances)
                break
            except RuntimeError:
                continue
        found = (_read(bar) for bar in bars)
        return [bar for bar in found if bar is not None]

    def _look(self) -> dict[int, _Bar]:
        live = {}
        for bar in self._bars():
            before = self._known.get(bar.key)
            if before is not None and before.bar() is bar.bar():
                bar.moved = before.moved or bar.done != before.done
                bar.nests = before.nests
            live[bar.key] = bar
        return live

    def _report_bars(self, bars: list[_Bar]) -> None:
        outer = next((bar for bar in bars if bar.says_epoch), bars[0])
        inner = next(
            (bar for bar in bars if bar.place > outer.place and bar.began_s >= outer.began_s), None
        )
        if inner is not None and outer.number is None:
            outer.nests = True
        if outer.counts_epochs:
            self._report("epoch", outer.done, outer.total)
            if inner is not None:
                self._report_steps(inner, outer.done, outer.total)
        elif outer.number is not None:
            done, total = self._numbered(outer)
            self._report("epoch", done, total)
            self._report_steps(outer, done, total)
        else:
            self._report("step", outer.done, outer.total)

    def _numbered(self, bar: _Bar) -> tuple[float, float | None]:
        """Return the epochs complete before this bar's, and their total; counted from 0 or 1."""
        number, count = bar.number or 0, bar.count
        if self._first_number is None:
            self._first_number = min(number, 1)
        return number - self._first_number, count

    def _report_steps(self, bar: _Bar, epochs: float, total_epochs: float | None) -> None:
        """Report the steps of the whole run, from those of an epoch's first kind of bar.

        Later bars of another length are its validation; one of the same length goes backwards.
        """
        if self._steps is None or epochs < self._steps[1]:
            self._steps = (bar.total, epochs, -1.0)
        in_epoch, _, reported = self._steps
        done = epochs * bar.total + bar.done
        if bar.total == in_epoch and done > reported:
            self._steps = (bar.total, epochs, done)
            self._report("step", done, None if total_epochs is None else total_epochs * bar.total)

    def _end(self, bar: _Bar) -> None:
        """Report a bar's last iteration, which it seldom lives long enough to show."""
        if not bar.moved:
            return
        still = bar.bar()
        complete = bar.done >= bar.total - 1 if still is None else still.n >= bar.total
        if not complete:
            return
        if bar.counts_epochs:
            self._report("epoch", bar.total, bar.total)
        elif bar.number is not None:
            done, total = self._numbered(bar)
            if total is not None and done + 1 >= total:
                self._report("epoch", total, total)
        elif not self._reported.get("epoch"):
            self._report("step", bar.total, bar.total)

    def _report(self, unit: Unit, done: float, total: float | None) -> None:
        if self._reported.get(unit) != (done, total):
            self._reported[unit] = (done, total)
            self._reporter.progress(unit, done, total)


@dataclass(slots=True)
class _Bar:
    """A bar at one look."""

    key: int
    bar: weakref.ref[Any]
    """Weak, so that an abandoned bar still ends when its owner lets go of it."""
    done: float
    total: float
    place: int
    """Line on the screen: 0 is the outermost."""
    began_s: float
    says_epoch: bool
    slow: bool
    """Short, with long iterations, and named like training or not at all."""
    number: int | None
    """Of the epoch whose steps it counts."""
    count: float | None
    """How many such epochs there are."""
    moved: bool = True
    nests: bool = False

    @property
    def counts_epochs(self) -> bool:
        """Whether its iterations are epochs."""
        return self.says_epoch or self.nests or (self.slow and self.number is None)


def _read(bar: Any) -> _Bar | None:
    """Return a bar as it is now; None for one that is not ready, or not a loop."""
    total, began_s = getattr(bar, "total", None), getattr(bar, "start_t", None)
    if total is None or total < 2 or began_s is None:
        return None  # one being made has no start yet
    if _BYTES.fullmatch(bar.unit):
        return None
    name, done = bar.desc or "", bar.n
    unit_says = bool(_EPOCH.search(bar.unit))
    match = None if unit_says else _NUMBERED.search(name)
    took_s, iterations = bar.last_print_t - began_s, bar.last_print_n - bar.initial
    return _Bar(
        key=id(bar),
        bar=weakref.ref(bar),
        done=done,
        total=total,
        place=abs(bar.pos),
        began_s=began_s,
        says_epoch=unit_says or (match is None and bool(_EPOCH.search(name))),
        slow=total <= FEW
        and iterations >= 1
        and took_s >= SLOW_S * iterations
        and _TRAINING.fullmatch(name) is not None,
        number=int(match[1]) if match else None,
        count=float(match[2]) if match and match[2] else None,
    )
