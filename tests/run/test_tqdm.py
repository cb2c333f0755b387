"""Bars of the real tqdm, looked at by hand instead of once a second."""

import io
import threading
import weakref

import pytest
from tqdm import tqdm
from tqdm.std import tqdm as base

from jupyter_gpupredict.run.hints.tqdm import TqdmHint
from tests.run.sinks import Exploding, Recorder


@pytest.fixture(autouse=True, scope="module")
def no_monitor():
    """tqdm's own thread would be a leak."""
    before, base.monitor_interval = base.monitor_interval, 0
    yield
    base.monitor_interval = before


@pytest.fixture
def sink():
    return Recorder()


@pytest.fixture
def hint(sink):
    hint = TqdmHint()
    hint.attach(sink)
    yield hint
    hint.detach()


def bar(*args, **options):
    return tqdm(*args, file=io.StringIO(), mininterval=0, miniters=1, **options)


def test_the_private_set_is_where_we_look_for_it():
    made = bar(range(3))
    assert any(one is made for one in base._instances)
    made.close()
    assert not any(one is made for one in base._instances)


def test_the_bar_around_another_counts_epochs(hint, sink):
    for _ in bar(range(3)):
        for _ in bar(range(4), leave=False):
            hint.poll()
    hint.poll()
    assert sink.of("epoch") == [(0, 3), (1, 3), (2, 3), (3, 3)]
    # 3 epochs of 4 steps, each looked at before it is complete
    assert sink.of("step") == [(n, 12) for n in range(12)]


def test_validation_bars_do_not_count_as_steps(hint, sink):
    for _ in bar(range(2)):
        for _ in bar(range(4), leave=False):
            hint.poll()
        for _ in bar(range(2), leave=False):
            hint.poll()
    assert sink.of("step") == [(n, 8) for n in range(8)]


def test_a_validation_longer_than_the_training_does_not_count_either(hint, sink):
    for _ in bar(range(2)):
        for _ in bar(range(2), leave=False):
            hint.poll()
        for _ in bar(range(9), leave=False):
            hint.poll()
    assert sink.of("step") == [(n, 4) for n in range(4)]


def test_a_bar_that_was_there_before_is_not_inside(hint, sink):
    below, above = bar(total=5, position=1), bar(total=3, position=0)
    hint.poll()
    above.close()
    below.close()
    assert sink.of("epoch") == []
    assert sink.of("step") == [(0, 3)]


class Busy(weakref.WeakSet):
    """Changes while it is looked through, so many times."""

    times = 1

    def __iter__(self):
        if self.times:
            self.times -= 1
            raise RuntimeError("Set changed size during iteration")
        return super().__iter__()


@pytest.mark.parametrize(("times", "found"), [(2, [(0, 5)]), (3, [])])
def test_a_set_that_changes_meanwhile_is_looked_at_again(hint, sink, monkeypatch, times, found):
    busy = Busy()
    monkeypatch.setattr(base, "_instances", busy)
    busy.times = 0
    made = bar(total=5, unit="epoch")
    busy.times = times
    hint.poll()
    assert sink.of("epoch") == found
    busy.times = 0
    made.close()


