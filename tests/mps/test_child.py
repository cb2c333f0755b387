"""A real child process: output, ends, interrupts, results, and every rung of the ladder."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from jupyter_gpupredict.mps.child import Child, ChildFailed, Program, Waits
from jupyter_gpupredict.mps.states import overrun

SHORT = Waits(asked_s=0.6, terminated_s=0.6, killed_s=5.0)


class Talk:
    """What a child said."""

    def __init__(self):
        self.pieces = []
        self.marks = []
        self.notes = []

    def output(self, stream, text):
        self.pieces.append((stream, text))

    def text(self, stream=None):
        return "".join(text for name, text in self.pieces if stream in (None, name))


def made(source, talk, *, waits=None, before_signal=None, environ=None, **facts):
    text = textwrap.dedent(source)
    facts.setdefault("keep_of", "train")
    return Child(
        Program(text, **facts),
        {**os.environ, **(environ or {})},
        on_output=talk.output,
        on_mark=talk.marks.append,
        on_note=talk.notes.append,
        before_signal=before_signal,
        waits=waits,
    )


@pytest.fixture
def talk():
    return Talk()


@pytest.fixture
def run(talk):
    """Start a child; it is stopped at the test's end."""
    children = []

    def start(source, hold=None, **options):
        child = made(source, talk, **options)
        children.append(child)
        child.start()
        if hold is None:
            child.go()
        return child

    yield start
    for child in children:
        child.stop()


