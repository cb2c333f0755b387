"""Speed against share, from a sweep: an SVG that needs nothing, and a Bokeh document of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.plain import html as escape

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 560, 240, 46, 34, 24, 14
LINE, LIMIT = "#0f7bb8", "#c2410c"
HIGHEST = 1.1
"""The axis ends a little above the uncapped speed."""


def svg(ratios: Mapping[int, float], knee: float | None, kept: float, device: str) -> str:
    """Return the chart as SVG.

    Args:
        ratios: Percentage -> speed as a part of the uncapped one.
        knee: Percentage where the line crosses `kept`; None: nowhere.
        kept: The limit that is drawn.
        device: Where it was measured.
    """
    points = [(_x(percent), _y(ratio)) for percent, ratio in sorted(ratios.items())]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'style="max-width:{WIDTH}px;width:100%;height:auto" font-family="sans-serif" '
        'font-size="11" fill="currentColor">',
        f"<title>Speed against share of the SMs on {escape(device)}</title>",
        f'<text x="{LEFT}" y="14">speed, % of uncapped, on {escape(device)}</text>',
    ]
    for ratio in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(ratio)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="currentColor" stroke-opacity="0.2"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * ratio:.0f}</text>'
        )
    parts += [
        f'<text x="{_x(percent):.1f}" y="{HEIGHT - 18}" text-anchor="middle">{percent}</text>'
        for percent in (10, 25, 50, 75, 100)
    ]
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">share of the SMs, %</text>'
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(kept):.1f}" y2="{_y(kept):.1f}" '
        f'stroke="{LIMIT}" stroke-dasharray="5 4"/>'
        f'<polyline points="{line}" fill="none" stroke="{LINE}" stroke-width="1.8"/>'
    )
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{LINE}"/>' for x, y in points]
    if knee is not None:
        parts.append(
            f'<line x1="{_x(knee):.1f}" x2="{_x(knee):.1f}" y1="{_y(kept):.1f}" '
            f'y2="{_y(0.0):.1f}" stroke="{LIMIT}"/>'
            f'<text x="{_x(knee) + 4:.1f}" y="{_y(0.0) - 6:.1f}">{knee:.0f} %</text>'
        )
    return "".join([*parts, "</svg>"])


def _x(percent: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * percent / 100.0


def _y(ratio: float) -> float:
    top, bottom = TOP, HEIGHT - BOTTOM
    return bottom - (bottom - top) * min(ratio, HIGHEST) / HIGHEST
