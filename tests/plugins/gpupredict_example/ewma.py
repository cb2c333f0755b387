"""A stop rule that follows an exponentially weighted mean."""

from jupyter_gpupredict.core.recommendation import Estimate
from jupyter_gpupredict.predict.windows import Counter

HALF_LIFE_S = 60.0


class EwmaRule:
    """Fires when the weighted mean has stayed within the tolerance for `window_s` seconds."""

    def __init__(self, options):
        self._options = options
        self._tolerance = (options.tolerance_points or 2.0) / 100
        self._still_s = options.window_s or 300.0
        self._all = Counter()
        self._times, self._values = [], []
        self._mean = self._anchor = None
        self._since_s = 0.0

    def update(self, time_s, value, weight_s, span_s=None):
        self._all.add(value, weight_s)
        self._times.append(time_s)
        self._values.append(value)
        keep = 0.5 ** (weight_s / HALF_LIFE_S)
        self._mean = value if self._mean is None else keep * self._mean + (1 - keep) * value
        if self._anchor is None or abs(self._mean - self._anchor) > self._tolerance:
            self._anchor, self._since_s = self._mean, time_s
        if time_s - self._since_s < self._still_s:
            return None
        self._since_s = time_s
        return self.predict()

    def predict(self):
        if not self._times:
            return None
        return Estimate(
            converged_at_s=self._times[-1],
            target_ratio=max(0.01, self._all.covering_ratio(self._options.coverage)),
            mean_ratio=self._all.mean_ratio(),
            times_s=tuple(self._times),
            values=tuple(self._values),
        )

    def windows(self):
        return []