def until(condition, limit_s=10.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def listen_until(child, talk, word, limit_s=20.0):
    """Wait until the child has written a word."""
    child.wait(time.monotonic() + limit_s, lambda: word in talk.text())
    assert word in talk.text()


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def test_it_runs_and_its_streams_keep_their_order(run, talk):
    child = run(
        """
        import sys
        def train(params):
            for n in range(50):
                print("out", n)
                print("err", n, file=sys.stderr)
            print("no newline", end="")
            return params["a"] + 1
        """,
        params={"a": 41},
    )
    ended = child.wait()
    assert ended.outcome == "completed"
    assert child.fetch([""], {})[""].value == 42
    assert child.stop() == "by itself"
    lines = talk.text().splitlines()
    assert lines == [f"{w} {n}" for n in range(50) for w in ("out", "err")] + ["no newline"]
    assert talk.text("stderr").count("err") == 50


def test_megabytes_and_programs_below_do_not_block(run, talk):
    child = run(
        """
        import os, subprocess, sys
        def train(params):
            for n in range(200):
                sys.stdout.write("x" * 20_000)
            os.write(2, b"raw\\n" * 100_000)
            subprocess.run([sys.executable, "-c", "print('y' * 3_000_000)"], check=True)
        """
    )
    assert child.wait().outcome == "completed"
    child.stop()
    assert talk.text("stdout").count("x") == 4_000_000
    assert talk.text("stdout").count("y") == 3_000_000
    assert talk.text("stderr").count("raw\n") == 100_000


def test_a_child_that_nobody_listens_to_is_held_up_not_buffered(run, talk):
    child = run("def train(p):\n    while True:\n        print('z' * 60_000)\n", waits=SHORT)
    news = child._reader.news
    until(news.full)
    before = psutil.Process().memory_info().rss
    time.sleep(0.5)
    assert news.full()
    assert psutil.Process().memory_info().rss - before < 8 << 20
    assert child.stop() == "when asked"


def test_half_a_character_at_a_chunks_end_is_put_together(run, talk):
    child = run("import os\ndef train(p):\n    os.write(1, ('a' + 'é' * 100_000).encode())\n")
    child.wait()
    child.stop()
    assert talk.text() == "a" + "é" * 100_000


def test_an_error_comes_with_the_users_lines_alone(run, talk):
    child = run(
        """
        def deeper(x):
            return 1 / x
        def train(params):
            return deeper(0)
        """
    )
    ended = child.wait()
    assert ended.outcome == "failed"
    assert ended.error.name == "ZeroDivisionError"
    assert "return deeper(0)" in ended.error.traceback
    assert "inside.py" not in ended.error.traceback
    assert 'File "train_fn.py", line 3, in deeper' in ended.error.traceback


def test_an_error_whose_words_raise_is_told_all_the_same(run):
    child = run(
        """
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError("no words")
        def train(params):
            raise Odd
        """
    )
    assert child.wait().error.name == "Odd"


def test_a_module_that_does_not_parse_fails(run):
    ended = run("def train(:\n").wait()
    assert (ended.outcome, ended.error.name) == ("failed", "SyntaxError")


def test_sys_exit_is_a_failure_as_in_a_notebook(run):
    ended = run("import sys\ndef train(p):\n    sys.exit(3)\n").wait()
    assert (ended.outcome, ended.error.name) == ("failed", "SystemExit")


@pytest.mark.parametrize(
    "waiting",
    [
        "while True: pass",
        "time.sleep(60)",
        "threading.Event().wait(60)",
        "asyncio.run(asyncio.sleep(60))",
        "subprocess.run(['sleep', '60'])",
    ],
)
def test_an_interrupt_reaches_what_the_function_does(run, talk, waiting):
    child = run(
        f"""
        import asyncio, subprocess, sys, threading, time
        def train(params):
            n = 7
            try:
                print("here", flush=True)
                {waiting}
            finally:
                print("unwound")
        """
    )
    listen_until(child, talk, "here")
    child.interrupt()
    ended = child.wait(time.monotonic() + 8.0)
    assert ended is not None, "not interrupted"
    assert (ended.outcome, ended.error.name) == ("interrupted", "KeyboardInterrupt")
    assert child.fetch(["n"], {})["n"].value == 7
    assert child.stop() == "by itself"
    assert "unwound" in talk.text()


def test_it_waits_for_the_word(run, talk):
    child = run("def train(p):\n    print('gone')\n", hold=True)
    assert child.wait(time.monotonic() + 1.0) is None
    assert talk.text() == ""
    child.go()
    assert child.wait().outcome == "completed"
    assert talk.text() == "gone\n"


def test_a_child_without_the_word_ends_when_asked(run):
    child = run("def train(p):\n    print('gone')\n", hold=True)
    assert child.stop() == "when asked"


def test_an_interrupt_in_a_flood_of_output_tears_no_frame(run, talk):
    child = run(
        """
        import sys
        def train(params):
            n = 0
            while True:
                n += 1
                print("line", n, "x" * 5000)
                print("line", n, "y" * 200, file=sys.stderr)
        """
    )
    for _ in range(5):
        listen_until(child, talk, "line 50 ")
    child.interrupt()
    ended = child.wait(time.monotonic() + 20.0)
    assert (ended.outcome, ended.error.name) == ("interrupted", "KeyboardInterrupt")
    last = child.fetch(["n"], {})["n"].value
    assert child.stop() == "by itself"
    assert f"line {last - 1} x" in talk.text("stdout")  # all but what was under way


def test_a_process_that_writes_rubbish_into_our_pipe_is_given_up(run):
    child = run(
        """
        import os, time
        def train(params):
            for fd in range(3, 20):
                try:
                    os.write(fd, b"rubbish\\n")
                except OSError:
                    pass
            time.sleep(60)
        """,
        waits=SHORT,
    )
    ended = child.wait(time.monotonic() + 10.0)
    assert ended.outcome == "died"
    assert "broke its pipe" in ended.error.message
    child.stop()
    assert not alive(child.pid)


def test_an_interrupt_before_the_function_is_reached_counts(run):
    child = run("import time\ndef train(p):\n    time.sleep(60)\n")
    child.interrupt()
    assert child.wait(time.monotonic() + 10.0).outcome == "interrupted"


def test_an_interrupt_after_the_end_changes_nothing(run):
    child = run("def train(p):\n    return 5\n")
    child.wait()
    child.interrupt()
    assert child.fetch([""], {})[""].value == 5
    assert child.stop() == "by itself"


def test_a_function_may_catch_an_interrupt(run, talk):
    child = run(
        """
        import time
        def train(params):
            try:
                print("here")
                time.sleep(60)
            except KeyboardInterrupt:
                return "saved"
        """
    )
    listen_until(child, talk, "here")
    child.interrupt()
    assert child.wait(time.monotonic() + 8.0).outcome == "completed"
    assert child.fetch([""], {})[""].value == "saved"


class Net:
    """Stands for a class that the notebook defines."""


def test_names_come_back_and_reasons_where_they_do_not(run):
    child = run(
        """
        import threading
        class Net:
            def __init__(self):
                self.w = 3
        class Strange:
            pass
        def train(params):
            global shared
            shared = [1]
            net, lock, strange = Net(), threading.Lock(), Strange()
            losses = [0.5, 0.25]
            return object()
        """
    )
    child.wait()
    names = ["net", "losses", "shared", "lock", "strange", "missing", ""]
    found = child.fetch(names, {"Net": Net})
    assert isinstance(found["net"].value, Net)
    assert found["net"].value.w == 3
    assert (found["losses"].value, found["shared"].value) == ([0.5, 0.25], [1])
    assert "cannot be pickled" in found["lock"].reason
    assert "Strange is not defined in this notebook" in found["strange"].reason
    assert found["missing"].reason == "the cell has not bound it"
    assert type(found[""].value) is object  # what is asked for comes itself, whatever it prints
    shown = child.shown({})
    assert shown.reason == "text"
    assert shown.value.startswith("<object object")


def test_a_plain_value_is_shown_as_it_is(run):
    child = run("def train(p):\n    return {'a': [1, 2.5, None]}\n")
    child.wait()
    assert child.shown({}).value == {"a": [1, 2.5, None]}
    assert child.shown({}).reason == ""


def test_names_come_back_from_an_awaiting_function(run):
    child = run(
        """
        import asyncio
        async def _cell(values):
            x = 1
            await asyncio.sleep(0)
            x = 2
            raise ValueError("late")
        def train(params):
            return asyncio.run(_cell(params))
        """,
        keep_of="_cell",
    )
    assert child.wait().error.name == "ValueError"
    assert child.fetch(["x"], {})["x"].value == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_killed_child_is_told_of(run, talk, number):
    child = run("import time\ndef train(p):\n    print('here')\n    time.sleep(60)\n")
    listen_until(child, talk, "here")
    os.kill(child.pid, number)
    ended = child.wait(time.monotonic() + 10.0)
    assert (ended.outcome, ended.error.name) == ("died", "ProcessDied")
    assert number.name in ended.error.message
    assert child.fetch(["x"], {})["x"].reason == "its process has ended"


def test_a_child_that_ends_itself_is_told_of(run):
    ended = run("import os\ndef train(p):\n    os._exit(3)\n").wait(time.monotonic() + 10.0)
    assert (ended.outcome, ended.error.message) == (
        "died",
        "the cell's process ended itself with status 3",
    )


HANGING = """
    import signal, time
    def train(params):
        print("here")
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass
"""
STUBBORN = HANGING.replace(
    'print("here")', 'signal.signal(signal.SIGTERM, signal.SIG_IGN); print("here")'
)


@pytest.mark.parametrize(("source", "rung"), [(HANGING, "SIGTERM"), (STUBBORN, "SIGKILL")])
def test_a_hanging_child_meets_the_rungs_in_order(run, talk, source, rung):
    asked = []

    def before(group):
        asked.append((group, alive(group)))
        return ""

    child = run(source, waits=SHORT, before_signal=before)
    listen_until(child, talk, "here")
    assert child.stop() == rung
    assert asked == [(child.pid, True)]  # the server is asked before any signal
    assert not alive(child.pid)


def test_no_signal_is_sent_where_the_server_does_not_let_go(run, talk):
    child = run(HANGING, waits=SHORT, before_signal=lambda _: "another client is on the server")
    listen_until(child, talk, "here")
    assert child.stop() == "left running"
    assert alive(child.pid)
    assert "another client is on the server" in talk.notes[-1]
    os.killpg(child.pid, signal.SIGKILL)  # the test's own clean-up
    until(child._reader.dead.is_set)


def test_a_second_stop_says_the_same(run):
    child = run("def train(p):\n    return 5\n")
    child.wait()
    assert child.stop() == child.stop() == "by itself"


def test_an_interrupt_during_the_ladder_goes_on_to_the_next_rung(run, talk):
    child = run(HANGING, waits=Waits(asked_s=30.0, terminated_s=5.0))
    listen_until(child, talk, "here")
    main = threading.main_thread().ident
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    began = time.monotonic()
    assert child.stop() == "SIGTERM"
    assert time.monotonic() - began < 10.0
    timer.join()


def test_what_it_started_goes_with_it(run, talk, tmp_path):
    child = run(
        f"""
        import os, subprocess, sys, time
        def train(params):
            forked = os.fork()
            if forked == 0:
                print("from the fork")
                time.sleep(60)
                os._exit(0)
            other = subprocess.Popen(["sleep", "60"])
            open({str(tmp_path / "pids")!r}, "w").write(f"{{forked}} {{other.pid}}")
        """
    )
    assert child.wait().outcome == "completed"
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert all(alive(pid) for pid in pids)
    assert child.stop() == "by itself"
    until(lambda: not any(alive(pid) for pid in pids))


LEAVING = """
    import os, signal, subprocess, sys
    def train(params):
        below = subprocess.Popen([sys.executable, "-c", {below!r}], stdout=subprocess.PIPE)
        print("pid", below.pid, below.stdout.readline(), flush=True)
        {end}
"""
QUIET = "import time; print(1, flush=True); time.sleep(60)"
CHATTY = "import sys; print(1, flush=True)\nwhile True: sys.stderr.write('chat')"
ENDS = ["return 5", "os.kill(os.getpid(), signal.SIGSEGV)", "os._exit(3)"]


def of_the_cell(talk):
    return int(talk.text("stdout").split()[1])


@pytest.mark.parametrize("below", [QUIET, CHATTY])
@pytest.mark.parametrize("end", ENDS)
def test_what_it_left_behind_is_taken_from_the_server_before_any_signal(run, talk, end, below):
    asked = []

    def before(group):
        asked.append((group, alive(of_the_cell(talk))))
        return ""

    child = run(LEAVING.format(end=end, below=below), before_signal=before)
    assert child.wait(time.monotonic() + 20.0) is not None
    child.stop()
    assert asked == [(child.pid, True)]
    until(lambda: not alive(of_the_cell(talk)))
    assert talk.notes == []


@pytest.mark.parametrize("end", ENDS)
def test_what_it_left_behind_stays_where_the_server_does_not_let_go(run, talk, end):
    child = run(LEAVING.format(end=end, below=CHATTY), before_signal=lambda _: "another is on it")
    assert child.wait(time.monotonic() + 20.0) is not None
    child.stop()
    pid = of_the_cell(talk)
    (note,) = talk.notes
    assert note == f"what the cell has started, {pid}, is left running: another is on it"
    written = Path(f"/proc/{pid}/io")
    before = written.read_text()
    until(lambda: written.read_text() != before)  # it can write on: its pipe is not closed
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)  # the test's own clean-up
    until(lambda: not child._reader.is_alive())


