"""What the watched seconds certify, and whether the run still fits the prediction afterwards.

Both are tests by e-values. The first is the one-sided beta-binomial mixture e-process of Howard,
Ramdas, McAuliffe and Sekhon (Annals of Statistics 49, 2021), valid at whatever moment the rule
chose to stop; dependence between seconds is paid for by an effective sample size. The second, the
guard, is a CUSUM over blocks of five seconds: each block's factor has expectation at most one while
exceedance stays at most 10 %, so false alarms are rare whatever the dependence inside it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.recommendation import Confidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

REQUIRED, LEVEL = 0.90, 0.95
TUNED_FOR = 150.0
"""Effective draws at which the mixture is sharpest."""
BLOCK_S = 5.0
ALLOWED = 0.10
"""Exceedance that a prediction may have."""
BET = 0.25
"""Stake of a block: an empty one always shrinks the wealth by a quarter."""
FALL_POINTS, FALL_S = 0.05, 20.0
"""A prediction fails at once when so much more than allowed has lain above it since it was made,
and that for so long: with 10 % allowed, coverage below 85 %."""
FALL_UNITS = 2.0
"""Seconds, or readings of a slow log, that are too few to say so."""
UNTESTABLE = 0.95
"""A block that may exceed nearly always says nothing."""
ALARM = math.log(1 / 0.05) + math.log(20)
"""5.991: mean time to a false alarm of at least 400 blocks even exactly at 10 %."""


def confidence(
    times_s: Sequence[float], values: Sequence[float], target_ratio: float, coverage: float = 0.95
) -> Confidence:
    """Return what the pooled readings certify about a target chosen from them.

    Args:
        times_s: Stamps of the pooled readings, shape (n,), rising.
        values: The readings, shape (n,), ratio.
        target_ratio: The target that was chosen.
        coverage: Share of the time that the covering usage covers, for its bounds.
    """
    pooled = Exceedance(times_s, values)
    shares = pooled.above(target_ratio)
    if shares.size == 0:
        return Confidence(0.0, 1.0, None, REQUIRED, LEVEL)
    dependence = dependence_s(shares)
    n_eff = shares.size / dependence
    certified = certified_ratio(n_eff, n_eff * float(shares.mean()), 1.0 - LEVEL)
    lower, upper = covering_bounds(pooled, coverage)
    return Confidence(n_eff, dependence, certified, REQUIRED, LEVEL, lower, upper)


class Exceedance:
    """For each second the share of its readings above any level.

    Seconds without a reading are left out. The unit of a second makes the result independent of how
    fast was polled: within one, readings repeat each other.
    """

    def __init__(self, times_s: Sequence[float], values: Sequence[float]) -> None:
        import numpy as np

        self._values = np.asarray(values, dtype=np.float64)
        stamps = np.asarray(times_s, dtype=np.float64)
        first_s = stamps[0] if stamps.size else 0.0
        self._seconds = np.floor(stamps - first_s + 1e-9).astype(np.int64)
        self._count = np.bincount(self._seconds) if stamps.size else np.empty(0, dtype=np.int64)

    def above(self, level_ratio: float) -> NDArray[np.float64]:
        """Return the shares of the readings above a level, shape (seconds,)."""
        import numpy as np

        if not self._count.size:
            return np.empty(0)
        above = (self._values > level_ratio + 1e-9).astype(np.float64)
        total = np.bincount(self._seconds, weights=above)
        present = self._count > 0
        shares: NDArray[np.float64] = total[present] / self._count[present]
        return shares


def covering_bounds(
    pooled: Exceedance, coverage: float, alpha: float = 1.0 - LEVEL
) -> tuple[float | None, float | None]:
    """Return (lower, upper) bound of the covering usage, each right with 1 - alpha.

    They are whole percents as ratios; None where the watched seconds bound nothing. The same test,
    asked at every level: where "more than 1 - coverage lies above" is rejected, the covering usage
    is not higher; where "less than that lies above" is rejected, it is higher.
    """
    if pooled.above(0.0).size == 0:
        return None, None
    p0, threshold = 1.0 - coverage, math.log(1.0 / alpha)

    def evidence(percent: int) -> tuple[float, float]:
        shares = pooled.above(percent / 100.0)
        n = shares.size / dependence_s(shares)
        k = n * float(shares.mean())
        return log_evidence(k, n, p0, alpha), log_evidence(n - k, n, coverage, alpha)

    # The higher the level, the less lies above it: both answers change once, so halving finds them.
    percents = range(101)
    covered = bisect_left(percents, True, key=lambda percent: evidence(percent)[0] >= threshold)
    exceeded = bisect_left(percents, True, key=lambda percent: evidence(percent)[1] < threshold)
    lower = exceeded / 100.0 if exceeded > 0 else None
    return lower, covered / 100.0 if covered <= 100 else None


def dependence_s(shares: NDArray[np.float64]) -> float:
    """Return how many dependent seconds are worth one independent one, at least 1.

    The larger of two estimates of the variance inflation, times 1.5; and never less than the square
    root of the length while fewer than five clusters of exceedance were seen, because then there is
    nothing to estimate it from.
    """
    import numpy as np

    rising = (shares > 0) & np.concatenate(([True], shares[:-1] <= 0))
    clusters = int(rising.sum())
    cautious = math.sqrt(shares.size)
    if clusters == 0:
        return max(1.0, cautious)
    inflation = max(1.0, 1.5 * max(positive_sequence(shares), batch_means(shares)))
    return max(inflation, cautious) if clusters < 5 else inflation


def positive_sequence(shares: NDArray[np.float64]) -> float:
    """Return 1 + twice the autocorrelations up to the first that is not positive (Geyer 1992)."""
    import numpy as np

    n = shares.size
    if n < 8:
        return float(n)
    centred = shares - shares.mean()
    variance = float((centred**2).mean())
    if variance < 1e-9:
        return 1.0
    spectrum = np.fft.rfft(centred, 2 * n)
    products = np.fft.irfft(spectrum * np.conj(spectrum), 2 * n)[: n // 2]
    lags = np.arange(products.size)
    correlation = products / (n - lags) / variance
    stops = np.flatnonzero(correlation[1:] <= 0.0)
    first = int(stops[0]) + 1 if stops.size else products.size
    tail = (1.0 - lags[1:first] / n) * correlation[1:first]
    return max(1.0, 1.0 + 2.0 * float(tail.sum()))


def worst_excess(shares: NDArray[np.float64], limit: float) -> float:
    """Return by how many units the worst stretch of them lay above what a limit allows.

    `shares` are exceedance shares, shape (n,); the worst stretch is the one with the largest sum of
    share less limit.
    """
    import numpy as np

    total = np.concatenate(([0.0], np.cumsum(shares - limit)))
    return float((total - np.minimum.accumulate(total)).max())


def batch_means(shares: NDArray[np.float64]) -> float:
    """Return the variance inflation seen between the means of batches of length sqrt(n)."""
    n = shares.size
    length = max(2, math.isqrt(n))
    batches = n // length
    if batches < 4:
        return float(n)
    variance = float(shares.var())
    if variance < 1e-9:
        return 1.0
    means = shares[: batches * length].reshape(batches, length).mean(axis=1)
    return max(1.0, length * float(means.var(ddof=1)) / variance)


def certified_ratio(n_eff: float, k: float, alpha: float) -> float | None:
    """Return the largest whole percent of coverage certified, as a ratio; None below one half.

    Of `n_eff` effective seconds `k` exceed the target; `alpha` is the chance of ever being wrong.
    """
    best: float | None = None
    for percent in range(50, 0, -1):
        if not log_evidence(k, n_eff, percent / 100.0, alpha) >= math.log(1.0 / alpha):
            break
        best = (100 - percent) / 100.0
    return best


def log_evidence(k: float, n: float, p0: float, alpha: float) -> float:
    """Return the log of the evidence against "exceedance is at least p0"; -inf when none.

    Of `n` effective seconds `k` are in exceedance; the mixture is tuned for the level `alpha`.
    """
    deviation = p0 * n - k
    if deviation <= 0.0 or n <= 0.0:
        return -math.inf
    deviation = min(deviation, p0 * n * (1.0 - 1e-12))
    g, h = 1.0 - p0, p0
    r = tuned_for(TUNED_FOR * g * h, g, h, alpha)
    return log_mixture(deviation, g * h * n, g, h, r)


def tuned_for(variance: float, g: float, h: float, alpha: float) -> float:
    """Return the mixture's parameter at which it is sharpest for this intrinsic variance."""
    scale = 2.0 * math.log(1.0 / (2.0 * alpha))
    return max(variance / (scale + math.log1p(scale)) - g * h, 1e-3 * g * h)


