"""The live chart, an empty figure that the view fills and themes, and a sweep, as Bokeh's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_gpupredict.core.svg import COVER, MEMORY, USAGE, WINDOW

_PLAIN: dict[str, Any] = {
    "sizing_mode": "stretch_width",
    "toolbar_location": None,
    "background_fill_color": None,
    "border_fill_color": None,
    "outline_line_color": None,
}
"""Of every figure: the page's own colours show."""


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


def sweep_figure(ratios: dict[int, float], knee: float | None, kept: float) -> Any:
    """Return speed against share as a figure of its own.

    Args:
        ratios: Percentage -> speed as a part of the uncapped one.
        knee: Percentage where the line crosses `kept`; None: nowhere.
        kept: The limit that is drawn.
    """
    from bokeh.models import Span
    from bokeh.plotting import figure

    shares = sorted(ratios)
    speeds = [100.0 * ratios[share] for share in shares]
    plot = figure(
        height=260, x_range=(0, 100), y_range=(0, 110), x_axis_label="share of the SMs, %",
        y_axis_label="speed, % of uncapped", tooltips=[("", "@y{0.0} % at @x %")], **_PLAIN,
    )  # fmt: skip
    plot.line(shares, speeds, line_color=USAGE, line_width=1.8)
    plot.scatter(shares, speeds, color=USAGE, size=7)
    limit = {"line_color": COVER, "line_width": 1.5}
    plot.add_layout(Span(location=100.0 * kept, dimension="width", line_dash="dashed", **limit))
    if knee is not None:
        plot.add_layout(Span(location=knee, dimension="height", **limit))
    return plot


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
        left="from", right="to", top=105, bottom=0, fill_color=WINDOW, fill_alpha="shade",
        line_alpha=0, source=windows,
    )  # fmt: skip
    upper.multi_line(xs="t", ys="high", line_color="color", line_alpha=0.8, source=further)
    upper.varea(x="t", y1="low", y2="high", fill_color=USAGE, fill_alpha=0.25, source=share)
    line = upper.line(x="t", y="high", line_color=USAGE, line_width=1.6, source=share)
    upper.line(x="t", y="y", line_color=COVER, line_width=2, source=cover)
    upper.add_tools(HoverTool(renderers=[line], tooltips=[("", "@high{0} % at @t{0.0} s")]))
    lower = figure(height=90, y_range=memory_range, y_axis_label="MiB", **plain)
    lower.line(x="t", y="mib", line_color=MEMORY, line_width=1.6, source=memory)
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
