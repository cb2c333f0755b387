"""The plots as plain SVG: no library, no script, readable on light and on dark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from jupyter_gpupredict.backtest.story import frontier, top
from jupyter_gpupredict.core.plain import html as escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jupyter_gpupredict.backtest.story import Spot, Story

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 44, 40
TEXT, USAGE, COVER, MEAN, ALARM = "#767676", "#0f7bb8", "#c2410c", "#7c3aed", "#c62828"
"""At least 3:1 against white and against #111, the text 4:1: a file knows no page's colours."""
CHARACTER, LINE = 6.2, 13
"""Width and height of text, about, in the units of the drawing."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """From figures to places in the drawing."""

    x_low: float
    x_high: float
    y_high: float

    def x(self, value: float) -> float:
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, share)), 1)

    def y(self, value: float) -> float:
        share = min(1.0, max(0.0, value / (self.y_high or 1.0)))
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share), 1)


def frontier_svg(places: Sequence[Spot], title: str) -> str:
    """Return how much each rule watched against how often it was wrong."""
    frame = _Frame(0.0, 1.0, top(places))
    best = frontier(places)
    parts = [
        *_axes(frame, "share of the run that was watched", "wrong (fc), share of all runs", 100.0),
        _path([(frame.x(one.watched_ratio), frame.y(one.fc)) for one in best], COVER, "4 4"),
        *(_marker(one.kind, frame.x(one.watched_ratio), frame.y(one.fc)) for one in places),
        *_labels([(one.rule, frame.x(one.watched_ratio), frame.y(one.fc)) for one in places]),
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">'
        "● ours  ◆ baseline  ◇ knows the length  ┄ not beaten in both</text>",
    ]
    told = "; ".join(
        f"{one.rule}: watched {one.watched_ratio:.2f}, fc {one.fc:.3f}" for one in places
    )
    return _page(title, told, parts)


def story_svg(story: Story) -> str:
    """Return usage over time with what was predicted meanwhile."""
    frame = _Frame(story.start_s, story.end_s, 100.0)
    parts = [*_axes(frame, "seconds", story.metric, 1.0)]
    for piece in _pieces((t, low, high) for t, low, high in story.usage):
        over = [(frame.x(t), frame.y(high)) for t, _, high in piece]
        under = [(frame.x(t), frame.y(low)) for t, low, _ in reversed(piece)]
        points = " ".join(f"{x},{y}" for x, y in (*over, *under))
        parts.append(f'<polygon points="{points}" fill="{USAGE}" fill-opacity=".25"/>')
        parts.append(_path(over, USAGE))
    stairs = _stairs(story)
    for colour, dash, place in ((COVER, "", 1), (MEAN, "6 3", 2)):
        parts += [
            _path([(frame.x(t), frame.y(y)) for t, y, _ in piece], colour, dash)
            for piece in _pieces((step[0], step[place], step[place]) for step in stairs)
        ]
    parts += [
        *(
            _upright(frame.x(at_s), COVER, "" if number else "converged")
            for number, at_s in enumerate(story.converged_s)
        ),
        *(
            _upright(frame.x(at_s), ALARM, "" if number else "alarm", dash="2 3", row=1)
            for number, at_s in enumerate(story.alarms_s)
        ),
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">'
        f'<tspan fill="{USAGE}">▬</tspan> usage <tspan fill="{COVER}">▬</tspan> covering usage '
        f'<tspan fill="{MEAN}">╍</tspan> mean</text>',
    ]
    return _page(story.title, story.words, parts)


def _page(title: str, told: str, parts: Sequence[str]) -> str:
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'font-family="sans-serif" font-size="11" fill="{TEXT}">',
            f"<title>{escape(title)}</title><desc>{escape(told)}</desc>",
            f'<text x="{LEFT}" y="16" font-size="12">{escape(title)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def _axes(frame: _Frame, below: str, beside: str, scale: float) -> list[str]:
    parts = [
        f'<text x="{LEFT}" y="{HEIGHT - 6}">{escape(below)}</text>',
        f'<text x="{LEFT}" y="{TOP - 6}">{escape(beside)}</text>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = share * frame.y_high
        y = frame.y(value)
        at = frame.x_low + share * (frame.x_high - frame.x_low)
        under = f"{at * scale:.0f} %" if scale > 1.0 else f"{at:.0f}"
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="{TEXT}" '
            'stroke-opacity=".22"/>',
            f'<text x="{LEFT - 5}" y="{y + 4}" text-anchor="end">{value * scale:.0f} %</text>',
            f'<text x="{frame.x(at)}" y="{HEIGHT - BOTTOM + 15}" '
            f'text-anchor="{"end" if share == 1.0 else "middle"}">{under}</text>',
        ]
    return parts


def _path(points: Sequence[tuple[float, float]], colour: str, dash: str = "") -> str:
    if not points:
        return ""
    told = " ".join(f"{x},{y}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{told}" fill="none" stroke="{colour}" stroke-width="1.6"{dashed}/>'


def _upright(x: float, colour: str, label: str, *, dash: str = "", row: int = 0) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    text = f'<text x="{x + 3}" y="{TOP + LINE * (1 + row)}">{label}</text>' if label else ""
    ends = f'y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
    return f'<line x1="{x}" x2="{x}" {ends} stroke="{colour}"{dashed}/>{text}'


def _marker(kind: str, x: float, y: float) -> str:
    if kind == "ours":
        return f'<circle cx="{x}" cy="{y}" r="5" fill="{USAGE}"/>'
    fill = "none" if kind == "length" else COVER
    corners = f"{x},{y - 6} {x + 6},{y} {x},{y + 6} {x - 6},{y}"
    return f'<polygon points="{corners}" fill="{fill}" stroke="{COVER}" stroke-width="1.4"/>'


def _labels(wanted: Sequence[tuple[str, float, float]]) -> list[str]:
    """Return each name above its marker, moved up until it covers no marker and no other name."""
    taken = [(x - 7, x + 7, y + 5) for _, x, y in wanted]
    parts = []
    for name, x, y in sorted(wanted, key=lambda one: -one[2]):
        half = CHARACTER * len(name) / 2
        middle = min(WIDTH - RIGHT - half, max(LEFT + half, x))
        base = y - 9
        while any(
            middle - half < right and left < middle + half and abs(base - other) < LINE
            for left, right, other in taken
        ):
            base -= 1.0
        taken.append((middle - half, middle + half, base))
        parts.append(
            f'<text x="{middle:.1f}" y="{base:.1f}" text-anchor="middle">{escape(name)}</text>'
        )
    return parts


def _stairs(story: Story) -> list[tuple[float, float, float]]:
    """Return the steps as corners: a figure stands until the next one."""
    corners: list[tuple[float, float, float]] = []
    for one, following in pairwise(story.steps):
        corners.append((one.time_s, one.target_pct, one.mean_pct))
        corners.append((following.time_s, one.target_pct, one.mean_pct))
    corners += [(one.time_s, one.target_pct, one.mean_pct) for one in story.steps[-1:]]
    return corners


def _pieces(
    rows: Iterable[tuple[float, float, float]],
) -> list[list[tuple[float, float, float]]]:
    """Return the runs of rows that have a figure: where there is none nothing is drawn."""
    pieces: list[list[tuple[float, float, float]]] = [[]]
    for row in rows:
        if math.isnan(row[2]):
            pieces.append([])
        else:
            pieces[-1].append(row)
    return [piece for piece in pieces if piece]
