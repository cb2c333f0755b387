"""Dumps of radeontop: `1507.12: bus 03, gpu 12.50%, ..., vram 8.25% 1353.61mb, ...`."""

import re

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.core.series import Device, Series
from jupyter_gpupredict.sources.tables import RowsBuilder

LINE = re.compile(r"([\d.]+): (?:bus \w+, )?gpu ([\d.]+)%.*?vram [\d.]+% ([\d.]+)mb")


class RadeontopReader:
    """Reads what `radeontop -d FILE` writes."""

    label = "a dump of radeontop"

    def detect(self, content):
        return any(LINE.match(line) for line in content.first_lines[:3])

    def read(self, content, options):
        metrics = ("gpu_util_ratio", "memory_used_bytes")
        rows = RowsBuilder(content.name, tuple(Series(one, "gpu") for one in metrics))
        for number, line in enumerate(content.lines(), 1):
            found = LINE.match(line)
            if found is None:
                continue  # its first line says which card it is
            try:
                time_s, busy, used = map(float, found.groups())
            except ValueError:
                raise Malformed(f"{content.name} line {number} is not radeontop's") from None
            rows.add(time_s, [busy / 100, used * (1 << 20)], number)
        return rows.trace((Device("gpu", "AMD GPU"),), "radeontop", {})
