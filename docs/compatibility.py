"""Writes docs/compatibility.md: which workload goes with which sharing backend, and why not.

Run: python -m docs.compatibility
"""

from __future__ import annotations

from pathlib import Path

from jupyter_gpupredict.export import targets

TARGET = Path(__file__).parent / "compatibility.md"


def page() -> str:
    """Return the page, from the same table that `jupyter gpupredict targets` prints."""
    lines = [
        "# Which workload goes with which sharing backend",
        "",
        "Made by `python -m docs.compatibility`; a test holds it true.",
        "",
        "| workload | sharing | supported | carries | why not |",
        "|---|---|---|---|---|",
    ]
    for pair in targets():
        carried = ", ".join(f"`{name}`" for name in pair["expresses"]) or "-"
        lines.append(
            f"| {pair['workload']} | {pair['sharing']} | {'yes' if pair['supported'] else 'no'} "
            f"| {carried} | {pair['reason'] or '-'} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
