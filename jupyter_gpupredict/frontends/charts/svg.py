"""A run as one static SVG, readable on light and dark backgrounds, at most 20 kB."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.plain import html as escape
from jupyter_gpupredict.frontends import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.run import Row, Run

WIDTH, HEIGHT = 720, 250
LEFT, RIGHT, TOP = 46, 10, 26
UPPER, GAP, LOWER = 130, 36, 44
MAX_POINTS = 240
USAGE, COVER, WINDOW, MEMORY = "#0f7bb8", "#c2410c", "#7c7c7c", "#3f8f3f"
FURTHER = ("#9a6700", "#8250df", "#bf3989", "#5f6975", "#1a7f37", "#cf222e", "#0969da", "#6e7781")
"""Strokes of relative luminance 0.12 to 0.30: at least 3:1 on white and on #111."""


def draw(run: Run) -> str:
    """Return the SVG text: utilization with windows and covering usage above, memory below."""
    end_s = max([run.duration_s, *(row[0] for row in run.share[-1:])], default=1.0) or 1.0
    scale = _Scale(end_s)
    told = run.recommendation
    summary = words.prediction(told) if told is not None else "no reading was taken"
    metric = METRICS[run.started.share.metric].label
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'style="max-width:{WIDTH}px;width:100%;height:auto" font-family="sans-serif" '
        f'font-size="11" fill="currentColor">',
        f"<title>{escape(summary)}</title>",
        f"<desc>{escape(words.label(run.started))}</desc>",
        f'<text x="{LEFT}" y="14">{escape(metric)}, {escape(words.label(run.started))}</text>',
        *_windows(run, scale),
        *_axes(scale),
        *_further(run, scale),
        *_usage(run.share, scale),
    ]
    if told is not None and told.target_ratio is not None:
        y = scale.upper(told.target_ratio)
        dash = "" if told.state == "converged" else ' stroke-dasharray="5 4"'
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="{COVER}" '
            f'stroke-width="1.6"{dash}/>'
            f'<text x="{WIDTH - RIGHT}" y="{max(TOP + 9.0, y - 4):.1f}" text-anchor="end">'
            f"covering usage {words.percent(told.target_ratio)}</text>"
        )
    if told is not None and told.converged_at_s is not None:
        x = scale.x(told.converged_at_s)
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{TOP + UPPER}" stroke="{COVER}"/>'
            f'<text x="{x + 3:.1f}" y="{TOP + UPPER - 5}">converged</text>'
        )
    parts += [*_memory(run.memory, scale), "</svg>"]
    return "".join(parts)


class _Scale:
    def __init__(self, end_s: float) -> None:
        self.end_s = end_s

    def x(self, time_s: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, time_s / self.end_s)), 1)

    def upper(self, ratio: float) -> float:
        return round(TOP + UPPER * (1.0 - min(1.0, max(0.0, ratio))), 1)

    def lower(self, share: float) -> float:
        return round(TOP + UPPER + GAP + LOWER * (1.0 - min(1.0, max(0.0, share))), 1)


def _axes(scale: _Scale) -> list[str]:
    parts = []
    for ratio in (0.0, 0.5, 1.0):
        y = scale.upper(ratio)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="currentColor" '
            f'stroke-opacity=".25"/>'
            f'<text x="{LEFT - 5}" y="{y + 4}" text-anchor="end">{100 * ratio:.0f} %</text>'
        )
    for share in (0.0, 0.5, 1.0):
        anchor = "end" if share == 1.0 else "middle" if share else "start"
        time_s = share * scale.end_s
        parts.append(
            f'<text x="{scale.x(time_s)}" y="{TOP + UPPER + 14}" text-anchor="{anchor}">'
            f"{words.span(time_s)}</text>"
        )
    return parts


