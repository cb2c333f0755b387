"""A way to divide GPUs into slices, which containers ask for as extended resources."""

from jupyter_gpupredict.export.deployment import Capability, SharePatch, Sharing
from jupyter_gpupredict.export.findings import limits
from jupyter_gpupredict.export.pod import open_share

SLICE, PERCENT, MIB = (f"example.com/gpu-{end}" for end in ("slice", "percent", "mib"))


class Slices(Sharing):
    needs = frozenset({Capability.EXTENDED_RESOURCE})
    expresses = frozenset({"sm_pct", "memory_mib"})
    resources = (SLICE, PERCENT, MIB)

    def patch(self, figures, request):
        amounts = (
            (SLICE, figures.gpus),
            (PERCENT, figures.sm_percent),
            (MIB, figures.memory_mib),
        )
        known = tuple((name, amount) for name, amount in amounts if amount is not None)
        return SharePatch("sm_share", limits=known, comments=open_share(figures, "sm_share"))

    def judge(self, pod, report):
        for container in pod:
            asked = limits(container)
            for kind, name in (("sm", PERCENT), ("mem", MIB)):
                if asked[name].whole is not None:
                    report.carry(kind, asked[name].whole, asked[name])
        if SLICE in pod.limits:
            pod.limiter = "slices"
