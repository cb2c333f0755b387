import math
import random
import re
from dataclasses import replace
from itertools import chain, pairwise
from statistics import fmean

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.events import StateChanged
from jupyter_gpupredict.core.progress import Progress
from jupyter_gpupredict.core.recommendation import MemoryEstimate, RuleOptions
from jupyter_gpupredict.core.series import Device, Readings, Series, SourceInfo
from jupyter_gpupredict.predict.prior import ProfileBuilder
from jupyter_gpupredict.predict.rules.epoch_mix import EpochMix
from jupyter_gpupredict.predict.rules.windows import WindowsRule
from jupyter_gpupredict.run import predict_recording
from jupyter_gpupredict.run.analysis import Analysis
from tests.core.test_answer import made
from tests.traces import read_trace

SHARE = Series("gpu_util_ratio", "g")
INFO = SourceInfo("nvml", (Device("g", "H200"),), (SHARE,), SHARE, None, 1.0)
OPTIONS = RuleOptions(window_s=10.0, agree=2, tolerance_points=2.0, period_s=1.0)


def analysis():
    return Analysis(INFO, lambda: WindowsRule(OPTIONS), lambda: EpochMix(OPTIONS), 0.95)


def feed(run, values, start=1):
    changes = []
    for second, value in enumerate(values, start):
        changes += run.ingest([Readings(SHARE, (float(second),), (value,))])
    return changes


def states(changes):
    return [change.new for change in changes if isinstance(change, StateChanged)]


def test_steady_use_converges_and_stays():
    run = analysis()
    changes = feed(run, [0.5] * 60)
    told = run.recommendation()
    assert states(changes) == ["watching", "converged"]
    # three windows of 10 s bear a prediction, two do not; the reading at 31 s ends the third
    assert (told.target_ratio, told.mean_ratio, told.converged_at_s) == (0.5, 0.5, 31.0)
    assert (told.coverage_ratio, told.active_s) == (1.0, 60.0)
    assert told.basis == "time_share"


def test_less_than_30_s_of_activity_settles_nothing_though_windows_agree():
    """40 % of each window is active, so windows agree from 30 s on; 30 s of it are seen at 75 s."""
    run = analysis()
    feed(run, ([0.5] * 4 + [0.0] * 6) * 7)
    told = run.recommendation()
    assert (told.state, told.active_s) == ("watching", 28.0)
    assert "but 25 of the 30 s of activity were seen; looks again every 10 s" in told.reason
    feed(run, ([0.5] * 4 + [0.0] * 6) * 3, start=71)
    assert run.recommendation().converged_at_s == 81.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.5]), st.integers(1, 25)), max_size=12))
def test_no_figure_settles_before_what_is_said_to_be_awaited(stretches):
    """Thirty seconds of it are awaited at first; an idle block is none of them."""
    run, said, fired_s = analysis(), {}, math.inf
    values = [value for value, seconds in stretches for _ in range(seconds)]
    for second, value in enumerate([0.5, *values, *[0.5] * 60], 1):
        feed(run, [value], start=second)
        told = run.recommendation()
        if told.state == "converged":
            fired_s = second
            break
        if found := re.search(r"at least (\d+) s more to be sure", told.reason):
            said[second] = int(found[1])
    assert said[1] == 29
    assert all(second + left_s <= fired_s for second, left_s in said.items())


def test_a_run_that_ends_early_says_how_much_was_lacking():
    run = analysis()
    feed(run, [0.5] * 8)
    run.finish()
    assert run.recommendation().reason == (
        "the run ended before the prediction settled; at least 22 s more to be sure"
    )


def test_with_epochs_the_next_one_is_awaited():
    run = analysis()
    run.ingest([Readings(SHARE, (1.0,), (0.5,))], [Progress(0.5, "epoch", 0, 10, "tqdm")])
    run.ingest([Readings(SHARE, (2.0,), (0.5,))], [Progress(1.5, "epoch", 1, 10, "tqdm")])
    assert run.recommendation().reason.endswith("looks again when the next epoch ends")


def test_readings_that_depend_on_each_other_settle_nothing():
    """A reading a minute, ten of them in a window."""
    found = read_trace(["t_s,gpu_util_pct\n", *(f"{60 * i},50\n" for i in range(200))], "x")
    rule = RuleOptions(window_s=600.0, agree=2, tolerance_points=2.0, period_s=60.0)
    told = predict_recording(found, rule=lambda period: WindowsRule(rule))
    # the first begins a minute before 0 s; twenty readings are worth 4.5, thirty 5.5
    assert told["converged_at_s"] == 1800.0
    assert told["confidence"]["n_eff"] == pytest.approx(math.sqrt(30), abs=1e-3)


