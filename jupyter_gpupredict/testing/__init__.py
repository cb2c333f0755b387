"""Checks for whoever writes a source, a reader, a rule, a hint, a workload or a sharing backend.

Run them in your own tests. Each raises AssertionError with what is wrong. They are the checks that
this package's own adapters pass; `docs/extending.md` has an example of each.
"""

from jupyter_gpupredict.testing.deploying import check_sharing, check_workload
from jupyter_gpupredict.testing.measuring import (
    FakeClock,
    ProgressRecorder,
    check_hint,
    check_reader,
    check_rule,
    check_source,
)

__all__ = [
    "FakeClock",
    "ProgressRecorder",
    "check_hint",
    "check_reader",
    "check_rule",
    "check_sharing",
    "check_source",
    "check_workload",
]
