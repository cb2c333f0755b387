"""Charts as SVG text, with no library and no script, and the colours of every chart.

Elements are strings. A frame maps values to positions and draws what charts are made of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.plain import html as escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jupyter_gpupredict.core.run import Row

USAGE, COVER, MEMORY, WINDOW = "#0f7bb8", "#c2410c", "#3f8f3f", "#7c7c7c"
MEAN, ALARM, TEXT = "#7c3aed", "#c62828", "#767676"
FURTHER = ("#9a6700", "#8250df", "#bf3989", "#5f6975", "#1a7f37", "#cf222e", "#0969da", "#6e7781")
"""Of relative luminance 0.12 to 0.30: at least 3:1 on white and on #111, the text 4:1."""
TONES = {"good": "#1a7f37", "wait": "#9a6700", "bad": "#c2410c", "plain": "#6e7781"}
"""Of the answer's word."""
EMBEDDED = 'style="max-width:{}px;width:100%;height:auto"'
"""Look of a drawing of that width within a page."""
LETTER = 6.2
"""Width of one, about."""


def document(
    width: int, height: int, title: str, *parts: str, desc: str = "", look: str = ""
) -> str:
    """Return a drawing; screen readers read `title` and `desc` out, `look` are more attributes."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="sans-serif" font-size="11" fill="currentColor" {look}>'
        f"<title>{escape(title)}</title><desc>{escape(desc)}</desc>{''.join(parts)}</svg>\n"
    )


def element(name: str, *children: str, **attributes: object) -> str:
    """Return an element of SVG children; `_` stands for `-`, and an empty value is left out."""
    named = "".join(
        f' {key.replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value != ""
    )
    return f"<{name}{named}>{''.join(children)}</{name}>" if children else f"<{name}{named}/>"


def text(x: float, y: float, words: str, anchor: str = "") -> str:
    """Return words on a baseline; `anchor` as SVG's `text-anchor`."""
    return element("text", escape(words), x=round(x, 1), y=round(y, 1), text_anchor=anchor)


def polyline(points: str, color: str, width: float = 1.6, dash: str = "") -> str:
    """Return a line along points, as `Frame.place` writes them."""
    look = {"stroke": color, "stroke_width": width, "stroke_dasharray": dash}
    return element("polyline", points=points, fill="none", **look)


def pieces(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the rows between those that are NaN, so that a hole is drawn as a hole."""
    found: list[list[Row]] = [[]]
    for row in rows:
        if math.isnan(row[2]):
            found.append([])
        else:
            found[-1].append(row)
    return [piece for piece in found if piece]


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle of a drawing, and the values at its edges; a value beyond one is drawn at it."""

    left: float
    right: float
    top: float
    bottom: float
    x_low: float
    x_high: float
    y_high: float
    """The lower edge is 0."""

    def x(self, value: float) -> float:
        """Return the horizontal position of a value."""
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        return round(self.left + (self.right - self.left) * min(1.0, max(0.0, share)), 1)

    def y(self, value: float) -> float:
        """Return the vertical position of a value."""
        share = value / (self.y_high or 1.0)
        return round(self.bottom - (self.bottom - self.top) * min(1.0, max(0.0, share)), 1)

    def place(self, points: Iterable[tuple[float, float]]) -> str:
        """Return (x, y) values as the points of a line."""
        return " ".join(f"{self.x(x):g},{self.y(y):g}" for x, y in points)

    def grid(self, labels: Mapping[float, str]) -> list[str]:
        """Return a horizontal line at each value, with its label to the left."""
        return [
            part
            for value, label in labels.items()
            for part in (
                self.level(value, "currentColor", width=1, stroke_opacity=0.25),
                text(self.left - 5, self.y(value) + 4, label, "end"),
            )
        ]

    def ticks(self, labels: Mapping[float, str]) -> list[str]:
        """Return a label below each value."""
        return [
            text(x, self.bottom + 15, label, "end" if x > self.right - 20 else "middle")
            for value, label in labels.items()
            for x in (self.x(value),)
        ]

    def level(
        self, value: float, color: str, dash: str = "", width: float = 1.6, **other: object
    ) -> str:
        """Return a horizontal line at a value."""
        y = self.y(value)
        return element(
            "line", x1=self.left, x2=self.right, y1=y, y2=y, stroke=color, stroke_width=width,
            stroke_dasharray=dash, **other,
        )  # fmt: skip

    def upright(
        self, value: float, color: str, label: str, y: float, dash: str = "", high: float = math.inf
    ) -> list[str]:
        """Return a vertical line at a value, up to another one, and its label beside it at `y`."""
        x = self.x(value)
        line = element(
            "line", x1=x, x2=x, y1=self.y(high), y2=self.bottom, stroke=color, stroke_dasharray=dash
        )
        if not label:
            return [line]
        fits = x + 3 + LETTER * len(label) <= self.right
        return [line, text(x + 3 if fits else x - 3, y, label, "" if fits else "end")]

    def curve(self, rows: Iterable[Row], color: str, dash: str = "") -> list[str]:
        """Return a line along the largest values of rows."""
        return [
            polyline(self.place((x, high) for x, _, high in piece), color, dash=dash)
            for piece in pieces(rows)
        ]

    def band(self, rows: Iterable[Row], color: str) -> list[str]:
        """Return an area from the smallest to the largest values of rows, with a line above."""
        parts = []
        for piece in pieces(rows):
            above = self.place((x, high) for x, _, high in piece)
            below = self.place((x, low) for x, low, _ in reversed(piece))
            area = element("polygon", points=f"{above} {below}", fill=color, fill_opacity=0.25)
            parts += [area, polyline(above, color, 1.4)]
        return parts
