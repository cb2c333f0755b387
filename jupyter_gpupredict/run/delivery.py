"""Thread two: hands events to the subscribers. One per process, parked between runs.

It alone writes traces, sends comm messages and touches widgets: two threads that write one widget
tear its messages apart. It lives on between runs because the kernel keeps a socket for each thread
that ever sent.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.protocols import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.protocols import Subscriber

MIN_PERIOD_S = 0.25
"""No subscriber is called more often: four frames a second."""
MAX_QUEUED = 20_000
"""Events kept for subscribers that hang; over an hour at four reads a second."""


class Channel:
    """The events of one run on their way to its subscribers."""

    def __init__(self, subscribers: Iterable[Subscriber]) -> None:
        self._subscribers = list(subscribers)
        self._queue: deque[Event] = deque()
        self._closing = False
        self.closed = threading.Event()
        self.failures: deque[tuple[str, str]] = deque()
        """(subscriber, error) of every subscriber that was detached; read by the sampler."""
        self.dropped = 0
        """Events lost because the queue was full."""

    def put(self, event: Event) -> None:
        """Queue one event."""
        if len(self._queue) >= MAX_QUEUED:
            self.dropped += 1
            return
        self._queue.append(event)

    def close(self) -> None:
        """Say that no more events will come."""
        self._closing = True

    def drain(self) -> None:
        """Deliver what is queued; called on the delivery thread."""
        events = tuple(self._queue.popleft() for _ in range(len(self._queue)))
        if events:
            for subscriber in tuple(self._subscribers):
                try:
                    subscriber.deliver(events)
                except Exception as error:  # noqa: BLE001 - border: a view must not end the run
                    self._detach(subscriber, error)
        if self._closing and not self._queue:
            for subscriber in tuple(self._subscribers):
                try:
                    subscriber.close()
                except Exception as error:  # noqa: BLE001 - border, as above
                    self._detach(subscriber, error)
            self._subscribers.clear()
            self.closed.set()

    def _detach(self, subscriber: Subscriber, error: Exception) -> None:
        self._subscribers.remove(subscriber)
        self.failures.append((subscriber.name, f"{type(error).__name__}: {error}"))


class Delivery:
    """The delivery thread."""

    def __init__(self) -> None:
        self._channels: list[Channel] = []
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None

    def attach(self, channel: Channel) -> None:
        """Begin to deliver a channel; starts the thread the first time."""
        self._channels.append(channel)
        if self._thread is None or not self._thread.is_alive():
            self._ending = False
            self._thread = threading.Thread(
                target=self._run, name="gpupredict-delivery", daemon=True
            )
            self._thread.start()

    def wake(self) -> None:
        """Say that there is something to deliver."""
        self._wake.set()

    def finish(self, channel: Channel, timeout_s: float = 5.0) -> bool:
        """Deliver the rest of a channel and close it.

        Returns:
            False when a subscriber did not return in time; it is then left behind.
        """
        channel.close()
        self._urgent.set()
        self.wake()
        done = channel.closed.wait(timeout_s)
        if not done and channel in self._channels:
            self._channels.remove(channel)
        return done

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """End the thread; it starts again with the next `attach`."""
        self._ending = True
        self._urgent.set()
        self.wake()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    def _run(self) -> None:
        clock, last_s = SystemClock(), float("-inf")
        while not self._ending:
            self._wake.wait()
            self._urgent.wait(max(0.0, MIN_PERIOD_S - (clock.monotonic_s() - last_s)))
            last_s = clock.monotonic_s()
            self._wake.clear()
            self._urgent.clear()
            for channel in tuple(self._channels):
                channel.drain()
                if channel.closed.is_set() and channel in self._channels:
                    self._channels.remove(channel)


_delivery = Delivery()


def shared() -> Delivery:
    """Return this process's delivery thread (not started before it is used)."""
    return _delivery


def _forget() -> None:
    """In a forked child there is no thread; events of the parent's run are the parent's."""
    global _delivery  # noqa: PLW0603 - the one per-process object, replaced only after a fork
    _delivery = Delivery()


os.register_at_fork(after_in_child=_forget)
