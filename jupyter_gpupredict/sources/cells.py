"""What the cells of a log say: numbers with their units, and times in the forms that tools write.

Sources: `nvidia-smi --help-query-gpu` (`[N/A]`, `[Not Supported]`, `ERR!`), ISO 8601, ctime.
"""

from __future__ import annotations

import contextlib
import math
import re
from datetime import date
from operator import add, itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MISSING = frozenset((
    "", "-", "--", "n/a", "na", "nan", "null", "none", "err", "err!", "error", "unknown",
    "unknown error", "not supported", "not available", "not found", "not active", "inf", "-inf",
    "insufficient permissions", "gpu is lost", "gpu requires reset",
))  # fmt: skip
UNITS = {
    "%": 0.01, "percent": 0.01, "pct": 0.01, "percentage": 0.01, "ratio": 1.0, "fraction": 1.0,
    "b": 1.0, "byte": 1.0, "bytes": 1.0, "kb": 2.0**10, "kib": 2.0**10, "mb": 2.0**20,
    "mib": 2.0**20, "gb": 2.0**30, "gib": 2.0**30, "w": 1.0, "watt": 1.0, "watts": 1.0,
    "mw": 1e-3, "milliwatts": 1e-3, "s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0,
    "ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "ns": 1e-9,
}  # fmt: skip
"""Unit, in small letters -> what it is in ours. NVIDIA's tools count MiB, whichever they write."""
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*([%a-z]*)", re.IGNORECASE)
_PLAIN = re.compile(r"\d+(?:\.\d*)?(?:[eE]\+?\d+)?", re.ASCII)
_LARGEST_RAW = 2.0**31 - 17
"""Above it counters say that they have no value (2^31 and -1 unsigned, DCGM's blanks)."""
_LARGEST_BYTES = 2.0**47 - 1
"""The same in bytes: DCGM's blank floating-point number is 2^47."""


def is_missing(text: str) -> bool:
    """Return whether a cell, stripped, says that there is no value."""
    return text.startswith("[") or text.lower() in _MISSING


def number_in(text: str, scale: float) -> float:
    """Return a cell's number in our unit; NaN where it says that there is none.

    Args:
        text: The cell.
        scale: Of one without a unit of its own.

    Raises:
        ValueError: It says something else.

    >>> number_in("90 %", 1.0), number_in("1.5 GiB", 1.0), number_in("[N/A]", 1.0)
    (0.9, 1610612736.0, nan)
    """
    text = text.strip().strip('"').strip()
    if is_missing(text):
        return math.nan
    found = _NUMBER.fullmatch(text.replace(",", ".") if text.count(",") == 1 else text)
    unit = found[2].lower() if found is not None else "?"
    if found is None or (unit and unit not in UNITS):
        raise ValueError(f"{text!r:.40} is not a number")
    return plausible(float(found[1]), UNITS[unit] if unit else scale)


def plausible(value: float, scale: float) -> float:
    """Return a number in our unit, NaN where it stands for a missing one."""
    return value * scale if -1.0 < value <= _top(scale) else math.nan


def _top(scale: float) -> float:
    return _LARGEST_BYTES if scale == 1.0 else _LARGEST_RAW


def numbers_in(cells: Sequence[str], scale: float) -> list[float]:
    """Return what `number_in` does of many cells, each different one read once."""
    different = set(cells)
    if 4 * len(different) < len(cells):
        table = {cell: number_in(cell, scale) for cell in different}
        return list(map(table.__getitem__, cells))
    first = _NUMBER.fullmatch(cells[0])
    if first is not None:
        end = cells[0][first.end(1) :]
        scale_here = UNITS.get(first[2].lower(), scale)
        values: list[float] = []
        with contextlib.suppress(ValueError):
            if not end:
                values = list(map(float, cells))
            elif set(map(itemgetter(slice(-len(end), None)), cells)) == {end}:
                values = [float(cell[: -len(end)]) for cell in cells]
        if values and within(values, 0.0, _top(scale_here)):
            return [value * scale_here for value in values]
    return [number_in(cell, scale) for cell in cells]


def within(values: Sequence[float], low: float, high: float) -> bool:
    """Return whether all are between the two, and none is NaN."""
    return math.isfinite(sum(values)) and low <= min(values) and max(values) <= high


# ---- times ------------------------------------------------------------------------------------

