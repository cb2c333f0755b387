import re
import xml.etree.ElementTree as ET

import pytest

from jupyter_gpupredict.backtest import plots
from jupyter_gpupredict.backtest.cases import Simulated
from jupyter_gpupredict.backtest.plots import FrontierPoint, follow, frontier
from jupyter_gpupredict.backtest.run import backtest
from jupyter_gpupredict.core import svg


@pytest.fixture(scope="module")
def phase():
    return follow(Simulated("phase", 8), "quick")


def test_a_story_tells_what_the_prediction_did(phase):
    assert phase.converged_s
    assert phase.alarms_s
    assert phase.alarms_s[0] > phase.converged_s[0]
    assert "alarm" in phase.words
    at_first = next(one for one in phase.steps if one.time_s >= phase.converged_s[0])
    assert at_first.converged
    # while stale there is no figure, and it is drawn as none
    after = next(one for one in phase.steps if one.time_s >= phase.alarms_s[0])
    assert after.target_pct != after.target_pct  # noqa: PLR0124 - NaN
    assert len(phase.usage) <= plots.USAGE_ROWS
    assert len(phase.steps) >= 100


def test_the_frontier_is_what_nobody_beats_in_both():
    places = [
        FrontierPoint("a", 0.5, 0.1, 0.0, "ours"),
        FrontierPoint("b", 0.6, 0.2, 0.0, "ours"),  # a watches less and errs less
        FrontierPoint("c", 0.2, 0.5, 0.0, "baseline"),
        FrontierPoint("d", 0.1, 0.0, 0.0, "length"),  # knows the length: does not count
    ]
    assert [one.rule for one in frontier(places)] == ["c", "a"]


def test_the_svg_is_wellformed_small_and_says_it_in_words(phase):
    places = [
        FrontierPoint("a<b", 0.5, 0.1, 0.0, "ours"),
        FrontierPoint("c", 0.2, 0.5, 0.0, "length"),
    ]
    told = plots.trajectory_plot(phase).svg()
    frontiers = (plots.frontier_plot(places, "x & y"), plots.frontier_plot([], ""))
    for text in (told, *(one.svg() for one in frontiers)):
        root = ET.fromstring(text)
        assert root.find("{http://www.w3.org/2000/svg}desc") is not None
        assert "nan" not in text
        assert len(text) < 60_000
    assert phase.words in told


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["TEXT", "USAGE", "COVER", "MEAN", "ALARM"])
def test_every_colour_is_seen_on_light_and_on_dark(name):
    seen = luminance(getattr(svg, name)) + 0.05
    least = 4.0 if name == "TEXT" else 3.0
    assert 1.05 / seen >= least  # on white
    assert seen / (luminance("#111111") + 0.05) >= least


def test_pages_need_no_network(tmp_path):
    cases = [Simulated("steady", 1), Simulated("steady", 3), Simulated("phase", 8)]
    report = backtest(cases, ["quick", "krr"], jobs=1)
    written = plots.write(plots.prepare(str(tmp_path / "new" / "plots")), report, cases, "quick")
    assert [path.name for path in written] == [
        "frontier.svg", "frontier.html", "runs.html", "run-steady-1.svg", "run-phase-8.svg",
    ]  # fmt: skip
    for path in written:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", text)
            assert text.count("bokeh-widgets") < 3  # the core bundle alone
            assert len(text) < 3_000_000
            assert "| quick" in text or "converged at" in text
