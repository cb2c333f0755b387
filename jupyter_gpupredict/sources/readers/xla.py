"""Traces of XLA's profiler, which JAX and TensorFlow write: `*.trace.json.gz`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from jupyter_gpupredict.sources.profiles import (
    ChromeTrace,
    Profile,
    is_chrome,
    is_xla,
    number,
    whole,
)

if TYPE_CHECKING:
    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace

_DETAIL = re.compile(r"(\w+):([\d,]+)")
_DEVICE = re.compile(r"/device:GPU:(\d+)")


class XlaReader:
    """Reads the kernels; such a file says nothing of the GPU that they ran on."""

    label = "a trace of XLA's profiler (.trace.json.gz)"

    def detect(self, content: Content) -> bool:
        """Return whether it is a Chrome trace with XLA's processes in it."""
        return is_chrome(content) and is_xla(content)

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the profile; the processes that are named as devices are the devices."""
        return self.profile(content, options).trace()

    def profile(self, content: Content, options: ReadOptions) -> Profile:
        """Return its launches; errors as `read`."""
        trace = ChromeTrace(content)
        profile = Profile(content.name, "XLA", options)
        devices: dict[object, int] = {}
        for event in trace.events():
            details = event.get("args")
            if not isinstance(details, dict):
                continue
            if event.get("name") == "process_name":
                named = _DEVICE.search(str(details.get("name", "")))
                if named and len(devices) < 1024:
                    devices[str(event.get("pid"))] = int(named[1][:6])
            text = details.get("kernel_details")
            if not isinstance(text, str):
                continue
            fact = dict(_DETAIL.findall(text))
            launch = (
                number(event.get("ts")),
                number(event.get("dur")),
                _product(fact.get("grid")),
                _product(fact.get("block")),
                whole(fact.get("regs"), 1 << 40),
                whole(fact.get("static_shared")) + whole(fact.get("dynamic_shared")),
            )
            key = devices.get(str(event.get("pid")), 0)
            profile.add(key, launch, str(event.get("name", "")))
        if trace.torn:
            profile.notes.append("the file ends in its middle; what came before was read")
        return profile


def _product(sizes: str | None) -> int:
    return math.prod(whole(one) for one in sizes.split(",")) if sizes else 0
