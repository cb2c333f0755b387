"""What views show, from the same runs: words, text, SVG, frames, and their sizes."""

import json
import math
import pickle
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.recommendation import MemoryEstimate, SmNeed
from jupyter_gpupredict.core.run import fold
from jupyter_gpupredict.core.series import Series
from jupyter_gpupredict.frontends.charts import card, figures
from jupyter_gpupredict.frontends.report import Result
from jupyter_gpupredict.frontends.views import TerminalLine, choose
from jupyter_gpupredict.frontends.widget import MAX_FAILURES, MAX_ROWS, Publisher
from tests.core.test_geometry_answer import TRIED
from tests.frontends import runs

DAY = 24 * 3600


@pytest.mark.parametrize("seconds", [1, 60, DAY])
def test_sizes_do_not_grow_with_the_run(seconds):
    found = runs.run(seconds)
    result = Result(found)
    assert len(figures.run_svg(found)) <= 20_000
    bundle = result._repr_mimebundle_()
    both = len(bundle["text/html"]) + 4 * len(bundle.get("image/png", b"")) / 3
    assert both + len(bundle["text/plain"]) <= 40_000  # what a saved notebook grows by
    assert "image/svg+xml" not in bundle
    assert "<svg" not in bundle["text/html"]
    assert len(result.to_text()) <= 3_000
    assert len(pickle.dumps(result)) < 200_000


def test_the_figure_is_at_most_10_kb():
    assert len(json.dumps(figures.live_item())) <= 10_000


def test_the_view_is_at_most_30_kb():
    from jupyter_gpupredict.frontends.widget import SOURCE

    assert len(SOURCE) <= 30_000


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"source": "synthetic", "simulated": True, "origin": "steady"}, "SIMULATED"),
        ({"source": "replay", "simulated": True, "origin": "a.jsonl"}, "SIMULATED: replay"),
        ({"source": "recording", "simulated": True, "origin": "dmon"}, "not measured here"),
        ({"source": "cpu"}, "no GPU"),
        ({}, "NVIDIA H200"),
    ],
)
def test_every_view_says_what_the_readings_are(change, label):
    found = runs.run(**change)
    frames = Frames()
    publisher = Publisher(frames)
    publisher.deliver(runs.events(**change))
    assert label in Result(found).to_text()
    assert label in Result(found).to_html()
    assert label in figures.run_svg(found)
    assert label in json.dumps(frames.sent[-1]["answer"])


@pytest.mark.parametrize(
    ("state", "target", "word", "phrase"),
    [
        ("converged", 0.87, "settled", "Busy 87 % of the time, needs 10.3 GiB"),
        ("watching", 0.87, "settling", "covers 95 % of the time so far"),
        ("stale", None, "changed", "withdrawn"),
        ("abstained", 0.87, "observed", "observed, not predicted"),
    ],
)
def test_a_state_never_reads_as_another(state, target, word, phrase):
    told = runs.recommendation(state, target_ratio=target)
    shown = Result(replace(runs.run(told=told), outcome="running"))
    assert phrase in shown.to_text()
    assert f"[{word}]" in shown.to_text()
    assert shown.target_ratio == target


def test_missing_figures_say_why():
    told = runs.recommendation(
        "abstained",
        coverage_ratio=None,
        confidence=None,
        memory=MemoryEstimate(math.nan, None, "process", "no process of ours was listed"),
    )
    shown = Result(runs.run(told=told)).to_text()
    assert "no process of ours was listed" in shown
    assert shown.count("not available") == 2
    assert "nan" not in shown.lower()
    assert Result(runs.run(told=told)).to_dict()["memory_peak_bytes"] is None


def test_a_run_without_readings_is_shown_with_the_reason():
    missing = ev.MetricUnavailable(1, 0.0, runs.SHARE, "not_supported", "the driver says so")
    begun = [runs.started(), missing]
    shown = Result(runs.fold([*begun, runs.finished(begun)]))
    assert shown.state == "warming"
    assert "the driver says so" in shown.to_text()
    ET.fromstring(shown.to_svg())
    json.loads(shown.to_json())


