"""A Fission function (newdeploy executor) and its environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod, provenance
from jupyter_gpupredict.export.deployment import Capability, Document, Restriction, image

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json, SharePatch

NAMESPACE = "default"


class Fission:
    """`deploy/fission.yaml`."""

    carries = frozenset(
        {
            Capability.ENV,
            Capability.EXTENDED_RESOURCE,
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
        """Return environment and function; the generic pods of poolmgr would drop GPU and env."""
        name = figures.name
        environment: dict[str, Json] = {
            "apiVersion": "fission.io/v1",
            "kind": "Environment",
            "metadata": {"name": f"{name}-env", "namespace": NAMESPACE},
            "spec": {
                "version": 3,
                "poolsize": 1,
                "runtime": {"image": image(figures, request)},
            },
        }
        spec: dict[str, Json] = {
            "environment": {"name": f"{name}-env", "namespace": NAMESPACE},
            "package": {
                "packageref": {"name": f"{name}-pkg", "namespace": NAMESPACE},
                "functionName": "handler.main",
            },
        }
        if figures.timeout_s is not None:
            spec["functionTimeout"] = figures.timeout_s
        spec |= {
            "requestsPerPod": 1,
            "concurrency": 1,
            "InvokeStrategy": {
                "StrategyType": "execution",
                "ExecutionStrategy": {
                    "ExecutorType": "newdeploy",
                    "MinScale": 0,
                    "MaxScale": 1,
                    "SpecializationTimeout": 300,
                },
            },
        }
        if patch.env:
            spec["env"] = pod.variables(patch)
        spec["resources"] = pod.resources(figures, patch)
        function: dict[str, Json] = {
            "apiVersion": "fission.io/v1",
            "kind": "Function",
            "metadata": pod.metadata(
                figures, patch, provenance.stamps(figures, patch), namespace=NAMESPACE
            ),
            "spec": spec,
        }
        comments = [
            *pod.notes(
                figures, request, patch, default_limit="Fission ends a call after 60 s by default."
            ),
            f"Upload the code first: fission package create --name {name}-pkg ...",
        ]
        if patch.env:
            comments.append("Fission of older versions does not know a function's env.")
        return (
            Document("deploy/fission.yaml", function, tuple(comments), before=(environment,)),
            *patch.companions,
        )
