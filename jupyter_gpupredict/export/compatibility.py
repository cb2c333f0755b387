"""What goes with what: capabilities carried against capabilities needed, and one table of reasons.

A pair is supported when the workload carries all that the sharing backend needs. `REASONS` puts a
refusal in the platform's own terms; a pair that is in no line of it is refused in general ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export.deployment import Capability

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jupyter_gpupredict.export.deployment import Sharing, Workload

FEATURES = {
    Capability.HOST_IPC: "kubernetes.podspec-hostipc",
    Capability.HOST_PATH: "kubernetes.podspec-volumes-hostpath",
    Capability.NODE_SELECTOR: "kubernetes.podspec-nodeselector",
    Capability.SCHEDULER_NAME: "kubernetes.podspec-schedulername",
    Capability.RUNTIME_CLASS: "kubernetes.podspec-runtimeclassname",
    Capability.TOLERATIONS: "kubernetes.podspec-tolerations",
}
"""Capability -> the flag of Knative's config-features that switches it on."""
_FISSION = (
    "Fission's admission refuses host IPC and host paths, and newdeploy ignores the function's pod "
    "spec"
)
_OPENFAAS = "an OpenFaaS profile carries runtime class, tolerations and resources, no pod settings"
_CLOUDRUN = "Cloud Run gives a whole GPU: it neither shares one nor runs an MPS daemon"
_ECS = "ECS divides a GPU by fields of its own"
_WHOLE = "a whole GPU needs no share; none is for Cloud Run, which cannot divide one"
_FASTPOD = "a FaSTPod's GPU is divided by its own annotations"
_LOCAL = "a local run asks no scheduler: it is divided by the MPS daemon of its machine"
REASONS: Mapping[tuple[str, str], str] = {
    ("knative", "dra"): "a Knative Service has no resource claims",
    ("kserve", "dra"): "a KServe predictor becomes a Knative Service, which has no resource claims",
    ("nuclio", "dra"): "Nuclio's function spec has no resource claims",
    ("nuclio", "kai"): "Nuclio's function spec has no scheduler name",
    ("nuclio", "volcano"): "Nuclio's function spec has no scheduler name",
    ("fission", "*"): _FISSION,
    ("openfaas", "*"): _OPENFAAS,
    ("cloudrun", "*"): _CLOUDRUN,
    ("ecs", "*"): _ECS,
    ("fastpod", "*"): _FASTPOD,
    ("local", "*"): _LOCAL,
    ("*", "none"): _WHOLE,
    ("*", "ecs-mps"): "the fields are those of an ECS task definition",
    ("*", "fast-gshare"): "the annotations are those of a FaSTPod",
    ("*", "mps-v3"): "the file starts an MPS daemon on one machine, which a cluster does not do",
}
"""(workload, sharing) -> why they do not go together; `*` stands for any other."""


def carried(workload: Workload, features: Iterable[str]) -> frozenset[Capability]:
    """Return what a workload carries where its platform has these feature flags on."""
    allowed = set(features)
    on = {one for one in workload.switchable if FEATURES.get(one) in allowed}
    return workload.carries | on


def refusal(
    names: tuple[str, str], workload: Workload, sharing: Sharing, features: Iterable[str] = ()
) -> str:
    """Return why a pair does not go together; empty when it does."""
    missing = sharing.needs - carried(workload, features)
    if not missing:
        return ""
    if missing <= workload.switchable:
        flags = sorted(FEATURES[one] for one in missing)
        return (
            f"needs {_words(missing)}, which a stock Knative switches off; where it is on, say so "
            f"with --knative-features {','.join(flags)}"
        )
    for key in (names, ("*", names[1]), (names[0], "*")):
        if key in REASONS:
            return REASONS[key]
    return f"{names[0]} cannot carry {_words(missing)}"


def nearest(
    workload: str, sharing: str, workloads: Mapping[str, Workload], sharings: Mapping[str, Sharing]
) -> str:
    """Return the nearest supported pair in words: the same workload first, then the same sharing.

    Of several, one that applies the same kinds of figures.
    """
    wanted = sharings[sharing].expresses

    def fits(w: str, s: str) -> bool:
        return not refusal((w, s), workloads[w], sharings[s])

    others = [name for name in sharings if fits(workload, name)]
    if others:
        best = max(others, key=lambda name: len(wanted & sharings[name].expresses))
        return f"{workload} with {best}"
    return next((f"{w} with {sharing}" for w in workloads if fits(w, sharing)), "none")


def _words(missing: Iterable[Capability]) -> str:
    return ", ".join(sorted(capability.value for capability in missing))
