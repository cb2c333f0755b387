"""This machine, or any other with an MPS daemon: an environment file and a script that uses it.

Or a start-up file for a daemon of version 3: `nvidia-cuda-mps-control -d -p 3 -a mps.toml`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Fix, InvalidOption
from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import (
    Capability,
    Document,
    Figures,
    Hosting,
    Json,
    Plan,
    Restriction,
    SharePatch,
    Sharing,
    Workload,
)
from jupyter_gpupredict.export.findings import Manifest, Node, Report
from jupyter_gpupredict.export.function.detectors import has_shape
from jupyter_gpupredict.export.stamps import stamps

if TYPE_CHECKING:
    from jupyter_gpupredict.export.request import ExportRequest

RUN = """#!/bin/bash
# Starts the function, or the command given here, under the MPS daemon that {where} names.
set -euo pipefail
cd "$(dirname "$0")"
{environment}
if [ -f ../.env ]; then set -a; . ../.env; set +a; fi
if [ -f ../handler.py ]; then
  exec python ../handler.py "$@"
elif [ "$#" -gt 0 ]; then
  cd "$OLDPWD"
  exec "$@"
fi
echo "usage: run.sh COMMAND [ARGUMENT...], such as: run.sh python train.py" >&2
exit 2
"""
SOURCED = "set -a; . ./mps.env; set +a"
VARIABLES = {
    pod.PERCENTAGE,
    pod.MEMORY,
    pod.PIPE_DIRECTORY,
    "CUDA_MPS_LOG_DIRECTORY",
    "CUDA_VISIBLE_DEVICES",
}
SERVER = "gpupredict"
ANY_UUID = "GPU-00000000-0000-0000-0000-000000000000"
UUID = re.compile(r"GPU-[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _check_env(found: Node, report: Report) -> None:
    """Check an environment file, or an example of one, whose names are the code's own.

    Raises:
        ValueError: A line is not NAME=value, or holds what a shell would read.
    """
    seen = set()
    for number, line in enumerate(found.value.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"line {number}"
        parts = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", line.strip())
        if parts is None:
            raise ValueError(f"{where}: not NAME=value")
        name, value = parts[1], parts[2]
        unsafe = r"[^\w./:,@%+-]"
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value, unsafe = value[1:-1], r"[\"'$`\\]"
        if re.search(unsafe, value):
            raise ValueError(f"{where}: a sign that a shell would read")
        if name in seen:
            report.add("env", where, f"{name} is given twice")
        seen.add(name)
        if value and (rules.SECRET_NAME.fullmatch(name) or has_shape(value)):
            report.add("secret", where, f"{name} must have no value here")
        if report.stamped:
            if name not in VARIABLES and not name.startswith("GPUPREDICT_"):
                report.add("env", where, f"{name} does not belong here")
            rules.check_variable(name, Node(value, where), None, report)


def _check_script(found: Node, report: Report) -> None:
    """Check a script, which takes its limits from mps.env."""
    text: str = found.value
    rules.check_shell(text, report)
    for name in (pod.PERCENTAGE, pod.MEMORY):
        if re.search(rf"^\s*(export\s+)?{name}=", text, re.MULTILINE):
            report.add("env", "", f"{name} belongs in mps.env")


def _check_daemon(found: Node, report: Report) -> None:
    """Check the limits of each server and namespace of an MPS daemon."""
    for _, server in found["servers"].pairs():
        for one in (server, *(client for _, client in server["namespaces"].pairs())):
            percent, size = one["active_thread_percentage"], one["pinned_memory_limit"]
            if isinstance(percent.value, str):
                rules.check_variable(pod.PERCENTAGE, percent, None, report)
            if isinstance(size.value, str):
                limit = Node(f"0={size.value}", size.path)
                rules.check_variable(pod.MEMORY, limit, None, report)


class Local(Workload):
    """`deploy/mps.env` and `deploy/run.sh`; or `deploy/mps.toml`, which starts a daemon."""

    about = "this machine, or any other with an MPS daemon"
    # whoever runs the script chooses the machine
    carries = pod.MPS_CLIENT | {Capability.NODE_SELECTOR, Capability.MPS_CONFIG}
    restricts = pod.ONE_RANK
    sharing = "mps"
    refuses = (
        ("*", "a local run asks no scheduler: it is divided by the MPS daemon of its machine"),
    )
    scheduled = False
    hosting = Hosting("bash deploy/run.sh", secrets="cp .env.example .env")
    manifests = (
        Manifest(suffix=".env", check=_check_env),
        Manifest(suffix=".env.example", check=_check_env, stamped=False),
        Manifest(suffix=".sh", check=_check_script, stamped=False),
        Manifest(suffix=".toml", schema="mps-config", check=_check_daemon),
    )

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return the two files; the stamps stand at the top of the first."""
        figures, patch = plan.figures, plan.patch
        lines = (f"{key}: {value}" for key, value in stamps(figures, patch).items())
        top = (*lines, *figures.warnings, *patch.comments)
        if patch.config:
            name, pipe = pod.PIPE_DIRECTORY, pod.PIPE
            chosen = dict(patch.env)[name].removeprefix(pipe)
            line = f'export {name}="${{{name}:-{pipe}}}{chosen}"'
            return (Document("deploy/mps.toml", patch.config, top), _script("mps.toml", line))
        env = "".join(f"{key}={_quoted(value)}\n" for key, value in patch.env)
        return (Document("deploy/mps.env", env, top), _script("mps.env", SOURCED))


