"""Who follows a kernel's runs gets every event once, whatever the trace does meanwhile."""

import json
import os
import platform
import subprocess
import sys
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.summary import NOTHING, cursor_text, parse_cursor
from jupyter_gpupredict.run import tail
from jupyter_gpupredict.run.index import LOOK_AT, MAX_PICTURES, MAX_TAILS, Runs
from jupyter_gpupredict.run.store import Store
from jupyter_gpupredict.run.tail import place_after
from tests.frontends.server import traces

RUNS = [
    "20260101T000100Z-gpu7-4711-0001",
    "20260101T000100Z-gpu7-4711-0000",
    "20260101T000108Z-gpu7-4711-0002",
]
"""Two of one second, and one that began later and may be written sooner."""


def line(seq, size=0):
    document = {"event": "PhaseEntered", "seq": seq, "t_s": float(seq), "name": "x" * size}
    return json.dumps({**document, "hint": "api"}, separators=(",", ":")).encode() + b"\n"


class World:
    """Some traces that grow, and someone who follows them."""

    def __init__(self, root, kernel=traces.KERNEL):
        self.store = Store(root)
        self.store.prepare()
        self.written = dict.fromkeys(RUNS, 0)
        self.torn = dict.fromkeys(RUNS, b"")
        self.got = {run: [] for run in RUNS}
        self.cursor = NOTHING
        self.open()

    def open(self):
        """A server begins (again): it knows nothing but the files."""
        self.index = Runs(self.store, lambda *_: True)

    def append(self, run, count, size, cut):
        """Write some events; the last one only in part when `cut`."""
        if self.written[run] == 0:
            traces.write(self.store.root, run, [traces.started(run)])
            self.written[run] = 1
        first = self.written[run]
        data = self.torn[run] + b"".join(line(n, size) for n in range(first, first + count))
        self.written[run] += count
        kept = data[: len(data) - cut] if count and cut else data
        self.torn[run] = data[len(kept) :]
        with self.store.path(run).open("ab") as file:
            file.write(kept)

    def ask(self, limit):
        news = self.index.news(traces.KERNEL, parse_cursor(self.cursor), limit)
        for run in news.runs:
            self.got[run.summary.session_id] += [json.loads(one)["seq"] for one in run.lines]
        self.cursor = cursor_text(news.cursor)
        return news


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"),
            st.sampled_from(RUNS),
            st.integers(0, 40),
            st.sampled_from([0, 30, 3000]),
            st.integers(0, 20),
        ),
        st.tuples(st.just("ask"), st.integers(1, 30)),
        st.tuples(st.just("restart")),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_nothing_is_repeated_and_nothing_lost(tmp_path_factory, plan):
    world = World(tmp_path_factory.mktemp("store"))
    for what, *arguments in plan:
        if what == "append":
            world.append(*arguments)
        elif what == "ask":
            world.ask(*arguments)
        else:
            world.open()
    for run in RUNS:
        if world.written[run]:
            world.append(run, 0, 0, 0)  # what was torn is written to its end
    for _ in range(400):
        if not world.ask(30).runs:
            break
    assert world.got == {run: list(range(world.written[run])) for run in RUNS}


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 5, 200, 9000, 20_000]), min_size=1, max_size=60),
    data=st.data(),
)
def test_a_place_is_found_without_an_index(tmp_path_factory, sizes, data):
    path = tmp_path_factory.mktemp("lines") / "trace.jsonl"
    lines = [line(seq, size) for seq, size in enumerate(sizes)]
    path.write_bytes(b"".join(lines))
    seq = data.draw(st.integers(-1, len(sizes)))
    with path.open("rb") as file:
        at = place_after(file, seq, path.stat().st_size)
    assert at == sum(len(one) for one in lines[: seq + 1])


def test_who_is_far_behind_reads_the_file_and_who_is_not_reads_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tail, "KEEP_BYTES", 5000)
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b"".join(line(seq, 50) for seq in range(500)))
    followed = tail.Tail(path)
    assert followed.look()
    assert [seq for seq, _ in followed.after(-1, 10)[0]] == list(range(10))
    assert followed.after(-1, 10)[1] is True
    assert followed.after(498, 10)[1] is False
    path.rename(tmp_path / "elsewhere")  # the newest lines need no file
    assert [seq for seq, _ in followed.after(495, 10)[0]] == [496, 497, 498, 499]
    assert followed.after(10, 10) == ([], False)
    assert followed.gone


def test_memory_stays_flat_over_a_long_run(tmp_path):
    path = tmp_path / "trace.jsonl"
    followed = tail.Tail(path)
    for block in range(200):
        with path.open("ab") as file:
            file.writelines(line(block * 100 + n, 200) for n in range(100))
        followed.look()
    assert followed.last_seq == 19_999
    assert sum(len(text) for _, text in followed._lines) <= tail.KEEP_BYTES


def test_nothing_grows_with_the_runs_that_come_and_go(tmp_path):
    """A server that runs for weeks: kernels and runs come, are followed, and are pruned."""
    store = Store(tmp_path)
    store.prepare()
    index = Runs(store, lambda *_: True)
    for number in range(200):
        run, kernel = traces.session_id(number), f"kernel-{number}"
        traces.whole_run(tmp_path, run, kernel_id=kernel)
        assert [one.summary.session_id for one in index.first(kernel).runs] == [run]
        index.draw(run, 100, 10.0)
        if number >= 10:
            store.path(traces.session_id(number - 10)).unlink()
    index.page(50, None, (), 1.0)
    assert len(index._followed) == MAX_TAILS == 64
    assert len(index._pictures) == MAX_PICTURES == 12
    assert len(index._entries) <= 11
    assert len(index._found) <= LOOK_AT


def test_a_line_too_long_for_any_event_does_not_stop_the_reading(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_bytes(line(0) + b"x" * (3 << 20) + b"\n" + line(1))
    followed = tail.Tail(path)
    for _ in range(6):
        followed.look()
    assert followed.last_seq == 1


def test_whether_the_writer_of_a_trace_is_there():
    here, now_s = platform.node(), time.time()
    assert tail.is_alive(here, os.getpid(), now_s)
    assert not tail.is_alive(here, os.getpid(), 1e9)  # its number was another's by then
    with subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not tail.is_alive(here, child.pid, now_s)  # ended, and nobody has asked how
    for number in (child.pid, 0, -1, 1 << 80):
        assert not tail.is_alive(here, number, now_s)
    assert tail.is_alive("elsewhere", 1, now_s)
    assert not tail.is_alive("elsewhere", 1, now_s - 121.0)