@pytest.mark.parametrize("seconds", [1, 60, 5000])
def test_the_svg_is_well_formed_and_never_draws_over_a_hole(seconds):
    root = ET.fromstring(figures.run_svg(runs.run(seconds)))
    titles = [node.text for node in root.iter() if node.tag.endswith("title")]
    assert titles[0] == answer(runs.run(seconds)).headline


@given(st.text(max_size=60))
def test_hostile_names_are_escaped(name):
    device = runs.Device("GPU-1", f"<script>{name}")
    html = Result(runs.run(20, devices=(device,))).to_html()
    assert "<script" not in html


class Frames:
    """Takes frames as the widget would, through JSON; fails on request."""

    def __init__(self):
        self.sent, self.failing = [], False

    def push(self, frame):
        if self.failing:
            raise OSError("closed")
        self.sent.append(json.loads(json.dumps(frame, allow_nan=False)))


class Page:
    """The rows a browser holds after these frames: what view.js does."""

    def __init__(self):
        self.share, self.memory, self.seq = [], [], -1

    def take(self, frame):
        if frame["kind"] == "delta" and frame["seq"] != self.seq + 1:
            return
        self.share = [*self.share[: frame["share_from"]], *frame["share"]]
        self.memory = [*self.memory[: frame["memory_from"]], *frame["memory"]]
        self.seq = frame["seq"]


@pytest.mark.parametrize("per_frame", [1, 3])
def test_deltas_add_up_to_the_keyframe(per_frame):
    frames, page = Frames(), Page()
    publisher = Publisher(frames)
    found = runs.events(1500)
    for at in range(0, len(found), per_frame):
        publisher.deliver(found[at : at + per_frame])
        page.take(frames.sent[-1])
        whole = json.loads(json.dumps(publisher.keyframe()))
        assert (page.share, page.memory) == (whole["share"], whole["memory"])
    assert len(page.share) <= MAX_ROWS
    assert max(len(json.dumps(frame)) for frame in frames.sent) <= 15_000
    assert any(frame["kind"] == "delta" for frame in frames.sent)


def of_ranks(found, count):
    """The same events with the readings of so many further ranks, each at its own level."""
    for event in found:
        if not isinstance(event, ev.SamplesTaken):
            yield event
            continue
        first = event.readings[0]
        beside = tuple(
            replace(
                first, series=Series(runs.SHARE.metric, f"GPU-{rank}", rank), values=(level,) * 5
            )
            for rank, level in enumerate((k / 20 for k in range(2, 2 + count)), start=1)
        )
        yield replace(event, readings=(*event.readings, *beside))


@pytest.mark.parametrize("seconds", [20, 1500])
def test_further_ranks_are_drawn_beside_the_first(seconds):
    run = fold(of_ranks(runs.events(seconds), 12))
    assert [words.rank(series) for series, _ in run.further] == [f"rank {n}" for n in range(1, 9)]
    assert all(len(rows) <= 60 and rows[-1][1] == rows[-1][2] for _, rows in run.further)
    assert [rows[-1][2] for _, rows in run.further] == [k / 20 for k in range(2, 10)]
    drawn = figures.run_svg(run)
    assert len(drawn) <= 20_000
    names = ["GPU GPU-1", *(f"rank {number}" for number in range(1, 9))]
    assert all(f"{name}<" in drawn for name in names)
    assert "rank" not in figures.run_svg(runs.run(seconds))
    ET.fromstring(drawn)


