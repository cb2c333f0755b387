"""HashiCorp Nomad as a platform: one file, rendered and judged here."""

from pathlib import Path

from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import Capability, Document, Hosting, Workload
from jupyter_gpupredict.export.findings import Manifest, Pod


def check(found, report):
    """What no schema can say: the figures in variables and resources, as in any container."""
    task = found["spec"]
    rules.check_pod(Pod(task, containers=(task,)), report)


class Nomad(Workload):
    carries = frozenset({Capability.ENV, Capability.EXTENDED_RESOURCE, Capability.COMPANION})
    restricts = pod.ONE_RANK
    sharing = "slices"
    hosting = Hosting("nomad job run deploy/nomad.yaml")
    refuses = (("none", "Nomad has no whole GPUs"),)
    manifests = (
        Manifest("nomad.example/v1", "Task", Path(__file__).with_name("nomad.json"), check),
    )

    def render(self, plan):
        limits = {"limits": dict(plan.patch.limits)}
        spec = {"image": plan.image, "env": dict(plan.patch.env), "resources": limits}
        task = pod.workload(("nomad.example/v1", "Task"), plan, spec)
        return (Document("deploy/nomad.yaml", task, pod.notes(plan)), *plan.patch.companions)
