"""A run and a sweep as figures: static SVGs, and documents that BokehJS draws.

An SVG is readable on light and on dark, and at most 20 kB. Bokeh is imported when it is needed.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core import svg, words
from jupyter_gpupredict.core.answer import brief
from jupyter_gpupredict.core.card import need_of, simulated_as, speed_points
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.plain import html as escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jupyter_gpupredict.core.run import Row, Run

MAX_POINTS = 240
MAX_MARKS = 8
TITLE_LETTERS, TITLE_LINE = 84, 20
"""Letters that fit in a line of the title, and its height."""
POINTS = {"gpm": "SM activity", "verified": "verified"}
"""How a point on a curve by geometry is called, by where it comes from."""
SHOWN_STATES = {"converged": ("settled", svg.COVER), "stale": ("changed", svg.ALARM)}
"""State -> the word and the colour of its mark."""
_PLAIN: dict[str, Any] = {
    "sizing_mode": "stretch_width",
    "toolbar_location": None,
    "background_fill_color": None,
    "border_fill_color": None,
    "outline_line_color": None,
}
"""Of every figure: the page's own colours show."""


def run_svg(run: Run, *, titled: bool = True) -> str:
    """Return a run: usage with windows and the figure above, memory below.

    Args:
        run: The run.
        titled: Whether the answer stands above, as where the picture is all there is.
    """
    end_s = max([run.duration_s, *(row[0] for row in run.share[-1:])], default=1.0) or 1.0
    told = brief(run)
    word = "" if told.word in told.headline.lower() else f" ({told.word})"
    title = textwrap.wrap(told.headline + word, TITLE_LETTERS) if titled else []
    top = TITLE_LINE * len(title)
    frame = svg.Frame(46, 672, top + 26, top + 156, 0.0, end_s, 1.0)
    label = words.label(run.started)
    return svg.document(
        720,
        250 + top,
        told.headline,
        *(
            svg.element("text", escape(line), x=8, y=TITLE_LINE * (at + 1) - 2, font_size=15)
            for at, line in enumerate(title)
        ),
        svg.text(frame.left, frame.top - 12, f"{METRICS[run.started.share.metric].label}, {label}"),
        *_windows(run, frame),
        *frame.grid({0.0: "0 %", 0.5: "50 %", 1.0: "100 %"}),
        *frame.ticks({share * end_s: words.span(share * end_s) for share in (0.0, 0.5, 1.0)}),
        *_further(run, frame),
        *frame.band(_with_holes(_thinned(run.share)), svg.USAGE),
        *_figure(run, frame),
        *_marks(run, frame),
        *_memory(run, end_s, top),
        desc=label,
        look=svg.EMBEDDED.format(720),
    )


def _windows(run: Run, frame: svg.Frame) -> Iterator[str]:
    for number, window in enumerate(run.windows):
        x = frame.x(window.from_s)
        if not window.void:
            yield svg.element(
                "rect", x=x, y=frame.top, width=f"{frame.x(window.to_s) - x:.1f}",
                height=frame.bottom - frame.top, fill=svg.WINDOW,
                fill_opacity=0.16 if number % 2 else 0.09,
            )  # fmt: skip


def _figure(run: Run, frame: svg.Frame) -> list[str]:
    """Return the figure as a line, named on its right end; dashed unless it is a prediction."""
    advice = run.recommendation
    if advice is None:
        return []
    settled = advice.target_ratio is not None and advice.state == "converged"
    ratio = advice.observed_ratio if advice.target_ratio is None else advice.target_ratio
    if ratio is None:
        return []
    return [
        frame.level(ratio, svg.COVER, "" if settled else "5 4"),
        svg.text(frame.right + 5, frame.y(ratio) + 4, words.percent(ratio)),
    ]


def _marks(run: Run, frame: svg.Frame) -> list[str]:
    """Return a thin line where the figure settled or was withdrawn, with its words on hover."""
    marks = [(change.t_s, change) for change in run.states if change.new in SHOWN_STATES]
    found = [
        part
        for t_s, change in marks[-MAX_MARKS:]
        for part in (
            svg.element(
                "line",
                svg.element("title", escape(f"{words.moment(t_s)}: {change.reason}")),
                x1=frame.x(t_s), x2=frame.x(t_s), y1=frame.top, y2=frame.bottom,
                stroke=SHOWN_STATES[change.new][1], stroke_dasharray="2 3",
            ),
            svg.text(frame.x(t_s) + 3, frame.bottom - 5, SHOWN_STATES[change.new][0]),
        )
    ]  # fmt: skip
    advice = run.recommendation
    if not marks and advice is not None and advice.converged_at_s is not None:
        found += frame.upright(advice.converged_at_s, svg.COVER, "settled", frame.bottom - 5)
    return found


