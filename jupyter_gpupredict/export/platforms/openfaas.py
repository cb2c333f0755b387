"""An OpenFaaS function: custom resources with the profile that holds the GPU, and a stack file."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from jupyter_gpupredict.export import limits, pod, provenance
from jupyter_gpupredict.export.deployment import Capability, Document, Restriction, image

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json, SharePatch

PROFILE = "com.openfaas.profile"


class OpenFaas:
    """`deploy/openfaas.yaml` and `deploy/stack.yaml`."""

    carries = frozenset(
        {
            Capability.ENV,
            Capability.EXTENDED_RESOURCE,
            Capability.RUNTIME_CLASS,
            Capability.TOLERATIONS,
            Capability.COMPANION,
            Capability.TIME_LIMIT,
        }
    )
    switchable: frozenset[Capability] = frozenset()
    restricts = frozenset({Restriction.ONE_GPU, Restriction.ONE_RANK})
    max_run_s = None

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return both forms; a function's own limits know memory and CPU alone."""
        name, profile = figures.name, f"{figures.name}-gpu"
        environment: dict[str, Json] = {**dict(_variables(figures, patch))}
        if figures.timeout_s is not None:
            wait = pod.duration(figures.timeout_s)
            environment |= {f"{what}_timeout": wait for what in ("exec", "read", "write")}
        stamps: dict[str, Json] = {**provenance.stamps(figures, patch)}
        common: dict[str, Json] = {
            "image": image(figures, request),
            "environment": environment,
        }
        size: dict[str, Json] = {"memory": pod.memory(figures), "cpu": pod.cpus(figures)}
        function: dict[str, Json] = {
            "apiVersion": "openfaas.com/v1",
            "kind": "Function",
            "metadata": pod.metadata(
                figures, patch, provenance.stamps(figures, patch), namespace="openfaas-fn"
            ),
            "spec": {
                "name": name,
                **common,
                "labels": {"com.openfaas.scale.zero": "true", "com.openfaas.scale.max": "1"},
                "annotations": {PROFILE: profile},
                "limits": size,
            },
        }
        stack: dict[str, Json] = {
            "version": "1.0",
            "provider": {"name": "openfaas"},
            "functions": {
                name: {
                    "lang": "python3-http-debian",
                    "handler": "./function",
                    **common,
                    "annotations": {PROFILE: profile, **stamps},
                    "limits": size,
                }
            },
        }
        comments = (
            *pod.notes(figures, request, patch),
            "Profiles and scaling to zero are features of OpenFaaS's paid editions.",
        )
        return (
            Document(
                "deploy/openfaas.yaml",
                function,
                comments,
                before=(_profile(profile, patch, self.carries),),
            ),
            Document(
                "deploy/stack.yaml", stack, (*comments, "Apply the profile in openfaas.yaml first.")
            ),
            *patch.companions,
        )


def _profile(name: str, patch: SharePatch, carries: frozenset[Capability]) -> dict[str, Json]:
    spec: dict[str, Json] = {
        "runtimeClassName": "nvidia",
        "resources": {"limits": {key: str(value) for key, value in patch.limits}},
    }
    fields = pod.fields(patch, carries)
    if "tolerations" in fields:
        spec["tolerations"] = fields["tolerations"]
    return {
        "apiVersion": "openfaas.com/v1",
        "kind": "Profile",
        "metadata": {"name": name, "namespace": "openfaas"},
        "spec": spec,
    }


def _variables(figures: Figures, patch: SharePatch) -> tuple[tuple[str, str], ...]:
    """Return the environment; where the profile alone limits, the function is told the figures."""
    if patch.basis != "time_share":
        return patch.env
    told = figures
    if figures.time_percent is not None:
        told = dataclasses.replace(figures, sm_percent=None)  # not applied, so not told
    return limits.information(told) + patch.env
