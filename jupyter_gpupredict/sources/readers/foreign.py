"""What is recognised and holds nothing that a prediction could be made from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed

if TYPE_CHECKING:
    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace

_KINDS = (
    (
        rb"==PROF==|\"Metric Name\",\"Metric Unit\",\"Metric Value\"",
        "a report of Nsight Compute: single kernels, not a run",
        "profile the run with torch.profiler or nsys",
    ),
    (
        rb"\A(?!\s*[{\[]).{0,4096}?/(?:host:metadata|device:GPU|host:CPU)",
        "a binary profile of XLA",
        "the trace.json.gz beside it can be read",
    ),
    (rb"\A(?:.{4})?NVIDIA Nsight|\Ansysrep", "a report of Nsight Systems", "nsys export -t sqlite"),
)
"""(pattern of the first bytes, what it is, what to do)."""


class ForeignReader:
    """Refuses, in one line with a way on."""

    label = ""

    def detect(self, content: Content) -> bool:
        """Return whether it is one of them."""
        return self._kind(content) is not None

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Raise `Malformed` with what the file is."""
        found = self._kind(content)
        what, hint = found or ("of no format that can be read", "")
        raise Malformed(f"{content.name} is {what}", hint)

    def _kind(self, content: Content) -> tuple[str, str] | None:
        for pattern, what, hint in _KINDS:
            if re.search(pattern, content.head, re.DOTALL):
                return what, hint
        return None
