"""The threads of a run.

The sampler alone touches the source. An alarm ends the measuring by the clock and on request,
whatever the source is at. The delivery thread, one per process and parked between runs, alone
writes traces, sends comm messages and touches widgets: two threads that write one widget tear its
messages apart. It lives on between runs because the kernel keeps a socket for each thread that ever
sent.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from time import thread_time
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.protocols import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.protocols import Clock, Subscriber

SLOW_EVERY_S = 1.0
"""Period of the slow tier: process lists and power cost milliseconds each."""
LOOK_S = 1.0
"""How often somebody looks whether the end was asked for."""
MIN_PERIOD_S = 0.25
"""No subscriber is called more often: four frames a second."""
MAX_QUEUED = 20_000
"""Events kept for subscribers that hang; over an hour at four reads a second."""


def _thread(name: str, target: Callable[..., None], *arguments: Any) -> threading.Thread:
    return threading.Thread(target=target, args=arguments, name=f"gpupredict-{name}", daemon=True)


class Sampler:
    """Calls `tick(slow)` at absolute deadlines until it is stopped or `tick` returns False.

    Args:
        begin: Called first; returns how many seconds apart the ticks are, None for none at all.
        tick: Returns whether to go on.
        end: Called last, in any case.
        clock: Says when a tick is due.
        on_crash: Takes what `begin` and `tick` raise.
    """

    def __init__(
        self,
        begin: Callable[[], float | None],
        tick: Callable[[bool], bool],
        end: Callable[[], None],
        clock: Clock,
        on_crash: Callable[[Exception], None],
    ) -> None:
        self._begin = begin
        self._tick = tick
        self._end = end
        self._clock = clock
        self._on_crash = on_crash
        self._stop = threading.Lock()
        """Free once the thread shall end. An `Event` waits in Python, which costs several times as
        much at each wake-up."""
        self._stop.acquire()
        self._thread: threading.Thread | None = None
        self.cpu_s = 0.0
        """CPU time of the ticks."""

    def start(self) -> None:
        """Start the thread."""
        self._thread = _thread("sampler", self._run)
        self._thread.start()

    def ask_to_end(self) -> None:
        """Have the thread end by itself, after one tick at least; from any thread, idempotent."""
        with contextlib.suppress(RuntimeError):  # it is free already
            self._stop.release()

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end and return whether it did; a driver call may hang. Idempotent."""
        self.ask_to_end()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        with contextlib.suppress(RuntimeError):  # it has not begun, and ends when it does
            thread.join(timeout_s)
        return not thread.is_alive()

    def _run(self) -> None:
        try:
            interval_s = self._begin()
            if interval_s is not None:
                self._tick_every(interval_s)
        except Exception as error:  # noqa: BLE001 - border: a bug of ours must not reach the cell
            self._on_crash(error)
        finally:
            self._end()

    def _tick_every(self, interval_s: float) -> None:
        began_s = thread_time()
        due_s, slow_due_s = self._clock.monotonic_s(), 0.0
        try:
            while True:
                now_s = self._clock.monotonic_s()
                slow = now_s >= slow_due_s
                if slow:
                    # half a wake-up early counts as due: else jitter would skip every other one
                    slow_due_s = now_s + SLOW_EVERY_S - interval_s / 2
                if not self._tick(slow):
                    return
                due_s += interval_s
                behind_s = self._clock.monotonic_s() - due_s
                if behind_s > 0:  # never chase missed deadlines: go on from here
                    due_s += (int(behind_s / interval_s) + 1) * interval_s
                if self._stop.acquire(timeout=max(0.0, due_s - self._clock.monotonic_s())):
                    return
        finally:
            self.cpu_s = thread_time() - began_s


class Alarm:
    """A thread for each reason to end, so that none waits for another.

    The time is up even while the mark of a request lies on a file system that hangs.

    Args:
        limit_s: When the time is up; None: never.
        requested: Whether the end was asked for; None: nobody can. It may take as long as it does.
        on_limit: Called once when the time is up.
        on_request: Called once when the end was asked for.
    """

    def __init__(
        self,
        limit_s: float | None,
        requested: Callable[[], bool] | None,
        on_limit: Callable[[], None],
        on_request: Callable[[], None],
    ) -> None:
        self._off = threading.Event()
        self._threads: list[threading.Thread] = []
        if limit_s is not None:
            self._threads.append(_thread("alarm", self._wait, limit_s, on_limit))
        if requested is not None:
            self._threads.append(_thread("alarm", self._look, requested, on_request))

    def start(self) -> None:
        """Begin to count."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the threads; one that hangs is left behind. May be called twice, or unstarted."""
        self._off.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s)

    def _wait(self, limit_s: float, ring: Callable[[], None]) -> None:
        if not self._off.wait(min(limit_s, threading.TIMEOUT_MAX)):
            ring()

    def _look(self, requested: Callable[[], bool], ring: Callable[[], None]) -> None:
        while not self._off.wait(LOOK_S):
            if requested():
                ring()
                return


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
        """Expect no more events."""
        self._closing = True

    def drain(self) -> None:
        """Deliver what is queued; called on the delivery thread."""
        events = tuple(self._queue.popleft() for _ in range(len(self._queue)))
        if events:
            self._call_each(lambda subscriber: subscriber.deliver(events))
        if self._closing and not self._queue:
            self._call_each(lambda subscriber: subscriber.close())
            self._subscribers.clear()
            self.closed.set()

    def _call_each(self, call: Callable[[Subscriber], None]) -> None:
        for subscriber in tuple(self._subscribers):
            try:
                call(subscriber)
            except Exception as error:  # noqa: BLE001 - border: a view must not end the run
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
            self._thread = _thread("delivery", self._run)
            self._thread.start()

    def wake(self) -> None:
        """Wake the thread: there is something to deliver."""
        self._wake.set()

    def finish(self, channel: Channel, timeout_s: float = 5.0) -> bool:
        """Deliver the rest of a channel and close it; returns whether that was done in time."""
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


def shared_delivery() -> Delivery:
    """Return this process's delivery thread (not started before it is used)."""
    return _delivery


def _forget() -> None:
    """In a forked child there is no thread; events of the parent's run are the parent's."""
    global _delivery  # noqa: PLW0603 - the one per-process object, replaced only after a fork
    _delivery = Delivery()


os.register_at_fork(after_in_child=_forget)
