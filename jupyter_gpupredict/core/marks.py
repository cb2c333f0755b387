"""The marks of a recording, held like its rows: a short list in memory, a long one in a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.core.progress import Mark, Phase, Progress
from jupyter_gpupredict.core.rows import Rows, Unsorted

if TYPE_CHECKING:
    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.rows import Row

WORDS_CHARACTERS = 1 << 20
"""Of all the different names of phases and hints in one recording."""
_UNITS: tuple[Unit, ...] = ("epoch", "step")
_PHASE = len(_UNITS)


class Marks(Sequence[Mark]):
    """Marks in the order in which they were appended.

    Args:
        name: Of the recording, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows = Rows(5)
        """(time_s, (unit or phase, its name, done, total, hint)), words as their numbers."""
        self._words: dict[str, int] = {}
        self._texts: list[str] = []
        self._characters = 0
        self._rising = True

    def append(self, mark: Mark) -> None:
        """Add one.

        Raises:
            Malformed: It brings more different names than any run has.
        """
        if self._rows and mark.time_s < self._rows[-1][0]:
            self._rising = False
        cells: tuple[float | None, ...]
        if isinstance(mark, Phase):
            cells = (_PHASE, self._word(mark.name), None, None, self._word(mark.hint))
        else:
            unit, hint = _UNITS.index(mark.unit), self._word(mark.hint)
            cells = (unit, None, mark.done, mark.total, hint)
        self._rows.append(mark.time_s, cells)

    def in_order(self) -> Marks:
        """Return them in the order of their times, equal ones as they came."""
        if not self._rising:
            every = Unsorted(5)
            for time_s, cells in self._rows:
                every.append(time_s, cells)
            self._rows, self._rising = Rows(5, every), True
        return self

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Mark: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Mark, ...]: ...
    def __getitem__(self, at: int | slice) -> Mark | tuple[Mark, ...]:
        """Return a mark, or some."""
        if isinstance(at, slice):
            return tuple(self[k] for k in range(*at.indices(len(self))))
        return self._mark(self._rows[at])

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same marks."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it grows

    def _word(self, text: str) -> int:
        number = self._words.get(text)
        if number is None:
            self._characters += len(text)
            if self._characters > WORDS_CHARACTERS:
                raise Malformed(f"{self._name} names too many phases", "no run has as many")
            number = self._words[text] = len(self._texts)
            self._texts.append(text)
        return number

    def _mark(self, row: Row) -> Mark:
        time_s, (kind, word, done, total, hint) = row
        told = self._texts[int(hint or 0)]
        if kind == _PHASE:
            return Phase(time_s, self._texts[int(word or 0)], told)
        return Progress(time_s, _UNITS[int(kind or 0)], done or 0.0, total, told)