def test_one_bar_alone_counts_steps(hint, sink):
    for _ in bar(range(5)):
        hint.poll()
    hint.poll()
    assert sink.of("epoch") == []
    assert sink.of("step") == [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(
    "says", [{"unit": "epoch"}, {"desc": "Epochs"}, {"desc": "training epoch"}]
)
def test_one_bar_that_says_epoch_counts_epochs(hint, sink, says):
    for _ in bar(range(2), **says):
        hint.poll()
    hint.poll()
    assert sink.of("epoch") == [(0, 2), (1, 2), (2, 2)]
    assert sink.of("step") == []


@pytest.mark.parametrize(
    ("seconds", "total", "desc", "unit"),
    [
        (10.0, 100, None, "epoch"),
        (10.0, 100, "training", "epoch"),
        (9.9, 100, None, "step"),
        (10.0, 101, None, "step"),
        (60.0, 100, "Loading shards", "step"),
    ],
)
def test_a_nameless_bar_needs_few_and_slow_iterations(hint, sink, seconds, total, desc, unit):
    made = bar(total=total, desc=desc)
    made.update(2)
    made.last_print_t = made.start_t + 2 * seconds
    hint.poll()
    made.close()
    assert [mark[0] for mark in sink.heard if mark[1] == 2] == [unit]


@pytest.mark.parametrize("first", [0, 1])
def test_numbered_bars_tell_epochs_by_their_number(hint, sink, first):
    for epoch in range(first, first + 3):
        for _ in bar(range(4), desc=f"Epoch {epoch}/3"):
            hint.poll()
    hint.poll()
    assert sink.of("epoch") == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert sink.of("step") == [(n, 12) for n in range(12)]


def test_a_number_without_a_total_leaves_it_unknown(hint, sink):
    for epoch in range(2):
        for _ in bar(range(2), desc=f"epoch [{epoch}]"):
            hint.poll()
    assert sink.of("epoch") == [(0, None), (1, None)]


def test_a_resumed_bar_starts_where_it_says(hint, sink):
    for _ in bar(range(5, 7), unit="epoch", initial=5, total=7):
        hint.poll()
    hint.poll()
    assert sink.of("epoch") == [(5, 7), (6, 7), (7, 7)]


def test_a_bar_that_ends_early_is_not_complete(hint, sink):
    for epoch in bar(range(9), unit="epoch"):
        hint.poll()
        if epoch == 2:
            break
    hint.poll()
    assert sink.of("epoch") == [(0, 9), (1, 9), (2, 9)]


def test_a_loop_that_stops_one_short_is_not_complete_while_its_bar_lives(hint, sink):
    epochs = bar(total=3, unit="epoch")
    epochs.update(2)
    hint.poll()
    epochs.close()
    hint.poll()
    assert sink.of("epoch") == [(2, 3)]


def test_bytes_disabled_and_endless_bars_are_no_loops(hint, sink):
    made = [
        bar(total=5, unit="B"),
        bar(total=5, unit="iB"),
        bar(total=5, unit="epoch", disable=True),
        bar(unit="epoch"),
        bar(total=1, unit="epoch"),
    ]
    hint.poll()
    for one in made:
        one.close()
    assert sink.heard == []


def test_a_bar_left_over_from_before_counts_once_it_moves(sink):
    old = bar(total=5, unit="epoch")
    hint = TqdmHint()
    hint.attach(sink)
    hint.poll()
    assert sink.heard == []
    old.update()
    hint.poll()
    old.close()
    hint.detach()
    assert sink.of("epoch") == [(1, 5)]


def test_subclasses_are_seen_too(hint, sink):
    class Mine(tqdm):
        pass

    made = Mine(total=5, unit="epoch", file=io.StringIO())
    hint.poll()
    made.close()
    assert sink.of("epoch") == [(0, 5)]


def test_an_abandoned_bar_is_not_kept_alive(hint):
    made = bar(total=5)
    hint.poll()
    del made  # its `__del__` closes it, if nobody holds it
    assert [one for one in base._instances if one.total == 5] == []


def test_bars_made_by_another_thread_meanwhile_do_no_harm(hint):
    stop = threading.Event()

    def work():
        while not stop.is_set():
            bar(total=5).close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(200):
            hint.poll()
    finally:
        stop.set()
        thread.join()


def test_it_polls_no_more_after_detach(sink):
    hint = TqdmHint()
    hint.detach()
    hint.attach(sink)
    hint.detach()
    hint.detach()
    made = bar(total=5, unit="epoch")
    hint.poll()
    made.close()
    assert sink.heard == []


def test_a_sink_that_fails_is_the_pollers_affair():
    hint = TqdmHint()
    hint.attach(Exploding())
    seen = []
    for item in bar(range(3), unit="epoch"):
        with pytest.raises(RuntimeError):
            hint.poll()
        seen.append(item)
        hint.attach(Exploding())
        next(iter(hint._known.values())).moved = True
    hint.detach()
    assert seen == [0, 1, 2]
