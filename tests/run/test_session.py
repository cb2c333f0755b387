import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.errors import InvalidOption, SourceLost, UnknownName
from jupyter_gpupredict.core.events import (
    RecommendationUpdated,
    SamplesTaken,
    SessionFinished,
    SessionStarted,
)
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.core.series import Batch, Device, Readings, Series, SourceInfo
from jupyter_gpupredict.predict.memory import MARGIN
from jupyter_gpupredict.predict.rules.epoch_mix import EpochMix
from jupyter_gpupredict.predict.rules.windows import WindowsRule
from jupyter_gpupredict.run import (
    SessionConfig,
    build_session,
    build_store,
    read_run,
    shutdown,
    store_dir,
)
from jupyter_gpupredict.run.analysis import Analysis
from jupyter_gpupredict.run.session import Session
from jupyter_gpupredict.run.threads import Channel, Delivery
from tests.traces import stored_ends

SHARE = Series("gpu_util_ratio", "g")


class ScriptedSource:
    """Gives one reading a call; raises what the script says."""

    def __init__(self, clock, script=()):
        self.clock, self.script, self.opened, self.closed = clock, list(script), 0, 0

    def open(self):
        self.opened += 1
        return SourceInfo("scripted", (Device("g", "G"),), (SHARE,), SHARE, None, 3600.0)

    def read(self, *, slow):
        if self.script and (error := self.script.pop(0)) is not None:
            raise error
        return Batch((Readings(SHARE, (self.clock.monotonic_s(),), (0.5,)),))

    def close(self):
        self.closed += 1


class Listener:
    name = "listener"

    def __init__(self, fail=False):
        self.events, self.fail, self.closed = [], fail, False

    def deliver(self, events):
        if self.fail:
            raise OSError("disk full")
        self.events += events

    def close(self):
        self.closed = True


class Hold:
    """A share that tells whether it was put back."""

    ends = 0

    def begin(self):
        return None

    def end(self):
        self.ends += 1


def header(info):
    return SessionStarted(
        0, 0.0, "id", "now", info.source, False, SHARE, None, 1.0, info.devices, info.series, {}, {}
    )


def session(clock, source, *listeners, **options):
    rule = RuleOptions(window_s=10.0, agree=2, tolerance_points=2.0, period_s=1.0)
    delivery = Delivery()
    made = Session(
        source=source,
        make_analysis=lambda info: Analysis(
            info, lambda: WindowsRule(rule), lambda: EpochMix(rule), 0.95
        ),
        make_header=header,
        subscribers=listeners,
        delivery=delivery,
        clock=clock,
        **options,
    )
    return made, delivery


def test_events_are_numbered_without_gaps_and_end_with_the_end(clock):
    source, heard = ScriptedSource(clock), Listener()
    run, delivery = session(clock, source, heard)
    run.start()
    clock.advance(1.0)
    run.stop("completed")
    delivery.shutdown()
    assert [event.seq for event in heard.events] == list(range(len(heard.events)))
    assert isinstance(heard.events[0], SessionStarted)
    assert isinstance(heard.events[-1], SessionFinished)
    assert heard.closed
    assert source.closed


def test_stop_twice_gives_the_same_run(clock):
    run, delivery = session(clock, ScriptedSource(clock))
    run.start()
    assert run.stop("completed") is run.stop("failed")
    delivery.shutdown()


def test_an_interrupt_in_the_last_moment_of_the_start_ends_the_run(clock, monkeypatch):
    join = Session._join

    def interrupted(self, *, in_time):
        join(self, in_time=in_time)
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "_join", interrupted)
    source, heard, hold = ScriptedSource(clock), Listener(), Hold()
    run, delivery = session(clock, source, heard, share=hold)
    with pytest.raises(KeyboardInterrupt):
        run.start()
    delivery.shutdown()
    assert (source.closed, hold.ends) == (1, 1)
    assert heard.events[-1].outcome == "interrupted"


def test_a_listener_that_fails_is_detached_and_told(clock):
    good, bad = Listener(), Listener(fail=True)
    run, delivery = session(clock, ScriptedSource(clock), bad, good)
    run.start()
    clock.advance(1.0)
    found = run.stop("completed")
    delivery.shutdown()
    assert any("disk full" in error for error in found.errors)
    assert isinstance(good.events[-1], SessionFinished)


