"""Slurm: a batch script, and Slurm's own sharing of a GPU by `gres/mps` or `gres/shard`.

Slurm gives a job of `--gres=mps:N` the percentage 100 x N / the count of its GPU, limits no GPU
memory, and starts no daemon by itself: the site's prolog does (Slurm, Generic Resource Scheduling).
"""

from __future__ import annotations

import math
import re
import shlex
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.export import pod, rules
from jupyter_gpupredict.export.deployment import (
    Capability,
    Document,
    Figures,
    Hosting,
    Plan,
    Restriction,
    SharePatch,
    Sharing,
    Workload,
)
from jupyter_gpupredict.export.findings import Manifest, Node, Report
from jupyter_gpupredict.export.stamps import stamps

if TYPE_CHECKING:
    from jupyter_gpupredict.export.request import ExportRequest

COUNT = 100
"""What sites usually count per GPU, so that a count is a percent."""
PREFERRED = "sbatch deploy/job.sbatch"
SCRIPT = """#!/bin/bash
{directives}
set -euo pipefail
cd "${{SLURM_SUBMIT_DIR:-.}}"
if [ ! -f handler.py ]; then
  echo "handler.py is not here: {submit}, from the function's folder" >&2
  exit 2
fi
if [ -f .env ]; then set -a; . ./.env; set +a; fi
{required}{exports}: "${{GPUPREDICT_OUTPUTS:=$PWD/outputs/$SLURM_JOB_ID}}"
export GPUPREDICT_OUTPUTS
mkdir -p "$GPUPREDICT_OUTPUTS"
{daemon}{modules}[ "$#" -gt 0 ] || set -- '{{}}'
{run}
"""
DAEMON = """pipe=${CUDA_MPS_PIPE_DIRECTORY:-/tmp/nvidia-mps}
if [ ! -e "$pipe/control" ]; then
  echo "no MPS daemon at $pipe: the site's prolog starts it, and without it no limit holds" >&2
  exit 1
fi
"""
RANKED = """export MASTER_PORT={port} WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=0
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR
exec srun --kill-on-bad-exit=1 bash -c 'export RANK=$SLURM_PROCID; exec "$@"' rank {command} "$@"
"""
DIRECTIVE = re.compile(r"^#SBATCH\s+--([a-z-]+)(?:=(\S+))?\s*$", re.MULTILINE)
EXPORT = re.compile(r"^export (\w+)=(.*)$", re.MULTILINE)


def _check(found: Node, report: Report) -> None:
    """Check directives, what a part of the GPU holds, and the variables."""
    text: str = found.value
    rules.check_shell(text, report)
    given = dict(DIRECTIVE.findall(text))
    for needed in ("job-name", "gres", "mem"):
        if not given.get(needed):
            report.add("slurm", "", f"#SBATCH --{needed}= is missing")
    first = next((n for n, one in enumerate(text.splitlines()) if one and one[0] != "#"), 0)
    late = [one for one in text.splitlines()[first:] if one.startswith("#SBATCH")]
    if late:
        report.add("slurm", "", f"{late[0]} stands behind a command: sbatch ignores it")
    if "time" in given:
        if re.fullmatch(r"[1-9][0-9]*", given["time"]):
            report.limit(60.0 * int(given["time"]), "--time")
        else:
            report.add("slurm", "--time", f"{given['time']!r} is not a whole number of minutes")
    gres = re.fullmatch(r"(mps|shard|gpu):([1-9][0-9]*)", given.get("gres", ""))
    if given.get("gres") and gres is None:
        report.add("slurm", "--gres", f"{given['gres']!r} is not mps:N, shard:N or gpu:N")
    percent = 100
    for name, value in EXPORT.findall(text):
        plain = "".join(shlex.split(value))
        node = Node(plain, f"export {name}")
        count = int(gres[2]) if gres and gres[1] == "gpu" else 1
        if rules.check_variable(name, node, count, report) and name == pod.PERCENTAGE:
            percent = node.whole or 100
            if gres is None or gres[1] != "mps":
                report.add("mps-route", node, "needs --gres=mps:N, else nothing leads to a daemon")
        if rules.SECRET_NAME.fullmatch(name) and plain:
            report.add("secret", node, f"{name} carries a literal; it belongs in .env")
    counted = re.search(r"^# A GPU counts ([1-9][0-9]*) ", text, re.MULTILINE)
    if gres and gres[1] == "mps" and pod.PERCENTAGE in dict(EXPORT.findall(text)):
        part = 100 * int(gres[2]) // int(counted[1] if counted else COUNT)
        if part < percent:
            report.add("slurm", "--gres", f"mps:{gres[2]} gives {part} %, below {percent} %")
    report.carried |= report.informed


