"""Traces of torch.profiler (Kineto), of every age: `*.pt.trace.json`, compressed or not."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.predict.occupancy import limits_of
from jupyter_gpupredict.sources.profiles import (
    ChromeTrace,
    Gpu,
    Profile,
    is_chrome,
    is_xla,
    number,
    whole,
)

if TYPE_CHECKING:
    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.profiles import Launch
    from jupyter_gpupredict.sources.reading import Content
    from jupyter_gpupredict.sources.recording import Trace

_PROPERTIES = "deviceProperties"
_GUESSES = 4096
"""Launches that the number of SMs is inferred from."""


class KinetoReader:
    """Reads the kernels, and what is said of the devices."""

    label = "a trace of torch.profiler (.json, .json.gz)"

    def detect(self, content: Content) -> bool:
        """Return whether it is a Chrome trace, and not XLA's."""
        return is_chrome(content) and not is_xla(content)

    def read(self, content: Content, options: ReadOptions) -> Trace:
        """Return the profile; without device properties the SMs follow from the launches."""
        return self.profile(content, options).trace()

    def profile(self, content: Content, options: ReadOptions) -> Profile:
        """Return its launches; errors as `read`."""
        trace = ChromeTrace(content, (_PROPERTIES,))
        profile = Profile(content.name, "torch.profiler", options)
        sms: dict[int, Counter[int]] = {}
        known: set[int] = set()
        for event in trace.events():
            if _PROPERTIES in trace.about:
                known |= _tell(profile, trace.about.pop(_PROPERTIES))
            if str(event.get("cat", "")).lower() != "kernel" or event.get("ph") != "X":
                continue
            details = event.get("args")
            if not isinstance(details, dict):
                continue
            launch = _launch(event, details)
            key = whole(details.get("device", event.get("pid")), 1 << 16)
            profile.add(key, launch, str(event.get("name", "")))
            votes = sms.setdefault(key, Counter())
            if key not in known and votes.total() < _GUESSES:
                votes.update(_sms(launch, details))
        known |= _tell(profile, trace.about.get(_PROPERTIES))
        for key in sms.keys() - known:
            if sms[key]:
                profile.device(key, Gpu(sms=sms[key].most_common(1)[0][0]))
        if trace.torn:
            profile.notes.append("the file ends in its middle; what came before was read")
        return profile


def _tell(profile: Profile, properties: object) -> set[int]:
    """Give the profile what is said of the devices; returns their numbers."""
    known = set()
    for one in properties if isinstance(properties, list) else ():
        if not isinstance(one, dict):
            continue
        capability = whole(one.get("computeMajor")), whole(one.get("computeMinor"))
        sm = limits_of(
            capability,
            threads=whole(one.get("maxThreadsPerMultiprocessor")),
            shared_bytes=whole(one.get("sharedMemPerMultiprocessor")),
            registers=whole(one.get("regsPerMultiprocessor")),
        )
        key = whole(one.get("id"))
        memory = whole(one.get("totalGlobalMem"), 1 << 50) or None
        sms = whole(one.get("numSms"), 4096) or None
        profile.device(key, Gpu(str(one.get("name", "")), "", sms, sm, memory))
        known.add(key)
    return known


def _launch(event: dict[str, Any], details: dict[str, Any]) -> Launch:
    """Return the facts of a launch, as `Profile.add` takes them."""
    return (
        number(event.get("ts")),
        number(event.get("dur")),
        _product(details.get("grid")),
        _product(details.get("block")),
        whole(details.get("registers per thread"), 1 << 40),
        whole(details.get("shared memory")),
    )


def _product(sizes: object) -> int:
    """Return how many there are in a grid or block of three sizes; 0 where it is none."""
    if isinstance(sizes, str):
        sizes = sizes.strip("[]()").split(",")
    return math.prod(whole(one) for one in sizes) if isinstance(sizes, list) and sizes else 0


def _sms(launch: Launch, details: dict[str, Any]) -> list[int]:
    """Return how many SMs the GPU has by one launch, where that can be known.

    `blocks per SM` is the grid over the SMs; files before it have `warps per SM` alone.
    """
    blocks, threads = launch[2], launch[3]
    per_sm = number(details.get("blocks per SM"))
    all_of_them = blocks
    if not per_sm > 0.0:
        per_sm, all_of_them = number(details.get("warps per SM")), blocks * math.ceil(threads / 32)
    if not per_sm > 0.0:
        return []
    found = round(all_of_them / per_sm)
    return [found] if 0 < found < 4096 else []
