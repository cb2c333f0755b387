"""Work on a thread that may hang: who waits goes on, and another thread can take over."""

import threading

import pytest

from jupyter_gpupredict.core.threads import WorkerThread, within


def test_within_returns_raises_or_gives_up():
    assert within(30.0, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        within(30.0, lambda: 1 / 0)
    free = threading.Event()
    with pytest.raises(TimeoutError, match="no answer"):
        within(0.01, free.wait, 30.0)
    free.set()


def test_jobs_are_done_in_turn_and_a_failure_ends_its_own():
    thread, done = WorkerThread("test"), []
    futures = [thread.submit(done.append, number) for number in range(3)]
    failed = thread.submit(done.index, 9)
    assert thread.end(30.0)
    assert done == [0, 1, 2]
    assert [one.result() for one in futures] == [None] * 3
    with pytest.raises(ValueError, match="9 is not in list"):
        failed.result()
    assert thread.unfinished == 0


def test_another_thread_takes_over_what_one_is_stuck_with():
    begun, free = threading.Event(), threading.Event()
    stuck, fresh = WorkerThread("stuck"), WorkerThread("fresh")

    def work():
        if threading.get_ident() != stuck.ident:
            return "done at once"
        begun.set()
        free.wait(30.0)
        return "done late"

    first, second = stuck.submit(work), stuck.submit(len, "four")
    assert begun.wait(30.0)
    assert stuck.unfinished == 2
    fresh.put(stuck.current)
    stuck.hand_over(fresh)
    assert (first.result(30.0), second.result(30.0)) == ("done at once", 4)
    free.set()
    assert stuck.end(30.0)
    assert fresh.end(30.0)
    assert first.result() == "done at once"  # what comes second is dropped


def test_what_nobody_waits_for_any_more_ends_without_a_word():
    thread, free = WorkerThread("test"), threading.Event()
    future = thread.submit(free.wait, 30.0)
    assert future.cancel()
    free.set()
    assert thread.submit(len, "four").result(30.0) == 4
    assert thread.end(30.0)
