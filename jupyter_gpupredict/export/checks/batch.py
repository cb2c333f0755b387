"""Rules of what runs to its end: Kubernetes Jobs and pods, Volcano jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export.checks import bounds, pods, ranks, values
from jupyter_gpupredict.export.checks.containers import pod, template
from jupyter_gpupredict.export.checks.shapes import join
from jupyter_gpupredict.export.checks.values import at, items, table, whole

if TYPE_CHECKING:
    from jupyter_gpupredict.export.checks.ledger import Ledger


def job(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a Kubernetes Job, or the one in a CronJob."""
    ledger.stamped = True
    base = "spec.jobTemplate.spec" if found.get("kind") == "CronJob" else "spec"
    spec = at(found, *base.split("."))
    inner = template(at(spec, "template"), f"{base}.template")
    if inner.spec.get("restartPolicy") not in ("Never", "OnFailure"):
        ledger.add("job-restart", join(inner.path, "restartPolicy"), "must be Never or OnFailure")
    bounds.limit(at(spec, "activeDeadlineSeconds"), f"{base}.activeDeadlineSeconds", ledger)
    own = table(at(found, "metadata", "annotations"))
    for key in ("gpu-memory", "gpu-fraction"):
        if key in own:
            where = f"metadata.annotations.{key}"
            ledger.add("kai", where, "belongs on the pod template, not on the Job")
    ranks.indexed_job(found, base, inner, ledger)
    pods.check(inner, ledger)


def bare_pod(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a pod of its own."""
    ledger.stamped = True
    pods.check(pod(found.get("spec"), "spec", found.get("metadata"), "metadata"), ledger)


def volcano(found: dict[str, Any], ledger: Ledger) -> None:
    """Check a Volcano Job."""
    ledger.stamped = ledger.scheduled = True
    tasks = [table(one) for one in items(at(found, "spec", "tasks"))]
    total = sum(whole(one.get("replicas", 1)) or 0 for one in tasks)
    least = whole(at(found, "spec", "minAvailable"))
    if not tasks:
        ledger.add("volcano", "spec.tasks", "needs at least one task")
    if least is not None and least > total:
        message = f"{least} is above the {total} replicas of all tasks"
        ledger.add("volcano", "spec.minAvailable", message)
    elif least and least != total:  # none given: Volcano takes all
        ledger.warn("ranks", "spec.minAvailable", f"not all {total} start together")
    ranks.count(total, "spec.tasks", ledger)
    if len(tasks) > 1 and ledger.stamps and "pytorch" not in table(at(found, "spec", "plugins")):
        ledger.warn("ranks", "spec.plugins", "without the plug-in pytorch no rank has a number")
    before, each = set(ledger.carried), []
    for position, task in enumerate(tasks):
        path = f"spec.tasks[{position}]"
        if not values.LABEL.fullmatch(str(task.get("name", ""))):
            ledger.add("name", path, f"{task.get('name')!r} is no DNS label")
        ledger.carried = set()
        pods.check(template(task.get("template"), f"{path}.template"), ledger)
        each.append(ledger.carried)
    ledger.carried = before.union(*each)
    for position, carried in enumerate(each):
        for kind in sorted(ledger.carried - before - carried):
            message = f"limits no {kind}, as another task does"
            ledger.add("volcano", f"spec.tasks[{position}]", message)
    for position, policy in enumerate(items(at(found, "spec", "policies"))):
        if not {"event", "events", "exitCode"} & set(table(policy)):
            message = "says not when: event, events or exitCode"
            ledger.add("volcano", f"spec.policies[{position}]", message)
