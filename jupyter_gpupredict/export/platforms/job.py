"""A Kubernetes Job (batch/v1): runs once, to its end."""

from __future__ import annotations

from typing import Any

from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import Document, Figures, Json, Plan, Workload
from jupyter_gpupredict.export.findings import Manifest, Node, Report, template

_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
JOB_NAME = ("job-name", "batch.kubernetes.io/job-name")
"""Labels that Kubernetes gives to the pods of a Job."""


def _check_job(found: Node, report: Report) -> None:
    """Check a Kubernetes Job, or the one in a CronJob."""
    spec = found["spec"]["jobTemplate"]["spec"] if "jobTemplate" in found["spec"] else found["spec"]
    inner, name = template(spec["template"]), found.at("metadata.name").value
    report.limit(spec["activeDeadlineSeconds"].whole, spec["activeDeadlineSeconds"])
    rules.check_pod(inner, report)
    count = spec["completions"].whole if "completions" in spec else 1
    rules.check_count(count, spec["completions"], report)
    if spec.table.get("parallelism", 1) != count:
        report.warn("ranks", spec["parallelism"], "not all of them start together")
    if (count or 1) > 1:
        if spec["completionMode"].value != "Indexed":
            message = "must be Indexed: otherwise no rank has a number"
            report.add("ranks", spec["completionMode"], message)
        rules.check_apart(inner, dict.fromkeys(JOB_NAME, name), report)
        for container in inner:
            _check_rendezvous(container["env"], (name, str(count)), inner.spec, report)


def _check_rendezvous(env: Node, job: tuple[Any, str], pod: Node, report: Report) -> None:
    """Check the variables by which ranks find one another, where there are any."""
    given = {one["name"].value: one["value"].value for one in env}
    missing = [name for name in rules.RENDEZVOUS if name not in given]
    if len(missing) == len(rules.RENDEZVOUS):
        return  # the code finds its peers by itself
    if missing:
        report.add("ranks", env, f"{', '.join(missing)} is missing")
    if given.get("WORLD_SIZE", "") != job[1]:
        report.add("ranks", env, "WORLD_SIZE is not the number of completions")
    # rank 0 is reached by the name that Kubernetes gives to the pod of index 0
    subdomain = str(pod["subdomain"].value)
    address, first = str(given.get("MASTER_ADDR")), f"{job[0]}-0.{subdomain}"
    if address != first and not address.startswith(f"{first}."):
        report.add("ranks", env, f"MASTER_ADDR {address} is not {first}")
    service = report.named("Service").get(subdomain, Node())
    if service.at("spec.clusterIP").value != "None":
        message = f"{subdomain} is not a headless Service of this file; is one in the cluster?"
        report.warn("ranks", pod["subdomain"], message)
    elif service.at("spec.selector").table not in ({label: job[0]} for label in JOB_NAME):
        message = f"the Service {subdomain} does not select job-name: {job[0]} alone"
        report.add("ranks", pod["subdomain"], message)


def _check_alone(found: Node, report: Report) -> None:
    rules.check_pod(template(found), report)


def _check_gang(found: Node, report: Report) -> None:
    """Check a Volcano Job."""
    spec, tasks = found["spec"], list(found["spec"]["tasks"])
    total = sum(one["replicas"].whole or 0 if "replicas" in one else 1 for one in tasks)
    least = spec["minAvailable"].whole
    if least is not None and least > total:
        message = f"{least} is above the {total} replicas of all tasks"
        report.add("volcano", spec["minAvailable"], message)
    elif least and least != total:  # none given: Volcano takes all
        report.warn("ranks", spec["minAvailable"], f"not all {total} start together")
    rules.check_count(total, spec["tasks"], report)
    if len(tasks) > 1 and report.stamps and "pytorch" not in spec["plugins"]:
        report.warn("ranks", spec["plugins"], "without the plug-in pytorch no rank has a number")
    before, each = set(report.carried), []
    for task in tasks:
        report.carried = set()
        inner = template(task["template"])
        own = {**inner.spec.table, "schedulerName": "volcano"}  # the Job names it for all
        inner.spec = Node(own, inner.spec.path)
        rules.check_pod(inner, report)
        report.limit(inner.spec["activeDeadlineSeconds"].whole, inner.spec)
        each.append(report.carried)
    report.carried = before.union(*each)
    for task, carried in zip(tasks, each, strict=True):
        for kind in sorted(report.carried - before - carried):
            report.add("volcano", task, f"limits no {kind}, as another task does")


