"""What is read of stored and given files, and what is refused, each in one line."""

import json
import os
import stat
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core import files, plain
from jupyter_gpupredict.core.errors import Malformed, TraceError
from jupyter_gpupredict.core.events import EVENTS
from jupyter_gpupredict.core.trace import event_from_json
from jupyter_gpupredict.run.picture import TracePicture
from jupyter_gpupredict.run.sidecars import VerifiedStore
from jupyter_gpupredict.run.store import Recorder, Store
from jupyter_gpupredict.run.tail import Tail
from jupyter_gpupredict.sources.reading import open_trace
from tests.frontends.server import traces

RUN = traces.session_id(1)


@pytest.fixture
def small(monkeypatch):
    """Files of eight kilobytes, so that a run of a minute needs some."""
    monkeypatch.setattr(files, "STORED_BYTES", 8 << 10)
    monkeypatch.setattr(files, "LINE_BYTES", 2 << 10)


def recorded(store, seconds):
    """Record a run a second at a time; returns its events."""
    store.prepare()
    recorder = Recorder(store.path(RUN))
    events = [traces.started(RUN), *(traces.samples(n, [0.1] * 9) for n in range(1, seconds))]
    events.append(traces.finished(seconds))
    for event in events:
        recorder.deliver([event])
    recorder.close()
    return events


def test_a_long_run_goes_on_in_a_second_file_and_reads_back_as_one(tmp_path, small):
    store = Store(tmp_path / "store")
    events = recorded(store, 60)
    parts = sorted(store.root.iterdir())
    assert len(parts) > 2
    assert all(stat.S_IMODE(one.stat().st_mode) == 0o600 for one in parts)
    assert all(one.stat().st_size <= files.STORED_BYTES for one in parts)
    assert store.ids() == [RUN]
    assert list(store.events(RUN)) == events
    ends = store.ends(RUN)
    assert (ends.started, ends.newest) == (events[0], events[-1])
    tail = Tail(store.path(RUN))
    while tail.look():
        pass
    assert [seq for seq, _ in tail.after(-1, 1000)[0]] == list(range(61))
    assert [seq for seq, _ in tail.after(55, 1000)[0]] == list(range(56, 61))
    drawn = TracePicture(store.path(RUN)).draw(1000, 10.0)
    assert (drawn.pictures[0].samples, drawn.seq, drawn.complete) == (59 * 9, 60, True)
    assert tail.size_bytes == sum(one.stat().st_size for one in parts)


def test_old_runs_are_deleted_with_all_their_files(tmp_path, small):
    store = Store(tmp_path / "store")
    recorded(store, 60)
    (store.root / f"{traces.session_id(2)}.jsonl").mkdir()  # none of ours: it stays
    for path in store.root.iterdir():
        os.utime(path, (0, 0))
    assert store.prune() == 1
    assert [path.name for path in store.root.iterdir()] == [f"{traces.session_id(2)}.jsonl"]


def test_an_event_that_nobody_could_read_again_is_refused(tmp_path, small):
    store = Store(tmp_path / "store")
    store.prepare()
    recorder = Recorder(store.path(RUN))
    with pytest.raises(ValueError, match="too long"):
        recorder.deliver([traces.started(RUN, notes=("x" * 3000,))])
    recorder.close()


def test_a_store_that_is_open_to_others_is_closed(tmp_path):
    store = Store(tmp_path / "store")
    store.root.mkdir(mode=0o755)
    store.root.chmod(0o777)
    store.prepare()
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_store_of_someone_else_is_refused(tmp_path):
    store = Store(tmp_path / "store")
    store.root.mkdir(mode=0o700)
    os.chown(store.root, 12345, 12345)
    with pytest.raises(PermissionError, match="belongs to someone else"):
        store.prepare()


def test_a_verified_store_that_is_a_fifo_is_none(tmp_path):
    os.mkfifo(tmp_path / "verified.jsonl")
    assert VerifiedStore(tmp_path).newest("ab" * 32, "H200", "580") is None


@pytest.mark.parametrize("what", ["fifo", "folder", "device"])
def test_a_given_file_is_a_regular_one(tmp_path, what):
    path = tmp_path / "x.csv"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(Malformed, match=rf"is a {what}".replace("fifo", "FIFO")):
        open_trace(str(path))


def test_a_line_that_is_too_long_is_never_held(tmp_path):
    path = tmp_path / "x.csv"
    with path.open("wb") as file:
        file.write(b"t_s,gpu_util_pct\n")
        file.truncate(4 << 30)  # four gibibytes of zeros, without an end of line
    with pytest.raises(Malformed, match="line 2 is longer than 1 MiB"):
        open_trace(str(path))


def test_the_standard_input(tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    path.write_text("t_s,gpu_util_pct\n0,50\n1,50\n")
    with path.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert len(open_trace("-").rows) == 2
        assert not file.closed


def test_what_expands_too_far_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    from jupyter_gpupredict.backtest import files

    path = tmp_path / "x.parquet"
    table = pa.table({"t_s": [0.0] * 1_000_000, "gpu_util_pct": [1.0] * 1_000_000})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    with pytest.raises(Malformed, match="expands to"):
        files.parts(str(path))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@given(st.sampled_from(sorted(EVENTS)), st.data())
def test_any_value_of_any_field_is_an_event_or_one_line(name, data):
    document = {"event": name, "seq": 1, "t_s": 1.0}
    for field in EVENTS[name].__dataclass_fields__:
        if data.draw(st.booleans()):
            document[field] = data.draw(json_values)
    try:
        event_from_json(json.dumps(document), "x line 1")
    except TraceError as error:
        assert str(error).startswith("x line 1: ")
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "text", ["[" * 65 + "]" * 65, '{"a":' * 65 + "1" + "}" * 65, "[" * 200_000]
)
def test_nesting_is_bounded_whatever_the_recursion_limit(text):
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        with pytest.raises(ValueError, match="nested deeper"):
            plain.parse(text)
    finally:
        sys.setrecursionlimit(before)


def test_brackets_in_a_text_are_no_levels():
    assert plain.parse('["' + "[" * 500 + '"]') == ["[" * 500]
    assert plain.parse("[" * 64 + "]" * 64)
