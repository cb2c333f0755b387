"""Who else was there, and what held the clocks down: folded from readings."""

import math

import pytest

from jupyter_gpupredict.core.events import SamplesTaken, SessionStarted
from jupyter_gpupredict.core.metrics import causes
from jupyter_gpupredict.core.run import Neighbors, fold
from jupyter_gpupredict.core.series import Readings, Series
from tests.frontends import runs


def readings(metric, *values, device="GPU-1"):
    return Readings(Series(metric, device), tuple(map(float, range(len(values)))), values)


def test_the_most_at_one_time_counts():
    found = Neighbors()
    found.add(readings("own_process_count", 1.0, 3.0, 2.0))
    found.add(readings("own_process_count", 1.0, device="GPU-2"))
    found.add(readings("other_process_count", 0.0, math.nan, device="GPU-2"))
    assert (found.own, found.others) == ({"GPU-1": 3, "GPU-2": 1}, {})


def test_a_device_on_which_none_of_ours_was_is_not_used():
    found = Neighbors()
    found.add(readings("own_process_count", 0.0, math.nan))
    assert found.own == {}


def test_one_neighbor_on_two_gpus_is_one():
    share = Series("gpu_util_ratio", "GPU-1")
    started = SessionStarted(0, 0.0, "id", "now", "nvml", False, share, None, 1.0, (), (), {}, {})
    both = [readings("other_process_count", 1.0, device=one) for one in ("GPU-1", "GPU-2")]
    assert fold([started, SamplesTaken(1, 1.0, tuple(both))]).other_processes == 1


def test_the_first_and_the_last_event_alone_tell_who_was_there():
    """As the server reads a stored run, however long it was."""
    found = runs.events(10)
    end = runs.finished(found, own_processes={"GPU-2": 3, "GPU-1": 1})
    run = fold([found[0], end])
    assert (run.used, run.gpus, run.processes) == (("GPU-1", "GPU-2"), 2, 3)
    unknown = fold([found[0], runs.finished(found)])
    assert (unknown.used, unknown.gpus, unknown.processes) == ((), 1, 1)


def test_throttling_is_a_share_of_the_readings_that_there_are():
    found = Neighbors()
    assert found.throttled() == ()
    found.add(readings("throttle_bits", 0.0, 4.0, 4.0 + 64.0, math.nan, 1.0))
    assert found.throttled() == (("power cap", 0.5), ("temperature (hardware)", 0.25))


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0.0, ()),
        (math.nan, ()),
        (float(0x1 | 0x2 | 0x100), ()),  # idle, and clocks that somebody chose
        (float(0x8 | 0x80), ("hardware slowdown", "power brake")),
    ],
)
def test_causes(bits, expected):
    assert causes(bits) == expected
