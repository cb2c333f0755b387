"""Messages of workers: they come back as they were, and nothing else comes in."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.core.series import Device
from jupyter_gpupredict.core.trace import LARGEST_SEQ, MAX_TIME_S
from jupyter_gpupredict.sources import messages as nodes

OFFER = nodes.Offer(
    source="nvml",
    share="gpu_util_ratio",
    duty="",
    memory="memory_used_bytes",
    process_memory="",
    also=(),
    series=("gpu_util_ratio", "memory_used_bytes"),
    period_s=0.2,
    simulated=False,
    origin="",
    scope="device",
    driver="580.82",
)


def hello(address="tcp://10.0.0.1:1", uuids=("GPU-a",), **changes):
    plain = dict(
        address=address, name=address, host="h1", boot="b1", namespace="n1", pid=7,
        rank=None, version="1", offer=OFFER,
        devices=tuple(Device(uuid, "NVIDIA H200") for uuid in uuids),
    )  # fmt: skip
    return nodes.Hello(**{**plain, **changes})


def batch(seq=0, sent_s=1000.0, address="tcp://10.0.0.1:1", **changes):
    return nodes.NodeBatch(address, seq, sent_s, **changes)


finite = st.floats(-MAX_TIME_S, MAX_TIME_S)
takens = st.lists(st.tuples(finite, st.floats(0, 1) | st.just(math.nan)), max_size=20).map(
    lambda pairs: nodes.Taken(
        "gpu_util_ratio", "GPU-a", tuple(t for t, _ in pairs), tuple(v for _, v in pairs)
    )
)


@given(st.integers(0, LARGEST_SEQ), finite, st.lists(takens, max_size=4).map(tuple))
def test_a_batch_comes_back_as_it_was(seq, sent_s, taken):
    said = batch(seq, sent_s, taken=taken, lost=(("GPU-a", "device_lost", "gone"),))
    wire = json.loads(json.dumps(nodes.message_of(said)))
    assert repr(nodes.parse(wire)) == repr(said)  # by text: NaN is not itself


@pytest.mark.parametrize("rank", [None, 0, 7])
def test_a_hello_comes_back_as_it_was(rank):
    said = hello(rank=rank)
    assert nodes.parse(json.loads(json.dumps(nodes.message_of(said)))) == said


def test_a_bye_comes_back():
    assert nodes.parse(nodes.message_of(nodes.Bye("a", "why"))) == nodes.Bye("a", "why")


def as_tuples(value):
    if isinstance(value, dict):
        return {key: as_tuples(one) for key, one in value.items()}
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def test_lists_may_come_as_tuples():
    """As msgpack has them in a Dask cluster; NaN travels as it is."""
    one = nodes.Taken("gpu_util_ratio", "u", (1.0,), (math.nan,))
    for said in (hello(), batch(taken=(one,), gaps=(("u", 0.0, 1.0, "source"),))):
        assert repr(nodes.parse(as_tuples(nodes.message_of(said)))) == repr(said)


def readings(metric="gpu_util_ratio", **changes):
    return {"metric": metric, "uuid": "u", "times_s": [1.0], "values": [0.5], **changes}


def changed(**changes):
    one = nodes.Taken("gpu_util_ratio", "u", (1.0,), (0.5,))
    return {**nodes.message_of(batch(taken=(one,))), **changes}


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        "hello",
        {},
        {"kind": "batch"},
        {"kind": "other", "address": "a"},
        changed(seq="1"),
        changed(seq=True),
        changed(sent_s=math.nan),
        changed(address="x" * 600),
        changed(address="a\nb"),
        changed(taken=[readings("no_such_metric")]),
        changed(taken=[readings(times_s=[1.0, 2.0])]),
        changed(taken=[readings(times_s=[math.inf])]),
        changed(taken=[readings(times_s=["__import__('os')"])]),
        changed(taken=[readings(times_s=[1.0] * 5000, values=[0.5] * 5000)]),
        changed(taken=[readings(times_s=[1.0] * 3000, values=[0.5] * 3000)] * 2),
        changed(gaps=[["u", 0.0, 1.0, "because"]]),
        changed(lost=[["u", "because", ""]]),
        {**nodes.message_of(hello()), "offer": {"source": "nvml"}},
        {**nodes.message_of(hello()), "devices": [["u", "n", 0]]},
        {**nodes.message_of(hello()), "devices": [{"uuid": "u"}]},
    ],
)
def test_what_has_another_form_is_refused(message):
    with pytest.raises(Malformed):
        nodes.parse(message)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
)


@given(json_values)
def test_nothing_but_malformed_is_raised(message):
    with pytest.raises(Malformed):
        nodes.parse(message)


@given(st.sampled_from(sorted(changed())), json_values)
def test_one_wrong_field_is_malformed_or_harmless(name, value):
    with contextlib.suppress(Malformed):
        nodes.parse(changed(**{name: value}))
