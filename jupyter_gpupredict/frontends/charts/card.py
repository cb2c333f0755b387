"""A run's answer laid out: as text for terminals and files, and as HTML without script or SVG."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from jupyter_gpupredict.core import plain, svg, words
from jupyter_gpupredict.core.plain import html as escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jupyter_gpupredict.core.card import Answer, DeviceRow, Row
    from jupyter_gpupredict.core.run import Run


IN_NOTEBOOK, IN_TERMINAL = "%gpupredict", "jupyter gpupredict"
SHOWN_ROWS = 16
"""Of devices or ranks; all of them are in the result's JSON."""


def line(run: Run, answer: Answer) -> str:
    """Return one line for a terminal, at most 160 characters."""
    took = words.span(run.duration_s)
    now = words.percent(run.share[-1][2]) if run.share else "-"
    said = f"gpupredict {took}: {now} now, {answer.sign} {answer.headline} [{answer.word}]"
    return plain.one_line(said)[:160]


def text(answer: Answer, command: str = IN_NOTEBOOK) -> str:
    """Return the card with its details, at most some 3 kB."""
    parts = [one_line(answer), *(f"  {one}" for one in (answer.meaning, answer.evidence) if one)]
    parts += [f"  note: {note}" for note in answer.notes]
    parts += [
        f"  {cells}" for cells in _table([_cells(one) for one in answer.devices[:SHOWN_ROWS]])
    ]
    if len(answer.devices) > SHOWN_ROWS:
        parts.append(f"  and {len(answer.devices) - SHOWN_ROWS} more")
    for name, rows in _groups(answer):
        parts.append(f"{name}")
        width = max(len(row.label) for row in rows)
        parts += [f"  {row.label:<{width}}  {row.value}" for row in rows]
    parts += [f"  {one}" for one in answer.details.problems]
    parts += [f"next: {one}" for one in _commands(answer, command)]
    parts.append(answer.details.ids)
    return "\n".join(map(plain.one_line, parts))[:3000]


def one_line(answer: Answer) -> str:
    """Return the headline alone: all that a cell under 5 s gets."""
    return plain.one_line(f"{answer.sign} {answer.headline} [{answer.word}]")


def html(answer: Answer, picture: bytes = b"", curve: bytes = b"", *, short: bool = False) -> str:
    """Return the card for a notebook's output, which a saved notebook keeps.

    Args:
        answer: The answer.
        picture: The chart as PNG; empty: none.
        curve: Speed against share of the SMs as PNG; empty: it is not known.
        short: The headline and the notes alone.
    """
    color = svg.TONES[answer.tone]
    head = (
        f'<strong style="font-size:1.15em">{escape(f"{answer.sign} {answer.headline}")}</strong> '
        f'<span style="color:{color};font-weight:600">{escape(answer.word)}</span>'
    )
    if short:
        notes = "".join(f"<br>▪ {escape(note)}" for note in answer.notes)
        return f'<p class="gpupredict-result">{head}{notes}</p>'
    parts = [f'<p style="margin:0">{head}</p>']
    parts += [f'<p style="margin:0">{escape(one)}</p>' for one in [answer.meaning] if one]
    parts += [f'<p style="margin:0"><small>{escape(one)}</small></p>' for one in [answer.evidence]]
    parts += [f'<p style="margin:0">▪ {escape(note)}</p>' for note in answer.notes]
    if picture:
        data = base64.b64encode(picture).decode()
        parts.append(
            f'<img alt="{escape(answer.headline)}" src="data:image/png;base64,{data}" '
            'width="720" style="max-width:100%">'
        )
    if curve:
        data = base64.b64encode(curve).decode()
        parts.append(
            f'<img alt="speed against share of the SMs, by kernel geometry" '
            f'src="data:image/png;base64,{data}" width="560" style="max-width:100%">'
        )
    if answer.devices:
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(one))}</tr>"
            for one in answer.devices[:SHOWN_ROWS]
        )
        parts.append(f"<table><tbody>{rows}</tbody></table>")
    parts.append(f"<details><summary>Details</summary>{''.join(_details(answer))}</details>")
    look = f"border-left:4px solid {color};padding:4px 12px;text-align:left"
    return f'<div class="gpupredict-result" style="{look}">{"".join(parts)}</div>'


def _details(answer: Answer) -> Iterator[str]:
    for name, rows in _groups(answer):
        body = "".join(map(_html_row, rows))
        title = f'<caption style="text-align:left">{escape(name)}</caption>'
        yield f"<table>{title}<tbody>{body}</tbody></table>"
    commands = " · ".join(f"<code>{escape(one)}</code>" for one in _commands(answer, IN_NOTEBOOK))
    yield f"<p>{commands}</p>" if commands else ""
    small = "<br>".join(map(escape, [*answer.details.problems, answer.details.ids]))
    yield f"<p><small>{small}</small></p>"


def _html_row(row: Row) -> str:
    name = escape(row.label)
    if row.help:
        name = f'<abbr title="{escape(row.help)}">{name}</abbr>'
    return (
        f'<tr><th scope="row" style="text-align:left;vertical-align:top">{name}</th>'
        f'<td style="text-align:left">{escape(row.value)}</td></tr>'
    )


def _groups(answer: Answer) -> Iterator[tuple[str, tuple[Row, ...]]]:
    details = answer.details
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


