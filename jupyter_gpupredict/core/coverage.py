"""Covering usage of many windows at once, for recorded traces: numpy alone, one thread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from jupyter_gpupredict.core.errors import InvalidOption

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SLACK = 1e-9
_BLOCK = 1 << 19
"""Bytes of samples judged at once: with their flags 1 MiB, which stays in cache while it is passed
over seven times, and enough that numpy's cost for a call spreads over a thousand windows."""
_WORDS = 255
"""Words of flags that can be added up before the count in one byte overflows."""
_EVEN = np.uint64(0x00FF00FF00FF00FF)
_ONES = np.uint64(0x0001000100010001)
_BYTE = np.uint64(8)
_TOP = np.uint64(48)


def covering_windows(
    percents: NDArray[np.uint8], window: int, coverage: float = 0.95
) -> NDArray[np.uint8]:
    """Return the least whole percent that covers this share of each window, shape (n // window,).

    Windows do not overlap; a last, partial one is not judged. Each sample counts the same. The
    answer is found bit by bit, from the top: a bit is set where too few samples lie below the value
    that it makes.

    Args:
        percents: Samples, shape (n,), whole percent, 0..100 (any byte is judged exactly).
        window: Samples in a window, at least 1; made for some hundreds.
        coverage: Share of the samples to cover, 0..1.

    Raises:
        InvalidOption: The window is empty, the share lies outside 0..1, or the samples are not one
            row of bytes.

    >>> covering_windows(np.array([20, 40, 90, 90, 10, 10, 10, 70, 5], np.uint8), 4, 0.75)
    array([90, 10], dtype=uint8)
    """
    if percents.dtype != np.uint8 or percents.ndim != 1:
        raise InvalidOption("samples are not one row of bytes", "pass uint8 percents, shape (n,)")
    if window < 1 or not 0.0 <= coverage <= 1.0:
        raise InvalidOption(
            f"no window of {window} samples has a covering usage for {coverage}",
            "window >= 1, coverage 0..1",
        )
    count = len(percents) // window
    rows = percents[: count * window].reshape(count, window)
    found = np.zeros(count, np.uint8)
    wanted = math.ceil(coverage * window - _SLACK)
    step = max(1, _BLOCK // window)
    parts = -(-window // (8 * _WORDS))
    # the padding behind each window stays False
    flags = np.zeros((min(step, count), parts * -(-window // (8 * parts)) * 8), np.bool_)
    for first in range(0, count, step):
        block = rows[first : first + step]
        answers = found[first : first + step]
        below = flags[: len(block)]
        for place in reversed(range(int(block.max()).bit_length())):
            trial = answers | np.uint8(1 << place)
            np.less(block, trial[:, np.newaxis], out=below[:, :window])
            np.copyto(answers, trial, where=_count_true(below, parts) < wanted)
    return found


def _count_true(flags: NDArray[np.bool_], parts: int) -> NDArray[np.uint64]:
    """Return how many flags of each row are set, shape (rows,).

    Eight flags are added at once, as the bytes of one word.

    Args:
        flags: Shape (rows, n), contiguous; n is a multiple of 8 * parts.
        parts: Pieces to count a row in; none may be longer than `_WORDS` words.
    """
    words = flags.view(np.uint64).reshape(len(flags), parts, -1)
    # a plain sum that starts faster than `words.sum(axis=2)`: 6 ns a row of 38 words, not 17
    bytewise = np.einsum("rpw->rp", words)
    pairs = (bytewise & _EVEN) + (bytewise >> _BYTE & _EVEN)
    counts: NDArray[np.uint64] = (pairs * _ONES >> _TOP).sum(axis=1)
    return counts