@pytest.mark.parametrize("period_s", [1.0, 60.0])
@pytest.mark.parametrize("rule", ["default", "quick", "accurate"])
def test_idle_after_the_training_settles_nothing(rule, period_s):
    """What is watched is too short for the rule; the idle hours after it agree with each other."""
    count = 12 if period_s == 60.0 else 250 if rule == "quick" else 500
    readings = [0] * 20 + [80 + i % 5 for i in range(count)] + [0] * 4000
    text = ["t_s,gpu_util_pct\n", *(f"{period_s * i},{x}\n" for i, x in enumerate(readings))]
    found = predict_recording(read_trace(text, "x"), rule=rule)
    assert (found["state"], found["converged_at_s"]) == ("abstained", None)


@pytest.mark.parametrize("rule", ["default", "quick", "accurate"])
def test_one_reading_of_a_slow_log_starts_nothing(rule):
    """A reading a minute: one of 2 %, two hours of idle, then training."""
    readings = [2] + [0] * 120 + [90 + i % 5 for i in range(400)]
    text = ["t_s,gpu_util_pct\n", *(f"{60 * i},{x}\n" for i, x in enumerate(readings))]
    found = predict_recording(read_trace(text, "x"), rule=rule)
    assert (found["state"], found["target_pct"]) == ("converged", 94)
    assert found["converged_at_s"] > 60 * 121
    assert found["guard"]["alarms"] == []


def idle_series(seed):
    """Idle with blips of any height, with 30 idle readings or more between two of them.

    So less than a twentieth of it is active, whatever the window; and there are holes.
    """
    draw = random.Random(seed)
    period_s = draw.choice([0.2, 1.0, 5.0, 60.0])
    often = draw.choice([0.0, 0.002, 0.02, 1.0])
    time_s, rest = 0.0, draw.choice([0, 100])
    for _ in range(draw.randint(300, 700)):
        time_s += period_s * (draw.randint(2, 40) if draw.random() < 0.002 else 1)
        blip = rest <= 0 and draw.random() < often
        rest = 30 if blip else rest - 1
        yield time_s, draw.randint(1, 100) / 100 if blip else 0.0


def converges_on_idle(seed):
    """Whether the smallest windows do, which agree easily."""
    draw = random.Random(seed)
    small = RuleOptions(window_s=draw.choice([10.0, 60.0]), agree=2, tolerance_points=50.0)
    rows = list(idle_series(seed))
    period_s = min(b[0] - a[0] for a, b in pairwise(rows))
    options = replace(small, period_s=period_s)
    info = replace(INFO, period_s=period_s)
    run = Analysis(info, lambda: WindowsRule(options), lambda: EpochMix(options), 0.95)
    run.ingest([Readings(SHARE, *zip(*rows, strict=True))])
    return run.first is not None


def test_nothing_is_predicted_from_idle():
    assert [seed for seed in range(500) if converges_on_idle(seed)] == []


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_nothing_is_predicted_from_ten_thousand_idle_series():
    assert [seed for seed in range(10_000) if converges_on_idle(seed)] == []


def test_leading_idle_of_minutes_does_not_converge_on_idle():
    run = analysis()
    changes = feed(run, [0.0] * 300)
    assert states(changes) == []
    assert run.recommendation().state == "warming"
    feed(run, [0.5] * 30, start=301)
    assert run.recommendation().target_ratio == 0.5


def test_a_rise_after_convergence_makes_it_stale_and_then_learns_again():
    run = analysis()
    changes = feed(run, [0.5] * 40 + [0.9] * 120)
    assert states(changes) == ["watching", "converged", "stale", "converged"]
    assert len(run.alarms) == 1
    assert run.relearned[0][1] == 0.9
    assert run.first[0].target_ratio == 0.5  # the first convergence never changes
    assert 0.0 < run.uncapped_ratio < 1.0


def test_while_stale_there_is_no_target():
    run = analysis()
    feed(run, [0.5] * 40 + [0.9] * 40)
    told = run.recommendation()
    assert told.state == "stale"
    assert told.target_ratio is None


def test_a_run_that_never_settles_abstains_with_what_was_observed():
    run = analysis()
    feed(run, [second / 100 for second in range(1, 101)])  # it rises throughout
    assert states(run.finish()) == ["abstained"]
    assert run.recommendation().target_ratio is not None


def test_the_first_reading_speaks_for_no_time_before_the_beginning():
    run = Analysis(INFO, lambda: WindowsRule(OPTIONS), lambda: EpochMix(OPTIONS), 0.95, begin_s=0.0)
    run.ingest([Readings(SHARE, (0.25, 1.25), (0.5, 0.5))])
    assert run.recommendation().watched_s == 1.25