def _windows(run: Run, scale: _Scale) -> list[str]:
    parts = []
    for number, window in enumerate(run.windows):
        if window.void:
            continue
        x, right = scale.x(window.from_s), scale.x(window.to_s)
        opacity = ".16" if number % 2 else ".09"
        parts.append(
            f'<rect x="{x}" y="{TOP}" width="{right - x:.1f}" height="{UPPER}" fill="{WINDOW}" '
            f'fill-opacity="{opacity}"/>'
        )
    return parts


def _usage(rows: Sequence[Row], scale: _Scale) -> list[str]:
    parts = []
    for piece in _pieces(_thinned(rows)):
        top = " ".join(f"{scale.x(t)},{scale.upper(high)}" for t, _, high in piece)
        bottom = " ".join(f"{scale.x(t)},{scale.upper(low)}" for t, low, _ in reversed(piece))
        parts.append(f'<polygon points="{top} {bottom}" fill="{USAGE}" fill-opacity=".25"/>')
        parts.append(f'<polyline points="{top}" fill="none" stroke="{USAGE}" stroke-width="1.4"/>')
    return parts


def _further(run: Run, scale: _Scale) -> list[str]:
    """Return a thin line with its name for each further device or rank."""
    if not run.further:
        return []
    series = [run.started.share, *(one for one, _ in run.further)]
    names = [escape(words.device(one, run.started)) for one in series]
    parts = []
    for (_, rows), name, color in zip(run.further, names[1:], FURTHER, strict=False):
        for piece in _pieces(rows):
            points = " ".join(f"{scale.x(t)},{scale.upper(high)}" for t, _, high in piece)
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{color}" stroke-opacity=".8">'
                f"<title>{name}</title></polyline>"
            )
    spans = "".join(
        f'<tspan fill="{color}" dx="8">\u25a0</tspan><tspan> {name}</tspan>'
        for name, color in zip(names, (USAGE, *FURTHER), strict=False)
    )
    return [*parts, f'<text x="{LEFT}" y="{TOP + UPPER + 27}">{spans}</text>']


def _memory(rows: Sequence[Row], scale: _Scale) -> list[str]:
    if not rows:
        y = TOP + UPPER + GAP + LOWER / 2
        return [f'<text x="{LEFT}" y="{y}">memory: not available</text>']
    peak = max((high for _, _, high in rows if not math.isnan(high)), default=0.0) or 1.0
    parts = [
        f'<text x="{LEFT - 5}" y="{scale.lower(1.0) + 8}" text-anchor="end">mem</text>',
        f'<text x="{WIDTH - RIGHT}" y="{scale.lower(1.0) - 3}" text-anchor="end">'
        f"peak {words.size(peak)}</text>",
    ]
    for piece in _pieces(_thinned(rows)):
        points = " ".join(f"{scale.x(t)},{scale.lower(high / peak)}" for t, _, high in piece)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{MEMORY}" stroke-width="1.4"/>'
        )
    return parts


def _thinned(rows: Sequence[Row]) -> list[Row]:
    """Return at most `MAX_POINTS` rows with lowest and highest kept."""
    step = -(-len(rows) // MAX_POINTS) if rows else 1
    thin = []
    for first in range(0, len(rows), step):
        group = rows[first : first + step]
        lows = [low for _, low, _ in group if not math.isnan(low)]
        highs = [high for _, _, high in group if not math.isnan(high)]
        thin.append((group[-1][0], min(lows, default=math.nan), max(highs, default=math.nan)))
    return thin


def _pieces(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the runs of rows between holes: a gap is drawn as a gap."""
    pieces: list[list[Row]] = [[]]
    gaps = sorted(b[0] - a[0] for a, b in itertools.pairwise(rows))
    usual_s = gaps[len(gaps) // 2] if gaps else 0.0
    for row in rows:
        last = pieces[-1][-1] if pieces[-1] else None
        if math.isnan(row[2]) or (last is not None and row[0] - last[0] > 5 * usual_s > 0):
            pieces.append([])
        if not math.isnan(row[2]):
            pieces[-1].append(row)
    return [piece for piece in pieces if piece]