def log_mixture(deviation: float, variance: float, g: float, h: float, r: float) -> float:
    """Return the log of the one-sided beta-binomial mixture (Howard et al. 2021, proposition 7).

    `deviation` is how far the sum lies from its mean under the hypothesis, `variance` its intrinsic
    variance, `g` and `h` the largest steps down and up, `r` the mixture's parameter.
    """
    constant = (
        variance / (g * h) * math.log(g + h)
        - (variance + h * deviation) / (h * (g + h)) * math.log(g)
        - (variance - g * deviation) / (g * (g + h)) * math.log(h)
    )
    x = h / (g + h)
    posterior = _log_incomplete_beta(
        (r + variance - g * deviation) / (g * (g + h)),
        (r + variance + h * deviation) / (h * (g + h)),
        x,
    )
    return constant + posterior - log_prior(g, h, r)


def log_prior(g: float, h: float, r: float) -> float:
    """Return the log of the mixture's normalising integral."""
    return _log_incomplete_beta(r / (g * (g + h)), r / (h * (g + h)), h / (g + h))


def _log_incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the log of the (not regularised) incomplete beta integral from 0 to x."""
    front = a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1.0) / (a + b + 2.0):
        return front + math.log(_continued_fraction(a, b, x)) - math.log(a)
    whole = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    other = front + math.log(_continued_fraction(b, a, 1.0 - x)) - math.log(b)
    return whole + math.log1p(-math.exp(other - whole))


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Evaluate the continued fraction of the incomplete beta integral (DLMF 8.17.22), by Lentz."""
    tiny = 1e-300
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    result = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + term / c
            c = c if abs(c) > tiny else tiny
            result *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return result