def _commands(answer: Answer, command: str) -> list[str]:
    """Return what the buttons do, as commands."""
    return [
        one.command.replace(IN_NOTEBOOK, command, 1)
        for one in answer.actions
        if one.command and one.id != "details"
    ]


# ---- as a picture ------------------------------------------------------------------------------


SCALE = 1.5
"""Pixels for each unit: sharp enough beside text, and small."""
_FINER = 2
"""Drawn so many times larger, then averaged: Pillow draws lines without smooth edges."""
COLORS = 24
_OPEN = re.compile(r"^\{[^}]*\}")
_SQUARE = "\u25a0"
"""Drawn, as Pillow's own font has none."""


def png_of_svg(text: str) -> bytes:
    """Return a drawing as PNG with a transparent ground, for light and dark pages."""
    from PIL import Image, ImageDraw

    root = ElementTree.fromstring(text)  # noqa: S314 - our own text, all of it escaped
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    zoom = SCALE * _FINER
    image = Image.new("RGBA", (round(width * zoom), round(height * zoom)), (118, 118, 118, 0))
    canvas = _Canvas(ImageDraw.Draw(image, "RGBA"), zoom)
    for element in root:
        canvas.draw(element)
    size = (round(width * SCALE), round(height * SCALE))
    small = image.resize(size, Image.Resampling.BOX)
    found = io.BytesIO()
    few = small.quantize(COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(found, "PNG", optimize=True)
    return found.getvalue()


class _Canvas:
    """Draws one element after another."""

    def __init__(self, pen: Any, zoom: float) -> None:
        self._pen, self._zoom = pen, zoom

    def draw(self, element: ElementTree.Element) -> None:
        """Draw an element; one that is not known is left out."""
        kind, look = _OPEN.sub("", element.tag), element.attrib
        if kind == "line":
            ends = [(look["x1"], look["y1"]), (look["x2"], look["y2"])]
            self._line([(float(x), float(y)) for x, y in ends], look)
        elif kind == "polyline":
            self._line(_points(look), look)
        elif kind == "polygon" and len(points := _points(look)) > 1:
            self._pen.polygon(self._at(points), fill=_color(look, "fill"))
        elif kind == "rect":
            x, y, width, height = (float(look[name]) for name in ("x", "y", "width", "height"))
            self._box(x, y, width, height, _color(look, "fill"))
        elif kind == "circle":
            x, y, r = (float(look[name]) for name in ("cx", "cy", "r"))
            self._pen.ellipse(self._at([(x - r, y - r), (x + r, y + r)]), fill=_color(look, "fill"))
        elif kind == "text":
            self._text(element)

    def _at(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * self._zoom, y * self._zoom) for x, y in points]

    def _box(self, x: float, y: float, width: float, height: float, fill: Any) -> None:
        self._pen.rectangle(self._at([(x, y), (x + width, y + height)]), fill=fill)

    def _line(self, points: list[tuple[float, float]], look: Mapping[str, str]) -> None:
        width = max(1, round(float(look.get("stroke-width", "1")) * self._zoom))
        color, dashes = _color(look, "stroke"), look.get("stroke-dasharray", "").split()
        if not dashes or len(points) != 2:
            self._pen.line(self._at(points), fill=color, width=width, joint="curve")
            return
        (x1, y1), (x2, y2) = points
        length = max(1e-9, ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5)
        on, off = (float(one) for one in dashes[:2]) if len(dashes) > 1 else (4.0, 3.0)
        begin = 0.0
        while begin < length:
            ends = (begin / length, min(length, begin + on) / length)
            piece = [(x1 + (x2 - x1) * part, y1 + (y2 - y1) * part) for part in ends]
            self._pen.line(self._at(piece), fill=color, width=width)
            begin += on + off

    def _text(self, element: ElementTree.Element) -> None:
        look = element.attrib
        size = float(look.get("font-size", "11")) * self._zoom
        font = _font(size)
        parts = [(element.text or "", look)]
        for child in element:
            parts += [(child.text or "", {**look, **child.attrib}), (child.tail or "", look)]
        lengths = [font.getlength(part) for part, _ in parts]
        x, y = float(look["x"]) * self._zoom, float(look["y"]) * self._zoom
        x -= {"end": 1.0, "middle": 0.5}.get(look.get("text-anchor", ""), 0.0) * sum(lengths)
        for (part, own), length in zip(parts, lengths, strict=True):
            x += float(own.get("dx", "0")) * self._zoom if own is not look else 0.0
            if part == _SQUARE:
                unit = self._zoom
                self._box(x / unit, y / unit - 8, 8, 8, _color(own, "fill"))
                x += 9 * unit
            elif part:
                self._pen.text((x, y), part, fill=_color(own, "fill"), font=font, anchor="ls")
                x += length


def _font(size: float) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _points(look: Mapping[str, str]) -> list[tuple[float, float]]:
    pairs = (one.split(",") for one in look["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def _color(look: Mapping[str, str], name: str) -> tuple[int, int, int, int]:
    """Return the colour of an attribute; the page's own is a grey that both themes let read."""
    value = look.get(name, "currentColor")
    value = svg.TEXT if value == "currentColor" else value
    red, green, blue = (int(value[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue, round(255 * float(look.get(f"{name}-opacity", "1")))
