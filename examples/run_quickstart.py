"""Executes examples/quickstart.ipynb headless, in a real kernel; what `make demo` runs."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "demo"


def main() -> int:
    """Run the notebook, keep it as notebook and HTML, and say what it predicted."""
    began_s = time.monotonic()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("JUPYTER_DATA_DIR", str(OUTPUT / "data"))
    os.environ["GPUPREDICT_DEMO_OUTPUT"] = str(OUTPUT)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT)}},
        # its warning that nothing is encrypted says little of a kernel on this machine's loopback
        extra_arguments=["--log-level=40"],
    )
    print("running examples/quickstart.ipynb, about a minute ...", flush=True)
    failure = ""
    try:
        client.execute()
    except CellExecutionError as error:
        failure = str(error)
    nbformat.write(notebook, OUTPUT / "quickstart.ipynb")
    html, _ = HTMLExporter().from_notebook_node(notebook)
    (OUTPUT / "quickstart.html").write_text(html, encoding="utf-8")
    if failure:
        print(failure, file=sys.stderr)
        return 1
    result = json.loads((OUTPUT / "result.json").read_text(encoding="utf-8"))
    if result["target_ratio"] is None:
        print("the demo made no prediction", file=sys.stderr)
        return 1
    print((OUTPUT / "result.txt").read_text(encoding="utf-8"))
    for name in ("quickstart.ipynb", "quickstart.html", "function/deploy/job.yaml"):
        print(f"wrote {(OUTPUT / name).relative_to(ROOT)}")
    print(f"took {time.monotonic() - began_s:.0f} s; `make lab` opens the notebook in JupyterLab")
    return 0


if __name__ == "__main__":
    sys.exit(main())
