"""Public recordings, read; ten of them against a reading of their own; a long one by the clock.

`recordings.tsv` lists them by repository, path and commit. They are read from clones below a
folder and never copied into the project.

Run: python -m benchmarks.recordings CLONES, where CLONES holds `owner+name/repo` for each.
"""

from __future__ import annotations

import csv
import io
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.machine import header
from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.sources.reading import open_trace, read_traces

LIST = Path(__file__).with_name("recordings.tsv")
LONG_ROWS = 3_000_000
MIB = 1 << 20


def content(clones: Path, repository: str, path: str, commit: str) -> bytes | None:
    """The file as it was committed; None where there is no clone of it."""
    place = clones / repository.replace("/", "+") / "repo"
    git = place if (place / "HEAD").exists() else place / ".git"
    command = ["git", "-C", str(git), "show", f"{commit}:{path}"]
    found = subprocess.run(command, capture_output=True, check=False)
    return found.stdout if found.returncode == 0 else None


def plainly(data: bytes) -> list[tuple[float, float | None, float | None]]:
    """A log of nvidia-smi as its first GPU's (seconds, share, bytes), read without our code."""
    text = data.decode("utf-16" if data[:1] in b"\xff\xfe" else "utf-8-sig", "replace")
    rows = list(csv.reader(io.StringIO(text), skipinitialspace=True))
    titles = [title.partition(" [")[0].strip() for title in rows[0]]
    at = {title: number for number, title in enumerate(titles)}
    key = next((at[one] for one in ("uuid", "pci.bus_id", "index") if one in at), None)
    found: list[tuple[float, float | None, float | None]] = []
    first: datetime | None = None
    chosen = None
    for row in rows[1:]:
        if len(row) != len(titles) or row[0] == rows[0][0]:
            continue
        chosen = row[key] if key is not None and chosen is None else chosen
        if key is not None and row[key] != chosen:
            continue
        stamp = datetime.strptime(row[at["timestamp"]].strip(), "%Y/%m/%d %H:%M:%S.%f")  # noqa: DTZ007
        first = first or stamp
        values = []
        for title, scale in (("utilization.gpu", 0.01), ("memory.used", float(MIB))):
            number = re.match(r"[\d.]+", row[at[title]].strip()) if title in at else None
            values.append(float(number[0]) * scale if number else None)
        found.append(((stamp - first).total_seconds(), values[0], values[1]))
    return found


def public(clones: Path) -> None:
    """Read every recording of the list."""
    rows = list(csv.DictReader(LIST.open(encoding="utf-8"), delimiter="\t"))
    read = shares = equal = answered = 0
    for row in rows:
        data = content(clones, row["repository"], row["path"], row["commit"])
        if data is None:
            print(f"absent   {row['repository']} {row['path']}")
            continue
        shares += 1
        name, options = Path(row["path"]).name, ReadOptions(device="all")
        try:
            found = read_traces(io.BytesIO(data), name, options)
        except GpuPredictError as error:
            print(f"asks     {row['repository']} {row['path']}: {error}")
            if not row["given"]:
                continue
            what, _, value = row["given"].partition("=")
            given = {what: float(value) if what == "interval_s" else value}
            found = read_traces(io.BytesIO(data), name, replace(options, **given))
            answered += 1
        read += 1
        trace = found[0]
        print(
            f"read     {row['repository']} {row['path']}: {len(found)} GPUs, {len(trace.rows)} "
            f"rows, {trace.rows[-1][0]:g} s; {'; '.join(trace.notes)}"
        )
        if row["check"]:
            ours = [
                (
                    time_s,
                    *(values[trace.series.index(one)] if one else None for one in columns(trace)),
                )
                for time_s, values in trace.rows
            ]
            same = ours == plainly(data)
            equal += same
            print(f"         {'equal to' if same else 'DIFFERENT from'} the independent reading")
    checked = sum(bool(row["check"]) for row in rows)
    print(f"{read} of {shares} read, {answered} of them with what they ask for; ", end="")
    print(f"{equal} of {checked} equal to the last digit")


def columns(trace):  # noqa: ANN001, ANN201 - of a benchmark
    """The series of share and memory, None where there is none."""
    by_name = {one.metric: one for one in trace.series}
    return by_name.get("gpu_util_ratio"), by_name.get("memory_used_bytes")


def long() -> None:
    """Read a log of three million rows."""
    drawn, begin = random.Random(1), datetime(2026, 1, 1)  # noqa: DTZ001 - as nvidia-smi writes it
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write("timestamp, index, utilization.gpu [%], memory.used [MiB], memory.total [MiB]\n")
        for k in range(LONG_ROWS):
            stamp = begin + timedelta(milliseconds=1000 * k + drawn.randrange(20))
            text = stamp.strftime("%Y/%m/%d %H:%M:%S.%f")[:-3]
            share, used = drawn.randrange(101), 3000 + drawn.randrange(50)
            file.write(f"{text}, 0, {share} %, {used} MiB, 40960 MiB\n")
        file.flush()
        began = time.process_time()
        rows = len(open_trace(file.name).rows)
        took_s = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows} rows: {1e6 * took_s / rows:.2f} us a row (CPU), peak {peak:.0f} MiB in all")


if __name__ == "__main__":
    print(header())
    if len(sys.argv) > 1:
        public(Path(sys.argv[1]))
    long()
