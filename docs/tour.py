"""Writes docs/gpu-tour.html from the notebook that `make demo` has executed.

`python -m docs.tour`
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

ROOT = Path(__file__).resolve().parent.parent
EXECUTED = ROOT / "build" / "demo" / "gpu_tour.ipynb"
TARGET = ROOT / "docs" / "gpu-tour.html"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<title>What a GPU user gets (replayed, made-up readings)</title>
<style>body{{font:15px/1.5 sans-serif;max-width:900px;margin:1em auto;padding:0 1em}}
pre{{background:#f4f4f4;padding:.5em;overflow:auto}}
.jp-InputPrompt,.jp-OutputPrompt,.anchor-link{{display:none}}</style></head>
<body>
{body}
</body></html>
"""


def main() -> None:
    """Keep what a page without Jupyter can show: text, HTML and the pictures in it; no script."""
    notebook = nbformat.read(EXECUTED, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        shown = (one for one in cell.outputs if one.output_type != "error")
        cell.outputs = [one for one in shown if "live view" not in str(one.get("data", ""))]
        for one in cell.outputs:
            one.get("data", {}).pop("image/png", None)  # the HTML has it
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    body = re.sub(r"<script.*?</script>", "", body, flags=re.DOTALL)
    TARGET.write_text(PAGE.format(body=body), encoding="utf-8")


if __name__ == "__main__":
    main()
