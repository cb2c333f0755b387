"""Recordings of every format, mutated: an answer, or one line and no figure."""

import io
import json
import os
import random
import time
from pathlib import Path

import pytest

from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.run import predict_recording
from jupyter_gpupredict.sources.reading import read_traces

SAMPLES = [
    path.read_bytes()
    for path in sorted((Path(__file__).parents[1] / "data" / "recordings").iterdir())
]
PIECES = (
    b"\n", b",", b";", b"\t", b"\0", b"\xff", b'"', b"[", b"}", b"-1", b"1e309", b"nan", b"[N/A]",
    b"%", b" MiB", b"0", b"9" * 30, b"\r\n", b"#", b"2147483648", b"\xef\xbb\xbf", b"::", b"/",
)  # fmt: skip
SECONDS = 20.0
"""No file of this size takes as long, on the slowest machine."""


def mutated(sample, drawn):
    data = bytearray(sample)
    for _ in range(drawn.choice((1, 1, 2, 5, 30))):
        at = drawn.randrange(len(data) + 1)
        kind = drawn.randrange(6)
        if kind == 0:
            data[at : at + drawn.randrange(1, 40)] = b""
        elif kind == 1:
            data[at:at] = drawn.choice(PIECES)
        elif kind == 2:
            data[at : at + 1] = bytes([drawn.randrange(256)])
        elif kind == 3:
            begin = drawn.randrange(len(data) + 1)
            data[at:at] = data[begin : begin + drawn.randrange(400)]
        elif kind == 4:
            del data[at:]
        else:
            lines = bytes(data).split(b"\n")
            drawn.shuffle(lines)
            data = bytearray(b"\n".join(lines))
        if not data:
            break
    return bytes(data)


def tried(data, drawn):
    """Return what became of it: `read` or `refused`."""
    options = ReadOptions(
        device=drawn.choice((None, None, "all", "1")),
        columns=drawn.choice((None, None, None, "timestamp,utilization.gpu,memory.used")),
        interval_s=drawn.choice((None, 1.0)),
    )
    try:
        traces = read_traces(io.BytesIO(data), "x", options)
        found = [predict_recording(trace) for trace in traces]
    except GpuPredictError as error:
        assert "\n" not in str(error)
        assert error.message
        return "refused"
    for one in found:
        json.dumps(one, allow_nan=False)
        assert 1 <= one["target_pct"] <= 100
        assert 0.0 <= one["mean_pct"] <= 100.0
        assert one["mem_target_mib"] is None or one["mem_target_mib"] >= 0.0
    return "read"


def run(count, seed):
    drawn = random.Random(seed)
    ends = {"read": 0, "refused": 0}
    for number in range(count):
        data = mutated(SAMPLES[number % len(SAMPLES)], drawn)
        began = time.process_time()
        try:
            ends[tried(data, drawn)] += 1
        except Exception:
            (Path(os.environ.get("TMPDIR", "/tmp")) / f"mutated-{seed}-{number}").write_bytes(data)  # noqa: S108
            raise
        assert time.process_time() - began < SECONDS, f"{number} hangs"
    return ends


def test_500_mutated_files():
    ends = run(500, 20)
    assert min(ends.values()) > 50  # it tries both


@pytest.mark.long
def test_10000_mutated_files():
    assert sum(run(10_000, 21).values()) == 10_000
