"""Rules of what starts several ranks: as many as there were, together, and able to meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.checks import containers
from jupyter_gpupredict.export.checks.values import at, items, table, whole

if TYPE_CHECKING:
    from jupyter_gpupredict.export.checks.containers import Pod
    from jupyter_gpupredict.export.checks.ledger import Ledger

MEETING = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torch.distributed needs; one of them is of no use without the others."""
JOB_NAME = ("job-name", "batch.kubernetes.io/job-name")
"""Labels that Kubernetes gives to the pods of a Job."""
HOSTNAME = "kubernetes.io/hostname"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def count(given: Any, where: str, ledger: Ledger) -> None:
    """Check that as many start as the run had, where the stamps tell."""
    had = whole(ledger.stamps.get("ranks")) or 1
    if ledger.stamps and whole(given) != had:
        ledger.warn("ranks", where, f"{given} start, and the run had {had}")


def indexed_job(found: dict[str, Any], base: str, pod: Pod, ledger: Ledger) -> None:
    """Check the numbers of a Job, and the names by which its pods find one another."""
    spec = table(at(found, *base.split(".")))
    count(spec.get("completions", 1), f"{base}.completions", ledger)
    if spec.get("parallelism", 1) != spec.get("completions", 1):
        ledger.warn("ranks", f"{base}.parallelism", "not all of them start together")
    several = (whole(spec.get("completions")) or 1) > 1
    if several and spec.get("completionMode") != "Indexed":
        ledger.add("ranks", f"{base}.completionMode", "must be Indexed: else no rank has a number")
    if several:
        spread_out(pod, dict.fromkeys(JOB_NAME, at(found, "metadata", "name")), ledger)
    for container, path in pod.containers:
        told = {name: value for _, name, value in containers.variables(container, path)}
        missing = [name for name in MEETING if name not in told]
        if not several or len(missing) == len(MEETING):
            continue  # the code finds its peers by itself
        if missing:
            ledger.add("ranks", f"{path}.env", f"has no {', '.join(missing)}")
        if told.get("WORLD_SIZE", "") != str(spec.get("completions")):
            ledger.add("ranks", f"{path}.env", "WORLD_SIZE is not the number of completions")
        _first(str(told.get("MASTER_ADDR")), found, pod, f"{path}.env", ledger)


def spread_out(pod: Pod, labels: dict[str, Any], ledger: Ledger) -> None:
    """Warn where several pods reach MPS by the node's own pipe and nothing keeps them apart.

    No scheduler counts a GPU then, and each of them takes the first one of its node.
    """
    counted = any("gpu" in str(name) for name in pod.limits)
    by_kai = pod.spec.get("schedulerName") == "kai-scheduler"
    if containers.PIPE not in pod.variables or counted or by_kai:
        return
    terms = at(pod.spec, "affinity", "podAntiAffinity", REQUIRED)
    for term in items(terms):
        chosen = table(at(term, "labelSelector", "matchLabels"))
        if at(term, "topologyKey") == HOSTNAME and chosen and chosen.items() <= labels.items():
            return
    message = "nothing keeps these pods on nodes of their own: all may take the same GPU"
    ledger.warn("ranks", f"{pod.path}.affinity", message)


def _first(address: str, found: dict[str, Any], pod: Pod, where: str, ledger: Ledger) -> None:
    """Check that the address of rank 0 is one that Kubernetes gives to the pod of index 0."""
    name = at(found, "metadata", "name")
    subdomain = str(pod.spec.get("subdomain"))
    first = f"{name}-0.{subdomain}"
    if address != first and not address.startswith(f"{first}."):
        ledger.add("ranks", where, f"MASTER_ADDR {address} is not {first}")
    selector = ledger.headless.get(subdomain)
    if selector is None:
        message = f"{subdomain} is no headless Service of this file; is there one in the cluster?"
        ledger.warn("ranks", f"{pod.path}.subdomain", message)
    elif selector not in ({label: name} for label in JOB_NAME):
        message = f"the Service {subdomain} does not select job-name: {name} alone"
        ledger.add("ranks", f"{pod.path}.subdomain", message)


def service(found: dict[str, Any], ledger: Ledger) -> None:
    """Note a headless Service and what it selects."""
    if at(found, "spec", "clusterIP") == "None":
        name = str(at(found, "metadata", "name"))
        ledger.headless[name] = table(at(found, "spec", "selector"))
