"""Amazon ECS: a task definition for RunTask, and ECS's own sharing of a GPU through MPS.

ECS has no time limit for a task, and sets both MPS variables itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import InvalidOption
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
from jupyter_gpupredict.export.findings import Manifest, Node, Report
from jupyter_gpupredict.export.stamps import read_stamps, stamps

if TYPE_CHECKING:
    from jupyter_gpupredict.export.request import ExportRequest

CPU_UNITS = 1024
"""ECS counts a CPU as so many units."""
ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+")
"""The role in whose name ECS reads secrets and pulls the image."""
NOT_IN_TAG = re.compile(r"[^\w .:/=+@-]")
"""Signs that a tag's value may not hold."""


def _check(found: Node, report: Report) -> None:
    tags = [(str(one["key"].value), one["value"].value) for one in found["tags"]]
    read_stamps(Node(dict(tags), "tags"), report)
    keys = [key for key, _ in tags]
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        report.add("ecs", found["tags"], f"{key} is given twice")
    styles: set[str] = set()
    containers = found["containerDefinitions"]
    for container in containers:
        mps = rules.check_environment(container, 1, report)
        for need in container["resourceRequirements"]:
            if need["type"].value == "GPU":
                styles.add("shared" if "sharingStrategy" in need else "whole")
            if "sharingStrategy" in need and mps:
                report.add("mps-conflict", mps[0], "ECS sets both variables itself")
            share = need.at("sharingStrategy.nvidiaMps")
            if 1 <= (percent := share["maxComputePercent"].whole or 0) <= 100:
                report.carry("sm", percent, need)
            if memory := share["memory"].whole:
                report.carry("mem", memory, need)
    names = [str(container["name"].value) for container in containers]
    if len(set(names)) < len(names):
        report.add("name", containers, "one name is given twice")
    if len(styles) > 1:
        report.add("ecs", containers, "all containers with a GPU must be alike")
    launch = {str(one.value) for one in found["requiresCompatibilities"]}
    wrong = {"FARGATE"} | ({"EXTERNAL"} if "shared" in styles else set())
    if styles and (not launch or launch & wrong):
        message = "must be EC2 or MANAGED_INSTANCES: elsewhere no GPU is shared"
        report.add("ecs", found["requiresCompatibilities"], message)


class Ecs(Workload):
    """`deploy/ecs-task.json`."""

    about = "an Amazon ECS task"
    carries = frozenset(
        {
            Capability.ECS_FIELDS,
            Capability.LABELS,
            Capability.VARIABLES,
            Capability.SERVICE_ACCOUNT,
            Capability.REGION,
        }
    )
    restricts = pod.ONE_GPU
    sharing = "ecs-mps"
    refuses = (("*", "ECS divides a GPU by fields of its own"),)
    hosting = Hosting(
        "aws ecs register-task-definition --cli-input-json file://deploy/ecs-task.json",
        secrets="aws ssm put-parameter --type SecureString --name /{name}/VARIABLE --value VALUE",
    )
    manifests = (
        Manifest(schema="ecs-task", check=_check, only=lambda one: "containerDefinitions" in one),
    )

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return the task definition; the stamps are tags.

        Raises:
            InvalidOption: The service account is not the ARN of a role.
        """
        figures, patch, request = plan.figures, plan.patch, plan.request
        container: dict[str, Json] = {
            "name": "train",
            "image": plan.image,
            "essential": True,
            "command": list(pod.RUN),
            "cpu": int(CPU_UNITS * (figures.cpu_count or pod.SAFE_CPUS)),
            "memory": figures.host_memory_mib or pod.SAFE_MEMORY_MIB,
            **patch.container,
            "logConfiguration": _logs(figures.name, request.region),
        }
        if pod.needs_shared_memory(figures):  # a bound, and part of the memory
            size = figures.shared_mib or figures.host_memory_mib or pod.SAFE_MEMORY_MIB
            container["linuxParameters"] = {"sharedMemorySize": size}
        if patch.variables:
            pairs = patch.variables
            container["environment"] = [{"name": key, "value": value} for key, value in pairs]
        if plan.required:
            container["secrets"] = [
                {"name": name, "valueFrom": f"/{figures.name}/{name}"} for name in plan.required
            ]
        own = (*request.labels, *request.annotations)
        tags = {**stamps(figures, patch), **dict(own)}
        task: dict[str, Json] = {
            "family": figures.name,
            # Fargate has no GPU, EXTERNAL no sharing
            "requiresCompatibilities": ["EC2", "MANAGED_INSTANCES"],
            "networkMode": "awsvpc",
            "containerDefinitions": [container],
            "tags": [
                {"key": key, "value": NOT_IN_TAG.sub("_", value)[:256]}
                for key, value in tags.items()
            ],
        }
        comments = pod.notes(plan, endless="ECS has no time limit for a task.")
        if request.service_account:
            if not ROLE.fullmatch(request.service_account):
                raise InvalidOption("--service-account is the ARN of a role on ECS", "arn:aws:...")
            task["executionRoleArn"] = request.service_account
        elif plan.required:
            said = "ECS reads the variables in the name of a role: --service-account ARN."
            comments = (*comments, said)
        if not request.region:
            said = "The logs go to the region of the instance: --region names it, as ECS asks."
            comments = (*comments, said)
        return (Document("deploy/ecs-task.json", task, comments),)


def _logs(name: str, region: str) -> Json:
    """Return where the output goes: CloudWatch; without it nobody keeps it.

    The group has to be there, or the execution role may make it (awslogs-create-group).
    """
    options: dict[str, Json] = {
        "awslogs-group": f"/ecs/{name}",
        "awslogs-create-group": "true",
        "awslogs-stream-prefix": "train",
    }
    if region:
        options["awslogs-region"] = region
    return {"logDriver": "awslogs", "options": options}


class EcsMps(Sharing):
    """One part of one GPU; the percentage is a limit, not a reservation."""

    about = "ECS's own sharing of a GPU through MPS"
    needs = frozenset({Capability.ECS_FIELDS})
    restricts = pod.OWN_LIMITS
    expresses = pod.SM_SHARE
    refuses = "the fields are those of an ECS task definition"

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the container's GPU requirement."""
        share: dict[str, Json] = {"memory": figures.memory_mib}
        if figures.sm_percent is not None:
            share["maxComputePercent"] = figures.sm_percent
        requirement: Json = {"type": "GPU", "sharingStrategy": {"nvidiaMps": share}}
        return SharePatch(
            "sm_share",
            container={"resourceRequirements": [requirement]},
            comments=pod.open_share(figures, "sm_share"),
        )
