"""A way to divide GPUs into slices, which containers ask for as an extended resource."""

from jupyter_gpupredict.export.deployment import Capability, SharePatch, Sharing

RESOURCE = "nvidia.com/gpuslice"


class Slices(Sharing):
    needs = frozenset({Capability.ENV})
    expresses = frozenset({"sm_pct", "memory_mib"})
    resources = (RESOURCE,)

    def patch(self, figures, request):
        return SharePatch("sm_share", limits=((RESOURCE, 2),))

    def judge(self, pod, report):
        if RESOURCE in pod.limits:
            pod.limiter = "slices"
