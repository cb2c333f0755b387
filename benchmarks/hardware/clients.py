"""Child processes for the questions: started as MPS clients or without, always ended."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.hardware.record import Lacking
from jupyter_gpupredict.core.progress import Mark, Progress
from jupyter_gpupredict.mps.child import Child, Program
from jupyter_gpupredict.mps.isolation import SM_COUNT
from jupyter_gpupredict.mps.lease import Host, Lease
from jupyter_gpupredict.mps.states import Ended

PROGRESS = "jupyter_gpupredict.mps.isolation:Listening"


class Client:
    """One running child with what it told."""

    def __init__(
        self,
        text: str,
        lease: Lease,
        params: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.lease = lease
        self.marks: list[Progress] = []
        self.output: list[str] = []
        program = Program(
            text, params=params or {}, progress=PROGRESS, sm_count=SM_COUNT, keep_of="train"
        )
        self.child = Child(
            program,
            {**lease.environment(os.environ), **(environ or {})},
            on_output=lambda _, said: self.output.append(said),
            on_mark=self._mark,
            before_signal=lease.before_signal,
        )

    def _mark(self, mark: Mark) -> None:
        if isinstance(mark, Progress) and mark.unit == "step":
            self.marks.append(mark)

    def running(self, limit_s: float = 60.0) -> None:
        """Wait until it makes steps.

        Raises:
            Lacking: It has ended, or does not begin.
        """
        ended = self.child.wait(time.monotonic() + limit_s, lambda: len(self.marks) > 1)
        if ended is not None or len(self.marks) < 2:
            why = ended.error.message if ended is not None and ended.error else "it does not begin"
            raise Lacking(f"a client does no work: {why}")

    def for_seconds(self, seconds: float) -> Ended | None:
        """Let it go on for so long; returns how it ended, if it did."""
        return self.child.wait(time.monotonic() + seconds)

    def steps_per_s(self, from_s: float, to_s: float) -> float | None:
        """Return its speed within a span of the monotonic clock."""
        inside = [mark for mark in self.marks if from_s <= mark.time_s <= to_s]
        if len(inside) < 2 or inside[-1].time_s <= inside[0].time_s:
            return None
        return (inside[-1].done - inside[0].done) / (inside[-1].time_s - inside[0].time_s)


@contextlib.contextmanager
def started(*clients: Client) -> Iterator[None]:
    """Start clients together, and end them all."""
    try:
        for client in clients:
            client.child.start()
        for client in clients:
            client.child.go()
        yield
    finally:
        for client in clients:
            client.child.interrupt()
        for client in clients:
            client.child.stop()


def answer(
    text: str, lease: Lease, params: Mapping[str, Any] | None = None, limit_s: float = 120.0
) -> dict[str, Any]:
    """Run a function to its end and return what it returned, or how it failed."""
    client = Client(text, lease, params)
    with started(client):
        ended = client.for_seconds(limit_s)
        if ended is None:
            return {"error": f"no end in {limit_s:g} s"}
        if ended.error is not None:
            return {"error": f"{ended.error.name}: {ended.error.message}", "took_s": ended.took_s}
        value = client.child.fetch([""], {})[""].value
    return {"value": value, "sm_count": ended.sm_count, "took_s": ended.took_s}


def alone() -> Lease:
    """Return what a process gets that is no client."""
    return Lease()


def uncapped(host: Host) -> Lease:
    """Return what a client gets that is not held to anything."""
    return host.lease(None, None)