class Job(Workload):
    """`deploy/job.yaml`."""

    about = "a Kubernetes Job: runs once, to its end"
    carries = pod.POD
    manifests = (
        Manifest("batch/v1", "Job", "job", _check_job),
        Manifest("batch/v1", "CronJob", "cronjob", _check_job),
        Manifest("batch.volcano.sh/v1alpha1", "Job", "volcano-job", _check_gang),
        Manifest("v1", "Pod", "pod", _check_alone),
        Manifest("v1", "Service", "service", stamped=False),
    )

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return the Job; without a predicted run time it has no deadline.

        Several ranks make it an Indexed Job that starts them together, with a Service by which
        they find one another; under Volcano's scheduler a Job of Volcano's, which starts none of
        them before all have a place.
        """
        figures, patch = plan.figures, plan.patch
        several = figures.ranks > 1
        comments = pod.notes(plan)
        if several and patch.pod.get("schedulerName") == "volcano":
            return (Document("deploy/job.yaml", _gang(plan), comments),)
        retries = plan.request.retries
        spec: dict[str, Json] = {
            "backoffLimit": retries,  # a silent retry would repeat hours
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [pod.NOT_THE_CODES]}]
            },
        }
        if retries and figures.timeout_s is not None:
            total_s = (retries + 1) * figures.timeout_s
            said = f"Each of {retries + 1} tries has the time limit: together up to {total_s} s."
            comments = (*comments, said)
        if several:
            spec["completionMode"] = "Indexed"
            spec["completions"] = spec["parallelism"] = figures.ranks
        spec["ttlSecondsAfterFinished"] = plan.request.ttl_s
        if plan.request.queue and pod.KUEUE_QUEUE in dict(patch.object_labels):
            spec["suspend"] = True  # Kueue starts it
        env = _rendezvous(figures) if several else ()
        inside: dict[str, Json] = {
            **pod.once(plan),
            **pod.fields(patch, self.carries),
            "containers": [pod.container(plan, env=env)],
        }
        before = patch.before
        if several:
            inside["subdomain"] = figures.name
            if patch.uncounted:
                inside["affinity"] = pod.apart("job-name", figures.name)
            before = (*before, _service(plan))
        spec["template"] = pod.template(patch, inside)
        job = pod.workload(("batch/v1", "Job"), plan, spec)
        return (Document("deploy/job.yaml", job, comments, before=before), *patch.companions)


def _rendezvous(figures: Figures) -> list[Json]:
    """Return the variables of an Indexed Job's pods; rank 0 is the pod of index 0.

    Its name is the one which Kubernetes gives it behind the Service (Kubernetes, Job with
    Pod-to-Pod Communication).
    """
    return [
        {"name": "RANK", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}},
        pod.LOCAL_RANK,
        {"name": "WORLD_SIZE", "value": str(figures.ranks)},
        {"name": "MASTER_ADDR", "value": f"{figures.name}-0.{figures.name}"},
        {"name": "MASTER_PORT", "value": str(pod.RENDEZVOUS_PORT)},
    ]


def _service(plan: Plan) -> dict[str, Json]:
    """Return the headless Service that gives the pods of an Indexed Job their names."""
    name = plan.figures.name
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": pod.named(name, plan.request),
        "spec": {"clusterIP": "None", "selector": {"job-name": name}},
    }


def _gang(plan: Plan) -> dict[str, Json]:
    """Return a Job of Volcano's: rank 0 is the task `master`, the others are the task `worker`.

    Those are the names by which Volcano's plug-in for PyTorch sets MASTER_ADDR, MASTER_PORT,
    WORLD_SIZE and RANK in their pods (Volcano, Pytorch Plugin User Guide). A rank that fails or
    is evicted ends the others, which would wait for it.
    """
    figures, patch = plan.figures, plan.patch
    container = pod.container(plan, env=(pod.LOCAL_RANK,))
    pods = pod.template(patch, {**pod.once(plan), **patch.pod, "containers": [container]})
    tasks: list[Json] = [
        {"name": name, "replicas": count, "template": pods}
        for name, count in (("master", 1), ("worker", figures.ranks - 1))
    ]
    spec: dict[str, Json] = {
        "schedulerName": "volcano",
        "minAvailable": figures.ranks,
        "plugins": {"pytorch": [f"--port={pod.RENDEZVOUS_PORT}"]},
        "policies": [{"events": ["PodFailed", "PodEvicted"], "action": "TerminateJob"}],
        "ttlSecondsAfterFinished": plan.request.ttl_s,
        "tasks": tasks,
    }
    if plan.request.queue:
        spec["queue"] = plan.request.queue
    if plan.request.retries:
        spec["maxRetry"] = plan.request.retries
    return pod.workload(("batch.volcano.sh/v1alpha1", "Job"), plan, spec)
