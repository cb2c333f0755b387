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
    (
        rb"\A#[^\n]*\bgpu\s+pid\b",
        "a log of nvidia-smi pmon: processes, whose shares do not add up to the GPU's",
        "log nvidia-smi dmon -s um -o DT",
    ),
    (
        rb"\A(?:\xef\xbb\xbf)?[^\n]*(?:emissions_rate|codecarbon_version)",
        "a table of codecarbon: energy, and no use of the GPU over time",
        "log nvidia-smi --query-gpu beside it",
    ),
    (
        rb"\A(?:\d{13} [-+.\deE]+ \d+\r?\n)+",
        "a metric of MLflow, without the name of what it is",
        "mlflow.MlflowClient().get_metric_history(run, 'system/gpu_0_utilization_percentage'), "
        "written as CSV with the titles timestamp,gpu_util_percent",
    ),
    (
        rb"\A.{8,40}brain\.Event:",
        "events of TensorBoard",
        "download the scalar as CSV, with the titles timestamp,gpu_util_percent",
    ),
    (
        rb"(?:\A|\n)[^\n]*\bRAM \d+/\d+MB[^\n]*GR3D_FREQ",
        "a log of tegrastats, of a Jetson, whose GPU no other card is shared as",
        "measure on the GPU that it is to be deployed on",
    ),
    (
        rb"<nvidia_smi_log|=+NVSMI LOG=+",
        "a report of nvidia-smi -q, of one moment",
        "nvidia-smi --query-gpu=timestamp,index,utilization.gpu,memory.used --format=csv -l 1",
    ),
    (
        rb"(?:\A|\n)# (?:HELP|TYPE) \w+",
        "a single scrape of Prometheus' metrics, of one moment",
        "ask its server: predict --prometheus URL --from TIME",
    ),
    (
        rb"\APK\x03\x04",
        "a zip archive",
        "unpack it; a folder of recordings can be read",
    ),
    (rb"\APAR1", "a Parquet file", "name it so that it ends in .parquet"),
    (
        rb"\A\s*\{\s*\"(?:cells|nbformat|metadata)\"",
        "a notebook",
        "run its cell under %%gpupredict",
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
