"""What the routes of one server share: threads, runs, devices and news."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import files
from jupyter_gpupredict.frontends.server.devices import Devices
from jupyter_gpupredict.frontends.server.pulse import Pulse
from jupyter_gpupredict.frontends.server.worker import Worker
from jupyter_gpupredict.run import Runs, device_watch

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_KERNELS = 1000
STUCK_S = 0.4
"""A disk that takes longer for one answer is not waited for: others want theirs within a second."""


class Desk:
    """One a server. Nothing is opened and no thread runs before the first request."""

    def __init__(self) -> None:
        self.host = platform.node()
        self.runs = Runs()
        self.driver = Worker("driver", limit_s=2.0)
        """The driver library's thread: it may hang, and then it hangs alone."""
        self.doctor = Worker("doctor", limit_s=20.0)
        """It asks the driver with limits of its own, and waits for nobody."""
        self.files = Worker("files", 10.0, _is_stuck, self._give_up)
        """Lists, news and stop marks."""
        self.reading = Worker("reading", 30.0, _is_stuck, self._give_up)
        """Long traces and exports, so that no list waits for them."""
        self.devices = Devices(self.driver, device_watch)
        self.pulse = Pulse(self.files, self.runs)
        self._kernels: dict[str, None] = {}
        self._told: dict[str, None] = {}

    def serves(self, kernel_id: str, running: Callable[[str], bool]) -> bool:
        """Return whether a kernel is this server's, now or since the server began."""
        if running(kernel_id):
            _remember(self._kernels, kernel_id)
            return True
        return kernel_id in self._kernels

    def is_new(self, session_id: str) -> bool:
        """Return True the first time it is asked about a run."""
        if session_id in self._told:
            return False
        _remember(self._told, session_id)
        return True

    @property
    def replaced(self) -> int:
        """Threads that were given up since the server began."""
        return self.files.replaced + self.reading.replaced

    def _give_up(self, thread: int) -> None:
        files.abandon(thread)
        self.runs.renew()

    def close(self) -> None:
        """End the threads."""
        self.pulse.close()
        if self.driver.close():  # else a call hangs in the driver: leave it alone
            self.devices.close()
        self.doctor.close()
        self.files.close()
        self.reading.close()


def _is_stuck(thread: int) -> bool:
    return files.asking_s(thread) > STUCK_S


def _remember(kept: dict[str, None], key: str) -> None:
    kept[key] = None
    while len(kept) > MAX_KERNELS:
        kept.pop(next(iter(kept)))
