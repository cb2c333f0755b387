"""A share of the SMs by the geometry of kernels: in the answer, its chart, exports and tries."""

import dataclasses
import json
from pathlib import Path

import pytest

from jupyter_gpupredict.core.answer import answer, brief
from jupyter_gpupredict.core.errors import InvalidOption, Malformed, TraceError
from jupyter_gpupredict.core.recommendation import SmNeed, Verified, withheld
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.core.trace import read_as
from jupyter_gpupredict.core.words import kernels
from jupyter_gpupredict.export import export_run
from jupyter_gpupredict.frontends.charts.figures import curve_svg
from jupyter_gpupredict.frontends.report import Result
from jupyter_gpupredict.frontends.verifying import _inside, _predicted
from jupyter_gpupredict.run import build_store, keep_need, need_of_profile, with_verified
from tests.core.test_answer import advice, made
from tests.export.runs import SELECTOR, run

NEED = SmNeed(
    sms=108,
    low_sms=30,
    high_sms=44,
    speed_ratio=0.9,
    curve=((25.0, 1.2, 1.6), (27.8, 1.1, 1.5), (40.7, 1.0, 1.1), (50.0, 1.0, 1.05),
           (75.0, 1.0, 1.0), (100.0, 1.0, 1.0)),
    kernels=5200,
    by="torch.profiler",
    windows=3,
    watched_s=3.0,
)  # fmt: skip


TRIED = Verified(
    percent=31, kept=True, speed_ratio=0.95, low_ratio=0.92, high_ratio=0.97, method="verify",
    pairs=4, unit="step", code_hash=None, device="", driver="", session_id="", at="",
)  # fmt: skip


def test_the_headline_has_both_ends_and_exports_take_the_upper():
    found = answer(made(advice(geometry=NEED)))
    # 30 and 44 of 108 SMs are 27.8 and 40.7 %
    assert found.headline == "Needs 28 to 41 % of the GPU's SMs and 7.9 GiB"
    assert (found.figure.method, found.figure.basis, found.word) == (
        "geometry", "sm_share", "settled",
    )  # fmt: skip
    assert "90 % of full speed" in found.meaning
    assert "exports take 41 %" in found.meaning
    assert "busy 60 % of the time" in found.meaning
    assert "from 3 windows of 1 s, 5,200 kernels" in found.evidence
    assert "--at 28" in next(one.command for one in found.actions if one.id == "verify")
    (row,) = [one for one in found.details.usage if one.label == "kernels"]
    assert "on 50 % 1.00x to 1.05x" in row.value


def test_few_windows_leave_the_share_settling():
    few = dataclasses.replace(NEED, windows=1, watched_s=0.4)
    found = answer(made(advice(geometry=few)))
    assert found.word == brief(made(advice(geometry=few))).word == "settling"
    assert "from 1 window of 0.4 s" in found.evidence
    assert answer(made(advice(geometry=dataclasses.replace(NEED, windows=0)))).word == "settled"


def test_one_figure_where_activity_or_a_try_gave_it():
    sm = advice(geometry=NEED, metric="breadth_ratio", basis="sm_share", target_ratio=0.36)
    found = answer(made(sm))
    assert (found.figure.method, found.figure.low_ratio) == ("gpm", 0.36)
    (row,) = [one for one in found.details.usage if one.label == "kernels"]
    assert "agrees with SM activity, 36 %" in row.value
    apart = dataclasses.replace(sm, target_ratio=0.8)
    shown = [one.value for one in answer(made(apart)).details.usage if one.label == "kernels"]
    assert "differs from SM activity" in shown[0]
    shown = answer(dataclasses.replace(made(advice(geometry=NEED)), verified=TRIED))
    assert (shown.figure.method, shown.figure.high_ratio) == ("verified", 0.31)


def test_recording_kernels_is_proposed_where_it_would_serve():
    proposed = "SM share: not known from busy time, --kernels estimates it, sweep measures it"
    assert proposed in answer(made(advice())).evidence
    for changed in (
        {"config": {"kernels": True}},
        {"config": {"cluster": "x"}},
        {"source": "dcgm"},
    ):
        assert "--kernels" not in answer(made(advice(), **changed)).evidence
    capped = answer(made(withheld(advice(), "20 %"))).evidence
    assert "--kernels" not in capped
    assert "--kernels" not in answer(made(advice(geometry=NEED))).evidence


def test_a_capped_run_has_no_share_by_geometry():
    capped = withheld(advice(geometry=NEED), "20 %")
    found = answer(made(capped))
    assert found.figure is None or found.figure.method == "time"


def test_a_need_that_no_gpu_has_is_not_read():
    good = json.dumps(dataclasses.asdict(NEED)).encode()
    assert read_as(SmNeed, good) == NEED
    for name, value in (("sms", 20), ("low_sms", 0), ("collective_sms", 200)):
        broken = json.dumps(dataclasses.asdict(NEED) | {name: value}).encode()
        with pytest.raises(TraceError):
            read_as(SmNeed, broken)


def measured(need=NEED, **more):
    found = run(name="NVIDIA A100-SXM4-40GB", total=40960, sm_count=108, **more)
    return dataclasses.replace(
        found, recommendation=dataclasses.replace(found.recommendation, geometry=need)
    )


def exported(of, tmp_path, **options):
    found = export_run(
        of, name="train", output=str(tmp_path / "out"), workload="job", sharing="mps",
        node_selector=SELECTOR, dry_run=True, **options,
    )  # fmt: skip
    return next(text for path, text in found.texts.items() if path.startswith("deploy/"))


