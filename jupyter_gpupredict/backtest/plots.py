"""The plots: where each rule lies on the frontier, and how one prediction came about.

Each is an SVG file, and a figure on an HTML page that holds all of BokehJS it needs, so that no
page asks the network.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.backtest import tables
from jupyter_gpupredict.backtest.run import BASELINES, predict_with_ours
from jupyter_gpupredict.core import svg
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.plain import html as escape
from jupyter_gpupredict.core.run import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from jupyter_gpupredict.backtest.cases import Case
    from jupyter_gpupredict.backtest.run import Report
    from jupyter_gpupredict.backtest.score import Summary
    from jupyter_gpupredict.core.recommendation import Recommendation
    from jupyter_gpupredict.core.run import Row

USAGE_ROWS = 400
GREY = "#7c7c7c"
"""Text and grid of the figures: readable on white and on #111."""
KINDS = {
    "ours": ("●", "circle", svg.USAGE, svg.USAGE, "ours"),
    "baseline": ("◆", "diamond", svg.COVER, svg.COVER, "baseline"),
    "length": ("◇", "diamond", svg.COVER, "#00000000", "knows the length"),
}
"""`FrontierPoint.kind` -> (sign, marker, its line, its filling, what it means)."""
THEME = {
    "attrs": {
        "Plot": {
            "background_fill_color": None, "border_fill_color": None, "outline_line_color": GREY,
        },
        "Grid": {"grid_line_color": GREY, "grid_line_alpha": 0.3},
        "Axis": {
            "axis_label_text_color": GREY, "major_label_text_color": GREY, "axis_line_color": GREY,
            "major_tick_line_color": GREY, "minor_tick_line_color": GREY,
        },
        "Legend": {
            "background_fill_alpha": 0.0, "border_line_color": None, "label_text_color": GREY,
            "orientation": "horizontal", "location": "bottom_right",
        },
        "Toolbar": {"logo": None},
    }
}  # fmt: skip
"""Of the figures on a page, whose light or dark shows through."""


# ---- what is shown -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """One rule on the frontier."""

    rule: str
    watched_ratio: float
    fc: float
    fccov: float
    kind: str
    """`ours`, `baseline`, or `length`: a baseline that knows the run's length."""


def points(summaries: Mapping[str, Summary]) -> tuple[FrontierPoint, ...]:
    """Return every rule's place: mean over groups."""
    found = []
    for rule, summary in summaries.items():
        known = BASELINES.get(rule)
        kind = "ours" if known is None else "length" if known.knows_length else "baseline"
        names = ("watched_ratio", "fc", "fccov")
        watched_ratio, fc, fccov = (summary.macro[name] or 0.0 for name in names)
        found.append(FrontierPoint(rule, watched_ratio, fc, fccov, kind))
    return tuple(found)