class Slurm(Workload):
    """`deploy/job.sbatch`."""

    about = "a Slurm batch script, run in Python or by Apptainer"
    carries = frozenset(
        {
            Capability.GRES,
            Capability.TIME_LIMIT,
            Capability.VARIABLES,
            Capability.QUEUE,
            Capability.SERVICE_ACCOUNT,
        }
    )
    sharing = "slurm-mps"
    refuses = (("*", "Slurm divides a GPU by generic resources of its own"),)
    scheduled = False
    hosting = Hosting(PREFERRED, secrets="cp .env.example .env")
    manifests = (Manifest(suffix=".sbatch", check=_check),)

    def render(self, plan: Plan) -> tuple[Document, ...]:
        """Return the script; the stamps are comments at its top."""
        figures, patch, request = plan.figures, plan.patch, plan.request
        (name, amount), *_ = patch.limits
        directives = {
            "job-name": figures.name,
            "output": f"{figures.name}-%j.out",
            "nodes": figures.ranks,
            "ntasks-per-node": 1,
            "cpus-per-task": math.ceil(figures.cpu_count or pod.SAFE_CPUS),
            "mem": f"{figures.host_memory_mib or pod.SAFE_MEMORY_MIB}M",
            "gres": f"{name}:{amount}",
            "time": None if figures.timeout_s is None else math.ceil(figures.timeout_s / 60),
            "partition": request.queue or None,
            "account": request.service_account or None,
        }
        for key in ("queue", "service_account"):
            if re.search(r"[^\w.,-]", getattr(request, key)):
                raise InvalidOption(f"--{key.replace('_', '-')} is not a name of Slurm's", "a name")
        lines = [f"#SBATCH --{key}={one}" for key, one in directives.items() if one is not None]
        command = ["python", "handler.py"]
        if request.image:
            nv = ["apptainer", "exec", "--nv", "--pwd", "/app", "--bind"]
            command = [*nv, '"$GPUPREDICT_OUTPUTS"', f"docker://{request.image}", *command]
        joined = " ".join(command)
        run = f'exec {joined} "$@"'
        if figures.ranks > 1:
            run = RANKED.format(port=pod.RENDEZVOUS_PORT, command=joined).rstrip()
        pairs = (*patch.env, *patch.variables)
        modules = [f"module load {shlex.quote(one)}\n" for one in request.modules]
        text = SCRIPT.format(
            submit=PREFERRED,
            directives="\n".join(lines),
            required="".join(f': "${{{one}:?stands in .env}}"\n' for one in plan.required),
            exports="".join(f"export {key}={shlex.quote(value)}\n" for key, value in pairs),
            daemon=DAEMON if patch.basis == "sm_share" else "",
            modules="".join(modules),
            run=run,
        )
        comments = (
            *(f"{key}: {value}" for key, value in stamps(figures, patch).items()),
            *pod.notes(
                plan,
                default_limit="The partition's own limit ends it then.",
                image=bool(request.image),
            ),
        )
        return (Document("deploy/job.sbatch", text, comments, executable=True),)


class _Gres(Sharing):
    """A part of one GPU, by a generic resource that the site counts."""

    needs = frozenset({Capability.GRES})
    refuses = "the directives are those of a Slurm script"
    name = ""

    def part(self, figures: Figures, request: ExportRequest) -> tuple[int, int]:
        """Return (what is asked for, what the site counts per GPU)."""
        count = request.gres_count or COUNT
        share = figures.sm_percent or 1
        if figures.memory_mib and figures.gpu_total_mib:
            share = max(share, -(-100 * figures.memory_mib // figures.gpu_total_mib))
        return -(-min(100, share) * count // 100), count

    def patch(self, figures: Figures, request: ExportRequest) -> SharePatch:
        """Return the part that holds share and memory; a whole GPU where no share is known."""
        opened = pod.open_share(figures, "sm_share")
        if figures.sm_percent is None or figures.gpus > 1:
            said = "The function gets a whole GPU, which nothing divides."
            if figures.gpus > 1:
                said = f"{self.name} is of one GPU: the function gets {figures.gpus} whole ones."
            found = pod.whole_gpu(figures, (*opened, said))
            return SharePatch("none", found.env, (("gpu", figures.gpus),), comments=found.comments)
        asked, count = self.part(figures, request)
        said = f"A GPU counts {count} {self.name} here: --gres-count says what your site counts."
        return self.divided(figures, (*opened, said), asked)

    def divided(self, figures: Figures, comments: tuple[str, ...], asked: int) -> SharePatch:
        """Return the patch of a GPU that is divided."""
        raise NotImplementedError


class SlurmMps(_Gres):
    """`gres/mps`: Slurm places by the count; the daemon that the site starts enforces."""

    about = "Slurm's gres/mps, with the site's MPS daemon"
    restricts = frozenset({Restriction.NO_MIG})
    expresses = pod.SM_SHARE
    name = "mps"

    def divided(self, figures: Figures, comments: tuple[str, ...], asked: int) -> SharePatch:
        """Return count and limits: Slurm's own percentage is that of the count, so it is tightened.

        The count holds the memory, too, which Slurm does not count.
        """
        said = "The site's prolog starts the MPS daemon; Slurm limits no GPU memory, MPS does."
        env = pod.mps_env(figures)
        return SharePatch("sm_share", env, (("mps", asked),), comments=(*comments, said))


class SlurmShard(_Gres):
    """`gres/shard`: Slurm places by the count, and nothing enforces."""

    about = "Slurm's gres/shard, which counts and limits nothing"
    restricts = frozenset({Restriction.NO_MIG})
    expresses: frozenset[str] = frozenset()
    name = "shard"

    def divided(self, figures: Figures, comments: tuple[str, ...], asked: int) -> SharePatch:
        """Return the count; the figures inform the function."""
        said = "Shards are counted and limit nothing: the figures inform the function."
        env = pod.information(figures)
        return SharePatch("none", env, (("shard", asked),), comments=(*comments, said))
