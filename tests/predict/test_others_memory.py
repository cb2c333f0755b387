"""What others held before the run is left out of a whole device's memory, where that is known."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from jupyter_gpupredict.core.recommendation import MemoryEstimate
from jupyter_gpupredict.core.series import Device, Readings, Series, SourceInfo
from jupyter_gpupredict.core.words import gib
from jupyter_gpupredict.predict.memory import MemoryUse

GIB = float(1 << 30)
TOLD = "that others held before the cell are left out"
SHARE, WHOLE = Series("gpu_util_ratio", "g"), Series("memory_used_bytes", "g")
OWN, RSS = Series("process_memory_used_bytes", "g"), Series("rss_bytes", "g")


def watched(sizes, others_only=None, *, total=80.0, age_s=0.0, begin_s=5.0, also=None, of=WHOLE):
    """Return the use of a device that held these GiB, one reading a second from 0 s on."""
    device = Device("g", "x", memory_total_bytes=None if total is None else round(total * GIB))
    info = SourceInfo("nvml", (device,), (SHARE, of), SHARE, of, 1.0, process_memory=OWN)
    use = MemoryUse(info, age_s, others_only)
    for second, size in enumerate(sizes):
        if second == begin_s:
            use.begin(begin_s)
        at = (float(second),)
        use.update(Readings(of, at, (size * GIB,)))
        if also is not None:
            use.update(Readings(OWN, at, (also * GIB,)))
    return use


def estimate(sizes, *given_, unready="", **options):
    return watched(sizes, *given_, **options).estimate(float(len(sizes)), unready)


def yes():
    return True


def no():
    return False


def test_what_others_held_before_is_left_out_and_told():
    found = estimate([1.2] * 10 + [5.2] * 10, yes)
    assert (found.basis, found.peak_bytes) == ("device-wide", pytest.approx(4.0 * GIB))
    assert found.target_bytes == pytest.approx(1.12 * 4.0 * GIB)
    assert found.reason.endswith(f"; 1.2 GiB {TOLD}")
    young = estimate([1.2] * 10 + [5.2] * 10, yes, age_s=300.0)
    assert (young.target_bytes, young.reason[-len(TOLD) :]) == (None, TOLD)


@pytest.mark.parametrize("others_only", [None, no])
def test_nothing_is_left_out_where_it_may_be_the_runs_own(others_only):
    found = estimate([1.2] * 10 + [5.2] * 10, others_only)
    assert found == estimate([1.2] * 10 + [5.2] * 10)
    assert (found.peak_bytes, TOLD in found.reason) == (5.2 * GIB, False)


def test_a_first_reading_after_the_activity_began_says_nothing():
    late = [math.nan] * 6 + [1.2] * 4 + [5.2] * 10
    assert estimate(late, yes, begin_s=5).peak_bytes == 5.2 * GIB
    assert estimate(late, yes, begin_s=7).peak_bytes == pytest.approx(4.0 * GIB)


def test_a_false_start_leaves_what_was_seen_before_it():
    use = watched([1.2] * 10 + [5.2] * 10, yes)
    use.begin(100.0)
    assert use.estimate(101.0, "").peak_bytes == pytest.approx(4.0 * GIB)


def test_it_is_asked_once_and_of_a_whole_device_alone():
    asked = []

    def others_only():
        asked.append(1)
        return True

    watched([1.0, 2.0, 3.0], others_only)
    assert len(asked) == 1
    found = estimate([1.0, 2.0, 3.0], others_only, of=RSS)
    assert (found.basis, found.peak_bytes, len(asked)) == ("rss", 3 * GIB, 1)


def test_the_process_trees_own_memory_has_nothing_to_leave_out():
    found = estimate([1.2] * 10 + [5.2] * 10, yes, also=3.0)
    assert (found.basis, found.peak_bytes) == ("process", 3 * GIB)
    assert found == estimate([1.2] * 10 + [5.2] * 10, also=3.0)


def test_others_hold_no_more_than_is_in_use():
    """They freed 8 of 10 GiB: of the 6 GiB that follow, 2 at most are theirs."""
    found = estimate([10.0] * 3 + [2.0] * 7 + [6.0] * 10, yes)
    assert found.reason.endswith(f"; 2.0 GiB {TOLD}")
    assert found.peak_bytes == 8 * GIB  # of the first reading, which nobody can divide now


def test_a_run_that_used_nothing_has_no_target():
    found = estimate([10.0] * 20, yes)
    assert (found.peak_bytes, found.target_bytes) == (0.0, None)
    assert found.reason == f"nothing was in use beyond what others held; 10.0 GiB {TOLD}"
    assert TOLD not in estimate([0.0] * 10 + [4.0] * 10, yes).reason


def test_a_framework_that_takes_the_rest_of_the_card_is_recognised():
    rest = estimate([40.0] * 5 + [78.0] * 20, yes)  # 38 of the 40 GiB that were left
    assert (rest.preallocated, rest.target_bytes) == (True, None)
    assert rest.reason.endswith(f"; 40.0 GiB {TOLD}")
    some = estimate([60.0] * 5 + [74.0] * 20, yes)  # 14 of 20, though the card is nearly full
    assert (some.preallocated, some.target_bytes) == (False, pytest.approx(1.12 * 14 * GIB))
    assert estimate([60.0] * 5 + [74.0] * 20).preallocated


def test_the_peak_of_an_earlier_run_stays_within_what_is_left():
    use = watched([60.0] * 5 + [64.0] * 5, yes)
    use.earlier = MemoryEstimate(10 * GIB, None, "device-wide", ""), "that this one repeats"
    found = use.estimate(10.0, "")
    assert (found.target_bytes, TOLD in found.reason) == (pytest.approx(11.2 * GIB), True)
    use.earlier = MemoryEstimate(30 * GIB, None, "device-wide", ""), "that this one repeats"
    assert use.estimate(10.0, "").target_bytes == 20 * GIB


sizes = st.lists(st.integers(0, 40 * 1024), min_size=1, max_size=60)
"""Of the run's own, in MiB: all figures are whole bytes, so that a difference is exact."""


@given(sizes, st.integers(1, 40 * 1024), st.integers(1, 59), st.sampled_from([0.0, 20.0, 300.0]))
@example([1, 1000, 1010, 1040, 1100], 4096, 1, 0.0)
def test_it_is_as_if_the_others_were_not_there(own, level, begin_s, age_s):
    own = [mib / 1024 for mib in (0, *own)]
    level /= 1024
    assume(max(own) > 0.0)
    options = {"age_s": age_s, "begin_s": begin_s}
    shared = estimate([level + one for one in own], yes, total=80.0, **options)
    alone = estimate(own, total=80.0 - level, **options)
    assert shared == replace(alone, reason=f"{alone.reason}; {gib(level * GIB)} {TOLD}")


@given(st.lists(st.integers(0, 80 * 1024), min_size=2, max_size=60), st.booleans())
@example([70 * 1024, 79 * 1024], True)
def test_target_and_what_is_left_out_fit_on_the_card(held, with_earlier):
    use = watched([mib / 1024 for mib in held], yes, begin_s=1)
    if with_earlier:
        use.earlier = MemoryEstimate(50 * GIB, None, "device-wide", ""), "that this one repeats"
    found = use.estimate(400.0, "")
    others_bytes = use.peaks[WHOLE].others_bytes
    assert 0.0 <= others_bytes == min(held) * 2**20
    assert found.peak_bytes + others_bytes <= 80 * GIB
    assert found.target_bytes is None or found.target_bytes + others_bytes <= 80 * GIB
