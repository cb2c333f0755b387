"""FaST-GShare: a FaSTPod, whose annotations divide SMs and time.

From them it injects pipe directory, percentage and host IPC.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import (
    Capability,
    Document,
    Figures,
    Hosting,
    Json,
    Plan,
    SharePatch,
    Sharing,
    Workload,
)
from jupyter_gpupredict.export.findings import Manifest, Node, Pod, Report
from jupyter_gpupredict.export.shapes import MIB

if TYPE_CHECKING:
    from jupyter_gpupredict.export.request import ExportRequest

PREFIX = "fastgshare/"


def _check(found: Node, report: Report) -> None:
    """Check the figures in a FaSTPod's annotations, which its own definition does not look at."""
    notes = found.at("metadata.annotations")
    partition, size = notes[PREFIX + "gpu_sm_partition"].whole, notes[PREFIX + "gpu_mem"].whole
    if partition and partition < 100:
        report.carry("sm", partition, notes)  # 100 is the whole: no share
    try:
        low = Decimal(notes.table.get(PREFIX + "gpu_quota_request", "1"))
        high = Decimal(notes.table.get(PREFIX + "gpu_quota_limit", "1"))
    except (InvalidOperation, TypeError, ValueError):
        pass  # the schema says so
    else:
        if not 0 < low <= high <= 1:
            report.add("fastpod", notes, "needs 0 < gpu_quota_request <= gpu_quota_limit <= 1")
        elif high < 1:
            report.carry("time", 100 * high, notes)
    if size and size % MIB == 0:
        report.carry("mem", size // MIB, notes)
    elif size is not None:
        report.add("fastpod", notes, f"gpu_mem {size} is not a whole number of MiB in bytes")
    replicas = found.at("spec.replicas")
    rules.check_count(replicas.whole or 1, replicas, report)
    rules.check_pod(Pod(found.at("spec.podSpec"), limiter="FaST-GShare"), report)


class FastPod(Workload):
    """`deploy/fastpod.yaml`: a replicated pod, so what it runs is the server."""

    about = "a FaSTPod: replicated pods on a divided GPU"
    carries = pod.TEAM | {Capability.FASTPOD_FIELDS}
    restricts = pod.ONE_GPU
    sharing = "fast-gshare"
    refuses = (("*", "a FaSTPod's GPU is divided by its own annotations"),)
    hosting = Hosting(adapters=("serve",), serves=True, namespace="fast-gshare")
    manifests = (Manifest("fastgshare.caps.in.tum/v1", "FaSTPod", "fastpod", _check),)

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return the FaSTPod; a finished pod would be replaced, so it serves."""
        container = pod.container(plan, command=pod.SERVE, port=pod.PORT)
        spec: dict[str, Json] = {
            "replicas": plan.figures.ranks,
            "podSpec": {"restartPolicy": "OnFailure", **plan.patch.pod, "containers": [container]},
        }
        type_ = ("fastgshare.caps.in.tum/v1", "FaSTPod")
        found = pod.workload(type_, plan, spec, namespace=self.hosting.namespace)
        endless = "A FaSTPod has no end and no time limit: it serves until it is deleted."
        comments = pod.notes(plan, endless=endless)
        return (Document("deploy/fastpod.yaml", found, comments),)


class FastGshare(Sharing):
    """Divides SMs and time. A known SM share carries the limit and leaves the time whole.

    Both at once would starve a training: on fewer SMs the same work takes more of the time.
    """

    about = "FaST-GShare: its annotations divide SMs and time"
    needs = frozenset({Capability.FASTPOD_FIELDS})
    restricts = pod.OWN_LIMITS
    expresses = pod.SM_SHARE | pod.TIME_SHARE
    refuses = "the annotations are those of a FaSTPod"

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the four annotations; a missing share is the whole."""
        sm, time = figures.sm_percent, figures.time_percent
        by_time = sm is None and time is not None
        share = time if by_time else sm
        all_of_it = share in (None, 100)
        quota = f"{share / 100:g}" if by_time and share is not None and not all_of_it else "1.0"
        if all_of_it:
            said = "Partition and quota are whole: no share below 100 % is known."
        elif by_time:
            said = "The SM partition is whole: no share of the SMs is known."
        else:
            said = "The time quota is whole: the SM partition carries the share."
        annotations = (
            (PREFIX + "gpu_quota_request", quota),
            (PREFIX + "gpu_quota_limit", quota),
            (PREFIX + "gpu_sm_partition", str(sm or 100)),
            (PREFIX + "gpu_mem", str((figures.memory_mib or 0) * MIB)),
        )
        return SharePatch(
            "none" if all_of_it else "time_share" if by_time else "sm_share",
            whole=all_of_it,
            object_annotations=annotations,
            comments=(said,),
        )