class Guard:
    """Watches, after convergence, the share of seconds above the target, in two ways.

    The e-values wait for proof, the longer the more exceedance clusters; a plain reading of the
    coverage since convergence does not wait.
    """

    def __init__(
        self,
        target_ratio: float,
        start_s: float,
        times_s: Sequence[float] = (),
        values: Sequence[float] = (),
    ) -> None:
        """Begin to watch.

        Args:
            target_ratio: The target.
            start_s: Time of the last reading that chose it.
            times_s: Stamps of the readings that chose it, shape (n,).
            values: Those readings, shape (n,), ratio.
        """
        self._target_ratio = target_ratio
        shares = Exceedance(times_s, values).above(target_ratio)
        unit_s = max(1.0, (times_s[-1] - times_s[0]) / shares.size) if shares.size else 1.0
        self._blocks = BlockTest(start_s, positive_sequence(shares) if shares.size else 1.0)
        self._fall = CoverageFall(unit_s * worst_excess(shares, ALLOWED + FALL_POINTS), unit_s)

    def update(
        self, time_s: float, value: float, weight_s: float, allowed: float = ALLOWED
    ) -> bool:
        """Take a reading, whose phase may exceed by `allowed`; True when the prediction fails."""
        above = value > self._target_ratio + 1e-9
        fell = self._fall.update(time_s, above, weight_s, allowed)
        return self._blocks.update(time_s, above, weight_s, allowed) or fell


class CoverageFall:
    """Coverage since convergence, far under its aim for 20 s.

    Far is further than allowed for, by `FALL_POINTS` and by what the worst stretch of the readings
    that chose the target showed: where validation comes in clusters, it may come at once.
    """

    def __init__(self, usual_s: float, unit_s: float = 1.0) -> None:
        self._usual_s = usual_s + FALL_UNITS * unit_s
        self._excess_s, self._since_s = 0.0, math.inf

    def update(self, time_s: float, above: bool, weight_s: float, allowed: float) -> bool:
        """Take a reading; True when the prediction fails."""
        self._excess_s += (above - min(1.0, allowed + FALL_POINTS)) * weight_s
        over = self._excess_s > self._usual_s
        self._since_s = min(self._since_s, time_s) if over else math.inf
        return time_s - self._since_s >= FALL_S - 1e-9


class BlockTest:
    """A CUSUM of e-values, one for each block of five seconds."""

    def __init__(self, start_s: float, dependence_s: float) -> None:
        self._block_end_s = start_s + BLOCK_S
        self._power = min(1.0, BLOCK_S / max(1.0, dependence_s))
        """Never above one: then the factor would be no e-value any more."""
        self._sum = 0.0
        self._seen_s = self._above_s = self._allowed_s = 0.0

    def update(self, time_s: float, above: bool, weight_s: float, allowed: float = ALLOWED) -> bool:
        """Take a reading, which may lie above with this chance; True when the test rejects."""
        alarm = False
        if time_s > self._block_end_s + 1e-9:
            alarm = self._close()
            # blocks that nothing was read in say nothing, however many there are
            passed = math.ceil((time_s - self._block_end_s - 1e-9) / BLOCK_S)
            self._block_end_s += max(0, passed) * BLOCK_S
        self._seen_s += weight_s
        self._allowed_s += allowed * weight_s
        if above:
            self._above_s += weight_s
        return alarm

    def _close(self) -> bool:
        if self._seen_s > 0.0:
            exceedance = self._above_s / self._seen_s
            allowed = self._allowed_s / self._seen_s
            if allowed < UNTESTABLE:
                factor = 1.0 + BET / allowed * (exceedance - allowed)
                self._sum = max(0.0, self._sum) + self._power * math.log(factor)
        self._seen_s = self._above_s = self._allowed_s = 0.0
        self._block_end_s += BLOCK_S
        return self._sum >= ALARM
