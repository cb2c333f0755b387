"""A long profile of torch.profiler, made up: what reading it takes of the processor and of memory.

For each launch the file holds its call of the runtime, three CPU operations and one flow event, as
profiles with CPU activities do. A small file and one ten times as large are read, each in a process
of its own: memory must not grow with the file.

Run: python -m benchmarks.profiles [GB]; 1 by default, and as much room in the temporary folder.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import header

SHAPES = 400
READ = """
import json, resource, sys, time
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.run import predict_recordings
began = time.process_time()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
found = predict_recordings(sys.argv[1], ReadOptions())
took = time.process_time() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([found["geometry"]["kernels"], took, before, peak, found["recommended_pct"]]))
"""
GPU = {
    "id": 0, "name": "NVIDIA A100-SXM4-80GB", "totalGlobalMem": 85_000_000_000, "computeMajor": 8,
    "computeMinor": 0, "maxThreadsPerMultiprocessor": 2048, "regsPerMultiprocessor": 65536,
    "sharedMemPerMultiprocessor": 167936, "numSms": 108,
}  # fmt: skip
CPU = (
    '{{"ph": "X", "cat": "cpu_op", "name": "aten::{name}", "pid": 701, "tid": 701, "ts": {ts:.3f}, '
    '"dur": 9.2, "args": {{"External id": {id}, "Record function id": 0, "Concrete Inputs": '
    '["", "1", "", ""], "Input type": ["float", "Scalar", "float", "float"], "Input Dims": '
    '[[64, 512, 14, 14], [], [512], [512]], "Ev Idx": {id}}}}},\n'
)
CALL = (
    '{{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 701, "tid": 701, '
    '"ts": {ts:.3f}, "dur": 4.1, "args": {{"External id": {id}, "cbid": 211, '
    '"correlation": {id}}}}},\n'
    '{{"ph": "s", "id": {id}, "pid": 701, "tid": 701, "ts": {ts:.3f}, "cat": "ac2g", '
    '"name": "ac2g"}},\n'
)
KERNEL = (
    '{{"ph": "X", "cat": "kernel", "name": "void at::native::kernel_{shape}<float, 4>(int, float*, '
    'float const*)", "pid": 0, "tid": 7, "ts": {ts:.3f}, "dur": {dur:.3f}, "args": {{'
    '"External id": {id}, "queued": 0, "device": 0, "context": 1, "stream": 7, "correlation": '
    '{id}, "registers per thread": {registers}, "shared memory": {shared}, "blocks per SM": 1.5, '
    '"warps per SM": 12.0, "grid": [{blocks}, 1, 1], "block": [{threads}, 1, 1], '
    '"est. achieved occupancy %": 38}}}},\n'
)


def write(path: Path, size: int) -> int:
    """Write a profile of some bytes; returns how many launches it holds."""
    draw = random.Random(1)
    shapes = [
        {
            "shape": number, "blocks": draw.randrange(1, 900), "threads": 64 * draw.randrange(1, 9),
            "registers": draw.randrange(16, 97), "shared": 1024 * draw.randrange(9),
        }
        for number in range(SHAPES)
    ]  # fmt: skip
    written = count = 0
    now_us = 1.7e9
    with path.open("w", encoding="ascii") as file:
        head = json.dumps({"schemaVersion": 1, "deviceProperties": [GPU]})[:-1]
        file.write(f'{head}, "traceEvents": [\n')
        while written < size:
            took_us = draw.expovariate(1 / 60.0) + 2.0
            of = {"ts": now_us, "id": count, "dur": took_us, **draw.choice(shapes)}
            lines = (*(CPU.format(name=one, **of) for one in ("conv2d", "add_", "relu")),
                     CALL.format(**of), KERNEL.format(**of))  # fmt: skip
            written += sum(map(file.write, lines))
            count += 1
            now_us += took_us * draw.uniform(1.0, 1.4)
        file.write(
            '{"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "python"}}\n]}\n'
        )
    return count


def main() -> None:
    whole = int(1e9 * float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000_000
    print(header())
    with tempfile.TemporaryDirectory() as folder:
        for size, packed in ((whole // 10, False), (whole, False), (whole // 10, True)):
            path = Path(folder, "made.pt.trace.json")
            count = write(path, size)
            words = f"{size / 1e6:.0f} MB"
            if packed:
                small = path.with_suffix(".json.gz")
                with path.open("rb") as whole_file, gzip.open(small, "wb", 5) as packed_file:
                    shutil.copyfileobj(whole_file, packed_file)
                words += f", {small.stat().st_size / 1e6:.0f} MB compressed"
                path = small
            command = [sys.executable, "-c", READ, str(path)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            kernels, took_s, before_mib, peak_mib, percent = json.loads(done.stdout)
            if kernels != count:
                raise SystemExit(f"{kernels} launches of {count} were read")
            print(
                f"{words}, {count} launches: {took_s:.1f} s of CPU, {size / took_s / 1e6:.0f} MB/s;"
                f" memory {before_mib:.0f} MiB before, {peak_mib:.0f} MiB at most; {percent} %"
            )


if __name__ == "__main__":
    main()