def frontier(places: Sequence[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """Return the rules that no other beats in both; those that know the length do not count."""
    best: list[FrontierPoint] = []
    for one in sorted(places, key=lambda one: (one.watched_ratio, one.fc)):
        if one.kind != "length" and (not best or one.fc < best[-1].fc):
            best.append(one)
    return tuple(best)


@dataclass(frozen=True, slots=True)
class Step:
    """What was recommended from a moment on; NaN where there was no figure."""

    time_s: float
    target_pct: float
    mean_pct: float
    converged: bool


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One rule's way through one trace."""

    title: str
    metric: str
    """Words for the axis."""
    usage: tuple[Row, ...]
    """(time_s, lowest, highest) in percent."""
    steps: tuple[Step, ...]
    converged_s: tuple[float, ...]
    """First convergence, then each one after an alarm."""
    alarms_s: tuple[float, ...]
    words: str
    """The outcome in a sentence."""


def follow(case: Case, rule: str) -> Trajectory:
    """Return how one of our rules goes through a run.

    Raises:
        GpuPredictError: The run cannot be read, or the rule gives no answer.
    """
    trace, marks = case.load()
    share = trace.share_series()
    history = History(USAGE_ROWS)
    for time_s, value in trace.points(share):
        history.add(time_s, 100.0 * value)
    steps: list[Step] = []

    def note(time_s: float, advice: Recommendation) -> None:
        target, mean = (
            math.nan if ratio is None else 100.0 * ratio
            for ratio in (advice.target_ratio, advice.mean_ratio)
        )
        steps.append(Step(time_s, target, mean, advice.state == "converged"))

    found = predict_with_ours(rule, trace, marks, note)
    guard = found["guard"] or {"alarms": [], "relearned": []}
    at_s, alarms = found["converged_at_s"], guard["alarms"]
    state = "abstained; observed" if at_s is None else f"converged at {at_s:g} s:"
    words = f"{state} {found['target_pct']} %, mean {found['mean_pct']:g} %"
    if alarms:
        words += f"; {len(alarms)} alarms, the first at {alarms[0]:g} s"
    first = () if at_s is None else (at_s,)
    return Trajectory(
        title=f"{case.id}, rule {rule}",
        metric=f"{METRICS[share.metric].label}, %",
        usage=tuple(history.rows()),
        steps=tuple(steps),
        converged_s=(*first, *(time_s for time_s, _ in guard["relearned"])),
        alarms_s=tuple(alarms),
        words=words,
    )


# ---- as files ----------------------------------------------------------------------------------


def prepare(folder: str) -> Path:
    """Make and return the folder, before hours are spent on what goes into it.

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

    Returns the files: `frontier.html`, `frontier.svg`, `runs.html` and one `run-ID.svg` each.

    Raises:
        InvalidOption: A file cannot be written.
    """
    summaries = tables.summaries(report)
    title = f"{len(report.runs)} runs: how much was watched, how often it was wrong"
    firsts: dict[str, str] = {}
    for outcome in report.outcomes(rule):
        firsts.setdefault(outcome.scored.group, outcome.scored.id)
    first = [case for case in cases if case.id in firsts.values()]
    runs = {case.id: trajectory_plot(follow(case, rule)) for case in first}
    wrong = frontier_plot(points(summaries), title)
    texts = {
        "frontier.svg": wrong.svg(),
        "frontier.html": page(
            "How the rules fared: the mean over groups", [wrong], tables.by_rule(summaries)
        ),
        "runs.html": page(f"rule {rule}: the first run of each group", list(runs.values())),
        **{
            f"run-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.svg": plot.svg()
            for name, plot in runs.items()
        },
    }
    try:
        for name, content in texts.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise InvalidOption(f"cannot write to {folder}: {error.strerror}", "--plots DIR") from error
    return [folder / name for name in texts]


# ---- as drawings -------------------------------------------------------------------------------


class Plot:
    """A figure that is drawn twice at once: as SVG, and by Bokeh for a page."""

    def __init__(
        self, title: str, words: str, labels: tuple[str, str], x: tuple[float, float], y_high: float
    ) -> None:
        """Begin a figure with the labels of its axes, x and y; `words` say what it shows.

        The y axis goes from 0 to `y_high`; both axes are shares where that is at most 1.
        """
        from bokeh.models import NumeralTickFormatter
        from bokeh.plotting import figure

        self.title, self.words = title, words
        shares = y_high <= 1.0
        self.frame = svg.Frame(52, 706, 44, 260, *x, y_high)
        self.legend: list[tuple[str, str, str]] = []
        """(sign, its colour, what it means)."""
        self.parts = [
            svg.text(52, 16, title),
            svg.text(52, 294, labels[0]),
            svg.text(52, 38, labels[1]),
            *self.frame.grid(_ticks(0.0, y_high, shares)),
            *self.frame.ticks(_ticks(*x, shares)),
        ]
        room = 0.03 * (x[1] - x[0])  # for what lies at the ends
        tools = "pan,box_zoom,wheel_zoom" if shares else "xpan,xbox_zoom,xwheel_zoom"
        self.figure = figure(
            height=320, sizing_mode="stretch_width", tools=f"{tools},reset,save",
            x_range=(x[0] - room, x[1] + room), y_range=(-0.03 * y_high, 1.03 * y_high),
            x_axis_label=labels[0], y_axis_label=labels[1],
        )  # fmt: skip
        if shares:
            self.figure.axis.formatter = NumeralTickFormatter(format="0 %")

    def svg(self) -> str:
        """Return it as a file of its own."""
        legend = (
            svg.element("tspan", one, fill=color) + f" {name} " for one, color, name in self.legend
        )
        last = svg.element("text", *legend, x=706, y=294, text_anchor="end")
        return svg.document(
            720, 300, self.title, *self.parts, last, desc=self.words, look=f'color="{svg.TEXT}"'
        )

    def line(
        self, rows: Sequence[Row], color: str, name: str, *, dash: str = "", area: bool = False
    ) -> None:
        """Draw along the largest values of rows, over an area down to the smallest."""
        x, low, high = ([row[k] for row in rows] for k in range(3))
        if area:
            self.parts += self.frame.band(rows, color)
            self.figure.varea(x=x, y1=low, y2=high, fill_color=color, fill_alpha=0.25)
        else:
            self.parts += self.frame.curve(rows, color, dash)
        look = {"line_color": color, "line_dash": dash or "solid", "line_width": 1.6}
        self.figure.line(x, high, legend_label=name, **look)
        self.legend.append(("╍" if dash else "▬", color, name))

    def uprights(
        self, times_s: Sequence[float], color: str, label: str, y: float, dash: str = ""
    ) -> None:
        """Draw a line at each time; `y` is where the SVG has the first one's label."""
        from bokeh.models import Span

        look = {"dimension": "height", "line_color": color, "line_dash": dash or "solid"}
        for number, at_s in enumerate(times_s):
            self.parts += self.frame.upright(at_s, color, "" if number else label, y, dash)
            self.figure.add_layout(Span(location=at_s, **look))

    def points(self, places: Sequence[FrontierPoint]) -> None:
        """Draw a marker with its name for each rule."""
        from bokeh.models import ColumnDataSource, HoverTool, LabelSet

        at = [(one, self.frame.x(one.watched_ratio), self.frame.y(one.fc)) for one in places]
        self.parts += [_marker(one.kind, x, y) for one, x, y in at]
        self.parts += _names([(one.rule, x, y) for one, x, y in at])
        self.legend += [(sign, line, name) for sign, _, line, _, name in KINDS.values()]
        figures = ("watched_ratio", "fc", "fccov")
        columns = {name: [getattr(one, name) for one in places] for name in figures}
        columns["rule"] = [tables.marked(one.rule) for one in places]
        for place, name in enumerate(("marker", "line", "fill"), 1):
            columns[name] = [KINDS[one.kind][place] for one in places]
        source = ColumnDataSource(columns)
        drawn = self.figure.scatter(
            "watched_ratio", "fc", source=source, marker="marker", size=12, line_color="line",
            fill_color="fill",
        )  # fmt: skip
        self.figure.add_layout(
            LabelSet(
                x="watched_ratio", y="fc", text="rule", source=source, y_offset=8,
                text_align="center", text_font_size="11px", text_color=GREY,
            )
        )  # fmt: skip
        tips = [("", "@rule"), ("watched", "@watched_ratio{0.00}")]
        tips += [(name, f"@{name}{{0.000}}") for name in ("fc", "fccov")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips))


def frontier_plot(places: Sequence[FrontierPoint], title: str) -> Plot:
    """Return how much each rule watched against how often it was wrong."""
    words = "; ".join(f"{p.rule}: watched {p.watched_ratio:.2f}, fc {p.fc:.3f}" for p in places)
    labels = ("share of the run that was watched", "wrong (fc), share of all runs")
    highest = max((one.fc for one in places), default=0.0)
    top = min(1.0, math.ceil(10 * highest + 0.5) / 10)  # a whole tenth, with room for a name
    plot = Plot(title, words, labels, (0.0, 1.0), top)
    best = [(one.watched_ratio, one.fc, one.fc) for one in frontier(places)]
    plot.line(best, svg.COVER, "not beaten in both", dash="4 4")
    plot.points(places)
    return plot


def trajectory_plot(shown: Trajectory) -> Plot:
    """Return usage over time with what was predicted meanwhile."""
    times_s = [0.0, *(row[0] for row in shown.usage), *(step.time_s for step in shown.steps)]
    labels = ("seconds", shown.metric)
    plot = Plot(shown.title, shown.words, labels, (min(times_s), max(times_s)), 100.0)
    plot.line(shown.usage, svg.USAGE, "usage", area=True)
    plot.line(_stairs(shown.steps, lambda step: step.target_pct), svg.COVER, "covering usage")
    plot.line(_stairs(shown.steps, lambda step: step.mean_pct), svg.MEAN, "mean", dash="6 3")
    plot.uprights(shown.converged_s, svg.COVER, "converged", 57)
    plot.uprights(shown.alarms_s, svg.ALARM, "alarm", 70, "2 3")
    return plot


def _ticks(low: float, high: float, shares: bool) -> dict[float, str]:
    """Return some round values between two, with their labels."""
    least = (high - low) / 6 or 1.0
    power = 10.0 ** math.floor(math.log10(least))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= least)
    counts = range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)
    values = [step * count for count in counts]
    return {one: f"{100 * one:.0f} %" if shares else f"{one:.9g}" for one in values}