def test_a_lost_source_comes_back_and_leaves_a_gap(clock):
    source = ScriptedSource(clock)
    run, delivery = session(clock, source)
    run.start()
    run._sampler.stop(5.0)
    source.script.append(SourceLost("gone", reason="device_lost"))
    clock.advance(1.0)
    run._tick(True)  # loses it
    clock.advance(5.0)
    run._tick(True)  # opens it again
    found = run.stop("completed")
    delivery.shutdown()
    assert [type(one).__name__ for one in found.losses] == ["SourceLost", "SourceRecovered"]
    assert found.gaps[0].cause == "source"
    assert found.gaps[0].to_s - found.gaps[0].from_s == pytest.approx(5.0)


def test_a_bug_in_a_source_ends_the_measuring_alone(clock):
    source = ScriptedSource(clock, [ValueError("a bug")])
    run, delivery = session(clock, source)
    run.start()
    found = run.stop("completed")
    delivery.shutdown()
    assert any("a bug" in error for error in found.errors)
    assert found.outcome == "completed"


class Moving(ScriptedSource):
    """Keeps its readings in a buffer and wants to be read often; its share goes up and down."""

    def open(self):
        return replace(super().open(), period_s=0.01, buffer_s=60.0, live_s=0.02)

    def read(self, *, slow):
        self.opened += 1
        now_s = self.clock.monotonic_s()
        return Batch((Readings(SHARE, (now_s,), (now_s % 0.1 * 10,)),))


class Joining(ScriptedSource):
    """A second device comes on another host while it is read."""

    def read(self, *, slow):
        self.opened += 1
        joined = (Device("late", "L"),) if self.opened == 2 else ()
        return replace(super().read(slow=slow), joined=joined, hosts=self.opened)


def test_a_device_that_comes_late_belongs_to_the_run(clock):
    source, heard = Joining(clock), Listener()
    run, delivery = session(clock, source, heard)
    run.start()
    clock.advance(1.0)
    found = run.stop("completed")
    delivery.shutdown()
    assert [one.uuid for one in heard.events[0].devices] == ["g"]
    assert [one.uuid for one in found.started.devices] == ["g", "late"]
    assert found.started.hosts == heard.events[-1].hosts == source.opened >= 2


def test_a_viewed_source_is_read_as_often_as_it_wants_and_told_of_as_often_as_frames():
    """A reading is merged soon after it came; a person sees four figures a second all the same."""
    source, heard = Moving(SystemClock()), Listener()
    run, delivery = session(source.clock, source, heard, live=True)
    run.start()
    until_s = time.monotonic() + 20.0
    while source.opened <= 15 and time.monotonic() < until_s:
        time.sleep(0.1)
    found = run.stop("completed")
    delivery.shutdown()
    told = [event for event in heard.events if isinstance(event, RecommendationUpdated)]
    assert source.opened > 15
    # four a second, one at the beginning and the end, and one for each change of state
    assert 2 <= len(told) < 4 * found.duration_s + 8


def test_a_full_queue_drops_and_counts():
    channel = Channel([])
    for _ in range(20_001):
        channel.put(None)
    assert channel.dropped == 1


def test_a_real_run_is_stored_privately_and_read_back(data_dir):
    code = "login('hunter2')\nfit(rows=41)"
    run = build_session(SessionConfig(source="synthetic", scenario="steady"), code=code)
    run.start()
    live = run.stop("completed")
    shutdown()
    again = read_run("last")
    assert again == live
    path = store_dir() / f"{live.session_id}.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store_dir().stat().st_mode) == 0o700
    assert live.started.first_line == "login('…')"
    stored = path.read_text()
    assert not any(words in stored for words in ("hunter2", "fit(", "rows=41"))


def test_a_torn_last_line_is_left_out(data_dir):
    run = build_session(SessionConfig(source="synthetic"))
    run.start()
    session_id = run.stop("completed").session_id
    shutdown()
    path = store_dir() / f"{session_id}.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    assert read_run(session_id).outcome == "lost"


