"""Tables of readings and of runs."""

import json

import pandas
import pytest

from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.series import Device, Readings, Series
from jupyter_gpupredict.frontends.cli import main
from jupyter_gpupredict.frontends.report import Result
from jupyter_gpupredict.run import build_store, read_run
from tests.frontends.server import traces

RUN = traces.session_id(1)
OTHER = Series("gpu_util_ratio", "GPU-2")


@pytest.fixture
def result():
    """Share at 0.5, 1, 1.5 and 2 s; memory and a second device at other times."""
    build_store().prepare()
    devices = (Device(traces.UUID, "NVIDIA H200", 0), Device("GPU-2", "NVIDIA H200", 1))
    begun = traces.started(RUN, devices=devices, series=(traces.SHARE, traces.MEMORY, OTHER))
    second = (
        Readings(traces.SHARE, (1.5, 2.0), (0.3, 0.4)),
        Readings(OTHER, (1.2, 1.7), (0.8, 0.9)),
    )
    traces.write(
        build_store().root,
        RUN,
        [
            begun,
            traces.samples(1, [0.1, 0.2], 1e9),
            ev.SamplesTaken(2, 2.0, second),
            traces.finished(3),
        ],
    )
    return Result(read_run(RUN))


def test_a_wide_table_has_every_time(result):
    frame = result.to_dataframe()
    assert list(frame.columns) == [
        "time_s", "gpu_util_ratio", "memory_used_bytes", "gpu_util_ratio@GPU-2",
    ]  # fmt: skip
    assert frame.time_s.tolist() == [0.5, 1.0, 1.2, 1.5, 1.7, 2.0]


def test_an_aligned_table_has_the_times_of_the_share(result):
    frame = result.to_dataframe(aligned=True)
    assert frame.time_s.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert frame.gpu_util_ratio.tolist() == [0.1, 0.2, 0.3, 0.4]
    assert frame.memory_used_bytes.tolist()[1:] == [1e9, 1e9, 1e9]
    assert frame["gpu_util_ratio@GPU-2"].tolist()[2:] == [0.8, 0.9]  # the newest before each


@pytest.mark.parametrize("aligned", [False, True])
def test_a_long_table_has_a_row_for_each_time_and_device(result, aligned):
    frame = result.to_dataframe(layout="long", aligned=aligned)
    assert list(frame.columns[:2]) == ["time_s", "device"]
    assert not frame.duplicated(["time_s", "device"]).any()
    of_other = frame[frame.device == "GPU-2"]
    assert of_other.gpu_util_ratio.tolist() == [0.8, 0.9]
    assert of_other.time_s.tolist() == ([1.5, 2.0] if aligned else [1.2, 1.7])
    assert isinstance(frame, pandas.DataFrame)


def test_there_is_no_third_layout(result):
    with pytest.raises(ValueError, match="'wide' or 'long'"):
        result.to_dataframe(layout="tidy")


def test_the_history_shows_what_the_panel_shows(result, capsys):
    build_store().labels.put(RUN, {"name": "first try", "pinned": True})
    assert main(["history"]) == 0
    titles, row = capsys.readouterr().out.splitlines()
    assert titles.split() == ["id", "when", "(UTC)", "notebook", "cell", "device", "took", "answer"]
    assert row.startswith(f"*{RUN[-4:]}  2026-01-01 00:00")
    assert "first try" in row
    assert main(["history", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["name"], found["pinned"], found["outcome"]) == ("first try", True, "completed")


def test_a_run_is_named_pinned_deleted_and_brought_back(result, capsys):
    def says(*words):
        status = main(["label", *words])
        said = capsys.readouterr()
        return status, said.out + said.err

    assert says("last", "--name", "second try", "--note", "no", "--pin")[0] == 0
    assert "second try" in says(RUN, "--unpin")[1]
    kept = build_store().labels.all()[RUN]
    assert (kept.name, kept.note, kept.pinned) == ("second try", "no", False)
    status, said = says("last", "--delete")
    assert (status, "for a week" in said) == (0, True)
    assert build_store().ids() == []
    assert says(RUN, "--restore")[0] == 0
    assert build_store().ids() == [RUN]
    for words in ([RUN], ["nowhere", "--pin"], [RUN, "--restore"]):
        status, said = says(*words)
        assert (status, len(said.splitlines())) == (2, 1), said