def _stairs(steps: Sequence[Step], figure: Callable[[Step], float]) -> list[Row]:
    """Return the corners of a line on which each figure stands until the next one."""
    corners = []
    for step, following in zip(steps, [*steps[1:], *steps[-1:]], strict=True):
        value = figure(step)
        corners += [(one.time_s, value, value) for one in (step, following)]
    return corners


def _marker(kind: str, x: float, y: float) -> str:
    if kind == "ours":
        return svg.element("circle", cx=x, cy=y, r=5, fill=svg.USAGE)
    corners = f"{x},{y - 6} {x + 6},{y} {x},{y + 6} {x - 6},{y}"
    fill = "none" if kind == "length" else svg.COVER
    return svg.element("polygon", points=corners, fill=fill, stroke=svg.COVER, stroke_width=1.4)


def _names(wanted: Sequence[tuple[str, float, float]]) -> Iterator[str]:
    """Yield each name above its marker, moved up until it covers no marker and no other name."""
    taken = [(x - 7, x + 7, y + 5) for _, x, y in wanted]
    for name, x, y in sorted(wanted, key=lambda one: -one[2]):
        half = svg.LETTER * len(name) / 2
        middle = min(706 - half, max(52 + half, x))
        base = y - 9
        while any(
            middle - half < right and left < middle + half and abs(base - other) < 13
            for left, right, other in taken
        ):
            base -= 1.0
        taken.append((middle - half, middle + half, base))
        yield svg.text(middle, base, name, "middle")


def page(title: str, plots: Sequence[Plot], words: str = "") -> str:
    """Return a page of plots; the same in words stands below each."""
    from bokeh.embed import components
    from bokeh.resources import Resources
    from bokeh.themes import Theme

    core = Resources(mode="inline", components=["bokeh"])
    figures = tuple(plot.figure for plot in plots)
    script, divs = components(figures, theme=Theme(json=THEME)) if figures else ("", ())
    body = "".join(
        f"<section><h2>{escape(plot.title)}</h2>{div}"
        f"<pre>{escape(words or plot.words)}</pre></section>"
        for div, plot in zip(divs, plots, strict=True)
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
