"""Docker Compose: one service that runs once on this machine, or one with an MPS daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import Capability, Document, Hosting, Json, Plan, Workload
from jupyter_gpupredict.export.findings import Manifest, Node, Report
from jupyter_gpupredict.export.stamps import read_stamps, stamps

if TYPE_CHECKING:
    from jupyter_gpupredict.export.request import ExportRequest

KEPT = "outputs"
"""The volume of the results, which is made as the image's own folder is: its user's."""
CLOCK = ("timeout", "--signal=TERM", "--kill-after=60")
"""GNU coreutils' program that ends a run, since Compose has no time limit; its status is 124."""


def _check(found: Node, report: Report) -> None:
    for _, service in found["services"].pairs():
        read_stamps(service["labels"], report)
    for _, service in found["services"].pairs():
        devices = service.at("deploy.resources.reservations.devices")
        visible = [one for device in devices for one in device["device_ids"]]
        mps = rules.check_environment(service, len(visible) or 1, report)
        targets = [one["target"].value for one in service["volumes"]]
        if mps and (service["ipc"].value != "host" or pod.PIPE not in targets):
            report.warn("mps-route", mps[0], f"needs ipc: host and {pod.PIPE} from the host")
        if mps and not list(devices):
            report.add("compose", devices, "no GPU is reserved")
        if len(set(targets)) < len(targets):
            report.add("volume", service["volumes"], "one path is mounted twice")
        for one in service["volumes"]:
            if one["type"].value == "volume" and str(one["source"].value) not in found["volumes"]:
                report.add("volume", one, f"`volumes` lacks {one['source'].value!r}")
        words = [one.value for one in service["command"]]
        if words[:1] == [CLOCK[0]] and len(words) > len(CLOCK):
            limit = Node(words[len(CLOCK)], service["command"].path)
            report.limit(limit.whole, limit)
        for one in service["volumes"]:
            made = one.at("bind.create_host_path").value is not False
            if made and one["target"].value == pod.PIPE:
                said = "create_host_path: false fails without a daemon; else it runs unlimited"
                report.warn("mps-route", one, said)


class Compose(Workload):
    """`deploy/compose.yaml`."""

    about = "a Docker Compose service on a machine with an MPS daemon"
    carries = pod.MPS_CLIENT | {
        Capability.NODE_SELECTOR,
        Capability.TIME_LIMIT,
        Capability.VARIABLES,
        Capability.VOLUMES,
        Capability.LABELS,
        Capability.SECURITY,
    }
    restricts = pod.ONE_RANK
    sharing = "mps"
    refuses = (("*", "Docker Compose asks no scheduler: the MPS daemon of its machine divides"),)
    scheduled = False
    hosting = Hosting(
        "docker compose -f deploy/compose.yaml run --rm train", secrets="cp .env.example .env"
    )
    manifests = (
        Manifest(
            schema="compose",
            check=_check,
            only=lambda one: "services" in one and "kind" not in one,
        ),
    )

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return the file; the stamps are labels of the service."""
        figures, patch, request = plan.figures, plan.patch, plan.request
        limit = () if figures.timeout_s is None else (*CLOCK, str(figures.timeout_s))
        variables: dict[str, Json] = {**dict(patch.env), **dict(patch.variables)}
        variables |= {name: f"${{{name}:?stands in .env}}" for name in plan.required}
        devices: Json = {
            "driver": "nvidia",
            "device_ids": [str(number) for number in range(figures.gpus)],
            "capabilities": ["gpu"],
        }
        service: dict[str, Json] = {
            "image": plan.image,
            "build": {"context": ".."},
            "command": [*limit, *pod.RUN],
            "environment": variables,
            "env_file": [{"path": "../.env", "required": False}],
            "labels": {**dict((*request.labels, *request.annotations)), **stamps(figures, patch)},
            "restart": "no",
            "stop_grace_period": "60s",
            "ipc": "host",
            "mem_limit": f"{figures.host_memory_mib or pod.SAFE_MEMORY_MIB}m",
            "cpus": pod.cpus(figures),
            "volumes": _mounts(plan),
            "deploy": {"resources": {"reservations": {"devices": [devices]}}},
        }
        if request.run_as_user is not None:
            service["user"] = str(request.run_as_user)
        if request.restricted:
            service |= {
                "read_only": True,
                "cap_drop": ["ALL"],
                "security_opt": ["no-new-privileges:true"],
                "tmpfs": ["/tmp", "/home/function"],  # noqa: S108 - of the container
            }
        content: dict[str, Json] = {"services": {"train": service}}
        volumes: dict[str, Json] = {name: {"external": True} for name in _claims(request)}
        if request.outputs.partition(":")[0] in ("", "bucket"):
            volumes[KEPT] = {}
        if volumes:
            content["volumes"] = volumes
        said = "The daemon must be of the user that the container runs as: --run-as-user N."
        return (Document("deploy/compose.yaml", content, (*pod.notes(plan), said)),)


def _claims(request: ExportRequest) -> list[str]:
    """Return the named volumes that the file refers to; they are the user's own."""
    named = [one.split(":")[1] for one in request.volumes if one.startswith("claim:")]
    if request.outputs.startswith("claim:"):
        named.append(request.outputs.partition(":")[2])
    return sorted(set(named))


def _mounts(plan: Plan) -> list[Json]:
    """Return the mounts: the daemon's pipe, the results, and what the user asks for."""
    request = plan.request
    pipe: Json = {
        "type": "bind",
        "source": pod.PIPE,
        "target": pod.PIPE,
        "bind": {"create_host_path": False},
    }
    kind, _, name = request.outputs.partition(":")
    results: dict[str, Json] = {"type": "volume", "source": KEPT, "target": "/outputs"}
    if kind == "claim":
        results["source"] = name
    elif request.outputs and kind != "bucket":
        results |= {"type": "bind", "source": request.outputs}
    found: list[Json] = [pipe, results]
    for one in request.volumes:
        kind, _, rest = one.partition(":")
        source, _, target = rest.rpartition(":")
        if kind == "claim":
            found.append({"type": "volume", "source": source, "target": target})
        elif kind == "empty":
            found.append({"type": "tmpfs", "target": target})
    return found
