"""What works here, what does not, and what would help: one page."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jupyter_core import paths

from jupyter_gpupredict import run
from jupyter_gpupredict.frontends.terminal import from_store
from jupyter_gpupredict.mps import mps_status, mps_trial
from jupyter_gpupredict.run import probe_sources, store_dir, store_problem

if TYPE_CHECKING:
    from jupyter_gpupredict.mps import MpsStatus, OwnDaemon

PACKAGES = ("ipykernel", "ipywidgets", "anywidget", "bokeh", "jupyter_server", "nvidia-ml-py")
WIDGETS = ("@jupyter-widgets/jupyterlab-manager", "anywidget", "jupyter_gpupredict")
"""Front-end extensions that the live view and the panel need, as JupyterLab finds them."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at."""

    name: str
    works: bool
    found: str
    """One sentence."""
    fix: str = ""
    """One remedy."""
    detail: str = ""
    """What a library or the driver says, to be copied."""
    level: Literal["ok", "off", "fails"] = "ok"
    """`off`: not here, and nothing that was asked for needs it."""


SAYS = {
    "no_driver": "No NVIDIA driver on this server",
    "no_device": "No GPU is visible here",
    "no_permission": "The driver lets this user read nothing",
    "version_mismatch": "The driver and its library are of different versions",
    "wrong_pynvml": "Another package stands in nvidia-ml-py's place",
    "timed_out": "The driver did not answer",
    "device_lost": "The GPU is lost",
    "not_supported": "This GPU does not count SM activity",
    "mig": "The driver gives no utilization of a MIG instance",
}
"""Reason -> one sentence."""
ABSENT = ("no_driver", "no_device", "not_supported", "mig")
"""Reasons that are no fault: the machine is like that, and the CPU is measured meanwhile."""
OPTIONAL = (
    "jupyterlab", "server extension", "process numbers", "WSL", "mps program", "gpm metrics",
    "nvml metrics", "cpu metrics", "kernel recording",
)  # fmt: skip
"""What a run does without."""


def examine(*, mps: bool = False) -> list[Line]:
    """Return one line for each thing that matters; changes nothing.

    Args:
        mps: Start a daemon of MPS in a private directory, ask it, and remove it.
    """
    found = [
        Line("python", True, f"{platform.python_version()} on {platform.platform()}"),
        *_packages(),
        *_frontends(),
        *_sources(),
        *_host(),
        *_mps(),
        *(_mps_trial() if mps else ()),
        *_store(),
    ]
    return [one if one.works or one.level != "ok" else _judged(one) for one in found]


def _judged(line: Line) -> Line:
    return replace(line, level="off" if line.name in OPTIONAL else "fails")


def _packages() -> list[Line]:
    lines = []
    for package in PACKAGES:
        version = _version(package)
        fix = "" if version else f"pip install {package}"
        if package == "ipykernel" and version.startswith("7.0."):
            lines.append(
                Line(package, False, version, "no live view on 7.0: pip install -U ipykernel")
            )
            continue
        lines.append(Line(package, bool(version), version or "not installed", fix))
    if _version("pynvml"):
        lines.append(
            Line(
                "pynvml",
                False,
                "the package of this name shadows nvidia-ml-py",
                "pip uninstall pynvml; pip install --force-reinstall nvidia-ml-py",
            )
        )
    return lines


def _frontends() -> list[Line]:
    """Return what a notebook's page will find, as the directories of this environment say."""
    roots = [Path(root) for root in paths.jupyter_path("labextensions")]
    here = [
        name for name in WIDGETS if any((root / name / "package.json").exists() for root in roots)
    ]
    lacking = [name for name in WIDGETS if name not in here]
    served = any(
        (Path(root) / "jupyter_server_config.d" / "jupyter_gpupredict.json").exists()
        for root in paths.jupyter_config_path()
    )
    lab = _version("jupyterlab")
    return [
        Line("jupyterlab", bool(lab), lab or "not installed", "pip install jupyterlab"),
        Line(
            "front-end extensions",
            not lacking,
            f"missing: {', '.join(lacking)}" if lacking else ", ".join(here),
            "pip install ipywidgets anywidget jupyter_gpupredict, where JupyterLab runs",
        ),
        Line(
            "server extension",
            served,
            "enabled"
            if served
            else "not enabled: no panel, and BokehJS has to come from the kernel",
            "pip install jupyter_gpupredict, where the server runs",
        ),
    ]


def _sources() -> list[Line]:
    lines = []
    for one in probe_sources():
        reason, colon, detail = one.found.partition(": ")
        if one.works or not colon:
            lines.append(Line(f"source {one.name}", one.works, one.found, one.hint))
        else:
            level: Literal["off", "fails"] = "off" if reason in ABSENT else "fails"
            says = SAYS.get(reason, reason.replace("_", " "))
            lines.append(Line(f"source {one.name}", False, says, one.hint, detail, level))
        if one.driver:
            lines.append(Line(f"{one.name} driver", True, one.driver))
        if one.works:
            lacks = "; ".join(f"no {label} ({reason})" for label, reason in one.lacks)
            gives = ", ".join(one.gives)
            lines.append(
                Line(
                    f"{one.name} metrics",
                    not one.lacks,
                    f"{lacks}; gives {gives}" if lacks else gives,
                    "docs/gpu.md explains each reason",
                )
            )
    lines.append(_kernels())
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    lines.append(Line("CUDA_VISIBLE_DEVICES", True, "not set" if shown is None else repr(shown)))
    return lines


