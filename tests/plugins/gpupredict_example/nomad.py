"""HashiCorp Nomad as a platform: one file, rendered and judged here."""

from pathlib import Path

from jupyter_gpupredict.export.deployment import Capability, Document, Hosting, Workload
from jupyter_gpupredict.export.findings import Manifest
from jupyter_gpupredict.export.pod import workload


def check(found, report):
    """What no schema can say: which figures the document carries."""
    for kind, name in (("mem", "memory"), ("sm", "sms")):
        figure = found["spec"][name]
        if figure.whole is not None:
            report.carry(kind, figure.whole, figure)


class Nomad(Workload):
    carries = frozenset({Capability.ENV, Capability.EXTENDED_RESOURCE, Capability.COMPANION})
    sharing = "slices"
    hosting = Hosting("nomad job run deploy/nomad.yaml")
    refuses = (("none", "Nomad has no whole GPUs"),)
    manifests = (
        Manifest("nomad.example/v1", "Task", Path(__file__).with_name("nomad.json"), check),
    )

    def render(self, plan):
        figures = {"memory": plan.figures.memory_mib, "sms": plan.figures.sm_percent}
        known = {name: value for name, value in figures.items() if value is not None}
        spec = {"image": plan.image, **known}
        task = workload(("nomad.example/v1", "Task"), plan, spec)
        return (Document("deploy/nomad.yaml", task), *plan.patch.companions)
