"""`track`, `phase` and `epoch`: what they say, and that the loop is as it was."""

import asyncio
import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jupyter_gpupredict as gp
from jupyter_gpupredict.core.events import PhaseEntered, ProgressMade
from jupyter_gpupredict.run import progress_hub, read_events, shutdown


@pytest.fixture
def hub():
    return progress_hub()


@pytest.fixture
def queue(hub):
    queue = hub.join()
    yield queue
    hub.leave(queue)


def told(queue):
    marks = list(queue)
    assert {mark.hint for mark in marks} <= {"api"}
    return [m.name if hasattr(m, "name") else (m.unit, m.done, m.total) for m in marks]


@given(st.lists(st.integers()))
def test_the_items_are_the_same_one_for_one(items):
    assert list(gp.track(items)) == items
    assert list(gp.track(iter(items), unit="step")) == items


def test_an_item_is_complete_when_the_next_is_asked_for(queue):
    loop = iter(gp.track(["a", "b"]))
    assert told(queue) == []
    assert next(loop) == "a"
    assert told(queue) == [("epoch", 0, 2)]
    assert next(loop) == "b"
    assert list(loop) == []
    assert told(queue) == [("epoch", 0, 2), ("epoch", 1, 2), ("epoch", 2, 2)]


def test_a_break_leaves_the_last_one_incomplete(queue):
    for item in gp.track(range(5)):
        if item == 2:
            break
    assert told(queue)[-1] == ("epoch", 2, 5)


def test_an_exception_passes_and_leaves_the_last_one_incomplete(queue):
    def train():
        for item in gp.track(range(5)):
            1 / (1 - item)

    with pytest.raises(ZeroDivisionError):
        train()
    assert told(queue)[-1] == ("epoch", 1, 5)


def test_the_iterables_own_error_passes(queue):
    def fails():
        yield 1
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        list(gp.track(fails()))
    assert told(queue)[-1] == ("epoch", 1, None)


def test_a_generator_is_closed_when_a_plain_loop_would_close_it():
    closed = []

    def items():
        try:
            yield from range(5)
        finally:
            closed.append(True)

    for _ in gp.track(items()):
        break
    assert closed == [True]
    mine = items()
    for item in gp.track(mine, total=1):
        assert item == 0
        break
    assert next(mine) == 1  # an endless loader that the next epoch goes on with
    assert closed == [True]
    mine.close()


def test_length_is_that_of_the_iterable_and_is_missing_with_it():
    assert len(gp.track([1, 2, 3])) == 3
    assert len(gp.track([1, 2, 3], total=2)) == 3
    assert not gp.track([])
    endless = gp.track(itertools.count())
    assert endless
    with pytest.raises(TypeError):
        len(endless)


def test_it_loops_again_like_a_list(queue):
    loop = gp.track([1, 2])
    assert [list(loop), list(loop)] == [[1, 2], [1, 2]]
    assert told(queue).count(("epoch", 2, 2)) == 2


class NoLength:
    """As a data loader over a stream."""

    def __len__(self):
        raise RuntimeError("no length")

    def __iter__(self):
        return iter([1])


@pytest.mark.parametrize("total", ["many", -1, float("nan"), float("inf"), [], None])
def test_a_wrong_total_is_an_unknown_one(queue, total):
    assert list(gp.track(NoLength(), total=total)) == [1]
    gp.epoch(total)  # counts on its own: from a beginning to one
    assert told(queue) == 2 * [("epoch", 0, None), ("epoch", 1, None)]


def test_a_wrong_unit_is_never_an_epoch(queue):
    list(gp.track([1], unit="epocs"))
    assert {mark[0] for mark in told(queue)} == {"step"}


def test_steps_inside_epochs(queue):
    for _ in gp.track(range(2)):
        for _ in gp.track(range(3), unit="step"):
            pass
    assert [m for m in told(queue) if m[0] == "epoch"] == [("epoch", n, 2) for n in (0, 1, 2)]
    assert ("step", 3, 3) in told(queue)


def test_phases_nest_and_give_back_the_former_one(queue):
    with gp.phase("train"), gp.phase("validation"), gp.phase("checkpoint"):
        pass
    assert told(queue) == ["train", "validation", "checkpoint", "validation", "train", "other"]


def test_a_phase_ends_with_an_exception_which_passes(queue):
    with pytest.raises(ZeroDivisionError), gp.phase("validation"):
        raise ZeroDivisionError
    assert told(queue) == ["validation", "other"]


def test_one_phase_object_may_be_used_again_and_within_itself(queue):
    validation = gp.phase("validation")
    with validation, validation:
        pass
    with validation:
        pass
    assert told(queue) == ["validation"] * 3 + ["other", "validation", "other"]


def test_a_phase_closed_in_another_context_does_not_raise(queue):
    async def steps():
        with gp.phase("train"):
            yield 1

    async def main():
        one = steps()
        await asyncio.create_task(anext(one))
        await asyncio.create_task(one.aclose())

    asyncio.run(main())
    assert told(queue) == ["train", "other"]


def test_epochs_are_counted_from_the_start_of_each_session(hub):
    for _ in range(2):
        queue = hub.join()
        gp.epoch(total=9)
        gp.epoch(total=9)
        # the first call tells that there are epochs, and so that one began with the session
        assert queue[0].time_s <= queue[1].time_s
        assert told(queue) == [("epoch", 0, 9), ("epoch", 1, 9), ("epoch", 2, 9)]
        hub.leave(queue)
        gp.epoch()  # nobody listens


def test_without_a_session_nothing_is_kept(hub):
    assert not hub.listening
    assert list(gp.track(range(3))) == [0, 1, 2]
    with gp.phase("train"):
        gp.epoch()
    queue = hub.join()
    assert not queue
    hub.leave(queue)


def test_they_reach_a_measured_runs_events():
    with gp.measure(source="synthetic", quiet=True) as run, contextlib.suppress(StopIteration):
        for _ in gp.track(range(2)):
            with gp.phase("validation"):
                pass
    session_id = run.result.run.session_id
    shutdown()
    events = list(read_events(session_id))
    made = [(e.unit, e.done, e.total, e.hint) for e in events if isinstance(e, ProgressMade)]
    assert made == [("epoch", float(n), 2.0, "api") for n in range(3)]
    assert [e.name for e in events if isinstance(e, PhaseEntered)] == ["validation", "other"] * 2