_TIME = r"(?P<h>\d{1,2}):(?P<m>\d{2})(?::(?P<s>\d{2}(?:[.,]\d+)?))?\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
_ZONE = r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
_FORMS = tuple(
    re.compile(form + _ZONE)
    for form in (
        rf"(?P<y>\d{{4}})[-/.](?P<mo>\d{{1,2}})[-/.](?P<d>\d{{1,2}})[\sT,_-]+{_TIME}",
        rf"(?P<a>\d{{1,2}})[-/.](?P<b>\d{{1,2}})[-/.](?P<y>\d{{4}}|\d{{2}})[\sT,_-]+{_TIME}",
        rf"(?P<y>\d{{4}})(?P<mo>\d{{2}})(?P<d>\d{{2}})[\sT,_-]+{_TIME}",
        r"(?P<y>\d{4})(?P<mo>\d{2})(?P<d>\d{2})[\sT_-](?P<h>\d{2})(?P<m>\d{2})(?P<s>\d{2}(?:\.\d+)?)",
        rf"(?:[A-Z][a-z]{{2}},?\s+)?(?P<word>[A-Z][a-z]{{2}})\s+(?P<d>\d{{1,2}})\s+{_TIME}"
        r"(?:\s*[A-Z]{3,5})?\s+(?P<y>\d{4})",
        rf"(?:[A-Z][a-z]{{2}},?\s+)?(?P<d>\d{{1,2}})[\s-](?P<word>[A-Z][a-z]{{2}})[\s-]"
        rf"(?P<y>\d{{4}})\s+{_TIME}(?:\s*[A-Z]{{3,5}})?",
        _TIME,
    )
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
TIMES_READ = "read are times as nvidia-smi writes them, ISO 8601, and Unix seconds or milliseconds"
_MAGNITUDES = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))
"""(least, scale) of Unix times in units below the second."""
_CACHED = 4096
_MINUTE = re.compile(r"[0-5]\d:", re.ASCII)
_DAY_S = 86_400.0
_DAY_FIRST = "dates such as {} are read {} first, as their days then follow one another"


