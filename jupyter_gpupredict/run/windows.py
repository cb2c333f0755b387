"""When the kernels of a run are recorded: short windows, few of them, in a thread of their own."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.predict.geometry import (
    SPEED_GOAL,
    Geometry,
    Kernels,
    Launches,
    need_of,
)
from jupyter_gpupredict.sources.tracers import BUSY, Tracer, tracers, usable

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.protocols import Clock
    from jupyter_gpupredict.core.recommendation import Recommendation, SmNeed
    from jupyter_gpupredict.predict.occupancy import SmLimits

FIRST_ACTIVE_S = 20.0
"""Active seconds before the first window; further ones come when they have doubled."""
WINDOW_S, LEAST_S = 1.0, 0.25
DUTY_RATIO = 0.02
"""Share of the run's time that all its windows together may take, with what they cost."""
MOST_WINDOWS = 24
LOOK_S = 0.5
YIELD_S = 0.02
"""How often an open window looks whether a user's profiler has begun."""
END_S = 1.0
"""How long the end of a run waits for a window that is open; then its thread is left alone."""
DISTRUST = 2.0
"""A traced busy time so many times apart from the driver's is not scaled, and said."""


class KernelWindows:
    """Records windows of one run's kernels until `end`. What fails costs the figure, and a line.

    Args:
        clock: The run's.
        candidates: Ways to record, the first one preferred.
        look_s: How often it is looked whether a window is due.
    """

    def __init__(
        self, clock: Clock, candidates: tuple[Tracer, ...] | None = None, look_s: float = LOOK_S
    ) -> None:
        self.problem = ""
        """Why there are no further windows; empty: nothing went wrong."""
        self.doubt = ""
        """Why what the windows say may not be of the whole run; empty: nothing speaks for that."""
        self.spent_s = self.cost_s = 0.0
        """Seconds in windows, and what opening, closing, reading and counting them took beside."""
        self._clock, self._look_s = clock, look_s
        self._candidates = tracers() if candidates is None else candidates
        self._asked = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._windows: list[tuple[Launches, float]] = []
        """(launches, length in microseconds) of each."""
        self._sm: SmLimits | None = None
        self._sms: int | None = None
        self._next_s = FIRST_ACTIVE_S
        self._stale = self._busy = False
        self._empty = 0
        """Windows in which no kernel ran."""

    def begin(
        self,
        look: Callable[[], Recommendation | None],
        publish: Callable[[SmNeed], None],
        sms: int | None,
    ) -> None:
        """Begin to look for the right moments.

        Args:
            look: Returns the newest recommendation; from any thread.
            publish: Takes what the windows until now say.
            sms: Of the whole GPU, as the driver says; None: as the profiler says.
        """
        self._sms = sms
        self._thread = threading.Thread(
            target=self._run, args=(look, publish), name="gpupredict-windows", daemon=True
        )
        self._thread.start()

    def end(self, wait_s: float = END_S) -> None:
        """End the thread; one whose profiler does not return is left alone, and said."""
        thread = self._thread
        if thread is None or os.getpid() != self._pid:
            return
        self._asked.set()
        thread.join(wait_s)
        if thread.is_alive():
            self.problem = f"the profiler has not returned for {wait_s:g} s: its thread is left"
        elif (self._busy or self._empty) and not (self._windows or self.problem):
            windows = "1 window" if self._empty == 1 else f"{self._empty} windows"
            why = f"none ran in {windows}" if self._empty else BUSY
            self.problem = f"kernels were not recorded: {why}"

    def _run(
        self, look: Callable[[], Recommendation | None], publish: Callable[[SmNeed], None]
    ) -> None:
        began_s = self._clock.monotonic_s()
        while not self._asked.wait(self._look_s):
            length_s = self._due_s(look(), self._clock.monotonic_s() - began_s)
            if length_s <= 0.0:
                continue
            try:
                need = self._window(usable(self._candidates), length_s, look())
            except GpuPredictError as error:
                if error.message == BUSY:  # a user's profiler goes first; we try again
                    self._busy = True
                    continue
                self.problem = str(error)
                return
            except Exception as error:  # noqa: BLE001 - border: a framework's, in any state
                self.problem = f"kernels were not recorded: {type(error).__name__}: {error}"
                return
            if need is not None and not self._asked.is_set():
                publish(need)

    def _due_s(self, advice: Recommendation | None, elapsed_s: float) -> float:
        """Return how long a window may be now; 0 where none is due."""
        if advice is None or advice.capped or len(self._windows) >= MOST_WINDOWS:
            return 0.0
        stale = advice.state == "stale"
        changed, self._stale = stale and not self._stale, stale
        if changed:
            self._next_s = min(self._next_s, advice.active_s or 0.0)
        if (advice.active_s or 0.0) < self._next_s:
            return 0.0
        allowed_s = DUTY_RATIO * elapsed_s - self.spent_s - self.cost_s
        return min(WINDOW_S, allowed_s) if allowed_s >= LEAST_S else 0.0

    def _window(
        self, tracer: Tracer, length_s: float, advice: Recommendation | None
    ) -> SmNeed | None:
        """Take a window; returns what all of them say until now, and what they cost."""
        began_s, before_s = self._clock.monotonic_s(), self.spent_s
        self._record(tracer, length_s)
        need = self._need(tracer.name, advice)
        self.cost_s += self._clock.monotonic_s() - began_s - (self.spent_s - before_s)
        return None if need is None else replace(need, cost_s=round(self.cost_s, 3))

    def _record(self, tracer: Tracer, length_s: float) -> None:
        inside_s = 0.0

        def wait(taken: Callable[[], bool]) -> bool:
            nonlocal inside_s
            since_s = self._clock.monotonic_s()
            while not (yielded := taken()) and inside_s < length_s:
                if self._asked.wait(min(YIELD_S, length_s - inside_s)):
                    yielded = taken()
                    break
                inside_s = self._clock.monotonic_s() - since_s
            inside_s = self._clock.monotonic_s() - since_s
            return yielded

        profile = tracer.record(wait, self._sms)
        self.spent_s += inside_s
        self._next_s = 2.0 * max(self._next_s, FIRST_ACTIVE_S / 2.0)
        found = profile.launches()
        if inside_s < LEAST_S / 2.0:
            return
        if found is None:
            self._empty += 1
        else:
            launches, gpu = found
            self._sm, self._sms = gpu.sm or self._sm, self._sms or gpu.sms
            self._windows.append((launches, 1e6 * inside_s))

    def _need(self, by: str, advice: Recommendation | None) -> SmNeed | None:
        """Return what the kernels of all windows need, in a run as busy as the driver says."""
        if not self._windows:
            return None
        if self._sms is None or self._sm is None:
            self.problem = "the recorded kernels do not tell what an SM of this GPU holds"
            return None
        kernels = Kernels(self._sms, self._sm)
        total_us = 0.0
        for launches, length_us in self._windows:
            shift_us = total_us - float(launches.start_us.min())
            kernels.add(replace(launches, start_us=launches.start_us + shift_us))
            total_us += length_us
        found = kernels.geometry(total_us)
        if found is None:
            return None
        self.doubt = ""
        found = self._in_the_run(found, advice)
        return need_of(found, by, SPEED_GOAL, len(self._windows))

    def _in_the_run(self, found: Geometry, advice: Recommendation | None) -> Geometry:
        duty = None if advice is None or advice.basis != "time_share" else advice.mean_ratio
        if not duty:
            return found
        if found.busy_ratio / DISTRUST <= duty <= found.busy_ratio * DISTRUST:
            return found.at_duty(duty)
        self.doubt = (
            f"kernels ran for {100 * found.busy_ratio:.0f} % of their windows, and by the driver "
            f"for {100 * duty:.0f} % of the run: the share of the SMs is that of the windows"
        )
        return found
