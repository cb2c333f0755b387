"""Workers' messages become one batch on one clock, and what is missing is named."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.sources.merging import Merger
from jupyter_gpupredict.sources.messages import Bye, Taken, batch_s
from tests.sources.test_messages import batch, hello

A, B = "tcp://10.0.0.1:1", "tcp://10.0.0.1:2"
SHARE = "gpu_util_ratio"


def taken(times_s, values=None, uuid="GPU-a"):
    values = [0.5] * len(times_s) if values is None else values
    return (Taken(SHARE, uuid, tuple(times_s), tuple(values)),)


def merger(*hellos, offset_s=1000.0):
    made = Merger(SHARE, 0.2)
    for one in hellos:
        made.hello(one, 0.0, "1")
        made.compared(one.address, offset_s, 0.001, 0.0)
    return made


def shared_out(made):
    return {address: list(duty.uuids) for address, duty in made.table().items()}


def readings(found):
    return {
        one.series.device: list(zip(one.times_s, one.values, strict=True)) for one in found.readings
    }


@given(
    st.lists(st.floats(-40, 40), min_size=4, max_size=4),
    st.lists(st.floats(0, 1), min_size=1, max_size=30),
)
def test_merged_series_are_those_of_each_host_whatever_the_clocks(offsets, values):
    """Four hosts whose clocks are off by up to 40 s either way."""
    made = Merger(SHARE, 0.2)
    for n, offset_s in enumerate(offsets):
        made.hello(hello(f"a{n}", (f"GPU-{n}",), host=f"h{n}"), 0.0, "1")
        made.compared(f"a{n}", offset_s, 0.0, 0.0)
    got = {}
    for step, value in enumerate(values):
        now_s = 1.0 + step
        for n, offset_s in enumerate(offsets):
            said = taken([now_s + offset_s], [value], f"GPU-{n}")
            made.batch(batch(step, now_s + offset_s, f"a{n}", taken=said), now_s)
        for device, pairs in readings(made.take(now_s)).items():
            got.setdefault(device, []).extend(pairs)
    for n in range(4):
        assert [v for _, v in got[f"GPU-{n}"]] == values
        assert [t for t, _ in got[f"GPU-{n}"]] == pytest.approx(
            [1.0 + step for step in range(len(values))], abs=1e-6
        )


def test_a_device_that_two_workers_see_is_one_series():
    made = merger(hello(B), hello(A))
    assert shared_out(made) == {B: ["GPU-a"], A: []}  # whoever has it keeps it
    made.batch(batch(0, 1001.0, B, taken=taken([1001.0])), 1.0)
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0])), 1.0)
    assert readings(made.take(1.0)) == {"GPU-a": [(1.0, 0.5)]}
    assert made.counts["duplicate"] == 1


def test_who_samples_knows_of_those_on_the_device_whose_numbers_mean_something_to_it():
    places = [
        {"pid": 11}, {"pid": 12}, {"pid": 13, "namespace": "of a container"},
        {"pid": 14, "host": "h2"}, {"pid": 15, "boot": "b2"}, {"pid": 16, "uuids": ("GPU-b",)},
        {"pid": 17, "host": "h2"},
    ]  # fmt: skip
    made = merger(*(hello(f"a{n}", **place) for n, place in enumerate(places)))
    peers = {address: duty.peers for address, duty in made.table().items()}
    assert peers == {"a0": (12,), "a1": (), "a2": (), "a3": (17,), "a4": (), "a5": (), "a6": ()}
    assert {duty.batch_s for duty in made.table().values()} == {batch_s(7)}
    made.gone("a1")
    assert made.table()["a0"].peers == ()


def test_a_device_that_comes_late_is_told_once():
    made = merger(hello(A))
    assert [one.uuid for one in made.name_devices()] == ["GPU-a"]
    assert made.take(1.0).joined == ()
    made.hello(hello(B, ("GPU-a", "GPU-b"), host="h2"), 2.0, "1")
    found = made.take(2.0)
    assert [one.uuid for one in found.joined] == ["GPU-a@h2", "GPU-b"]  # another host's, same id
    assert found.hosts == 2
    made.gone(B)
    assert made.take(3.0).joined == ()
    assert made.take(3.0).hosts == 2


def test_of_workers_that_come_together_the_lowest_address_samples():
    made = Merger(SHARE, 0.2)
    made.hello(hello(A), 0.0, "1")
    made.hello(hello(B), 0.0, "1")
    assert shared_out(made) == {A: ["GPU-a"], B: []}


def test_a_worker_that_is_gone_hands_its_device_over_with_a_gap():
    made = merger(hello(A), hello(B))
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0])), 1.0)
    made.take(1.0)
    made.gone(A)
    assert shared_out(made) == {B: ["GPU-a"]}
    made.batch(batch(0, 1003.0, B, taken=taken([1003.0])), 3.0)
    found = made.take(3.0)
    assert readings(found) == {"GPU-a": [(3.0, 0.5)]}
    assert [(gap.from_s, gap.to_s, gap.cause) for gap in found.gaps] == [(1.0, 3.0, "source")]
    assert found.losses == ()


def test_a_worker_that_restarts_keeps_its_series_under_a_new_address():
    made = merger(hello(A, name="0"))
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0])), 1.0)
    made.take(1.0)
    made.hello(hello(B, name="0"), 2.0, "1")
    made.compared(B, 1000.0, 0.001, 2.0)
    assert shared_out(made) == {B: ["GPU-a"]}
    made.batch(batch(0, 1002.5, B, taken=taken([1002.5])), 2.5)
    assert readings(made.take(2.5)) == {"GPU-a": [(2.5, 0.5)]}


def test_a_silent_worker_is_lost_and_found_again():
    made = merger(hello(A))
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0])), 1.0)
    assert made.take(4.0).losses == ()
    assert made.doubtful(4.0)
    (loss,) = made.take(4.1).losses
    assert (loss.device, loss.reason, loss.recovered) == ("GPU-a", "timed_out", False)
    assert "silent" in loss.detail
    assert made.take(5.0).losses == ()  # once
    made.batch(batch(1, 1006.0, A, taken=taken([1006.0])), 6.0)
    found = made.take(6.0)
    assert [one.recovered for one in found.losses] == [True]
    assert found.gaps[0].from_s == 1.0
    assert readings(found) == {"GPU-a": [(6.0, 0.5)]}  # nothing is carried into the hole


def test_a_worker_that_leaves_in_order_is_not_a_loss():
    made = merger(hello(A))
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0])), 1.0)
    made.bye(Bye(A, "the worker closes"))
    assert made.take(60.0).losses == ()


def test_a_hole_in_the_numbers_is_a_gap_of_the_transport():
    made = merger(hello(A))
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0])), 1.0)
    made.batch(batch(2, 1002.0, A, taken=taken([1002.0])), 2.0)
    (gap,) = made.take(2.0).gaps
    assert (gap.from_s, gap.to_s, gap.cause) == (1.0, 2.0, "transport")


def test_what_comes_twice_or_from_nobody_is_counted_and_left():
    made = merger(hello(A))
    said = batch(0, 1001.0, A, taken=taken([1001.0]))
    made.batch(said, 1.0)
    made.batch(said, 1.1)
    made.batch(batch(0, 1001.0, "nobody", taken=taken([1001.0])), 1.0)
    assert readings(made.take(1.1)) == {"GPU-a": [(1.0, 0.5)]}
    assert (made.counts["again"], made.counts["stray"]) == (1, 1)


def test_what_comes_before_the_clocks_are_compared_waits():
    made = Merger(SHARE, 0.2)
    made.hello(hello(A), 0.0, "1")
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0])), 1.0)
    assert readings(made.take(1.0)) == {}
    made.compared(A, 1000.0, 0.01, 1.1)
    assert readings(made.take(1.1)) == {"GPU-a": [(1.0, 0.5)]}


def test_the_best_comparison_stays_until_it_is_old_or_in_doubt():
    made = merger(hello(A))
    made.compared(A, 1000.5, 0.2, 1.0)  # worse
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0])), 1.0)
    assert readings(made.take(1.0)) == {"GPU-a": [(1.0, 0.5)]}
    made.batch(batch(1, 1032.0, A, taken=taken([1032.0])), 2.0)  # its clock jumped by 30 s
    assert made.doubtful(2.0)
    made.compared(A, 1030.0, 0.01, 2.1)
    made.batch(batch(2, 1033.0, A, taken=taken([1033.0])), 3.0)
    assert not made.doubtful(3.0)
    made.compared(A, 1030.5, 0.2, 70.0)  # a minute later even a worse one is better
    assert "200 ms" in made.uncertain()[0]


def test_times_of_a_series_never_go_back():
    made = merger(hello(A))
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0, 1001.2])), 1.2)
    made.compared(A, 1000.5, 0.0001, 1.3)
    made.batch(batch(1, 1001.6, A, taken=taken([1001.4, 1001.6, 1001.9])), 1.5)
    times = [t for one in made.take(1.5).readings for t in one.times_s]
    assert times == pytest.approx([1.0, 1.2, 1.4])
    assert times == sorted(times)
    assert made.counts["late"] == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": "2"}, "has jupyter_gpupredict 2"),
        ({"offer": None, "problem": "no GPU"}, "no GPU"),
    ],
)
def test_a_worker_that_cannot_be_sampled_is_named(changes, why):
    made = merger(hello(A))
    made.hello(hello(B, name="w2", **changes), 0.0, "1")
    (loss,) = made.take(0.0).losses
    assert "w2" in loss.device
    assert why in loss.detail
    assert why in made.notes[0]
    assert shared_out(made) == {A: ["GPU-a"]}


def test_two_hosts_of_one_name_and_two_gpus_of_one_uuid_are_kept_apart():
    made = merger(hello(A), hello(B, boot="b2"))
    assert [label for label, *_ in made.devices()] == ["GPU-a", "GPU-a@h1"]


def test_a_reading_before_the_others_hello_settles_no_rank():
    made = merger(hello(B, rank=1))
    made.batch(batch(0, 1001.0, B, taken=taken([1001.0])), 1.0)
    made.hello(hello(A, rank=0), 1.1, "1")
    assert [rank for *_, rank in made.devices()] == [None]
    made.batch(batch(1, 1002.0, B, taken=taken([1002.0])), 2.0)
    assert [one.series.rank for one in made.take(2.0).readings] == [1, None]


def test_a_rank_is_that_of_the_one_worker_that_sees_the_device():
    made = merger(hello(A, rank=3))
    assert [rank for *_, rank in made.devices()] == [3]
    made.hello(hello(B, rank=4), 0.0, "1")
    assert [rank for *_, rank in made.devices()] == [3]  # once known it names the series
    both = merger(hello(A, rank=3), hello(B, rank=4))
    assert [rank for *_, rank in both.devices()] == [None]


def test_nan_stays_nan():
    made = merger(hello(A))
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0], [math.nan])), 1.0)
    ((_, value),) = readings(made.take(1.0))["GPU-a"]
    assert math.isnan(value)


def test_a_hello_that_is_said_again_changes_nothing():
    made = merger(hello(A))
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0])), 1.0)
    assert readings(made.take(1.0)) == {"GPU-a": [(1.0, 0.5)]}
    made.hello(hello(A), 1.1, "1")
    made.batch(batch(1, 1002.0, A, taken=taken([1002.0])), 2.0)
    found = made.take(2.0)
    assert readings(found) == {"GPU-a": [(2.0, 0.5)]}
    assert found.gaps == ()


def test_a_worker_that_is_heard_after_all_is_no_longer_a_loss():
    made = merger(hello(A))
    made.refuse(B, B, "its host", "no sampler runs there")
    assert [one.recovered for one in made.take(0.0).losses] == [False]
    made.hello(hello(B, ("GPU-b",)), 1.0, "1")
    assert [one.recovered for one in made.take(1.0).losses] == [True]
    assert made.notes == []


def test_a_sampler_that_fails_is_a_loss():
    made = merger(hello(A))
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0])), 1.0)
    made.take(1.0)
    made.bye(Bye(A, "an error of ours", orderly=False))
    (loss,) = made.take(1.5).losses
    assert "gone" in loss.detail


def test_a_lost_cluster_is_a_loss_of_every_device_once():
    made = merger(hello(A), hello(B, ("GPU-b",)))
    made.batch(batch(0, 1001.0, A, taken=taken([1001.0])), 1.0)
    made.end("the scheduler is gone")
    found = made.take(1.1)
    assert readings(found) == {"GPU-a": [(1.0, 0.5)]}  # what has come is kept
    assert [one.device for one in found.losses] == ["GPU-a", "GPU-b"]
    made.end("the scheduler is gone")
    assert made.take(1.2).losses == ()
    assert shared_out(made) == {}
