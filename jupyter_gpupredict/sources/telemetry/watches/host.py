"""What kind of machine this is, as far as it changes what the driver tells."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.devices import Host
from jupyter_gpupredict.sources.driver.processes import sees_host_pids

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARKS = {".dockerenv": "Docker", "run/.containerenv": "Podman"}


class HostWatch:
    """Looks at the marks that container engines leave; nothing is started or changed."""

    def __init__(
        self,
        root: Path = Path("/"),
        release: str = "",
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Take what is looked at.

        Args:
            root: The file system's root.
            release: The kernel's release; this one's where it is empty.
            environ: The process's environment.
        """
        self._root = root
        self._release = release or platform.release()
        self._environ = environ

    def read(self) -> Host:
        """Return what was found."""
        container = next(
            (kind for mark, kind in _MARKS.items() if (self._root / mark).exists()), ""
        )
        if not container and "KUBERNETES_SERVICE_HOST" in self._environ:
            container = "Kubernetes"
        return Host(container, sees_host_pids(), "microsoft" in self._release.lower())

    def close(self) -> None:
        """Nothing is held."""
