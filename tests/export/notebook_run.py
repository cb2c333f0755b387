"""Runs a notebook's cells as a kernel would and exports the run named `run` from there.

    python notebook_run.py NOTEBOOK FOLDER OPTIONS

Prints the value of the measured cell, the session and the notes as JSON; OPTIONS are JSON.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell


def main(notebook, folder, options):
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    sys.path.insert(0, "")  # as in a kernel
    shell = InteractiveShell.instance()
    with contextlib.redirect_stdout(io.StringIO()):
        shell.run_line_magic("load_ext", "jupyter_gpupredict")
        shell.history_manager.reset(new_session=False)
        shell.execution_count = 1
        for cell in cells:
            ended = shell.run_cell("".join(cell["source"]), store_history=True)
            ended.raise_error()
    run, value = shell.user_ns["run"], ended.result
    if value is None:
        value = shell.user_ns.get("result")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        run.export(
            name="trained",
            output=folder,
            workload="local",
            force=True,
            memory_mib=512,
            **json.loads(options),
        )
    return {"value": value, "session": run.session_id, "notes": said.getvalue().splitlines()}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:]), default=lambda value: value.tolist()))
