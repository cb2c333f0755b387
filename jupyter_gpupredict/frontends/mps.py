"""MPS on this machine in text and JSON: the same for the magic and the command line."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_gpupredict.mps.states import MpsStatus, OwnDaemon


def text(status: MpsStatus) -> str:
    """Return the status, a line for each thing."""
    driver = f", driver {status.driver}" if status.driver else ""
    lines = [f"program       {status.program or 'not installed'}{driver}"]
    if status.commands:
        lines.append(f"abilities     {status.commands}")
    if status.compute_mode:
        lines.append(f"compute mode  {status.compute_mode}")
    lines += [f"our daemon    {_daemon(one)}" for one in status.own]
    if not status.own:
        lines.append("our daemon    none")
    if status.other:
        lines.append(f"other daemon  {status.other}")
    lines.append(f"this process  {'a client until it ends' if status.client else 'no client'}")
    return "\n".join(lines)


def as_json(status: MpsStatus) -> str:
    """Return the status as JSON."""
    return json.dumps(asdict(status), indent=2)


def _daemon(one: OwnDaemon) -> str:
    whose = "started from a terminal" if one.detached else f"of process {one.owner_pid}"
    head = f"{whose}, on {one.gpu_uuid}, in {one.pipe_directory}"
    if one.problem:
        return f"{head}: {one.problem}"
    servers = ", ".join(f"{pid} {state}".strip() for pid, state in one.servers.items())
    clients = ", ".join(map(str, one.clients)) or "none"
    return f"{head}, process {one.pid}; server {servers or 'none yet'}; clients {clients}"
