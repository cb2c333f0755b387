"""What each driver branch's MPS was seen to know: NVIDIA's own programs, asked without a GPU.

The replies themselves are in `tests/fake_mps/replies`, which `python -m tests.fake_mps.record`
takes; a test holds this table against them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from jupyter_gpupredict.mps.control import MEMORY_COMMAND

_KNOWN = {
    470: frozenset[str](),
    535: frozenset({"terminate_client", MEMORY_COMMAND}),
    550: frozenset({"terminate_client", MEMORY_COMMAND, "get_server_status"}),
    555: frozenset({"terminate_client", MEMORY_COMMAND, "get_server_status"}),
}
"""Driver branch -> which of `control.OPTIONAL` its daemon knows."""
_VERSION_FILE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Record:
    """What one driver branch's daemon knows, or one daemon that was asked."""

    source: str
    """`the record of 550`, or `asked`."""
    commands: frozenset[str]

    @property
    def text(self) -> str:
        """What works with it and what does not, in words."""
        can = {
            "terminate_client": "ending one client",
            MEMORY_COMMAND: "memory limits",
        }
        works = ["--mps", "proof of attachment"]
        works += [words for name, words in can.items() if name in self.commands]
        lacks = [words for name, words in can.items() if name not in self.commands]
        missing = f"; not: {', '.join(lacks)}" if lacks else ""
        return f"{', '.join(works)}{missing} (by {self.source})"


def by_driver(version: str) -> Record | None:
    """Return what a driver's MPS knows: the newest record that is not newer than the driver.

    None for a driver that is older than all records, or whose version is not known.

    >>> by_driver("570.86.15").source
    'the record of 555'
    """
    branch = version.partition(".")[0]
    past = [one for one in _KNOWN if branch.isdecimal() and one <= int(branch)]
    return Record(f"the record of {max(past)}", _KNOWN[max(past)]) if past else None


def loaded_driver() -> str:
    """Return the version of the kernel's NVIDIA driver; empty where there is none.

    Source: /proc/driver/nvidia/version.
    """
    try:
        found = re.search(r"\b(\d{3,}\.\d+(\.\d+)?)\b", _VERSION_FILE.read_text(errors="replace"))
    except OSError:
        return ""
    return found.group(1) if found else ""