def _kernels() -> Line:
    """Return what `--kernels` could record with; CUPTI of CUDA 13 works on no V100."""
    found = run.kernel_tracers()
    serves = f"{', '.join(found)}: once a cell uses it, with --kernels" if found else "nothing"
    fix = "a profile that you took serves as well: %gpupredict kernels FILE (docs/kernels.md)"
    return Line("kernel recording", bool(found), serves, fix)


def _host() -> list[Line]:
    host = run.host()
    return [
        Line("container", True, host.container or "none seen"),
        Line(
            "process numbers",
            host.host_pids,
            "the driver's are ours"
            if host.host_pids
            else "another PID namespace than the driver's: memory is device-wide",
            "docker run --pid=host, or hostPID: true",
        ),
        Line(
            "WSL",
            not host.wsl,
            "yes: its driver lists no processes, and MPS cannot run" if host.wsl else "no",
            "for figures of this process alone, measure on Linux itself",
        ),
    ]


def _mps() -> list[Line]:
    """Return what `--mps` would find here; only daemons that we started are asked."""
    status = mps_status()
    mute = [one.problem for one in status.own if one.problem]
    own = [one.problem or f"process {one.pid}" for one in status.own]
    daemons = [f"ours: {', '.join(own)}"] if own else []
    daemons += [status.other] if status.other else []
    mode = status.compute_mode
    driver = f", driver {status.driver}" if status.driver else ""
    unknown = "no record of this driver; doctor --mps asks" if status.driver else "not known"
    return [
        Line(
            "mps program",
            bool(status.program),
            f"{status.program}{driver}" if status.program else "not installed",
            "it comes with the driver: nvidia-compute-utils",
        ),
        Line("mps abilities", True, status.commands or unknown),
        Line(
            "mps daemon",
            not status.foreign and not mute,
            "; ".join(daemons) or "none runs; --mps starts one",
            "%gpupredict mps stop, or jupyter gpupredict mps stop"
            if mute
            else "ask its owner, or unset CUDA_MPS_PIPE_DIRECTORY",
        ),
        Line(
            "mps compute mode",
            mode != "prohibited",
            mode or "not known: no GPU is visible",
            "nvidia-smi -c DEFAULT, as root",
        ),
        Line("mps user", True, f"uid {status.uid}; its clients must have the same"),
    ]


def _mps_trial() -> list[Line]:
    """Start a daemon, ask it and remove it; returns what it can do, and whether a server starts."""
    trial = mps_trial()
    if trial.problem:
        return [Line("mps trial", False, trial.problem, "--mps cannot work here")]
    return [
        Line("mps trial", True, trial.commands),
        Line(
            "mps trial server",
            not trial.server_problem,
            trial.server_problem or "it starts",
            "--mps runs cells without MPS until it does",
        ),
    ]


def _store() -> list[Line]:
    problem = from_store(store_problem)
    return [Line("session store", not problem, problem or str(store_dir()), "check its rights")]


def report(*, mps: bool = False) -> str:
    """Return the page in text; arguments as for `examine`."""
    lines = []
    for line in examine(mps=mps):
        sign = {"ok": "ok ", "off": "-  ", "fails": "NO "}[line.level]
        fix = f"  -> {line.fix}" if line.fix and line.level == "fails" else ""
        detail = f" ({line.detail})" if line.detail and line.level == "fails" else ""
        lines.append(f"{sign} {line.name:<22} {line.found}{detail}{fix}")
    return "\n".join(lines)


def report_json(*, mps: bool = False) -> str:
    """Return the page as JSON; arguments as for `examine`."""
    return json.dumps([asdict(line) for line in examine(mps=mps)], indent=2)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def mps_text(status: MpsStatus) -> str:
    """Return how MPS stands, a line for each thing."""
    driver = f", driver {status.driver}" if status.driver else ""
    lines = [f"program       {status.program or 'not installed'}{driver}"]
    if status.commands:
        lines.append(f"abilities     {status.commands}")
    if status.compute_mode:
        lines.append(f"compute mode  {status.compute_mode}")
    lines += [f"our daemon    {_daemon(one)}" for one in status.own] or ["our daemon    none"]
    if status.other:
        lines.append(f"other daemon  {status.other}")
    lines.append(f"this process  {'a client until it ends' if status.client else 'no client'}")
    return "\n".join(lines)


def _daemon(one: OwnDaemon) -> str:
    whose = "started from a terminal" if one.detached else f"of process {one.owner_pid}"
    head = f"{whose}, on {one.gpu_uuid}, in {one.pipe_directory}"
    if one.problem:
        return f"{head}: {one.problem}"
    servers = ", ".join(f"{pid} {state}".strip() for pid, state in one.servers.items())
    clients = ", ".join(map(str, one.clients)) or "none"
    return f"{head}, process {one.pid}; server {servers or 'none yet'}; clients {clients}"