def _script(where: str, environment: str) -> Document:
    text = RUN.format(where=where, environment=environment)
    return Document("deploy/run.sh", text, executable=True)


def _quoted(value: str) -> str:
    """Quote what a shell would not read as one plain word; our values hold nothing worse than =."""
    return value if value.replace("/", "").replace("-", "").isalnum() else f'"{value}"'


class MpsV3(Sharing):
    """One server on one GPU with one namespace, which the client selects by its pipe directory."""

    about = "a start-up file for an MPS daemon of version 3"
    needs = frozenset({Capability.MPS_CONFIG})
    restricts = pod.ONE_GPU | {Restriction.MEMORY_REQUIRED}
    expresses = pod.SM_SHARE
    refuses = "the file starts an MPS daemon on one machine, which a cluster does not do"

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the configuration; a namespace inherits nothing, so both carry the limits.

        Raises:
            InvalidOption: The GPU is not named. It is one of the machine the file is for, so it
                is asked for and never taken from the run.
        """
        if not UUID.fullmatch(request.gpu_uuid):
            raise InvalidOption(
                "mps-v3 needs the UUID of the GPU on the machine that the file is for",
                "--gpu-uuid GPU-...; nvidia-smi -L lists them there",
                [Fix("UUID of that GPU", {"gpu_uuid": None}, True, ANY_UUID)],
            )
        both: dict[str, Json] = {"pinned_memory_limit": f"{figures.memory_mib}M"}
        if figures.sm_percent is not None:
            both["active_thread_percentage"] = str(figures.sm_percent)
        server: dict[str, Json] = {
            "allowed_devices": request.gpu_uuid,
            **both,
            "namespaces": {figures.name: {**both}},
        }
        return SharePatch(
            "sm_share",
            ((pod.PIPE_DIRECTORY, f"{pod.PIPE}/{SERVER}/{figures.name}"),),
            config={"schema_version": "1.0", "servers": {SERVER: server}},
            comments=(
                *pod.open_share(figures, "sm_share"),
                "Start, with driver r615 or newer: nvidia-cuda-mps-control -d -p 3 -a mps.toml",
                "Clients run as the daemon's user. A server whose GPU is absent disappears, and "
                "its clients then run without limits.",
            ),
        )
