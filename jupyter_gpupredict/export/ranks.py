"""What the ranks of a distributed function find one another by: variables, and a name for rank 0.

The variables are those that torch.distributed reads (its `env://` initialisation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_gpupredict.export.deployment import Figures, Json

PORT = 29500
"""The default of torch.distributed; a pod's ports are its own."""
_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
LOCAL: Json = {"name": "LOCAL_RANK", "value": "0"}
"""Each rank is alone in its pod, with a GPU of its own."""
ALONE = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": str(PORT),
}
"""What one rank is told that is to run by itself, as by hand."""


def given_by_user(names: Iterable[str], figures: Figures) -> list[str]:
    """Return the variables whose values are the user's to give: of several ranks, not these."""
    return [name for name in names if figures.ranks == 1 or name not in ALONE]


def of_indexed_job(figures: Figures) -> list[Json]:
    """Return the variables of an Indexed Job's pods; rank 0 is the pod of index 0.

    Its name is that which Kubernetes gives it behind `service` (Kubernetes, Job with Pod-to-Pod
    Communication).
    """
    return [
        {"name": "RANK", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}},
        LOCAL,
        {"name": "WORLD_SIZE", "value": str(figures.ranks)},
        {"name": "MASTER_ADDR", "value": f"{figures.name}-0.{figures.name}"},
        {"name": "MASTER_PORT", "value": str(PORT)},
    ]


def apart(label: str, value: str) -> dict[str, Json]:
    """Return the affinity that keeps the pods of this label on nodes of their own.

    Where no scheduler counts GPUs, each would take the first one of its node.
    """
    term: Json = {
        "labelSelector": {"matchLabels": {label: value}},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def service(figures: Figures) -> dict[str, Json]:
    """Return the headless Service that gives the pods of an Indexed Job their names."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": figures.name},
        "spec": {"clusterIP": "None", "selector": {"job-name": figures.name}},
    }
