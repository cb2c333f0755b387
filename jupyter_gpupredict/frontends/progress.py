"""`track`, `phase` and `epoch`: what people say of their own loop; their word counts most.

Everything works without a session, at the cost of a call, and nothing here raises of itself.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from jupyter_gpupredict.core.progress import OTHER
from jupyter_gpupredict.run import progress_hub

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from jupyter_gpupredict.core.progress import Unit

HINT = "api"
_Item = TypeVar("_Item")


def track(
    iterable: Iterable[_Item], total: float | None = None, unit: Unit = "epoch"
) -> Tracked[_Item]:
    """Return the iterable, to be looped over, which then tells how far it has come.

        for epoch in jupyter_gpupredict.track(range(10)):
            for batch in jupyter_gpupredict.track(loader, unit="step"):
                ...

    The items are the iterable's own, one for one. An item is complete when the next one is asked
    for; a `break` or an exception leaves the last one incomplete. As in a plain loop, an iterator
    that you hold yourself stays open afterwards.

    Args:
        iterable: What to loop over.
        total: How many items there are; None: its `len`, if it has one.
        unit: `epoch`; everything else is `step`, which is never mistaken for an epoch.
    """
    length = _length(iterable)
    kind = Tracked if length is None else SizedTracked
    return kind(iterable, _number(total, length), "epoch" if unit == "epoch" else "step")


class Tracked(Generic[_Item]):
    """An iterable that tells of its progress."""

    def __init__(self, iterable: Iterable[_Item], total: float | None, unit: Unit) -> None:
        self._iterable = iterable
        self._total = total
        self._unit = unit

    def __iter__(self) -> Iterator[_Item]:
        tell, total, unit = progress_hub().progress, self._total, self._unit
        done = 0
        tell(unit, done, total, HINT)
        for item in self._iterable:
            yield item
            done += 1
            tell(unit, done, total, HINT)


class SizedTracked(Tracked[_Item]):
    """One whose length is known; only this kind has `len`, for `bool` and `list` ask for it."""

    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]


_current: ContextVar[str] = ContextVar("gpupredict_phase", default=OTHER)


class phase:  # noqa: N801 - reads as a verb: `with phase("validation"):`
    """Say that a block is a phase of the run, such as `train`, `validation` or `checkpoint`.

    Phases nest; after the block the former one goes on. One object may be used many times.

    Args:
        name: Any name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._former: list[str] = []

    def __enter__(self) -> Self:
        self._former.append(_current.get())
        self._enter(str(self.name))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._enter(self._former.pop() if self._former else OTHER)

    @staticmethod
    def _enter(name: str) -> None:
        # Set, not reset by token: a generator may be closed in another context than it began in.
        _current.set(name)
        progress_hub().phase(name, HINT)


class _Count:
    """Calls of `epoch` in the session that began last."""

    def __init__(self) -> None:
        self.session = -1
        self.done = 0


_count = _Count()


def epoch(total: float | None = None) -> None:
    """Say that one more epoch is complete; counted from the start of the measured cell.

    Args:
        total: How many there will be, when known.
    """
    hub = progress_hub()
    if not hub.listening:
        return
    if hub.joined_count != _count.session:
        _count.session, _count.done = hub.joined_count, 0
        hub.begin(_number(total), HINT)  # only the end of the first epoch tells that there is one
    _count.done += 1
    hub.progress("epoch", _count.done, _number(total), HINT)


def _length(iterable: Any) -> int | None:
    try:
        return len(iterable)
    except Exception:  # noqa: BLE001 - loaders raise what they like; then it has no length
        return None


def _number(*candidates: Any) -> float | None:
    """Return the first that is a count; None when none is."""
    for candidate in candidates:
        try:
            number = float(candidate)
        except Exception:  # noqa: BLE001, PERF203 - a total that is none says nothing, and no more
            continue
        if math.isfinite(number) and number >= 0:
            return number
    return None
