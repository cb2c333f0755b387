"""A verified share goes with its run, with later runs of its code, and into what they export."""

import argparse
import dataclasses
import json
from pathlib import Path

import pytest

from jupyter_gpupredict import mps
from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.errors import ExportError, InvalidOption, VerifyRefused
from jupyter_gpupredict.core.recommendation import Verified
from jupyter_gpupredict.export.deployment import Cell, CodeRequest
from jupyter_gpupredict.frontends import verifying
from jupyter_gpupredict.frontends.charts import figures
from jupyter_gpupredict.frontends.report import Result
from jupyter_gpupredict.mps import subject_of_folder, subject_of_notebook
from jupyter_gpupredict.run import code_hash, with_verified
from jupyter_gpupredict.run.sidecars import VerifiedStore
from jupyter_gpupredict.run.store import build_store
from tests.export.runs import breadth, export, manifests, run


def entry(found, **other):
    device = found.started.devices[0].name
    facts = {
        "percent": 25, "kept": True, "speed_ratio": 0.97, "low_ratio": 0.95, "high_ratio": 0.99,
        "method": "verify", "pairs": 4, "unit": "step", "code_hash": found.started.code_hash,
        "device": device, "driver": "580.1", "session_id": "", "at": "2026-01-02T03:04:05+00:00",
        "sm_count": 32,
    }  # fmt: skip
    return Verified(**(facts | other))


def driven(found):
    """Return the run with a driver's version, without which nothing is known to hold."""
    return dataclasses.replace(
        found, started=dataclasses.replace(found.started, versions={"driver": "580.1"})
    )


def keep(record):
    store = build_store()
    store.prepare()
    VerifiedStore(store.root).add(record)


def test_an_export_takes_the_share_that_was_verified_after_its_run():
    found = driven(breadth())
    before = "".join(manifests(export(found, dry_run=True)).values())
    assert 'share-from: "estimate"' in before or "share-from: estimate" in before
    keep(entry(found))
    after = "".join(manifests(export(found, dry_run=True)).values())
    assert 'sm-percent: "25"' in after
    assert "share-from: verified" in after or 'share-from: "verified"' in after


def test_it_is_shown_as_verified_with_its_interval():
    found = driven(breadth())
    keep(entry(found))
    result = Result(with_verified(found))
    line = (
        "25 % of the SMs (32 SMs) keeps 97.0 % of the uncapped speed "
        "(95 % interval 95.0 % to 99.0 % from 4 pairs; verify, 2026-01-02"
    )
    assert line in result.to_text()
    assert result.to_dict()["verified"]["percent"] == 25
    assert json.loads(result.to_json())["verified"]["low_ratio"] == 0.95
    assert "is not a share of the SMs" not in result.to_text()


@pytest.mark.parametrize(
    "other", [{"device": "Another"}, {"driver": "1"}, {"code_hash": "f" * 64}, {"kept": False}]
)
def test_what_was_verified_of_something_else_does_not_hold(other):
    found = driven(breadth())
    keep(entry(found, **other))
    assert with_verified(found).verified is None


def test_a_simulated_run_and_a_run_without_a_driver_take_nothing():
    simulated = driven(run(source="synthetic"))
    keep(entry(simulated))
    assert with_verified(simulated).verified is None
    assert with_verified(breadth()).verified is None


def several(found, **other):
    """The same run, with a second GPU under watch."""
    (first,) = found.started.devices
    devices = (first, dataclasses.replace(first, uuid="GPU-2"))
    started = dataclasses.replace(found.started, devices=devices)
    return dataclasses.replace(found, started=started, **other)


@pytest.mark.parametrize("used", [("GPU-1", "GPU-2"), ()])
def test_a_share_is_verified_on_one_gpu_and_holds_for_no_more(used, tmp_path):
    """`()`: it is not known which of the two it used."""
    found = several(driven(breadth()), used=used)
    keep(entry(found))
    assert with_verified(found).verified is None
    forced = dataclasses.replace(found, verified=entry(found))
    assert forced.verified_sm_ratio is None
    text = "".join(manifests(export(forced, dry_run=True, sharing="mps")).values())
    assert 'share-from: "verified"' not in text
    assert "share-from: verified" not in text
    with pytest.raises(VerifyRefused, match="used 2 GPUs, and shares are tried on one"):
        mps.subject(found, CodeRequest((Cell("In [1]", "x = 1"),), tmp_path))


def test_a_run_that_watched_two_gpus_and_used_one_is_like_any_other():
    found = several(driven(breadth()), used=("GPU-1",))
    keep(entry(found))
    assert with_verified(found).verified_sm_ratio == 0.25


