"""What works here, what does not, and what would help: one page."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib import metadata

from jupyter_gpupredict import config

PACKAGES = ("ipykernel", "ipywidgets", "anywidget", "bokeh", "jupyter_server", "nvidia-ml-py")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at."""

    name: str
    works: bool
    found: str
    fix: str = ""


def examine() -> list[Line]:
    """Return one line for each thing that matters; changes nothing."""
    lines = [Line("python", True, f"{platform.python_version()} on {platform.platform()}")]
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
    lines += [
        Line(f"source {one.name}", one.works, one.found, one.hint) for one in config.probe_sources()
    ]
    lines += _mps()
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    lines.append(Line("CUDA_VISIBLE_DEVICES", True, "not set" if shown is None else repr(shown)))
    problem = config.store_problem()
    lines.append(
        Line("session store", not problem, problem or str(config.store_dir()), "check its rights")
    )
    lab = importlib.util.find_spec("jupyterlab") is not None
    lines.append(Line("jupyterlab", lab, _version("jupyterlab") or "not installed"))
    return lines


def _mps() -> list[Line]:
    """Return what `--mps` would find here; only daemons that we started are asked."""
    status = config.mps_status()
    program = f"{status.program} {status.version}".strip()
    own = [f"process {one.pid}" if one.pid else one.problem for one in status.own]
    daemons = [f"ours: {', '.join(own)}"] if own else []
    daemons += [status.other] if status.other else []
    mode = status.compute_mode
    return [
        Line(
            "mps program",
            bool(program),
            program or "not installed",
            "it comes with the driver: nvidia-compute-utils",
        ),
        Line(
            "mps daemon",
            not status.foreign,
            "; ".join(daemons) or "none runs; --mps starts one",
            "ask its owner, or unset CUDA_MPS_PIPE_DIRECTORY",
        ),
        Line(
            "mps compute mode",
            mode != "prohibited",
            mode or "not told: no GPU is visible",
            "nvidia-smi -c DEFAULT, as root",
        ),
        Line("mps user", True, f"uid {status.uid}; its clients must have the same"),
    ]


def report() -> str:
    """Return the page in text."""
    lines = []
    for line in examine():
        sign = "ok " if line.works else "NO "
        fix = f"  -> {line.fix}" if line.fix and not line.works else ""
        lines.append(f"{sign} {line.name:<22} {line.found}{fix}")
    return "\n".join(lines)


def report_json() -> str:
    """Return the page as JSON."""
    return json.dumps([asdict(line) for line in examine()], indent=2)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
