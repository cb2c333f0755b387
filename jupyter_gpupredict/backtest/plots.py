"""The plots as files: SVG, and pages that hold all of BokehJS they need and ask no network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.backtest import story as stories
from jupyter_gpupredict.backtest import svg, tables
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.plain import html as escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.backtest.cases import Case
    from jupyter_gpupredict.backtest.run import Report
    from jupyter_gpupredict.backtest.story import Spot, Story

GREY = "#7c7c7c"
"""Text and grid of the figures: readable on white and on #111."""
_MARKERS = {"ours": "circle", "baseline": "diamond", "length": "diamond"}


def prepare(folder: str) -> Path:
    """Make the folder, before hours are spent on what goes into it; returns it.

    Raises:
        InvalidOption: It cannot be made.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidOption(f"cannot make {folder}: {error.strerror}", "--plots DIR") from error
    return place


def write(folder: Path, report: Report, cases: Sequence[Case], rule: str) -> list[Path]:
    """Write the frontier over all rules, and one rule's way through the first run of each group.

    Args:
        folder: What `prepare` returned.
        report: What `backtest` returned.
        cases: What it was given.
        rule: One of our own, not a baseline.

    Returns:
        The files: `frontier.html`, `frontier.svg`, `runs.html` and one `run-ID.svg` each.

    Raises:
        InvalidOption: A file cannot be written.
    """
    summaries = tables.summaries(report)
    places = stories.spots(summaries)
    title = f"{len(report.runs)} runs: how much was watched, how often it was wrong"
    firsts: dict[str, str] = {}
    for outcome in report.outcomes(rule):
        firsts.setdefault(outcome.scored.group, outcome.scored.id)
    told = [stories.follow(case, rule) for case in cases if case.id in firsts.values()]
    names = [case.id for case in cases if case.id in firsts.values()]
    texts = {
        "frontier.svg": svg.frontier_svg(places, title),
        "frontier.html": frontier_html(places, title, tables.by_rule(summaries)),
        "runs.html": stories_html(told, f"rule {rule}: the first run of each group"),
        **{
            f"run-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.svg": svg.story_svg(one)
            for name, one in zip(names, told, strict=True)
        },
    }
    try:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidOption(f"cannot write to {folder}: {error.strerror}", "--plots DIR") from error
    return [folder / name for name in texts]


def frontier_html(places: Sequence[Spot], title: str, table: str) -> str:
    """Return a page with the frontier; the table stands below it."""
    from bokeh.models import ColumnDataSource, HoverTool, LabelSet, NumeralTickFormatter
    from bokeh.plotting import figure

    top = stories.top(places)
    plot = figure(
        height=420, sizing_mode="stretch_width", tools="pan,box_zoom,wheel_zoom,reset,save",
        x_range=(0.0, 1.05), y_range=(-0.03 * top, top),
        x_axis_label="share of the run that was watched",
        y_axis_label="wrong (fc), share of all runs",
    )  # fmt: skip
    best = stories.frontier(places)
    plot.line(
        [one.watched_ratio for one in best], [one.fc for one in best],
        line_color=svg.COVER, line_dash="dashed", line_width=1.6,
    )  # fmt: skip
    drawn = []
    for kind, marker in _MARKERS.items():
        held = [one for one in places if one.kind == kind]
        if not held:
            continue
        source = ColumnDataSource(
            {
                "watched": [one.watched_ratio for one in held],
                "fc": [one.fc for one in held],
                "fccov": [one.fccov for one in held],
                "rule": [tables.marked(one.rule) for one in held],
            }
        )
        colour = svg.USAGE if kind == "ours" else svg.COVER
        drawn.append(
            plot.scatter(
                "watched", "fc", source=source, marker=marker, size=12, line_color=colour,
                fill_color=None if kind == "length" else colour,
            )
        )  # fmt: skip
        plot.add_layout(
            LabelSet(
                x="watched", y="fc", text="rule", source=source, y_offset=8, text_align="center",
                text_font_size="11px", text_color=GREY,
            )
        )  # fmt: skip
    tips = [("", "@rule"), ("watched", "@watched{0.00}"), ("fc", "@fc{0.000}")]
    plot.add_tools(HoverTool(renderers=drawn, tooltips=[*tips, ("fccov", "@fccov{0.000}")]))
    plot.xaxis.formatter = NumeralTickFormatter(format="0 %")
    plot.yaxis.formatter = NumeralTickFormatter(format="0 %")
    return _page(title, [(_plain(plot), "The mean over groups", table)])


def stories_html(told: Sequence[Story], title: str) -> str:
    """Return a page with one figure for each story, one below the other."""
    return _page(title, [(_plain(_story_figure(one)), one.title, one.words) for one in told])


def _story_figure(one: Story) -> Any:
    from bokeh.models import Span
    from bokeh.plotting import figure

    plot = figure(
        height=260, sizing_mode="stretch_width", tools="xpan,xbox_zoom,xwheel_zoom,reset,save",
        y_range=(0.0, 105.0), x_axis_label="seconds", y_axis_label=one.metric,
    )  # fmt: skip
    times, low, high = ([row[k] for row in one.usage] for k in range(3))
    plot.varea(x=times, y1=low, y2=high, fill_color=svg.USAGE, fill_alpha=0.25)
    plot.line(times, high, line_color=svg.USAGE, legend_label="usage")
    at = [step.time_s for step in one.steps]
    plot.step(
        at, [step.target_pct for step in one.steps], mode="after", line_color=svg.COVER,
        line_width=2, legend_label="covering usage",
    )  # fmt: skip
    plot.step(
        at, [step.mean_pct for step in one.steps], mode="after", line_color=svg.MEAN,
        line_dash="dashed", line_width=1.6, legend_label="mean",
    )  # fmt: skip
    for where, colour, dash in (
        (one.converged_s, svg.COVER, "solid"),
        (one.alarms_s, svg.ALARM, "dotted"),
    ):
        for at_s in where:
            plot.add_layout(
                Span(location=at_s, dimension="height", line_color=colour, line_dash=dash)
            )
    plot.legend.orientation = "horizontal"
    plot.legend.location = "bottom_right"
    plot.legend.background_fill_alpha = 0.0
    plot.legend.border_line_color = None
    plot.legend.label_text_color = GREY
    return plot


def _plain(plot: Any) -> Any:
    """Return a figure without colours of its own, so that the page's light or dark shows."""
    plot.background_fill_color = plot.border_fill_color = None
    plot.outline_line_color = GREY
    plot.toolbar.logo = None
    plot.grid.grid_line_color = GREY
    plot.grid.grid_line_alpha = 0.3
    for axis in (plot.xaxis, plot.yaxis):
        axis.axis_label_text_color = axis.major_label_text_color = GREY
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = GREY
    return plot


def _page(title: str, figures: Sequence[tuple[Any, str, str]]) -> str:
    """Return a page of (figure, heading, the same in words)."""
    from bokeh.embed import components
    from bokeh.resources import Resources

    core = Resources(mode="inline", components=["bokeh"])
    script, divs = components(tuple(plot for plot, _, _ in figures)) if figures else ("", ())
    body = "".join(
        f"<section><h2>{escape(heading)}</h2>{div}<pre>{escape(words)}</pre></section>"
        for div, (_, heading, words) in zip(divs, figures, strict=True)
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title>"
        "<style>:root{color-scheme:light dark}body{font:14px sans-serif;margin:1rem auto;"
        "max-width:70rem;padding:0 1rem}h2{font-size:1rem}pre{overflow-x:auto;font-size:12px}"
        f"</style>{core.render_js()}</head>"
        f"<body><h1>{escape(title)}</h1>{body}{script}</body></html>\n"
    )
