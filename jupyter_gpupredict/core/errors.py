"""The errors this package raises on purpose. Every one carries a hint that says what to do next.

Libraries' errors are translated once, where the library enters (`raise ... from error`). Only entry
points render: the magic one line, the command line an exit status, the server a status code.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Fix:
    """Options with which what was refused passes, as a dialog offers them."""

    label: str
    """What a control says; never a flag's name."""
    options: Mapping[str, Any]
    """Option -> value, in its JSON form; a list is added to what is given already."""
    asks: bool = False
    """The user gives the value of the one option: that in `options` is a suggestion, or None."""
    assumed: Any = None
    """The value with which to look for what else is in the way, where `asks` has no suggestion."""


class GpuPredictError(Exception):
    """An error with one clear line and a hint."""

    def __init__(self, message: str, hint: str = "", fixes: Sequence[Fix] = ()) -> None:
        self.message, self.hint = plain.one_line(message), plain.one_line(hint)
        self.fixes = tuple(fixes)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(GpuPredictError):
    """An option, a name or a combination of them is wrong."""


class UnknownName(ConfigError):
    """A name that is not registered; suggests the nearest known one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else "known: " + (", ".join(names) or "none yet")
        )
        super().__init__(f"unknown {kind} {name!r}", hint)


class InvalidOption(ConfigError):
    """An option has a value outside its range or of the wrong kind."""


class MissingExtra(ConfigError):
    """Something is asked for whose library is an extra that is not installed."""

    def __init__(self, what: str, library: str, extra: str) -> None:
        super().__init__(
            f"{what} needs {library}, which is not installed",
            f"pip install 'jupyter_gpupredict[{extra}]'",
        )


class TelemetryError(GpuPredictError):
    """A telemetry source failed; `reason` is one of `core.metrics.REASONS`."""

    def __init__(self, message: str, hint: str = "", reason: str = "no_device") -> None:
        super().__init__(message, hint)
        self.reason = reason


class SourceUnavailable(TelemetryError):
    """The source cannot be opened here."""


class SourceLost(TelemetryError):
    """The source was open and is gone."""


class PermissionDenied(TelemetryError):
    """The source exists and may not be read by this user."""


class MpsError(GpuPredictError):
    """Something about NVIDIA MPS."""


class DaemonNotRunning(MpsError):
    """There is no control daemon to talk to, or no program to start one with."""


class ForeignDaemon(MpsError):
    """A daemon or a directory belongs to someone else, and is left alone."""


class ContextExists(MpsError):
    """CUDA is initialised in this process, so its limits are fixed."""


class ControlTimeout(MpsError):
    """The control program gave no answer in time."""


class ServerFault(MpsError):
    """The daemon or its server failed, or its answer cannot be read."""


class LimitRefused(MpsError):
    """A share or memory limit was not accepted."""


class PredictionError(GpuPredictError):
    """A prediction was asked for that cannot be made."""


class NotEnoughSamples(PredictionError):
    """There is no finite reading to predict from. Never answered with a guess."""


class VerifyRefused(PredictionError):
    """A share cannot be verified: the function's speed is not known, or it failed."""


class ExportError(GpuPredictError):
    """A prediction cannot become the manifest that was asked for."""


class Incompatible(ExportError):
    """This workload and this sharing backend do not go together."""


class Refused(ExportError):
    """The export needs `force`, because the data behind it is not what it seems."""


class Unrepresentable(ExportError):
    """A value cannot be written into this target."""


class CodeRefused(ExportError):
    """The function's code cannot be written; its manifests could be."""


class UnsupportedCell(CodeRefused):
    """The cell needs something that a module of its own cannot have."""


class SecretFound(CodeRefused):
    """The code holds what looks like a credential; its value is never repeated."""


class TrialFailed(CodeRefused):
    """The written folder does not import in a clean process."""


class OutputExists(ExportError):
    """A file that would be written is already there."""


class TraceError(GpuPredictError):
    """A trace cannot be read."""


class SchemaMismatch(TraceError):
    """The trace was written by a version with another schema."""


class Malformed(TraceError):
    """The file is not a trace that we know."""


class Capped(TraceError):
    """The trace is of a run that MPS capped: nothing can be predicted from it."""


class Truncated(TraceError):
    """The trace ends before it says anything."""


class NoAnswer(TraceError):
    """The disk that a trace lies on does not answer."""
