"""Which installed packages a process sees, as far as that can be told without naming a path."""

from __future__ import annotations

import hashlib
import platform
import sys


def environment() -> str:
    """Return a digest of host, installation and Python: equal where the packages are the same."""
    told = "\0".join((platform.node(), sys.prefix, platform.python_version()))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
