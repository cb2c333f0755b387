import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import Malformed, TraceError, Truncated
from jupyter_gpupredict.core.tracefile import open_trace, read_trace


def trace(text):
    return read_trace(text.splitlines(keepends=True), "x.csv")


def test_a_csv_in_our_columns():
    found = trace("# gpu=H200\nt_s,gpu_util_pct,mem_used_mib\n0,0,10\n0.5,50,\n1,101,20\n1,3,3\n")
    share = found.share_series()
    # 101 % is out of range and becomes missing; the second row at t = 1 is dropped
    assert list(found.points(share)) == [(0.0, 0.0), (0.5, 0.5)]
    assert list(found.points(found.memory_series())) == [(0.0, 10 * 2**20), (1.0, 20 * 2**20)]
    assert found.devices[0].name == "H200"
    assert len(found.notes) == 2


def test_a_log_of_nvidia_smi_reads_the_first_device():
    found = trace(
        "timestamp, index, utilization.gpu [%], memory.used [MiB]\n"
        "2024/05/01 10:00:00.000, 0, 10 %, 100 MiB\n"
        "2024/05/01 10:00:00.000, 1, 99 %, 100 MiB\n"
        "2024/05/01 10:00:01.000, 0, [N/A], 200 MiB\n"
    )
    assert list(found.points(found.share_series())) == [(0.0, 0.1)]
    assert found.rows[-1] == (1.0, (None, 200 * 2**20))
    assert "first device" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", Truncated),
        ("t_s,gpu_util_pct\n", Truncated),
        ("hello\n", Malformed),
        ("t_s,what\n0,1\n", Malformed),
        ("t_s,gpu_util_pct\n0,abc\n", Malformed),
        ("t_s,gpu_util_pct\n0,1,2\n", Malformed),
        ("t_s,gpu_util_pct\n,1\n", Malformed),
        ("\0\0", Malformed),
        ('{"event":"Nothing"}\n', Malformed),
        ('{"event":"SessionStarted","schema":99}\n', TraceError),
    ],
)
def test_bad_files_give_one_clear_error(text, error):
    with pytest.raises(error) as caught:
        trace(text)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_opened(tmp_path):
    for path in ("", str(tmp_path), str(tmp_path / "none.csv")):
        with pytest.raises(Malformed):
            open_trace(path)


@given(st.text(max_size=300))
def test_any_text_gives_a_trace_or_a_trace_error(text):
    try:
        trace(text)
    except TraceError as error:
        assert "\n" not in str(error)


@given(st.text(max_size=60), st.integers(0, 3))
def test_any_cell_gives_a_trace_or_a_trace_error(text, column):
    cells = ["1", "50", "10", "5"]
    cells[column] = text
    try:
        trace("t_s,gpu_util_pct,mem_used_mib,power_w\n" + ",".join(cells) + "\n")
    except TraceError as error:
        assert "\n" not in str(error)
