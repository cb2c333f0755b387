"""The server's own devices: read at most once a second, whoever asks, and never waited for long."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import TelemetryError
from jupyter_gpupredict.frontends.server.worker import Busy, TooSlow

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_gpupredict.core.devices import DeviceTable
    from jupyter_gpupredict.core.protocols import DeviceWatch
    from jupyter_gpupredict.frontends.server.worker import Worker

KEEP_S = 1.0
GLANCE_S = 0.5
"""What those who have more to tell than the devices wait for them."""
DRIVER_SHARE = 0.05
"""Of the time may go into reading: what took longer is kept longer."""
SLOW_MESSAGE = "the driver did not answer in time"
SLOW_HINT = "nvidia-smi may hang too: see the system log for Xid errors"


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest devices, and what was wrong with the last try."""

    table: DeviceTable | None = None
    """None: never read, or lost."""
    read_at: datetime | None = None
    age_s: float | None = None
    reason: str = ""
    """One of `core.metrics.REASONS`; empty: the last try went well."""
    message: str = ""
    hint: str = ""


class Devices:
    """Asks the driver on its own thread; all requests at one time share one reading."""

    def __init__(self, worker: Worker, make_watch: Callable[[], DeviceWatch]) -> None:
        self._worker = worker
        self._make_watch = make_watch
        self._watch: DeviceWatch | None = None
        self._kept = Reading()
        self._read_s = float("-inf")
        self._tried_s = float("-inf")
        self._keep_s = KEEP_S
        self._current: asyncio.Task[None] | None = None

    @property
    def hangs(self) -> bool:
        """Whether a call of the driver has not returned in time: its thread waits for it."""
        return self._worker.occupied and self._kept.reason == "timed_out"

    async def now(self, wait_s: float | None = None) -> Reading:
        """Return the devices as of a second ago, or why that cannot be had.

        Args:
            wait_s: Seconds after which what is known already will do; None: as long as it takes.
        """
        due = time.monotonic() - self._tried_s >= self._keep_s
        if self._current is None and due and not self.hangs:  # to queue behind it would not help
            self._current = asyncio.create_task(self._read())
        if self._current is not None:
            done, _ = await asyncio.wait([self._current], timeout=wait_s)
            for task in done:
                task.result()
        age_s = time.monotonic() - self._read_s if self._kept.table is not None else None
        kept = self._kept
        if kept.table is None and not kept.reason:
            kept = replace(kept, reason="no_data_yet", message="the driver has not answered yet")
        return replace(kept, age_s=age_s)

    def close(self) -> None:
        """Let go of the driver; only when the worker's thread has ended."""
        if self._watch is not None:
            self._watch.close()

    async def _read(self) -> None:
        began_s = time.monotonic()
        try:
            table = await self._worker.do(self._ask)
        except TelemetryError as error:
            self._kept = Reading(reason=error.reason, message=error.message, hint=error.hint)
        except TooSlow:
            self._fail("timed_out", SLOW_MESSAGE, SLOW_HINT)
        except Busy:
            self._fail("timed_out", "too many requests wait for the driver", "ask again later")
        else:
            self._kept = Reading(table, datetime.now(UTC))
            self._read_s = time.monotonic()
            self._keep_s = max(KEEP_S, (self._read_s - began_s) / DRIVER_SHARE)
        finally:
            self._tried_s = time.monotonic()
            self._current = None

    def _ask(self) -> DeviceTable:
        """Read; on the worker's thread, which alone touches the driver."""
        if self._watch is None:
            self._watch = self._make_watch()
        return self._watch.read()

    def _fail(self, reason: str, message: str, hint: str) -> None:
        """Keep the old devices: they are told with their age."""
        self._kept = replace(self._kept, reason=reason, message=message, hint=hint)