def _further(run: Run, frame: svg.Frame) -> list[str]:
    """Return a thin line with its name for each further device or rank."""
    if not run.further:
        return []
    series = [run.started.share, *(one for one, _ in run.further)]
    names = [escape(words.device(one, run.started)) for one in series]
    parts = [
        svg.element(
            "polyline", svg.element("title", name),
            points=frame.place((t, high) for t, _, high in piece),
            fill="none", stroke=color, stroke_opacity=0.8,
        )
        for (_, rows), name, color in zip(run.further, names[1:], svg.FURTHER, strict=False)
        for piece in svg.pieces(_with_holes(rows))
    ]  # fmt: skip
    legend = (
        svg.element("tspan", "\u25a0", fill=color, dx=8) + svg.element("tspan", f" {name}")
        for name, color in zip(names, (svg.USAGE, *svg.FURTHER), strict=False)
    )
    return [*parts, svg.element("text", *legend, x=frame.left, y=frame.bottom + 27)]


def _memory(run: Run, end_s: float, top: int) -> list[str]:
    """Return the memory on the scale of the card, where its size is known."""
    peak = max((high for _, _, high in run.memory if not math.isnan(high)), default=0.0)
    series = run.started.memory
    known = (one.memory_total_bytes for one in run.started.devices if one.memory_total_bytes)
    whole = next(known, 0) if series is not None and series.metric != "rss_bytes" else 0
    highest = max(float(whole), peak) or 1.0
    frame = svg.Frame(46, 672, top + 192, top + 236, 0.0, end_s, highest)
    if not run.memory:
        return [svg.text(frame.left, frame.bottom - 22, "memory: not available")]
    return [
        *frame.grid({0.0: "0", **({float(whole): words.gib(whole)} if whole else {})}),
        svg.text(frame.right + 5, frame.y(peak) + 4, words.gib(peak)),
        svg.text(frame.left, frame.top - 5, "memory"),
        *frame.curve(_with_holes(_thinned(run.memory)), svg.MEMORY),
    ]


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