def test_exports_carry_the_end_that_is_asked_for(tmp_path):
    text = exported(measured(), tmp_path)
    # 40 % of 108 SMs are 43, 41 % are 44
    assert 'sm-percent: "41"' in text
    assert "share-method: geometry" in text
    assert "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE" in text
    assert "28 to 41 %" in text
    assert 'sm-percent: "28"' in exported(measured(), tmp_path, sm_share="low")
    own = exported(measured(), tmp_path, sm_share="35")
    assert 'sm-percent: "35"' in own
    assert "share-from: user" in own
    assert "share-method" not in own
    for wrong in ("middle", "0", "101"):
        with pytest.raises(InvalidOption, match="sm-share"):
            exported(measured(), tmp_path, sm_share=wrong)


def test_a_collective_is_a_floor_of_every_end(tmp_path):
    wide = dataclasses.replace(NEED, collective_sms=60)
    assert 'sm-percent: "56"' in exported(measured(wide), tmp_path, sm_share="low")


def test_tries_begin_at_the_bracket():
    assert _predicted(measured()) == 41
    assert _inside(NEED) == (100, 41, 36, 32, 28, 14)
    assert _inside(None)[0] == 100


def test_it_is_kept_for_later_runs_of_the_same_code():
    first = dataclasses.replace(measured(None))
    started = dataclasses.replace(first.started, versions={"driver": "550.1"})
    first = dataclasses.replace(first, started=started)
    build_store().prepare()
    assert with_verified(first).recommendation.geometry is None
    keep_need(first, NEED)
    assert with_verified(first).recommendation.geometry == NEED
    later = dataclasses.replace(started, session_id="20260102T000000Z-host-1-abce")
    found = with_verified(dataclasses.replace(first, started=later)).recommendation.geometry
    assert found == dataclasses.replace(NEED, earlier=True)
    other = dataclasses.replace(later, code_hash="f" * 64)
    assert with_verified(dataclasses.replace(first, started=other)).recommendation.geometry is None


def test_of_a_replayed_run_it_is_shown_and_not_kept():
    plain = measured(None)
    started = dataclasses.replace(
        plain.started, source="replay", simulated=True, versions={"driver": "550.1"}
    )
    build_store().prepare()
    told = keep_need(dataclasses.replace(plain, started=started), NEED)
    assert told.recommendation.geometry == NEED
    assert answer(told).headline.startswith("Replayed: needs 28 to 41 % of the GPU's SMs")
    assert "kernel geometry, replayed<" in curve_svg(told)
    assert (
        with_verified(dataclasses.replace(plain, started=started)).recommendation.geometry is None
    )


def test_the_chart_shows_the_bracket_and_what_was_tried():
    assert curve_svg(measured(None)) == ""
    drawn = curve_svg(measured())
    assert "28 to 41 % of the SMs keep 90 % of the speed" in drawn
    assert "<polygon" in drawn
    assert "verified</text>" in curve_svg(dataclasses.replace(measured(), verified=TRIED))
    assert len(drawn) < 8_000


def test_every_view_has_the_same_points_on_the_curve():
    by_activity = advice(
        geometry=NEED, metric="breadth_ratio", basis="sm_share", target_ratio=0.36,
        slowdown=(1.0, 1.25),
    )  # fmt: skip
    of = dataclasses.replace(made(by_activity), verified=TRIED)
    points = [(one.share_ratio, one.speed_ratio, one.method) for one in answer(of).points]
    assert points == [(0.36, 0.8, "gpm"), (0.31, 0.95, "verified")]
    drawn = curve_svg(of)
    assert drawn.count("<circle") == 2
    assert "SM activity</text>" in drawn
    for changed in ({"geometry": None}, {"capped": True}):
        none = dataclasses.replace(of, recommendation=dataclasses.replace(by_activity, **changed))
        assert (answer(none).need, answer(none).points) == (None, ())
    assert answer(of).need == NEED


def profiled(name="NVIDIA A100-SXM4-40GB", sm_count=108):
    found = measured(None)
    started = dataclasses.replace(
        found.started,
        versions={"driver": "550.1"},
        devices=(dataclasses.replace(found.started.devices[0], name=name, sm_count=sm_count),),
    )
    return dataclasses.replace(found, started=started)


def test_a_profile_that_the_user_took_belongs_to_a_run():
    sample = str(Path(__file__).parents[1] / "data/recordings/kineto.json")
    need = need_of_profile(sample, profiled("NVIDIA GeForce RTX 4060 Ti", 34), ReadOptions())
    assert (need.sms, need.windows, need.by) == (34, 0, "torch.profiler")
    assert "from a profile by torch.profiler" in kernels(need)
    with pytest.raises(Malformed, match="and the run of a NVIDIA A100"):
        need_of_profile(sample, profiled(), ReadOptions())
    table = sample.replace("kineto.json", "kernels.csv")
    # the table does not name its GPU; the run knows how many SMs it has
    ada = ReadOptions(compute_capability="8.9")
    assert need_of_profile(table, profiled(), ada).sms == 108


def test_the_result_shows_the_curve_as_a_picture():
    shown = Result(measured()).to_html()
    assert "<svg" not in shown
    assert shown.count('alt="speed against share of the SMs, by kernel geometry"') == 1
    assert Result(measured(None)).to_curve_png() == b""
    assert len(Result(measured()).to_curve_png()) < 10_000
