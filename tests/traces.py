"""Recorded traces, made by hand."""

import tempfile

from jupyter_gpupredict.run import build_store
from jupyter_gpupredict.sources import reading


def stored_ends():
    """Return the first and the newest event of each stored run, newest first."""
    store = build_store()
    return [store.ends(session_id) for session_id in store.ids()]


def read_trace(lines, name):
    """Read lines as a file of this name; a long one lies on the disk."""
    with tempfile.TemporaryFile() as file:
        for line in lines:
            file.write(line.encode("utf-8", "surrogatepass"))
        file.seek(0)
        return reading.read_trace(file, name)


def write_csv(path, values, memory_mib=None):
    """Write one reading a second, in percent, from 0 s on."""
    head, tail = "t_s,gpu_util_pct", ""
    if memory_mib is not None:
        head, tail = f"{head},mem_used_mib", f",{memory_mib}"
    rows = [f"{second},{value}{tail}" for second, value in enumerate(values)]
    path.write_text("\n".join([head, *rows, ""]))