def test_what_was_taken_back_is_not_exported_by_a_run_that_had_it():
    found = driven(breadth())
    keep(entry(found))
    held = with_verified(found)
    keep(entry(found, kept=False))
    text = "".join(manifests(export(held, dry_run=True)).values())
    assert 'sm-percent: "25"' not in text


def test_a_folder_for_several_gpus_is_not_tried(tmp_path):
    (tmp_path / "train_fn.py").write_text("def train(params):\n    return {}\n")
    told = {"cell": {"sha256": "ab" * 32}, "export": {"gpus": 2}}
    (tmp_path / "gpupredict.json").write_text(json.dumps(told))
    with pytest.raises(VerifyRefused, match="was exported for 2 GPUs"):
        subject_of_folder(tmp_path)


def test_the_share_that_is_tried_is_that_of_the_gpu_that_is_tried():
    found = several(breadth(sm_count=132), used=("GPU-1",))
    other = dataclasses.replace(found.recommendation, device="GPU-2", target_ratio=0.7)
    main = dataclasses.replace(found.recommendation, device="GPU-1", state="watching")
    parser = argparse.ArgumentParser()
    verifying.arguments(parser, sweeps=False)
    found = dataclasses.replace(found, recommendation=main, others=(other,))
    with pytest.raises(InvalidOption, match="no predicted share"):
        verifying.run(parser.parse_args([]), None, found, sweeps=False)


def test_a_time_share_alone_offers_the_sweep():
    assert "sweep measures it" in words.sm_share_hint(run())
    assert words.sm_share_hint(breadth()) == ""
    assert words.sm_share_hint(run(source="cpu", metric="cpu_util_ratio")) == ""


def test_the_cell_that_was_measured_is_the_one_that_is_tried(tmp_path):
    body = "x = 1\nprint(x)\n"
    found = dataclasses.replace(
        run(), started=dataclasses.replace(run().started, code_hash=code_hash(body))
    )
    cells = (Cell("In [1]", f"%%gpupredict\n{body}"), Cell("In [2]", "x = 2"))
    subject = mps.subject(found, CodeRequest(cells, tmp_path))
    assert "x = 2" not in subject.program.text
    assert (subject.code_hash, subject.session_id) == (code_hash(body), found.session_id)
    assert subject.device == found.started.share.device
    with pytest.raises(ExportError, match="no cell has the code"):
        mps.subject(run(), CodeRequest(cells, tmp_path))


@pytest.mark.parametrize("same", ["x = 1\n\ny", "x = 1\r\n\r\ny\r\n", "x = 1\n\ny\n\n\n"])
def test_newlines_at_the_end_are_no_other_code(same):
    assert code_hash(same) == code_hash("x = 1\n\ny\n")
    assert code_hash("x = 1\ny") != code_hash("x = 1\n\ny")


def test_a_folder_and_a_notebook_are_read(tmp_path):
    (tmp_path / "train_fn.py").write_text("def train(params):\n    return {}\n")
    assert subject_of_folder(tmp_path).code_hash is None
    (tmp_path / "gpupredict.json").write_text(json.dumps({"cell": {"sha256": "ab" * 32}}))
    assert subject_of_folder(tmp_path).code_hash == "ab" * 32
    (tmp_path / "gpupredict.json").write_text(json.dumps({"cell": {"sha256": "0" * 64}}))
    assert subject_of_folder(tmp_path).code_hash is None
    with pytest.raises(InvalidOption, match=r"holds no train_fn\.py"):
        subject_of_folder(tmp_path / "nowhere")
    with pytest.raises(InvalidOption, match="no cell that begins with"):
        subject_of_notebook("a.ipynb", CodeRequest((Cell("In [1]", "x = 1"),), Path()))


def test_the_chart_holds_every_share_and_hostile_names_do_no_harm():
    drawn = figures.sweep_svg(
        {100: 1.0, 50: 0.98, 25: 0.6}, 43.0, 0.9, '<script>alert("x")</script>'
    )
    assert drawn.count("<circle") == 3
    assert "<script>" not in drawn
    assert ">43 %<" in drawn


def test_the_bokeh_figure_has_the_same_points():
    pytest.importorskip("bokeh")
    figure = figures.sweep_figure({100: 1.0, 50: 0.98, 25: 0.6}, 43.0, 0.9)
    (line, points) = figure.renderers
    assert list(points.data_source.data["x"]) == [25, 50, 100]
    assert list(line.data_source.data["y"]) == pytest.approx([60.0, 98.0, 100.0])
