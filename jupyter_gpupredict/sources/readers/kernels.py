"""Tables of kernels: one launch a line, in our own columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.sources.profiles import ASKS, Profile
from jupyter_gpupredict.sources.tables import number_of, numbered, table_of, titles_of

if TYPE_CHECKING:
    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace

_TIMES = ("start_us", "dur_us")
_WHOLE = ("grid_blocks", "block_threads", "regs", "smem_bytes")


class KernelsReader:
    """Reads a table with columns `start_us`, `dur_us`, `grid_blocks`, `block_threads`."""

    label = "CSV of kernels with columns start_us, dur_us, grid_blocks"

    def detect(self, content: Content) -> bool:
        """Return whether there are those columns."""
        return {*_TIMES, _WHOLE[0]} <= set(titles_of(content.first_lines))

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the profile; `Malformed` where its GPU is not given: the table cannot say."""
        if options.sms is None or options.compute_capability is None:
            raise Malformed(f"{content.name} does not say which GPU it is of", f"add {ASKS}")
        profile = Profile(content.name, "kernels", options)
        with table_of(content.lines(), content.name, {}) as (titles, rows):
            at = {title: index for index, title in enumerate(titles)}
            for line, cells in numbered(rows, titles, content.name):
                found = [
                    number_of(cells[at[title]], line, content.name, 1.0) if title in at else None
                    for title in (*_TIMES, *_WHOLE, "device")
                ]
                start, duration = (math.nan if one is None else one for one in found[:2])
                blocks, threads, registers, shared = (
                    int(min(max(one or 0.0, 0.0), 2.0**50)) for one in found[2:6]
                )
                name = cells[at["name"]] if "name" in at else ""
                launch = (start, duration, blocks, threads, registers, shared)
                profile.add(int(found[6] or 0), launch, name)
        return profile.trace()