class Clock:
    """Times of one log as seconds from an origin that is the same for all of them.

    Args:
        scale: Seconds of one unit, where a title says which it is.
    """

    def __init__(self, scale: float | None = None) -> None:
        self.note = ""
        self._scale = scale
        self._minutes = _Minutes(self)
        self._cut = 0
        """Characters of such a text."""
        self._form: Callable[[str], float] | None = None
        self._first_date: tuple[int, int, int] | None = None
        """(one, the other, year) of a date that may be read both ways."""
        self._day_first: bool | None = None
        self._shift_s = 0.0
        self._zero: float | None = None
        """The first day, or the first Unix time: seconds since then are few enough to be exact."""
        self._last_s = -math.inf
        self._days = 0

    def place(self) -> tuple[float, int]:
        """Return on which day it is, where only times of a day are read; for `go_back`."""
        return self._last_s, self._days

    def go_back(self, place: tuple[float, int]) -> None:
        """Read once more what came after that place."""
        self._last_s, self._days = place

    def many(self, texts: Sequence[str]) -> list[float]:
        """Return seconds; raises ValueError where one of them is not a time."""
        cut, minutes = self._cut, self._minutes
        if cut:
            with contextlib.suppress(KeyError, ValueError):
                begins = map(minutes.__getitem__, map(itemgetter(slice(cut)), texts))
                seconds = map(float, map(itemgetter(slice(cut, None)), texts))
                return list(map(add, begins, seconds))
        return [self.one(text) for text in texts]

    def one(self, text: str) -> float:
        """Return seconds; raises ValueError where it is not a time."""
        cut = self._cut
        if cut and text[:cut] in self._minutes:
            rest = text[cut:]
            if rest.replace(".", "", 1).isdecimal() and rest.isascii():
                return self._minutes[text[:cut]] + float(rest)
        text = text.strip().strip('"').strip()
        if _PLAIN.fullmatch(text):
            return self._unix(float(text))
        found = next((found for form in _FORMS if (found := form.fullmatch(text))), None)
        if found is None:
            raise ValueError(f"{text!r:.40} is not a time")
        parts = found.groupdict()
        seconds_s = float((parts["s"] or "0").replace(",", "."))
        minute_s = self._minute_s(parts)
        if "h" in parts and not (parts.get("y") or parts.get("word")):
            minute_s = self._wrapped(minute_s, seconds_s)
        elif parts["s"] and not parts.get("half") and not parts.get("zone"):
            cut = found.start("s")
            if found.end("s") == len(text) and text[cut:].replace(".", "", 1).isdecimal():
                if len(self._minutes) >= _CACHED:
                    self._minutes.clear()
                self._cut = cut
                self._minutes[text[:cut]] = minute_s
        return minute_s + seconds_s

    def _unix(self, value: float) -> float:
        if not math.isfinite(value) or value < 0.0:
            raise ValueError(f"{value} is not a time")
        if self._zero is None:
            self._zero = value
            self._scale = next((one for least, one in _MAGNITUDES if value >= least), self._scale)
        passed = value - self._zero
        return passed if self._scale is None else passed / round(1.0 / self._scale)

    def _minute_s(self, parts: dict[str, str | None]) -> float:
        hours, minutes = int(parts["h"] or 0), int(parts["m"] or 0)
        half = (parts.get("half") or "").lower()[:1]
        if half:
            hours = hours % 12 + (12 if half == "p" else 0)
        if hours > 24 or minutes > 59:
            raise ValueError("not a time of a day")
        found_s = 3600.0 * hours + 60.0 * minutes
        zone = parts.get("zone") or ""
        if zone[:1] in "+-" and zone:
            digits = zone[1:].replace(":", "")
            away_s = 3600.0 * int(digits[:2]) + 60.0 * int(digits[2:])
            found_s -= away_s if zone[0] == "+" else -away_s
        day = self._day(parts)
        if parts.get("y"):
            self._zero = day if self._zero is None else self._zero
            day -= round(self._zero)
        return found_s + _DAY_S * day + self._shift_s

    def _day(self, parts: dict[str, str | None]) -> int:
        year = int(parts.get("y") or 0)
        if not year:
            return 0
        if parts.get("a"):
            return self._either(int(parts["a"] or 0), int(parts["b"] or 0), year)
        word = parts.get("word")
        month = _MONTHS.index(word) + 1 if word else int(parts["mo"] or 0)
        return date(year, month, int(parts["d"] or 0)).toordinal()

    def _either(self, one: int, other: int, year: int) -> int:
        """Return the day of a date that may name its day or its month first."""
        year += 2000 if year < 100 else 0
        if self._day_first is None:
            here = _both(one, other, year)
            if not any(here):
                raise ValueError("not a date")
            first = self._first_date or (one, other, year)
            there = _both(*first)
            possible = [bool(a and b) for a, b in zip(here, there, strict=True)]
            if sum(possible) == 1:
                self._day_first = possible[0]
            elif (one, other, year) != first and all(possible):
                steps = [(a or 0) - (b or 0) for a, b in zip(here, there, strict=True)]
                apart = [step if step >= 0 else 1_000_000 - step for step in steps]
                self._day_first = apart[0] < apart[1]
                text = f"{one:02d}/{other:02d}/{year}"
                self.note = _DAY_FIRST.format(text, "day" if self._day_first else "month")
            if self._first_date is None:
                self._first_date = first
            elif self._day_first is not None:
                # what was read before was taken day first, and stays where it is
                self._shift_s = _DAY_S * (
                    (there[0] or 0) - (there[0 if self._day_first else 1] or 0)
                )
            if self._day_first is None:
                return here[0] or 0
        day, month = (one, other) if self._day_first else (other, one)
        return date(year, month, day).toordinal()

    def _wrapped(self, minute_s: float, seconds_s: float) -> float:
        """Return a time without a date on the day that it belongs to."""
        now_s = minute_s + seconds_s
        if now_s + _DAY_S * self._days < self._last_s - _DAY_S / 2:
            self._days += 1
        self._last_s = max(self._last_s, now_s + _DAY_S * self._days)
        return minute_s + _DAY_S * self._days


class _Minutes(dict[str, float]):
    """Text up to the seconds -> its time; what is not known yet is asked of the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hours: dict[str, float] = {}
        """The hour that was asked for last, text up to its minute -> its time."""

    def __missing__(self, text: str) -> float:
        """Return the time; raises ValueError where it is not one."""
        hour, minute = text[:-3], text[-3:]
        if hour not in self._hours or not _MINUTE.fullmatch(minute):
            found_s = self._clock.one(f"{text}00")
            self._hours = {hour: found_s - 60.0 * int(minute[:2])}
            return found_s
        if len(self) >= _CACHED:
            self.clear()
        found_s = self[text] = self._hours[hour] + 60.0 * int(minute[:2])
        return found_s


def _both(one: int, other: int, year: int) -> tuple[int | None, int | None]:
    """Return the day read day first, and month first."""
    found: list[int | None] = []
    for day, month in ((one, other), (other, one)):
        try:
            found.append(date(year, month, day).toordinal())
        except ValueError:
            found.append(None)
    return found[0], found[1]