def test_a_store_that_cannot_be_written_costs_the_storing_only(data_dir):
    data_dir.mkdir()
    (data_dir / "gpupredict").write_text("a file where the folder should be")
    run = build_session(SessionConfig(source="synthetic"))
    run.start()
    found = run.stop("completed")
    shutdown()
    assert any("not stored" in error for error in found.errors)


def test_a_hundred_runs_leave_nothing(data_dir):
    def census():
        return [len(list(Path(f"/proc/self/{kind}").iterdir())) for kind in ("fd", "task")]

    first = build_session(SessionConfig(source="cpu", interval_s=0.05))
    first.start()
    first.stop("completed")
    before = census()
    for _ in range(100):
        run = build_session(SessionConfig(source="cpu", interval_s=0.05))
        run.start()
        run.stop("completed")
    assert census() == before
    shutdown()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"source": "nvm"}, UnknownName),
        ({"rule": "defualt"}, UnknownName),
        ({"window_s": 0.0}, InvalidOption),
        ({"window_s": float("nan")}, InvalidOption),
        ({"agree": 1}, InvalidOption),
        ({"source": "replay"}, InvalidOption),
    ],
)
def test_wrong_options_are_one_line(options, error):
    with pytest.raises(error) as caught:
        SessionConfig(**options)
    assert "\n" not in str(caught.value)


def test_an_empty_store_has_no_last_run():
    with pytest.raises(UnknownName, match="known: none yet"):
        build_store().resolve("last")


class FirstReading:
    """Waits for a reading to be delivered."""

    name = "first reading"

    def __init__(self):
        self.there = threading.Event()

    def deliver(self, events):
        if any(isinstance(one, SamplesTaken) for one in events):
            self.there.set()

    def close(self):
        pass


def test_a_run_with_other_numbers_names_them_and_scales_memory_where_asked(data_dir):
    def measured(code, seconds=0.0, **options):
        read = FirstReading()
        config = SessionConfig(source="synthetic", scenario="steady", **options)
        run = build_session(config, code=code, subscribers=[read])
        run.start()
        assert read.there.wait(30.0)
        time.sleep(seconds)
        return run.stop("completed")

    first = measured("fit(batch_size=8)", 1.6)  # a second of leading idle, then activity
    assert (first.started.tuning, first.started.changed) == ({"batch_size": 8.0}, "")
    again = measured("fit(batch_size=16)")
    named = f"batch_size 8 → 16 since the run of {first.started.started_at[:10]}"
    assert answer(again).notes == (f"{named}, whose figures are not used",)
    assert (again.started.last_time, again.recommendation.memory.target_bytes) == ("", None)
    scaled = measured("fit(batch_size=32)", scale_prior="batch_size")
    assert "8 → 32" in scaled.started.changed
    found, before = (one.recommendation.memory for one in (scaled, first))
    assert "the earlier run with another batch_size, times 4" in found.reason
    assert found.target_bytes == pytest.approx(MARGIN * 4.0 * before.peak_bytes)
    assert measured("fit(batch_size=64)", prior=False).started.changed == ""


def test_a_second_run_of_the_same_code_is_told_of_the_first(data_dir):
    def measured(code, outcome="completed"):
        options = SessionConfig(source="synthetic", scenario="steady")
        run = build_session(options, code=code)
        run.start()
        time.sleep(1.6)  # a second of leading idle, then activity
        return run.stop(outcome)

    first = measured("train()")
    assert first.started.last_time == ""
    again = measured("train()")
    assert "mean" in again.started.last_time
    assert "too short; mean" in again.started.last_time, "the answer's word, not the state"
    assert measured("other()").started.last_time == ""
    profiles = {ends.started.session_id: ends.newest.profile for ends in stored_ends()}
    assert profiles[first.session_id].active_s > 0.0
    failed = measured("train()", "failed")
    profiles = {ends.started.session_id: ends.newest.profile for ends in stored_ends()}
    assert profiles[failed.session_id] is None, "half a run does not tell how a whole one goes"
    newest_s = again.duration_s
    assert f"took {newest_s:.0f} s" in measured("train()").started.last_time
