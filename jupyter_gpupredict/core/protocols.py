"""The seams: what a source, a rule, a renderer and a view must be. One to three methods each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from jupyter_gpupredict.core.deployment import Hosting
from jupyter_gpupredict.core.findings import PodRules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_gpupredict.core.deployment import (
        Capability,
        Document,
        ExportRequest,
        Figures,
        Plan,
        Restriction,
        SharePatch,
    )
    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.findings import Manifest
    from jupyter_gpupredict.core.machine import DeviceTable
    from jupyter_gpupredict.core.progress import Unit
    from jupyter_gpupredict.core.recommendation import Recommendation
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.core.series import Batch, SourceInfo
    from jupyter_gpupredict.core.share import AppliedShare


class TelemetrySource(Protocol):
    """Where readings come from. The constructor does nothing; `open` does."""

    def open(self) -> SourceInfo:
        """Open the source and say what it gives.

        Raises:
            SourceUnavailable: It cannot be used here; the message says why.
        """
        ...

    def read(self, *, slow: bool) -> Batch:
        """Return what is new since the last call, oldest first, stamped in monotonic seconds.

        Args:
            slow: True about once a second: also read what is dear (process lists, power).

        Raises:
            SourceLost: The source stopped answering; the caller may `close` and `open` again.
        """
        ...

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        ...


class DeviceWatch(Protocol):
    """Sees all devices of this machine and who uses them. The constructor does nothing."""

    def read(self) -> DeviceTable:
        """Return every device as it is now; opens what has to be opened, again after a loss.

        Raises:
            TelemetryError: There is no driver, or it is lost.
        """
        ...

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        ...


class ProgressSink(Protocol):
    """Where a hint reports what it sees of the user's loop; cheap, and from any thread."""

    def progress(self, unit: Unit, done: float, total: float | None, hint: str) -> None:
        """Say that so many epochs or steps are complete now; None: the total is not known."""
        ...

    def phase(self, name: str, hint: str) -> None:
        """Say that a phase (`train`, `validation`, `checkpoint`, ...) begins; `other` ends it."""
        ...


class HintSource(Protocol):
    """Reads progress from a library's loop. Never changes the loop, never raises into it."""

    module: str
    """The library's module in which the hook goes; attached once that module is imported."""

    def attach(self, sink: ProgressSink) -> None:
        """Hook into the library, which is imported; called once before `detach`."""
        ...

    def poll(self) -> None:
        """Look at the loop, about once a second on the sampler thread; most have nothing to do.

        What it raises, such as a failure in a hook that was kept from the loop, detaches it.
        """
        ...

    def detach(self) -> None:
        """Take the hook out again; may be called twice, and without `attach`."""
        ...


class Workload(Protocol):
    """What runs the exported function. Whoever inherits gets the defaults."""

    carries: frozenset[Capability]
    switchable: Mapping[Capability, str] = {}
    """What its platform can do and switches off, with the flag that the user says is on."""
    restricts: frozenset[Restriction] = frozenset()
    max_run_s: int | None = None
    """Longest run that a stock platform allows; None: any."""
    sharing: str = "device-plugin"
    """The sharing backend where none is named."""
    refuses: Sequence[tuple[str, str]] = ()
    """Sharing backend, or `*` for any, and why it cannot carry what that needs."""
    scheduled: bool = True
    """A scheduler chooses the machine, and mounts what the function needs."""
    hosting: Hosting = Hosting()
    """What the function's folder and image hold for it."""
    manifests: Sequence[Manifest] = ()
    """The documents it writes, with their schemas and rules; `validate` judges by these."""

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return the files of this workload with the sharing backend's patch applied."""
        ...


class Sharing(PodRules, Protocol):
    """How the function's GPU is divided. Whoever inherits gets the defaults."""

    needs: frozenset[Capability]
    restricts: frozenset[Restriction] = frozenset()
    expresses: frozenset[str]
    """What it applies: `sm_pct`, `time_pct`, `memory_mib`."""
    refuses: str = ""
    """Why it does not go with a workload that carries too little; empty: what is missing."""
    as_root: bool = False
    """Its MPS daemon runs as root, so its clients have to."""
    manifests: Sequence[Manifest] = ()
    """The documents beside the workload, as `Workload.manifests`."""

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return what a workload must carry so that the share is applied."""
        ...


class Subscriber(Protocol):
    """Someone who is told of events, on the delivery thread, in order."""

    name: str

    def deliver(self, events: Sequence[Event]) -> None:
        """Take the events since the last call. An exception detaches the subscriber."""
        ...

    def close(self) -> None:
        """No more events will come."""
        ...


class ShareHold(Protocol):
    """Applies MPS limits to this process for one run. Failures are told, never raised."""

    def begin(self) -> AppliedShare | None:
        """Apply what was asked for; None: nothing was, and nothing is there."""
        ...

    def end(self) -> AppliedShare | None:
        """Put the environment back and say what was in force; once, after `begin`."""
        ...


class ChildProcess(Protocol):
    """A process that is measured in the place of this one."""

    share: ShareHold
    """How it stands to MPS."""

    @property
    def pid(self) -> int:
        """Its process id; what it starts is measured with it."""
        ...


class SessionHandle(Protocol):
    """A measured run, as front-ends see it."""

    @property
    def session_id(self) -> str:
        """The run's id."""
        ...

    @property
    def waiting(self) -> str:
        """Why nothing is measured yet, in words; empty otherwise."""
        ...

    @property
    def recommendation(self) -> Recommendation | None:
        """The newest recommendation; None before the first reading."""
        ...

    @property
    def applied(self) -> AppliedShare | None:
        """How the run stands to MPS; None where it was not asked for and not seen."""
        ...

    def start(self) -> None:
        """Open the source and begin to measure; one that does not answer joins when it does.

        Raises:
            SourceUnavailable: No reading can be had; the message says why.
        """
        ...

    def stop(self, outcome: str) -> Run:
        """End the measuring, deliver what is left and return the run; idempotent.

        Args:
            outcome: `completed`, `failed`, `interrupted` or `stopped`.

        Raises:
            SourceUnavailable: Nothing was measured.
        """
        ...