def test_no_reading_at_all_abstains():
    run = analysis()
    assert states(run.finish()) == ["abstained"]
    told = run.recommendation()
    assert told.target_ratio is None
    assert told.sampled_ratio == 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.3, 0.31, 0.5, 0.9]), min_size=30, max_size=120), st.data())
def test_the_future_changes_nothing(values, data):
    whole = analysis()
    feed(whole, values)
    if whole.first is None:
        return
    estimate = whole.first[0]
    cut = data.draw(st.integers(int(estimate.converged_at_s), len(values)))
    shorter = analysis()
    feed(shorter, values[:cut])
    assert shorter.first == whole.first


def naive_windows(values, width, agree, points, least=3):
    """Return when the rule fires, written once more without any of its parts."""

    def figures(some):
        return sorted(some)[-(-95 * len(some) // 100) - 1], sum(some) / len(some)

    whole = range(0, len(values) - width, width)  # one that a later reading has closed
    blocks = [values[i : i + width] for i in whole]
    for number in range(least, len(blocks) + 1):
        count = max(least, -(-2 * number // 3))
        chosen = blocks[number - count : number]
        cuts = [round(part * count / agree) for part in range(agree + 1)]
        windows = [chosen[i:j] for i, j in pairwise(cuts)]
        near = []
        for which in (0, 1):
            parts = [figures(list(chain(*window)))[which] for window in windows]
            inside = [[figures(block)[which] for block in window] for window in windows]
            squares = sum((one - fmean(some)) ** 2 for some in inside for one in some)
            error = math.sqrt(squares / max(1, count - agree) / (count / agree))
            allowed = min(points / 100, max(0.01, 5 * error))
            near.append(max(parts) - min(parts) <= allowed + 1e-9)
        if all(near):
            return number * width
    return None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([0.02, 0.4, 0.41, 0.43, 0.6]), max_size=100))  # no periods as yet
@example([0.02] * 18 + [0.4, 0.4] + [0.02] * 9 + [0.4, 0.02])
def test_the_rule_agrees_with_a_naive_one(values):
    rule = WindowsRule(OPTIONS)
    fired = [rule.update(float(second), value, 1.0) for second, value in enumerate(values, 1)]
    found = next((one.converged_at_s for one in fired if one is not None), None)
    # two windows of 10 s are too few: they are as long as three
    assert found == naive_windows(values, 10, 2, 2.0)


def test_a_trace_predicts_the_same_bytes_twice_and_causally():
    noise = random.Random(0)
    rows = [f"{t},{noise.randint(40, 42) if t > 5 else 0},{100 + t}\n" for t in range(200)]
    text = ["t_s,gpu_util_pct,mem_used_mib\n", *rows]

    def predicted(lines):
        return predict_recording(
            read_trace(lines, "x"), rule=lambda period: WindowsRule(OPTIONS), tolerance_points=2.0
        )

    whole, again = predicted(text), predicted(text)
    assert whole == again
    assert whole["state"] == "converged"
    cut = predicted(text[: int(whole["converged_at_s"]) + 10])
    for key in ("converged_at_s", "target_pct", "mean_pct", "mem_target_mib", "confidence"):
        assert cut[key] == whole[key]


def test_an_idle_trace_abstains_as_the_contract_says():
    found = predict_recording(
        read_trace(["t_s,gpu_util_pct\n", "0,0\n", "1,0\n", "2,0\n"], "x"),
        rule=lambda period: WindowsRule(OPTIONS),
        tolerance_points=2.0,
    )
    assert (found["state"], found["target_pct"], found["mean_pct"]) == ("abstained", 1, 0.0)
    assert found["confidence"]["n_eff"] == 0
    assert found["guard"] is None


@pytest.mark.parametrize("name", ["gaissa_cloud_vgg16_20230310T133818", "plato_fl", "miris_v100s"])
def test_recorded_traces_are_read(shared, name):
    found = predict_recording(str(shared / "traces" / f"{name}.csv"))
    assert found["state"] in ("converged", "abstained")
    assert 1 <= found["target_pct"] <= 100


def test_a_burst_before_minutes_of_idle_is_a_false_start_once():
    run = analysis()
    changes = feed(run, [0.0] * 5 + [0.3] * 2 + [0.0] * 100 + [0.5] * 40)
    assert states(changes) == ["watching", "warming", "watching", "converged"]
    told = run.recommendation()
    assert (told.target_ratio, told.converged_at_s) == (0.5, 138.0)
    assert told.watched_s == 40.0
    idle = analysis()  # windows of 10 s agree on idle long before a minute of it has passed
    assert states(feed(idle, [0.3] * 2 + [0.0] * 57)) == ["watching"]
    bursts = analysis()  # a run of short bursts: from the second one on, idle is usage
    changes = feed(bursts, ([0.3] * 2 + [0.0] * 100) * 3)
    assert states(changes)[:3] == ["watching", "warming", "watching"]
    assert bursts.recommendation().target_ratio == 0.01


def epochs(*, total, count=12):
    """A CSV of epochs of 20 s: 16 s of training at 80 %, 4 s of validation at 30 %."""
    yield f"# epochs_total={total}\n"
    yield "t_s,gpu_util_pct,epoch,phase\n"
    for second in range(1, 20 * count + 1):
        epoch, at = divmod(second - 1, 20)
        phase, value = ("train", 80) if at < 16 else ("validation", 30)
        yield f"{second},{value},{epoch},{phase}\n"


def read(lines, rule=OPTIONS):
    return predict_recording(read_trace(lines, "x"), rule=lambda period: WindowsRule(rule))


def test_epochs_with_their_total_make_the_mix_decide():
    found = read(epochs(total=12))
    # the third epoch's training has ended; the windows of 10 s alone would have differed for ever
    assert (found["state"], found["converged_at_s"]) == ("converged", 57.0)
    assert (found["target_pct"], found["mean_pct"]) == (80, 70.0)
    assert found["guard"]["alarms"] == []


def test_epochs_without_a_total_hold_the_windows_back():
    slow = RuleOptions(window_s=10.0, agree=2, tolerance_points=50.0, period_s=1.0)
    text = list(epochs(total=""))
    free = read([line.rsplit(",", 2)[0] + "\n" for line in text[1:]], slow)
    assert free["converged_at_s"] == 31.0
    assert read(text, slow)["converged_at_s"] == 41.0  # two epochs, with a validation each


@pytest.mark.parametrize(("total", "mean"), [(12, 0.66), (None, 0.45)])
def test_after_two_whole_epochs_the_card_shows_a_settling_figure(total, mean):
    run = analysis()
    run.ingest([], [Progress(0.0, "epoch", 0, total, "api")])
    for done, value in ((1, 0.2), (2, 0.7)):  # the first is cold
        feed(run, [value] * 20, start=20 * done - 19)
        run.ingest([], [Progress(20.0 * done, "epoch", done, total, "api")])
    feed(run, [0.7], start=41)
    told = run.recommendation()
    # where their number is known, ten more like the second: (20 x 0.2 + 220 x 0.7) / 240
    assert told.mean_ratio == pytest.approx(mean, abs=0.01)
    shown = answer(made(told, 41.0))
    assert (shown.word, shown.headline) == ("settling", "Busy 70 % of the time")
    assert f"epochs 2{f' of {total}' if total else ''}" in shown.evidence


def test_whole_epochs_are_the_windows_where_nobody_says_how_many_there_are():
    slow = RuleOptions(window_s=300.0, period_s=1.0)
    found = read(epochs(total="", count=20), slow)
    # the first epoch is cold; fifteen of 20 s are 300 s, and the last three of them agree
    assert (found["converged_at_s"], found["target_pct"], found["mean_pct"]) == (321.0, 80, 70.0)
    text = list(epochs(total="", count=20))
    moving = [line.replace(",80,", f",{40 + i // 8},") for i, line in enumerate(text)]
    assert read(moving, slow)["converged_at_s"] is None  # each epoch two points above the last


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(61, 239), value=st.integers(0, 100))
def test_what_comes_after_an_epochs_end_changes_nothing(cut, value):
    text = list(epochs(total=12))
    whole = read(text)
    changed = [*text[: cut + 2], *(f"{t},{value},99,train\n" for t in range(cut + 1, cut + 30))]
    for other in (read(text[: cut + 2]), read(changed)):
        for key in ("converged_at_s", "target_pct", "mean_pct", "confidence"):
            assert other[key] == whole[key]


def test_marks_land_on_the_readings_after_them_though_they_come_in_one_batch():
    run = analysis()
    stamps = tuple(float(second) for second in range(1, 61))
    values = tuple(0.8 if (second - 1) % 20 < 16 else 0.3 for second in range(1, 61))
    marks = [Progress(20.0 * done, "epoch", done, 4, "api") for done in range(4)]
    changes = run.ingest([Readings(SHARE, stamps, values)], marks)
    assert states([*changes, *run.finish()]) == ["watching", "converged"]
    told = run.recommendation()
    assert (told.target_ratio, told.remaining_s, told.total_s) == (0.8, 20.0, 80.0)
    assert told.progress == "3 of 4 epochs complete (from api)"


def test_after_an_alarm_the_epochs_are_learned_anew():
    run = analysis()
    second, changes = 0, []
    for done in range(12):
        changes += run.ingest([], [Progress(20.0 * done, "epoch", done, 12, "api")])
        for _ in range(20):
            second += 1
            value = 0.5 if done < 5 else 0.9
            changes += run.ingest([Readings(SHARE, (float(second),), (value,))])
    assert states(changes) == ["watching", "converged", "stale", "converged"]
    # above from 100 s, alarm at 130 s, in the seventh epoch, which is not learned; 8 and 9 agree
    assert run.relearned == [(181.0, 0.9)]


def with_prior(values, former):
    prior = ProfileBuilder(0.0, 1.0, 0.95)
    for second, value in enumerate(former, 1):
        prior.add(float(second), value, 1.0)
    slow = RuleOptions(window_s=300.0, agree=2, tolerance_points=2.0, period_s=1.0)
    run = Analysis(
        INFO,
        lambda: WindowsRule(slow),
        lambda: EpochMix(slow),
        0.95,
        prior=prior.profile(),
    )
    return run, feed(run, values)


def test_a_run_that_repeats_an_earlier_one_converges_sooner_and_the_guard_goes_on():
    former = [0.4] * 120 + [0.8] * 600
    run, changes = with_prior(former, former)
    assert states(changes) == ["watching", "converged"]
    told = run.recommendation()
    assert (told.converged_at_s, told.target_ratio) == (61.0, 0.82)
    assert "last time" in told.reason
    assert told.coverage_ratio == 1.0
    run, changes = with_prior([0.4] * 120 + [0.9] * 900, former)
    assert states(changes) == ["watching", "converged", "stale", "converged"]
    assert run.relearned[0][1] == 0.9  # learned from windows: the prior was forgotten


def test_a_prior_that_does_not_fit_changes_nothing():
    run, _ = with_prior([0.6] * 700, [0.4] * 700)
    plain, _ = with_prior([0.6] * 700, [])
    assert run.first == plain.first
    assert run.first[0].converged_at_s == 601.0


def test_the_process_trees_memory_counts_and_the_devices_where_it_is_not_known():
    device, own = Series("memory_used_bytes", "g"), Series("process_memory_used_bytes", "g")
    info = replace(INFO, memory=device, process_memory=own)

    def measured(own_bytes):
        run = Analysis(info, lambda: WindowsRule(OPTIONS), lambda: EpochMix(OPTIONS), 0.95)
        for second in range(1, 400):
            readings = [Readings(device, (float(second),), (4e9,))]
            readings.append(Readings(own, (float(second),), (own_bytes,)))
            run.ingest([*readings, Readings(SHARE, (float(second),), (0.5,))])
        return run.recommendation().memory

    known = measured(1e9)
    assert (known.basis, known.peak_bytes) == ("process", 1e9)
    hidden = measured(math.nan)  # the driver does not know our PID: other processes are in it
    assert (hidden.basis, hidden.peak_bytes) == ("device-wide", 4e9)


def test_the_peak_of_an_earlier_run_that_this_one_repeats_is_still_to_come():
    memory = Series("memory_used_bytes", "g")
    slow = RuleOptions(window_s=300.0, period_s=1.0)
    info = replace(INFO, memory=memory)
    former = [0.4] * 120 + [0.8] * 600
    prior = ProfileBuilder(0.0, 1.0, 0.95)
    for second, value in enumerate(former, 1):
        prior.add(float(second), value, 1.0)
    last = MemoryEstimate(9e9, 1.12 * 9e9, "device-wide", "")

    def measured(earlier, values, seconds):
        run = Analysis(
            info,
            lambda: WindowsRule(slow),
            lambda: EpochMix(slow),
            0.95,
            prior=prior.profile(),
            prior_memory=earlier,
        )
        for second in range(1, seconds):
            at = (float(second),)
            use = Readings(SHARE, at, (values[second - 1],))
            run.ingest([Readings(memory, at, (4e9,)), use])
        return run.recommendation().memory

    assert measured(last, former, 50).target_bytes is None  # it is not known yet to repeat it
    found = measured(last, former, 100)
    assert (found.peak_bytes, found.target_bytes) == (4e9, pytest.approx(1.12 * 9e9))
    assert "earlier run" in found.reason
    assert measured(None, former, 100).target_bytes is None
    assert measured(replace(last, basis="process"), former, 100).target_bytes is None