def test_frames_bring_further_ranks_once_a_second():
    frames = Frames()
    publisher = Publisher(frames)
    for event in of_ranks(runs.events(600), 8):
        publisher.deliver([event])
    deltas = [frame for frame in frames.sent if frame["kind"] == "delta"]
    assert {frame["seq"] % 4 == 0 for frame in deltas if "further" in frame} == {True}
    assert {frame["seq"] % 4 == 0 for frame in deltas if "further" not in frame} == {False}
    assert max(len(json.dumps(frame)) for frame in frames.sent) <= 20_000
    last = publisher.keyframe()
    assert last["first"] == "GPU GPU-1"
    assert [name for name, _ in last["further"]] == [f"rank {n}" for n in range(1, 9)]
    assert last["further"][0][1][-1][1] == 10.0


def test_readings_alone_renew_the_answer_once_a_second():
    frames = Frames()
    publisher = Publisher(frames)
    found = runs.events(60, runs.recommendation(watched_s=20.0))
    quiet = [event for event in found if isinstance(event, ev.SamplesTaken)]
    publisher.deliver([found[0], *quiet[:20], replace(found[-1], t_s=20.0)])
    for event in quiet[20:]:
        publisher.deliver([event])
    deltas = [frame for frame in frames.sent if frame["kind"] == "delta"]
    renewed = {frame["seq"] for frame in deltas if frame["answer"]}
    assert renewed == {frame["seq"] for frame in deltas if frame["seq"] % 4 == 0}
    assert len(renewed) > 5
    stale = replace(found[-1].recommendation, state="stale", target_ratio=None)
    publisher.deliver([ev.RecommendationUpdated(99, 61.0, stale)])
    assert frames.sent[-1]["seq"] % 4 == 1
    assert frames.sent[-1]["answer"]["word"] == "changed"


def test_a_verified_share_is_looked_up_once_and_shown_while_the_cell_runs():
    asked, frames = [], Frames()
    publisher = Publisher(frames, lambda started: asked.append(started) or TRIED)
    for event in runs.events(30):
        publisher.deliver([event])
    said = publisher.keyframe()["answer"]
    assert said["figure"]["method"] == "verified"
    assert said["headline"].startswith("Needs 31 % of the GPU's SMs")
    assert len(asked) == 1

    def broken(started):
        raise RuntimeError("no store")

    publisher = Publisher(frames, broken)
    publisher.deliver(runs.events(30))
    assert frames.sent[-1]["answer"]["figure"]["method"] == "time"


def test_a_run_on_one_device_has_no_further_lines():
    frames = Frames()
    publisher = Publisher(frames)
    publisher.deliver(runs.events(20))
    assert "further" not in frames.sent[-1]


def test_the_cost_of_fewer_sms_is_drawn_live_once_it_is_known():
    frames = Frames()
    publisher = Publisher(frames)
    curve = tuple((float(p), 1.0, max(1.0, 40.0 / p)) for p in range(5, 101, 5))
    need = SmNeed(108, 30, 44, 0.9, curve, 5200, "torch.profiler", windows=1, watched_s=0.4)
    before = runs.events(10)
    publisher.deliver(before)
    assert "curve" not in frames.sent[-1]

    def told(need, at):
        advice = replace(before[-1].recommendation, geometry=need)
        publisher.deliver([ev.RecommendationUpdated(at, 10.0 + at / 10, advice)])
        return frames.sent[-1]

    found = told(need, 1)
    assert found["kind"] == "delta"
    assert "28 to 41 % of the SMs keep 90 % of the speed" in found["curve"]
    ET.fromstring(found["curve"])
    assert "curve" not in told(need, 2)  # it is the same
    assert "28 to 56 %" in told(replace(need, high_sms=60, windows=3), 3)["curve"]
    whole = publisher.keyframe()
    assert "28 to 56 %" in whole["curve"]
    assert len(json.dumps(whole)) <= 15_000


def test_a_lost_frame_heals_with_the_next_keyframe():
    frames, page = Frames(), Page()
    publisher = Publisher(frames)
    for at, event in enumerate(runs.events(60)):
        publisher.deliver([event])
        if at != 5:
            page.take(frames.sent[-1])
    whole = json.loads(json.dumps(publisher.keyframe()))
    assert page.share == whole["share"]


