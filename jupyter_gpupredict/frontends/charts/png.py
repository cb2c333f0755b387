"""Our own drawings (`core.svg`) as PNG, for where no SVG is shown: saved notebooks above all.

Knows the few elements that `core.svg` writes and nothing else of SVG. Needs Pillow, which Bokeh
brings; it is imported when it is needed.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from jupyter_gpupredict.core import svg

if TYPE_CHECKING:
    from collections.abc import Mapping

SCALE = 1.5
"""Pixels for each unit: sharp enough beside text, and small."""
_FINER = 2
"""Drawn so many times larger, then averaged: Pillow draws lines without smooth edges."""
COLORS = 24
_OPEN = re.compile(r"^\{[^}]*\}")
_SQUARE = "\u25a0"
"""Drawn, as Pillow's own font has none."""


def of_svg(text: str) -> bytes:
    """Return a drawing as PNG with a transparent ground, for light and dark pages.

    Args:
        text: What `core.svg.document` returned.
    """
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
        lengths = [font.getlength(words) for words, _ in parts]
        x, y = float(look["x"]) * self._zoom, float(look["y"]) * self._zoom
        x -= {"end": 1.0, "middle": 0.5}.get(look.get("text-anchor", ""), 0.0) * sum(lengths)
        for (words, own), length in zip(parts, lengths, strict=True):
            x += float(own.get("dx", "0")) * self._zoom if own is not look else 0.0
            if words == _SQUARE:
                unit = self._zoom
                self._box(x / unit, y / unit - 8, 8, 8, _color(own, "fill"))
                x += 9 * unit
            elif words:
                self._pen.text((x, y), words, fill=_color(own, "fill"), font=font, anchor="ls")
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