def test_forks_that_write_at_once_tear_no_frame(run, talk):
    child = run(
        """
        import multiprocessing
        def work(n):
            for _ in range(200):
                print(f"worker {n} " + "w" * 100)
            return n
        def train(params):
            with multiprocessing.get_context("fork").Pool(3) as pool:
                print("main", flush=True)
                return sum(pool.map(work, range(3)))
        """,
        environ={"PYTHONWARNINGS": "ignore"},
    )
    assert child.wait(time.monotonic() + 30.0).outcome == "completed"
    assert child.fetch([""], {})[""].value == 3
    child.stop()
    assert talk.text().count("worker") == 600


def test_a_fork_never_writes_frames_into_its_own_files(run, talk, tmp_path):
    """What kept the stream before the fork, such as a logging handler, keeps it after it."""
    child = run(
        f"""
        import logging, os
        def worker(name):
            files = [open({str(tmp_path)!r} + f"/{{name}}{{n}}", "wb", buffering=0)
                     for n in range(8)]  # at the numbers that the hook has set free
            logging.warning("from %s", name)
            print("print of", name)
            return files
        def train(params):
            logging.basicConfig()
            logging.warning("from the cell")
            if os.fork() == 0:
                files = worker("first")
                if os.fork() == 0:
                    for file in files:
                        file.write(b"DATA")  # none was closed by the second fork
                    worker("second")
                    os._exit(0)
                os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
            return os.waitstatus_to_exitcode(os.wait()[1])
        """
    )
    ended = child.wait(time.monotonic() + 10.0)
    assert ended.outcome == "completed"
    assert child.fetch([""], {})[""].value == 0
    child.stop()
    assert [(tmp_path / f"first{n}").read_bytes() for n in range(8)] == [b"DATA"] * 8
    assert [(tmp_path / f"second{n}").read_bytes() for n in range(8)] == [b""] * 8
    assert sorted(talk.text("stderr").splitlines()) == [
        f"WARNING:root:from {name}" for name in ("first", "second", "the cell")
    ]
    assert sorted(talk.text("stdout").splitlines()) == ["print of first", "print of second"]


