"""Writes docs/options.md from the tables of options: `python -m docs.options`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_gpupredict.core.options import Option, options_of
from jupyter_gpupredict.export.deployment import CodeRequest
from jupyter_gpupredict.export.request import ExportRequest
from jupyter_gpupredict.run import SessionConfig

TARGET = Path(__file__).with_suffix(".md")
_HEAD = """# Options

Written by `python -m docs.options` from the tables that every front end is made of. The name is the keyword of `measure()` and `Result.export()`, the field of the HTTP request, and with hyphens the flag of `%%gpupredict` and `jupyter gpupredict`; shorter flags are given in brackets. An option of a run is also `%config GpuPredictMagics.NAME`.
"""  # noqa: E501


def page() -> str:
    """Return the document."""
    return "\n".join(
        [
            _HEAD,
            *_table("A run", SessionConfig),
            *_table("An export", ExportRequest),
            *_table("An export's code", CodeRequest),
        ]
    )


def _table(title: str, owner: type[Any]) -> list[str]:
    rows = [_row(one) for one in options_of(owner)]
    return [
        f"## {title}",
        "",
        "| name | default | range | meaning |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _row(one: Option) -> str:
    short = f" (`{'`, `'.join(one.short)}`)" if one.short else ""
    shown = "required" if one.required else ""
    if one.kind is bool:
        shown = "on" if one.default else "off"
    elif not one.required and one.default not in (None, "", ()):
        shown = f"`{one.default}`"
    bounds = f"{one.low:,.10g} to {one.high:,.10g}" if one.unit else ", ".join(one.choices)
    said = one.help.replace("|", "\\|")
    return f"| `{one.name}`{short} | {shown} | {bounds} | {said} |"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
