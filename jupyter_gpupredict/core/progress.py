"""How far the user's loop has come: marks in time, and whose word counts.

A hint says something; it never changes the loop, never raises, and may fall silent at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["epoch", "step"]
KNOWN_PHASES = ("train", "validation", "checkpoint")
"""Phases that hints report; people may name others."""
OTHER = "other"
"""Time outside any named phase."""
_PRECEDENCE = {"api": 0, "trace": 0, "lightning": 1, "keras": 1, "transformers": 1, "tqdm": 2}


@dataclass(frozen=True, slots=True)
class Progress:
    """So many epochs or steps are complete."""

    time_s: float
    """Monotonic seconds (in a session: since it began)."""
    unit: Unit
    done: float
    total: float | None
    """None: not known."""
    hint: str
    """Who says so: `api`, `trace`, or a framework's name."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A named part of the run began; the former one ended."""

    time_s: float
    name: str
    hint: str


Mark = Progress | Phase


def precedence(hint: str) -> int:
    """Return a hint's rank: the lower one's word counts where two speak of the same thing.

    >>> precedence("api") < precedence("keras") < precedence("tqdm")
    True
    """
    return _PRECEDENCE.get(hint, 1)
