"""A run's answer laid out: as text for terminals and files, and as HTML without script or SVG."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from jupyter_gpupredict.core import plain, svg, words
from jupyter_gpupredict.core.plain import html as escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_gpupredict.core.card import Answer, DeviceRow, Row
    from jupyter_gpupredict.core.run import Run

IN_NOTEBOOK, IN_TERMINAL = "%gpupredict", "jupyter gpupredict"
SHOWN_ROWS = 16
"""Of devices or ranks; all of them are in the result's JSON."""


def line(run: Run, told: Answer) -> str:
    """Return one line for a terminal, at most 160 characters."""
    took = words.span(run.duration_s)
    now = words.percent(run.share[-1][2]) if run.share else "-"
    said = f"gpupredict {took}: {now} now, {told.sign} {told.headline} [{told.word}]"
    return plain.one_line(said)[:160]


def text(told: Answer, command: str = IN_NOTEBOOK) -> str:
    """Return the card with its details, at most some 3 kB."""
    parts = [one_line(told), *(f"  {one}" for one in (told.meaning, told.evidence) if one)]
    parts += [f"  note: {note}" for note in told.notes]
    parts += [f"  {cells}" for cells in _table([_cells(one) for one in told.devices[:SHOWN_ROWS]])]
    if len(told.devices) > SHOWN_ROWS:
        parts.append(f"  and {len(told.devices) - SHOWN_ROWS} more")
    for name, rows in _groups(told):
        parts.append(f"{name}")
        width = max(len(row.label) for row in rows)
        parts += [f"  {row.label:<{width}}  {row.value}" for row in rows]
    parts += [f"  {one}" for one in told.details.problems]
    parts += [f"next: {one}" for one in _commands(told, command)]
    parts.append(told.details.ids)
    return "\n".join(map(plain.one_line, parts))[:3000]


def one_line(told: Answer) -> str:
    """Return the headline alone: all that a cell under 5 s gets."""
    return plain.one_line(f"{told.sign} {told.headline} [{told.word}]")


def html(told: Answer, picture: bytes = b"", curve: bytes = b"", *, short: bool = False) -> str:
    """Return the card for a notebook's output, which a saved notebook keeps.

    Args:
        told: The answer.
        picture: The chart as PNG; empty: none.
        curve: Speed against share of the SMs as PNG; empty: it is not known.
        short: The headline and the notes alone.
    """
    color = svg.TONES[told.tone]
    head = (
        f'<strong style="font-size:1.15em">{escape(f"{told.sign} {told.headline}")}</strong> '
        f'<span style="color:{color};font-weight:600">{escape(told.word)}</span>'
    )
    if short:
        notes = "".join(f"<br>▪ {escape(note)}" for note in told.notes)
        return f'<p class="gpupredict-result">{head}{notes}</p>'
    parts = [f'<p style="margin:0">{head}</p>']
    parts += [f'<p style="margin:0">{escape(one)}</p>' for one in [told.meaning] if one]
    parts += [f'<p style="margin:0"><small>{escape(one)}</small></p>' for one in [told.evidence]]
    parts += [f'<p style="margin:0">▪ {escape(note)}</p>' for note in told.notes]
    if picture:
        data = base64.b64encode(picture).decode()
        parts.append(
            f'<img alt="{escape(told.headline)}" src="data:image/png;base64,{data}" '
            'width="720" style="max-width:100%">'
        )
    if curve:
        data = base64.b64encode(curve).decode()
        parts.append(
            f'<img alt="speed against share of the SMs, by kernel geometry" '
            f'src="data:image/png;base64,{data}" width="560" style="max-width:100%">'
        )
    if told.devices:
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(one))}</tr>"
            for one in told.devices[:SHOWN_ROWS]
        )
        parts.append(f"<table><tbody>{rows}</tbody></table>")
    parts.append(f"<details><summary>Details</summary>{''.join(_details(told))}</details>")
    look = f"border-left:4px solid {color};padding:4px 12px;text-align:left"
    return f'<div class="gpupredict-result" style="{look}">{"".join(parts)}</div>'


def _details(told: Answer) -> Iterator[str]:
    for name, rows in _groups(told):
        body = "".join(map(_html_row, rows))
        title = f'<caption style="text-align:left">{escape(name)}</caption>'
        yield f"<table>{title}<tbody>{body}</tbody></table>"
    commands = " · ".join(f"<code>{escape(one)}</code>" for one in _commands(told, IN_NOTEBOOK))
    yield f"<p>{commands}</p>" if commands else ""
    small = "<br>".join(map(escape, [*told.details.problems, told.details.ids]))
    yield f"<p><small>{small}</small></p>"


def _html_row(row: Row) -> str:
    name = escape(row.label)
    if row.help:
        name = f'<abbr title="{escape(row.help)}">{name}</abbr>'
    return (
        f'<tr><th scope="row" style="text-align:left;vertical-align:top">{name}</th>'
        f'<td style="text-align:left">{escape(row.value)}</td></tr>'
    )


def _groups(told: Answer) -> Iterator[tuple[str, tuple[Row, ...]]]:
    details = told.details
    for name in ("usage", "memory", "measuring"):
        rows: tuple[Row, ...] = getattr(details, name)
        if rows:
            yield name, rows


def _cells(one: DeviceRow) -> list[str]:
    """Return a device's row, its parts in columns: what tells equal devices apart comes first."""
    number = "" if one.index is None else f"GPU {one.index}"
    who = number if one.rank is None else f"rank {one.rank}"
    name = " ".join(filter(None, (one.name, one.mig and f"MIG {one.mig}", f"…{one.ending}")))
    lost = "; lost" if one.lost else ""
    return [who or "GPU", name, one.share, one.memory, f"{one.sign} {one.word}{lost}"]


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _commands(told: Answer, command: str) -> list[str]:
    """Return what the buttons do, as commands."""
    return [
        one.command.replace(IN_NOTEBOOK, command, 1)
        for one in told.actions
        if one.command and one.id != "details"
    ]
