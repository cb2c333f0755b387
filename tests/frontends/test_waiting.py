"""A session store that does not answer costs a verb some seconds, and one line."""

import subprocess
import sys
import threading

import pytest

from jupyter_gpupredict.core import files
from jupyter_gpupredict.frontends import terminal
from jupyter_gpupredict.frontends.cli import main
from jupyter_gpupredict.frontends.measure import measure
from jupyter_gpupredict.run import SessionConfig, build_session, shutdown, store, store_dir


@pytest.fixture
def runs():
    """Return the files of two stored runs, the older one first."""
    for _ in range(2):
        run = build_session(SessionConfig(source="synthetic"))
        run.start()
        run.stop("completed")
    shutdown()
    return sorted(store_dir().glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture
def patience(monkeypatch):
    monkeypatch.setattr(terminal, "SHOW_S", 0.1)
    monkeypatch.setattr(terminal, "GIVE_UP_S", 0.5)
    monkeypatch.setattr(terminal, "NEXT_S", 0.1)


@pytest.mark.parametrize(
    "words",
    [
        ["history"],
        ["show", "last"],
        ["stop"],
        ["export", "last", "--name", "x", "-o", "y"],
    ],
)
def test_a_store_that_does_not_answer_is_one_line_and_no_success(
    runs, hold, patience, capsys, words
):
    hold(store_dir())
    assert main(words) == 2
    said = capsys.readouterr()
    first, last = said.err.strip().splitlines()
    assert first == f"waiting for the session store: {store_dir()}"
    assert "does not answer" in last
    assert "is the disk or the network mount stuck?" in last
    assert said.out == ""


def test_a_run_that_does_not_answer_costs_itself_alone(runs, hold, patience, capsys):
    stuck, good = runs
    hold(stuck)
    assert main(["history"]) == 0
    listed = capsys.readouterr().out
    assert good.stem[-4:] in listed
    assert "does not answer" in listed
    assert main(["show", stuck.stem]) == 2
    assert main(["show", good.stem]) == 0


def test_many_runs_that_do_not_answer_are_a_store_that_does_not(runs, hold, patience, monkeypatch):
    monkeypatch.setattr(terminal, "MOST_STUCK", 2)
    hold(*runs)
    assert main(["history"]) == 2


def test_a_mark_that_cannot_be_left_is_told(runs, hold, patience, monkeypatch, capsys):
    free, touch = threading.Event(), type(runs[0]).touch

    def held(path, **options):
        assert free.wait(30.0)
        touch(path, **options)

    monkeypatch.setattr(type(runs[0]), "touch", held)
    assert main(["stop", runs[0].stem]) == 2
    assert "does not answer" in capsys.readouterr().err
    free.set()


def test_doctor_tells_of_it_among_the_rest(hold, patience, capsys):
    hold(store_dir())
    main(["doctor"])
    line = next(line for line in capsys.readouterr().out.splitlines() if "session store" in line)
    assert "does not answer" in line


def test_a_store_that_takes_long_and_answers_is_waited_for(patience):
    done = threading.Event()
    threading.Timer(1.0, done.set).start()
    assert terminal.from_store(done.wait, 30.0)
    with pytest.raises(ZeroDivisionError):
        terminal.from_store(lambda: 1 / 0)


def test_the_command_ends_though_its_thread_does_not(runs):
    script = (
        "import sys\n"
        "from jupyter_gpupredict.frontends import cli, terminal\n"
        "from jupyter_gpupredict.run import store_dir\n"
        "from jupyter_gpupredict.core import files\n"
        "from tests.held import Held\n"
        "files.DISK = Held(store_dir())\n"
        "terminal.GIVE_UP_S = 0.2\n"
        "sys.exit(cli.main(['history']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=25.0, check=False
    )  # the disk is held for 30 s
    assert (done.returncode, done.stdout) == (2, "")
    assert "does not answer" in done.stderr


def test_the_end_of_a_cell_does_not_wait_for_it(hold, monkeypatch):
    monkeypatch.setattr(store, "STORE_S", 0.2)
    with measure(source="synthetic", quiet=True) as run:
        monkeypatch.setattr(store, "_verified", lambda _: files.names_in(store_dir()))
        hold(store_dir())
    assert run.result is not None
    shutdown()