def test_a_fork_keeps_a_stream_that_the_cell_has_redirected(run, talk):
    child = run(
        """
        import contextlib, io, os
        def train(params):
            with contextlib.redirect_stdout(io.StringIO()) as kept:
                if os.fork() == 0:
                    print("hidden")
                    os._exit(len(kept.getvalue()))
                return os.waitstatus_to_exitcode(os.wait()[1])
        """
    )
    child.wait(time.monotonic() + 10.0)
    assert child.fetch([""], {})[""].value == len("hidden\n")
    child.stop()
    assert talk.text() == ""


def test_a_fork_while_another_thread_writes_does_not_wait_for_it(run, talk):
    child = run(
        """
        import os, threading
        def train(params):
            over = threading.Event()
            def flood():
                while not over.is_set():
                    print("flood " * 50)
            thread = threading.Thread(target=flood)
            thread.start()
            for n in range(30):
                if os.fork() == 0:
                    print("fork", n)
                    os._exit(0)
                os.wait()
            over.set()
            thread.join()
        """,
        environ={"PYTHONWARNINGS": "ignore"},
    )
    ended = child.wait(time.monotonic() + 20.0)
    assert ended is not None, "a fork hangs"
    child.stop()
    assert ended.outcome == "completed"
    assert all(f"fork {n}\n" in talk.text() for n in range(30))