def _with_holes(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows, with a row of NaN where none came for five times as long as usual."""
    gaps = [later[0] - former[0] for former, later in itertools.pairwise(rows)]
    usual_s = sorted(gaps)[len(gaps) // 2] if gaps else 0.0
    for row, gap_s in zip(rows, [0.0, *gaps], strict=False):
        if gap_s > 5 * usual_s > 0:
            yield row[0], math.nan, math.nan
        yield row


# ---- a sweep -----------------------------------------------------------------------------------


def sweep_svg(ratios: Mapping[int, float], knee: float | None, kept: float, device: str) -> str:
    """Return speed against share.

    Args:
        ratios: Percentage -> speed as a part of the uncapped one.
        knee: Percentage where the line crosses `kept`; None: nowhere.
        kept: The limit that is drawn.
        device: Where it was measured.
    """
    frame = _speed_frame()
    points = sorted(ratios.items())
    return _speed_svg(
        frame,
        f"Speed against share of the SMs on {device}",
        f"speed, % of uncapped, on {device}",
        frame.level(kept, svg.COVER, dash="5 4"),
        svg.polyline(frame.place(points), svg.USAGE),
        *(
            svg.element("circle", cx=frame.x(percent), cy=frame.y(ratio), r=3.2, fill=svg.USAGE)
            for percent, ratio in points
        ),
        *(
            frame.upright(knee, svg.COVER, f"{knee:.0f} %", frame.bottom - 6, high=kept)
            if knee is not None
            else ()
        ),
    )


def _speed_frame() -> svg.Frame:
    """Return the frame of speed against share; it ends a little above the uncapped speed."""
    return svg.Frame(46, 546, 24, 206, 0.0, 100.0, 1.1)


def _speed_svg(frame: svg.Frame, title: str, heading: str, *marks: str, desc: str = "") -> str:
    """Return speed against share, with the axes that every such picture has."""
    return svg.document(
        560,
        240,
        title,
        svg.text(frame.left, 14, heading),
        *frame.grid({ratio: f"{100 * ratio:.0f}" for ratio in (0.0, 0.25, 0.5, 0.75, 1.0)}),
        *frame.ticks({percent: f"{percent}" for percent in (10, 25, 50, 75, 100)}),
        svg.text(frame.right, 236, "share of the SMs, %", "end"),
        *marks,
        desc=desc,
        look=svg.EMBEDDED.format(560),
    )


def sweep_figure(ratios: dict[int, float], knee: float | None, kept: float) -> Any:
    """Return speed against share as Bokeh's figure, from what `sweep_svg` takes."""
    from bokeh.models import Span
    from bokeh.plotting import figure

    shares = sorted(ratios)
    speeds = [100.0 * ratios[share] for share in shares]
    plot = figure(
        height=260, x_range=(0, 100), y_range=(0, 110), x_axis_label="share of the SMs, %",
        y_axis_label="speed, % of uncapped", tooltips=[("", "@y{0.0} % at @x %")], **_PLAIN,
    )  # fmt: skip
    plot.line(shares, speeds, line_color=svg.USAGE, line_width=1.8)
    plot.scatter(shares, speeds, color=svg.USAGE, size=7)
    limit = {"line_color": svg.COVER, "line_width": 1.5}
    plot.add_layout(Span(location=100.0 * kept, dimension="width", line_dash="dashed", **limit))
    if knee is not None:
        plot.add_layout(Span(location=knee, dimension="height", **limit))
    return plot


# ---- what fewer SMs cost -----------------------------------------------------------------------


def curve_svg(run: Run) -> str:
    """Return the speed kept against the share of the SMs, by the geometry of a run's kernels.

    The area lies between both ends of the estimate. What SM activity says and what was verified
    are points on it. Empty where the kernels are not known.
    """
    need = need_of(run)
    if need is None or not need.curve:
        return ""
    frame = _speed_frame()
    known = (point for point in need.curve if 1.0 <= point[1] <= point[2] and point[0] > 0.0)
    rows = [(percent, 1.0 / high, 1.0 / low) for percent, low, high in known]
    ends = f"{100 * need.low_ratio:.0f} to {100 * need.high_ratio:.0f} %"
    kept = f"{100 * need.speed_ratio:.0f} %"
    label = words.label(run.started)
    kind = f", {simulated_as(run)}" if simulated_as(run) else ""
    return _speed_svg(
        frame,
        f"{ends} of the SMs keep {kept} of the speed, by kernel geometry",
        f"speed, % of that on all {need.sms} SMs, by kernel geometry{kind}",
        *frame.band(rows, svg.USAGE),
        frame.level(need.speed_ratio, svg.COVER, dash="5 4"),
        *(
            part
            for ratio, y in ((need.low_ratio, 20), (need.high_ratio, 6))
            for part in frame.upright(
                100 * ratio, svg.COVER, f"{100 * ratio:.0f} %", frame.bottom - y,
                high=need.speed_ratio,
            )
        ),
        *(
            part
            for point in speed_points(run)
            for x, y in [(frame.x(100 * point.share_ratio), frame.y(point.speed_ratio))]
            for part in (
                svg.element("circle", cx=x, cy=y, r=4, fill=svg.MEAN),
                svg.text(x + 6, y - 6, POINTS.get(point.method, point.method)),
            )
        ),
        desc=f"{label}; {words.kernels(need)}",
    )  # fmt: skip


# ---- live, and BokehJS -------------------------------------------------------------------------


def live_item() -> dict[str, Any]:
    """Return the live chart as the JSON that BokehJS embeds, at most 10 kB.

    Its parts have names, by which the view finds them: sources `share`, `further`, `windows`,
    `cover` and `memory`, ranges `time` and `memory_range`.
    """
    from bokeh.layouts import column
    from bokeh.models import ColumnDataSource, HoverTool, Range1d
    from bokeh.plotting import figure

    plain: dict[str, Any] = {"tools": "", "x_range": Range1d(0, 10, name="time"), **_PLAIN}
    memory_range = Range1d(0, 1, name="memory_range")
    share = ColumnDataSource({"t": [], "low": [], "high": []}, name="share")
    further = ColumnDataSource({"t": [], "high": [], "color": []}, name="further")
    windows = ColumnDataSource({"from": [], "to": [], "shade": []}, name="windows")
    cover = ColumnDataSource({"t": [], "y": []}, name="cover")
    memory = ColumnDataSource({"t": [], "mib": []}, name="memory")
    upper = figure(height=170, y_range=Range1d(0, 105), y_axis_label="share, %", **plain)
    upper.quad(
        left="from", right="to", top=105, bottom=0, fill_color=svg.WINDOW, fill_alpha="shade",
        line_alpha=0, source=windows,
    )  # fmt: skip
    upper.multi_line(xs="t", ys="high", line_color="color", line_alpha=0.8, source=further)
    upper.varea(x="t", y1="low", y2="high", fill_color=svg.USAGE, fill_alpha=0.25, source=share)
    line = upper.line(x="t", y="high", line_color=svg.USAGE, line_width=1.6, source=share)
    upper.line(x="t", y="y", line_color=svg.COVER, line_width=2, source=cover)
    upper.add_tools(HoverTool(renderers=[line], tooltips=[("", "@high{0} % at @t{0.0} s")]))
    lower = figure(height=90, y_range=memory_range, y_axis_label="MiB", **plain)
    lower.line(x="t", y="mib", line_color=svg.MEMORY, line_width=1.6, source=memory)
    # Looks for selections, which nobody makes here, are a quarter of the JSON.
    for renderer in (*upper.renderers, *lower.renderers):
        renderer.nonselection_glyph = renderer.muted_glyph = None
    for plot in (upper, lower):
        plot.grid.grid_line_alpha = 0.35
        plot.yaxis.ticker.desired_num_ticks = 3
        plot.min_border_left = 56
    upper.xaxis.visible = False
    lower.xaxis.axis_label = "seconds"
    return item(column(upper, lower, sizing_mode="stretch_width"))


def version() -> str:
    """Return the version of Bokeh, which BokehJS must match."""
    import bokeh

    return str(bokeh.__version__)


def script() -> bytes:
    """Return BokehJS, the core bundle of the installed Bokeh: some 1.3 MB."""
    import bokeh

    folder = Path(bokeh.__file__).parent
    return (folder / "server" / "static" / "js" / "bokeh.min.js").read_bytes()


def item(figure: Any) -> dict[str, Any]:
    """Return a figure as the JSON that BokehJS embeds."""
    from bokeh.embed import json_item

    return dict(json_item(figure))
