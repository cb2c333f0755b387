"""Executes the example notebooks headless, in a real kernel; what `make demo` runs."""

from __future__ import annotations

import asyncio
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
NOTEBOOKS = ("quickstart", "gpu_tour")
"""A live CPU cell; a replayed GPU run of made-up readings."""


async def execute(name: str) -> str:
    """Run a notebook, keep it as notebook and HTML, and return what failed; empty: nothing did."""
    notebook = nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT)}},
        # its warning that nothing is encrypted says little of a kernel on this machine's loopback
        extra_arguments=["--log-level=40"],
    )
    failure = ""
    try:
        await client.async_execute()
    except CellExecutionError as error:
        failure = str(error)
    nbformat.write(notebook, OUTPUT / f"{name}.ipynb")
    html, _ = HTMLExporter().from_notebook_node(notebook)
    (OUTPUT / f"{name}.html").write_text(html, encoding="utf-8")
    return failure


async def execute_all() -> list[str]:
    """Run the notebooks side by side, as each waits for half a minute; return what failed."""
    found = await asyncio.gather(*map(execute, NOTEBOOKS))
    return [failure for failure in found if failure]


def main() -> int:
    """Run the notebooks and say what was predicted."""
    began_s = time.monotonic()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("JUPYTER_DATA_DIR", str(OUTPUT / "data"))
    os.environ["GPUPREDICT_DEMO_OUTPUT"] = str(OUTPUT)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    named = " and ".join(f"examples/{name}.ipynb" for name in NOTEBOOKS)
    print(f"running {named}, less than a minute ...", flush=True)
    failures = asyncio.run(execute_all())
    if failures:
        print("\n".join(failures), file=sys.stderr)
        return 1
    result = json.loads((OUTPUT / "result.json").read_text(encoding="utf-8"))
    if result["target_ratio"] is None:
        print("the demo made no prediction", file=sys.stderr)
        return 1
    print((OUTPUT / "result.txt").read_text(encoding="utf-8"))
    written = [f"{name}.{kind}" for name in NOTEBOOKS for kind in ("ipynb", "html")]
    for name in (*written, "function/deploy/job.yaml", "gpu_tour/deploy/job.yaml"):
        print(f"wrote {(OUTPUT / name).relative_to(ROOT)}")
    print(f"took {time.monotonic() - began_s:.0f} s; `make lab` opens the notebook in JupyterLab")
    return 0


if __name__ == "__main__":
    sys.exit(main())