def test_spawned_workers_find_the_module(run):
    child = run(
        """
        import multiprocessing
        def work(n):
            return n + 1
        def train(params):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                return pool.map(work, [1])
        """
    )
    assert child.wait(time.monotonic() + 30.0).outcome == "completed"
    assert child.fetch([""], {})[""].value == [2]


def test_the_child_ends_with_its_parent(tmp_path):
    """A parent that is killed can do nothing: the child notices by itself."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, signal, sys, time
            from jupyter_gpupredict.mps.child import Child, Program
            text = '''
            import subprocess, time
            def train(params):
                below = subprocess.Popen(["sleep", "60"])
                print("pid", below.pid, flush=True)
                time.sleep(60)
            '''
            import textwrap
            child = Child(Program(textwrap.dedent(text)), dict(os.environ),
                          on_output=lambda _, text: pids.append(text))
            pids = []
            child.start()
            child.go()
            child.wait(time.monotonic() + 20, lambda: "pid" in "".join(pids))
            below = "".join(pids).split()[1]
            open({str(tmp_path / "pids")!r}, "w").write(f"{{child.pid}} {{below}}")
            os.kill(os.getpid(), signal.SIGKILL)
            """
        )
    )
    import subprocess
    import sys

    subprocess.run([sys.executable, str(script)], check=False, timeout=60)
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    until(lambda: not any(alive(pid) for pid in pids), 15.0)


