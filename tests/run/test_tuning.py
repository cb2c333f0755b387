"""The tuned numbers of a cell, and what is said of an earlier run with others."""

import math
from dataclasses import replace

import pytest

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.recommendation import MemoryEstimate, Profile
from jupyter_gpupredict.run import SessionConfig
from jupyter_gpupredict.run.tuning import LONGEST, changed_since, tuned_numbers
from tests.core.test_event_fixtures import every_kind

CELL = """\
%matplotlib inline
BATCH_SIZE = 64  # as it fits
key = "batch_size=99"
loader = DataLoader(data, batch_size=32, num_workers=4)
config = {"lr": 1e-3, **more, "api_key": 12345}
for epoch in tqdm(range(10)):
    train(seed=-1, dropout=True, image_size=(224, 224), learning_rate=rate)
"""


def test_only_numbers_under_known_names_are_kept():
    assert tuned_numbers(CELL)[0] == {
        "batch_size": 64.0, "batch_size_2": 32.0, "lr": 0.001, "epochs": 10.0
    }  # fmt: skip


def test_cells_that_differ_in_tuned_numbers_alone_have_one_outline():
    outline = tuned_numbers(CELL)[1]
    assert tuned_numbers(CELL.replace("64", "128").replace("as it fits", "more"))[1] == outline
    for old, new in (("num_workers=4", "num_workers=8"), ("=32", "=size"), ("data,", "test,")):
        assert tuned_numbers(CELL.replace(old, new))[1] != outline


@pytest.mark.parametrize(
    "source",
    [
        "fit(",
        "a\0b",
        "fit()",
        "x = !ls\nfit(lr=1)",
        "(" * 5000,
        "f(lr=1e400)",
        f"f(lr=1)#{'a' * LONGEST}",
    ],
)
def test_what_cannot_be_read_or_tunes_nothing_has_no_numbers(source):
    assert tuned_numbers(source) == ({}, None)


def test_a_cell_with_an_invalid_escape_warns_of_nothing(recwarn):
    assert tuned_numbers(r"fit('\d', lr=1)")[0] == {"lr": 1.0}
    assert not recwarn.list


def ends(peak=4e9, whole=True, **changed):
    events = every_kind()
    memory = replace(MemoryEstimate(peak, None, "process", ""), **changed)
    tuning = {"lr": 0.1, "batch_size": 64.0, "batch_size_2": 32.0}
    finished = replace(
        events[-1],
        recommendation=replace(events[-1].recommendation, memory=memory),
        profile=Profile(30.0, (), None, 60.0) if whole else None,
    )
    return replace(events[0], tuning=tuning), finished


NOW = {"lr": 0.1, "batch_size": 128.0, "batch_size_2": 32.0}


def test_what_changed_is_named_and_scaled_only_where_that_is_asked_for():
    words, memory = changed_since(ends(), NOW, "")
    assert words == "batch_size 64 → 128 since the run of 2025-01-02, whose figures are not used"
    assert memory is None
    words, memory = changed_since(ends(), NOW, "batch_size")
    assert words.endswith("whose memory peak counts 2 times")
    assert memory == (MemoryEstimate(8e9, None, "process", ""), "with another batch_size, times 2")


def test_memory_is_never_scaled_down_and_an_image_has_two_sides():
    _, memory = changed_since(ends(), {**NOW, "batch_size": 8.0}, "batch_size")
    assert memory[0].peak_bytes == 4e9
    started, finished = ends()
    before = replace(started, tuning={"image_size": 100.0}), finished
    assert changed_since(before, {"image_size": 150.0}, "image_size")[1][0].peak_bytes == 9e9


@pytest.mark.parametrize(
    ("before", "numbers", "words"),
    [
        (None, NOW, "no earlier run of this code had another batch_size"),
        (ends(), ends()[0].tuning, "no earlier run of this code had another batch_size"),
        (ends(), {**ends()[0].tuning, "lr": 0.2}, "batch_size is not among it"),
        (ends(math.nan), NOW, "no memory peak is known"),
        (ends(basis="allocator"), NOW, "no memory peak is known"),
        (ends(preallocated=True), NOW, "took memory in advance"),
        (ends(whole=False), NOW, "was not measured to its end"),
    ],
)
def test_memory_that_cannot_be_scaled_is_not_and_why(before, numbers, words):
    said, memory = changed_since(before, numbers, "batch_size")
    assert words in said
    assert memory is None


@pytest.mark.parametrize(
    "options", [{"scale_prior": "lr"}, {"scale_prior": "batch_size", "prior": False}]
)
def test_a_wrong_number_to_scale_by_is_one_line(options):
    with pytest.raises(InvalidOption, match="--scale-prior") as caught:
        SessionConfig(**options)
    assert "\n" not in str(caught.value)
