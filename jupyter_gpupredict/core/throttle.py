"""Why a GPU's clocks are below what they could be, in words.

Source: NVML, nvmlClocksEventReasons; DCGM's CLOCKS_EVENT_REASONS has the same bits. Being idle and
a clock that somebody chose are no throttling.
"""

from __future__ import annotations

import math

WORDS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "temperature (software)",
    0x40: "temperature (hardware)",
    0x80: "power brake",
}


def causes(bits: float) -> tuple[str, ...]:
    """Return the words of a bit mask; () where nothing holds the clocks down, or it is NaN.

    >>> causes(0x05)
    ('power cap',)
    """
    if math.isnan(bits):
        return ()
    return tuple(word for bit, word in WORDS.items() if int(bits) & bit)