def test_a_view_that_cannot_take_frames_is_given_up_after_five():
    frames = Frames()
    publisher = Publisher(frames)
    frames.failing = True
    found = runs.events(60)
    for event in found[: MAX_FAILURES - 1]:
        publisher.deliver([event])
    with pytest.raises(OSError, match="closed"):
        publisher.deliver([found[MAX_FAILURES]])


def test_a_lost_source_is_told_live():
    frames = Frames()
    publisher = Publisher(frames)
    found = runs.events(5)
    lost = ev.SourceLost(len(found), 6.0, "nvml", "device_lost", "the GPU is lost")
    publisher.deliver([*found, lost])
    assert "the GPU is lost" in frames.sent[-1]["answer"]["notes"][0]
    back = ev.SourceRecovered(lost.seq + 1, 9.0, "nvml", 3.0)
    publisher.deliver([back])
    assert frames.sent[-1]["answer"]["notes"] == []


@pytest.mark.parametrize(
    ("environ", "kernel", "version", "choice", "hinted"),
    [
        ({}, True, "7.4.0", "bokeh", False),
        ({}, True, "7.0.1", "none", True),
        ({}, False, "", "text", False),
        ({"GPUPREDICT_UI": "svg"}, True, "7.4.0", "svg", False),
        ({"GPUPREDICT_UI": "none"}, True, "7.4.0", "none", False),
        ({"GPUPREDICT_UI": "fancy"}, True, "7.4.0", "bokeh", True),
    ],
)
def test_which_view(environ, kernel, version, choice, hinted):
    chosen, hint = choose(environ, kernel=kernel, ipykernel=version)
    assert (chosen, bool(hint)) == (choice, hinted)


def test_the_terminal_line_is_one_line_and_goes_away(capsys):
    line, found = TerminalLine(), runs.events(30)
    line.deliver(found)
    shown = capsys.readouterr().err
    assert "87 %" in shown
    assert "\n" not in shown
    run = runs.run(30)
    assert len(card.line(run, answer(run))) <= 160
    line.deliver([runs.finished(found)])
    assert capsys.readouterr().err == "\r\033[K"


def test_words_for_figures():
    assert [words.span(s) for s in (12, 300, 3900, None)] == ["12 s", "5 min", "65 min", "-"]
    assert words.span(2 * 3600 + 300) == "2 h 05 min"
    assert [words.gib(n) for n in (3 << 30, 40 << 20)] == ["3.0 GiB", "40 MiB"]
    assert words.percent(math.nan) == "-"


def test_who_was_on_the_gpus_is_told():
    alone = runs.run()
    assert (words.neighbors(alone), words.elsewhere(alone)) == ("", "")
    assert "3 others on the GPU" in words.neighbors(replace(alone, other_processes=3))
    ranks = tuple(runs.recommendation(device=uuid, rank=n) for n, uuid in enumerate("AB"))
    assert "1 other process" in words.neighbors(replace(alone, other_processes=1, others=ranks))
    assert words.elsewhere(replace(alone, used=("GPU-1", "GPU-2"))) == ""
    assert "were on GPU-2, not on GPU-1" in words.elsewhere(replace(alone, used=("GPU-2",)))


def test_how_often_readings_are_new_is_measured():
    found = runs.events(30)
    assert words.refresh(fold(found)) == "new every 0.2 s"
    buffered = [runs.started(buffer_s=14.0), *found[1:]]
    assert words.refresh(fold(buffered)) == "new every 0.2 s, from the driver's own buffer"
    assert words.refresh(fold([runs.started(simulated=True), *found[1:]])) == ""
    assert words.refresh(fold(found[:1])) == ""  # nothing has come yet


def test_a_data_frame_needs_the_stored_trace():
    from jupyter_gpupredict.core.errors import UnknownName

    with pytest.raises(UnknownName):
        Result(replace(runs.run(), started=runs.started(session_id="not-there"))).to_dataframe()
