import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core.devices import choose, visible
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.series import Device

SAME = (Device("GPU-aa11", "H100", 0), Device("GPU-aa22", "H100", 1), Device("GPU-bb", "H100", 2))
MIXED = (Device("GPU-aa11", "H100", 0), Device("GPU-aa22", "T4", 1))


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (None, ["GPU-aa11", "GPU-aa22", "GPU-bb"]),
        ("", []),
        ("0", ["GPU-aa11"]),
        ("2,0", ["GPU-bb", "GPU-aa11"]),
        ("-1", []),
        ("0,-1,1", ["GPU-aa11"]),
        ("0,9,1", ["GPU-aa11"]),
        ("GPU-bb", ["GPU-bb"]),
        ("GPU-b", ["GPU-bb"]),
        ("GPU-aa", []),  # not unique
        ("GPU-aa11, 1", ["GPU-aa11", "GPU-aa22"]),
        ("1,1", []),  # a duplicate hides everything
        ("NoDevFiles", []),
        ("MIG-x", []),
        ("\u0663", []),  # a digit of another script is not a number here
    ],
)
def test_visible_devices(listed, expected):
    environ = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    assert [d.uuid for d in visible(SAME, environ)] == expected


@pytest.mark.parametrize(
    ("environ", "assumed"),
    [
        ({}, True),
        ({"CUDA_VISIBLE_DEVICES": "0"}, True),
        ({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, False),
        ({"CUDA_VISIBLE_DEVICES": "GPU-aa11"}, False),
    ],
)
def test_an_order_that_cannot_be_known_is_marked(environ, assumed):
    assert visible(MIXED, environ)[0].assumed is assumed


@pytest.mark.parametrize(
    ("wanted", "environ", "expected"),
    [
        (None, {}, ["GPU-aa11"]),
        ("1", {}, ["GPU-aa22"]),
        ("0", {"CUDA_VISIBLE_DEVICES": "2"}, ["GPU-bb"]),
        ("gpu-BB", {}, ["GPU-bb"]),
        ("all", {}, ["GPU-aa11", "GPU-aa22", "GPU-bb"]),
        ("all", {"CUDA_VISIBLE_DEVICES": "2,0"}, ["GPU-bb", "GPU-aa11"]),
        ("all", {"CUDA_VISIBLE_DEVICES": ""}, []),
        ("1, GPU-bb", {}, ["GPU-aa22", "GPU-bb"]),
        ("0,GPU-aa11,0", {}, ["GPU-aa11"]),
    ],
)
def test_choose(wanted, environ, expected):
    assert [d.uuid for d in choose(SAME, wanted, environ)] == expected


@pytest.mark.parametrize(
    "wanted", ["7", "GPU-aa", "GPU-zz", "", "-1", "x", "0,7", "0,", ",", "0;1"]
)
def test_a_wrong_device_lists_the_known_ones(wanted):
    with pytest.raises(InvalidOption, match="GPU-aa11"):
        choose(SAME, wanted, {})


def test_none_visible_is_none_chosen():
    assert choose((), None, {}) == ()
    assert choose(SAME, None, {"CUDA_VISIBLE_DEVICES": ""}) == ()


@given(st.text(max_size=40))
def test_any_text_is_survived(text):
    visible(SAME, {"CUDA_VISIBLE_DEVICES": text})