def test_what_is_no_text_on_the_path_stays_behind(run, tmp_path, monkeypatch):
    """An import passes over it in the kernel, too."""
    monkeypatch.syspath_prepend("/as/text")
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path, b"/as/bytes"])
    child = run(
        "import sys\ndef train(p):\n    return sys.path[1:]  # the first is the module's own\n"
    )
    assert child.wait().outcome == "completed"
    assert child.fetch([""], {})[""].value == [one for one in sys.path if type(one) is str]


def test_nothing_of_it_stays_on_the_disk(run):
    child = run("def train(p):\n    return 5\n")
    folder = Path(child._folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    child.wait()
    child.stop()
    assert not folder.exists()


@pytest.mark.parametrize(
    "wrong", [{"environ": {"A": "nul\0"}}, {"params": {"a": object()}}, {"module": "no/such/place"}]
)
def test_what_cannot_be_started_is_one_error_and_leaves_nothing(talk, wrong):
    child = made("def train(p):\n    return 5\n", talk, **wrong)
    with pytest.raises(ChildFailed, match="no child process can be started"):
        child.start()
    assert not Path(child._folder).exists()
    assert child.pid == 0 or not alive(child.pid)


def test_a_disk_that_is_full_is_one_error(talk, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/proc/self")
    with pytest.raises(ChildFailed):
        made("def train(p):\n    return 5\n", talk).start()


def test_stopping_what_never_started_is_nothing(talk):
    assert made("def train(p): pass", talk).stop() == "by itself"


def test_running_out_of_memory_is_said_as_what_it_is(run):
    source = """
        class OutOfMemoryError(RuntimeError):
            pass
        def train(params):
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    """
    error = run(source).wait().error
    assert overrun(error, 512) == "the cell went over its memory limit of 512 MiB"
    assert overrun(error, None) == "GPU memory ran out"
    host = run("def train(p):\n    raise MemoryError\n").wait().error
    assert overrun(host, 512) == "host memory ran out in the cell's process"
    other = run("def train(p):\n    raise ValueError('memory of an elephant')\n").wait().error
    assert overrun(other, 512) == ""
    assert overrun(None, 512) == ""


@pytest.mark.parametrize("delay_s", [0.0, 0.002, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8])
def test_an_interrupt_in_any_phase_leaves_nothing(talk, delay_s):
    """Start, get ready, run, fetch, stop: whatever is under way, all of it goes."""
    main = threading.main_thread().ident
    child = made("def train(p):\n    x = list(range(100))\n", talk, waits=SHORT)
    sent = threading.Event()

    def send():
        sent.wait(delay_s)
        sent.set()
        signal.pthread_kill(main, signal.SIGINT)

    sender = threading.Thread(target=send)
    outcome = None
    try:
        sender.start()
        try:
            child.start()
            child.go()
            child.wait()
            if not sent.is_set() and delay_s < 0.8:
                while True:
                    child.fetch(["x"], {})
        finally:
            outcome = child.stop()
            sent.set()
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        pass
    sender.join()
    if outcome is None:  # it came before there was anything to stop, or in the middle of that
        child.stop()
    assert not child._folder or not Path(child._folder).exists()
    assert child.pid == 0 or not alive(child.pid)
