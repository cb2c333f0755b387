"""What a run's kernels need is kept at its end, and goes with later runs of the same code."""

import dataclasses
import stat

import pytest

from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.run import (
    build_store,
    code_hash,
    keep_need,
    with_verified,
    with_verified_in_time,
)
from jupyter_gpupredict.run.sidecars import NEEDS_NAME
from tests.core.test_geometry_answer import NEED
from tests.export.runs import run


def ended(need=NEED, *, of="train()", session="a", driver="580.1", device="", **config):
    """A run that has just ended, as its session returns it."""
    found = run(name=device or "NVIDIA A100-SXM4-40GB", total=40960, sm_count=108)
    started = dataclasses.replace(
        found.started,
        session_id=f"20260102T000000Z-host-1-{session}",
        versions={"driver": driver},
        code_hash=None if of is None else code_hash(of),
        config=dict(found.started.config) | config,
    )
    advice = dataclasses.replace(found.recommendation, geometry=need)
    return dataclasses.replace(found, started=started, recommendation=advice)


@pytest.fixture
def path():
    """Where the needs are kept."""
    store = build_store()
    store.prepare()
    return store.root / NEEDS_NAME


def test_what_windows_told_is_kept_and_shown_with_the_next_run_of_the_code(path):
    first = with_verified_in_time(ended())
    assert first.recommendation.geometry == NEED
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    later = with_verified_in_time(ended(None, session="b"))
    need = later.recommendation.geometry
    assert need == dataclasses.replace(NEED, earlier=True)
    shown = answer(later)
    assert (shown.figure.method, shown.figure.high_ratio) == ("geometry", 44 / 108)
    assert "from 3 windows of 1 s in an earlier run, 5,200 kernels" in shown.evidence
    assert len(path.read_text().splitlines()) == 1  # what was not recorded is not kept again
    # the first run itself, read from its trace without the windows' last word
    again = with_verified(ended(None))
    assert again.recommendation.geometry == NEED


def test_the_newest_need_counts_and_that_of_the_run_itself_before_it(path):
    newer = dataclasses.replace(NEED, high_sms=60)
    with_verified_in_time(ended())
    with_verified_in_time(ended(newer, session="b"))
    third = with_verified_in_time(ended(None, session="c"))
    assert third.recommendation.geometry.high_sms == 60
    assert with_verified(ended(None)).recommendation.geometry.high_sms == NEED.high_sms


def test_a_profile_that_the_user_took_replaces_what_windows_told(path):
    """As `%gpupredict kernels FILE` does."""
    first = with_verified_in_time(ended())
    profile = dataclasses.replace(NEED, windows=0, high_sms=70, by="Nsight Systems")
    keep_need(first, profile)
    assert with_verified(first).recommendation.geometry == profile
    assert "from a profile by Nsight Systems" in answer(with_verified(first)).evidence


@pytest.mark.parametrize(
    "other",
    [
        {"of": "other()"},
        {"of": None},
        {"driver": "590.1"},
        {"device": "NVIDIA L4"},
        {"prior": False},
    ],
)
def test_it_holds_for_nothing_else(path, other):
    with_verified_in_time(ended())
    later = with_verified_in_time(ended(None, session="b", **other))
    assert later.recommendation.geometry is None


def test_a_run_that_has_its_own_keeps_it(path):
    with_verified_in_time(ended())
    own = dataclasses.replace(NEED, windows=1, high_sms=50)
    assert with_verified_in_time(ended(own, session="b")).recommendation.geometry == own


def test_runs_on_several_gpus_and_capped_runs_neither_keep_nor_take(path):
    two = ended()
    (device,) = two.started.devices
    devices = (device, dataclasses.replace(device, uuid="GPU-2"))
    two = dataclasses.replace(
        two, started=dataclasses.replace(two.started, devices=devices), used=("GPU-1", "GPU-2")
    )
    with_verified_in_time(two)
    assert not path.exists()
    with_verified_in_time(ended())
    capped = ended(None, session="b")
    advice = dataclasses.replace(capped.recommendation, capped=True)
    capped = with_verified_in_time(dataclasses.replace(capped, recommendation=advice))
    assert capped.recommendation.geometry is None


def test_a_store_that_fails_costs_what_it_would_have_kept(path):
    with_verified_in_time(ended())
    path.chmod(0o600)
    with path.open("a") as file:
        file.write('{"need": 1}\nnot json\n')
    assert with_verified(ended(None, session="b")).recommendation.geometry is not None
    path.unlink()
    path.mkdir()  # nothing can be appended to it
    assert with_verified_in_time(ended()).recommendation.geometry == NEED
    assert with_verified_in_time(ended(None, session="b")).recommendation.geometry is None
