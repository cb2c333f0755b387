import pickle
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import Malformed, TraceError, Truncated
from jupyter_gpupredict.sources import recording as module
from jupyter_gpupredict.sources.reading import open_trace
from tests.traces import read_trace

STARTED = (Path(__file__).parents[1] / "data/events/every-kind.jsonl").read_text().partition("\n")[
    0
] + "\n"


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


def test_a_torn_last_line_is_left_out():
    found = trace("t_s,gpu_util_pct,mem_used_mib\n0,1,2\n1,5,2\n2,")
    assert [time_s for time_s, _ in found.rows] == [0.0, 1.0]
    assert "torn" in found.notes[0]


def test_a_log_of_nvidia_smi_reads_the_first_device():
    found = trace(
        "timestamp, index, utilization.gpu [%], memory.used [MiB]\n"
        "2024/05/01 10:00:00.000, 0, 10 %, 100 MiB\n"
        "2024/05/01 10:00:00.000, 1, 99 %, 100 MiB\n"
        "2024/05/01 10:00:01.000, 0, [N/A], 200 MiB\n"
    )
    assert list(found.points(found.share_series())) == [(0.0, 0.1)]
    assert found.rows[-1] == (1.0, (None, 200 * 2**20))
    assert "also recorded: GPU 1" in found.notes[0]


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


def events(count):
    """Yield the lines of one of our traces; every seventh time is out of order."""
    yield STARTED
    for number in range(count):
        t_s = count - number if number % 7 == 0 else number
        for metric, value in (("gpu_util_ratio", 0.5), ("memory_used_bytes", 5.0)):
            series = f'{{"metric":"{metric}","device":"g"}}'
            readings = f'[{{"series":{series},"times_s":[{t_s}.5],"values":[{value}]}}]'
            yield f'{{"event":"SamplesTaken","seq":1,"t_s":1,"readings":{readings}}}\n'
        yield (
            f'{{"event":"ProgressMade","seq":1,"t_s":{t_s}.25,"unit":"step","done":{number},'
            '"total":null,"hint":"tqdm"}\n'
        )


def test_a_trace_of_ours_is_put_in_order_whatever_order_it_came_in(monkeypatch):
    monkeypatch.setattr(module, "PIECE_ROWS", 64)
    found = read_trace(events(1000), "x.jsonl")
    times_s = [time_s for time_s, _ in found.rows]
    assert times_s == sorted(set(times_s))
    assert {values for _, values in found.rows} == {(0.5, 5.0)}
    marks = list(found.marks)
    assert [mark.time_s for mark in marks] == sorted(mark.time_s for mark in marks)
    assert {mark.done for mark in marks} == set(map(float, range(1000)))
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - our own


def test_a_trace_of_ours_is_read_in_constant_memory(monkeypatch):
    monkeypatch.setattr(module, "PIECE_ROWS", 500)
    monkeypatch.setattr(module, "HELD_BYTES", 1 << 10)
    read_trace(events(10), "x.jsonl")  # what is made once
    peaks = []
    for count in (1000, 8000):
        tracemalloc.start()
        found = read_trace(events(count), "x.jsonl")
        assert sum(1 for _ in found.rows) > count // 2
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_more_names_than_any_run_has_are_one_line(monkeypatch):
    monkeypatch.setattr(module, "WORDS_CHARACTERS", 100)
    phase = '{"event":"PhaseEntered","seq":1,"t_s":1,"name":"NAME","hint":"api"}\n'
    lines = [phase.replace("NAME", f"phase {number}") for number in range(100)]
    with pytest.raises(Malformed, match="too many phases"):
        read_trace([STARTED, *lines], "x.jsonl")


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


@pytest.mark.parametrize(
    ("gaps", "usual"), [([964, *[60, 61] * 10], 60), ([60] * 20, 60), ([1] * 40 + [30] * 40, 1)]
)
def test_the_period_is_the_usual_gap_whatever_the_first_one_was(gaps, usual):
    stamps = [sum(gaps[:count]) for count in range(len(gaps) + 1)]
    trace = read_trace(["t_s,gpu_util_pct\n", *(f"{t},50\n" for t in stamps)], "x")
    assert trace.period_s(trace.share_series(None)) == pytest.approx(usual, abs=1)
