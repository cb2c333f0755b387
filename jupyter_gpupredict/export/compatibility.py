"""What goes with what: the adapters, and capabilities carried against capabilities needed.

A pair is supported when the workload carries all that the sharing backend needs. Both may put a
refusal in their own terms; one that they have no words for is refused in general ones.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict.export.deployment import Capability, Sharing, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jupyter_gpupredict.export.findings import Manifest

EXPRESSES = ("sm_pct", "time_pct", "memory_mib", "timeout_s")
"""What a pair can carry."""


@dataclass(frozen=True, slots=True)
class Adapters:
    """All workloads and sharing backends by name, third parties' among them."""

    workloads: Mapping[str, Workload]
    sharings: Mapping[str, Sharing]

    def manifests(self) -> Iterator[Manifest]:
        """Yield the documents that they write."""
        for workload in self.workloads.values():
            yield from workload.manifests
        for sharing in self.sharings.values():
            yield from sharing.manifests

    def refusal(self, workload: str, sharing: str, features: Iterable[str] = ()) -> str:
        """Return why a pair does not go together; empty when it does."""
        runs, divides = self.workloads[workload], self.sharings[sharing]
        missing = divides.needs - carried(runs, features)
        if not missing:
            return ""
        if missing <= set(runs.switchable):
            return f"needs {_words(missing)}, which a stock Knative switches off"
        own = dict(runs.refuses)
        reasons = (own.get(sharing), divides.refuses, own.get("*"))
        general = f"{workload} cannot carry {_words(missing)}"
        return next((reason for reason in reasons if reason), general)

    def flags(self, workload: str, sharing: str) -> list[str]:
        """Return the feature flags of the platform without which a pair does not go together."""
        runs, missing = self.workloads[workload], self.sharings[sharing].needs
        missing -= runs.carries
        switches = runs.switchable
        return sorted(switches[one] for one in missing) if missing <= set(switches) else []

    def nearest(self, workload: str, sharing: str) -> tuple[str, str] | None:
        """Return the nearest supported pair: the same workload first, then the same sharing.

        Of several, one that applies the same kinds of figures.
        """
        wanted = self.sharings[sharing].expresses
        others = [name for name in self.sharings if not self.refusal(workload, name)]
        if others:
            best = max(others, key=lambda name: len(wanted & self.sharings[name].expresses))
            return workload, best
        return next(
            ((one, sharing) for one in self.workloads if not self.refusal(one, sharing)), None
        )


def adapters() -> Adapters:
    """Return every registered adapter.

    Raises:
        ConfigError: A third party's adapter does not import.
    """
    return Adapters(_made("workloads", Workload), _made("sharing", Sharing))


def _made(kind: str, protocol: type) -> dict[str, Any]:
    """Return one of each by name."""
    return {name: made(registry.load(kind, name), protocol) for name in registry.names(kind)}


def made(adapter: type, protocol: type) -> Any:
    """Return an adapter; one that does not inherit its protocol gets the defaults, too."""
    if protocol not in adapter.__mro__:
        adapter = types.new_class(adapter.__name__, (adapter, protocol))
    return adapter()


def carried(workload: Workload, features: Iterable[str]) -> frozenset[Capability]:
    """Return what a workload carries where its platform has these feature flags on."""
    allowed = set(features)
    on = {one for one, flag in workload.switchable.items() if flag in allowed}
    return workload.carries | on


def targets() -> list[dict[str, Any]]:
    """Return every pair of workload and sharing backend, with the reason where it is refused.

    `default` marks the backend that is meant where none is named.
    """
    known = adapters()
    pairs = []
    for workload, runs in known.workloads.items():
        for sharing, divides in known.sharings.items():
            reason = known.refusal(workload, sharing)
            timed = {"timeout_s"} if Capability.TIME_LIMIT in runs.carries else set()
            can = divides.expresses | timed
            pairs.append(
                {
                    "workload": workload,
                    "sharing": sharing,
                    "supported": not reason,
                    "reason": reason,
                    "expresses": [one for one in EXPRESSES if one in can and not reason],
                    "default": sharing == runs.sharing,
                    "runs": runs.about,
                    "divides": divides.about,
                }
            )
    return pairs


def _words(missing: Iterable[Capability]) -> str:
    return ", ".join(sorted(capability.value for capability in missing))
