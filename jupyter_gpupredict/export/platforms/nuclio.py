"""A Nuclio function: one file for nuctl, which builds, and one for kubectl, which does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod, provenance
from jupyter_gpupredict.export.deployment import Capability, Document, Restriction, image

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, Json, SharePatch

POD_FIELDS = ("hostIPC", "nodeSelector", "tolerations")


class Nuclio:
    """`function.yaml` beside the code and `deploy/nuclio.yaml`."""

    carries = frozenset(
        {
            Capability.ENV,
            Capability.EXTENDED_RESOURCE,
            Capability.NODE_SELECTOR,
            Capability.TOLERATIONS,
            Capability.HOST_IPC,
            Capability.HOST_PATH,
            Capability.COMPANION,
            Capability.TIME_LIMIT,
        }
    )
    switchable: frozenset[Capability] = frozenset()
    restricts = frozenset({Restriction.ONE_RANK})
    max_run_s = None

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return both forms of the function.

        The controller ignores an object whose status is empty and never builds, so the kubectl
        form names an image and a state.
        """
        comments = list(pod.notes(figures, request, patch))
        if "runtimeClassName" in patch.pod:
            comments.append("Nuclio has no runtime class: nvidia must be the node's default one.")
        build: dict[str, Json] = {
            "baseImage": f"python:{pod.python_version()}-slim",
            "commands": ["pip install -r /opt/nuclio/requirements.txt"],
        }
        ready: dict[str, Json] = {"image": image(figures, request)}
        return (
            Document(
                "function.yaml",
                self._function(figures, patch, {"build": build}),
                (*comments, "nuctl deploy -f function.yaml --path ."),
            ),
            Document(
                "deploy/nuclio.yaml",
                {
                    **self._function(figures, patch, ready),
                    "status": {"state": "waitingForResourceConfiguration"},
                },
                tuple(comments),
            ),
            *patch.companions,
        )

    def _function(
        self, figures: Figures, patch: SharePatch, source: dict[str, Json]
    ) -> dict[str, Json]:
        spec: dict[str, Json] = {
            "runtime": f"python:{pod.python_version()}",
            "handler": "handler:handler",
            "minReplicas": 0,
            "maxReplicas": 1,
        }
        if figures.timeout_s is not None:
            spec["eventTimeout"] = pod.duration(figures.timeout_s)
        if patch.env:
            spec["env"] = pod.variables(patch)
        spec["envFrom"] = pod.secrets(figures)
        spec["resources"] = pod.resources(figures, patch)
        fields = pod.fields(patch, self.carries)
        spec |= {key: fields[key] for key in POD_FIELDS if key in fields}
        volumes, mounts = fields.get("volumes"), patch.container.get("volumeMounts")
        if isinstance(volumes, list) and isinstance(mounts, list):
            spec["volumes"] = [
                {"volume": volume, "volumeMount": mount}
                for volume, mount in zip(volumes, mounts, strict=True)
            ]
        # Nuclio recreates by itself for nvidia.com/gpu alone; else a redeploy waits for a share.
        spec["deploymentStrategy"] = {"type": "Recreate"}
        # Each further worker would be another CUDA process.
        spec["triggers"] = {
            "http": {"kind": "http", "numWorkers": 1, "workerAvailabilityTimeoutMilliseconds": 0}
        }
        return {
            "apiVersion": "nuclio.io/v1beta1",
            "kind": "NuclioFunction",
            "metadata": pod.metadata(
                figures,
                patch,
                provenance.stamps(figures, patch),
                labels={"nuclio.io/project-name": "default"},
            ),
            "spec": {**spec, **source},
        }
