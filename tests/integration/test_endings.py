"""However a cell ends, its run ends with it or at the next cell, and leaves nothing behind."""

import json
import subprocess
import sys

import pytest

from tests.integration.endings import CELLS

pytestmark = pytest.mark.integration
FAILS = """an error; an exception without words; a base exception without words; an exception whose
words are a number; a chain of exceptions without words; an exception group; sys.exit; SystemExit
without words; GeneratorExit; StopIteration; recursion; MemoryError; no memory left; a timer that
raises; await that is cancelled; a loop that is stopped; a trace function that fails; warnings as
errors; no showing of errors; a handler that fails"""
OUTCOMES = {
    **dict.fromkeys((" ".join(name.split()) for name in FAILS.split(";")), "failed"),
    "KeyboardInterrupt": "interrupted",
    "SIGINT": "interrupted",
    "unload": "stopped",
    "unload and load": "stopped",
    "an error of syntax": None,  # it has not begun
    "no builtins": None,  # nothing of ours works without them
}
UNSEEN = {"no hooks", "only the last hook is gone", "a coroutine that is kept",
          "a coroutine that is closed"}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    home = str(tmp_path_factory.mktemp("endings"))
    command = [sys.executable, "-m", "tests.integration.endings", home]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [*CELLS, *sorted(UNSEEN - {*CELLS}), "side by side"])
def test_nothing_is_left(told, name):
    found = told[name]
    unseen = name in UNSEEN
    assert found["outcome"] == OUTCOMES.get(name, "stopped" if unseen else "completed")
    assert found["bound"] is (found["outcome"] is not None and not unseen)
    assert (found["runs"], found["runs_next"]) == (int(unseen), 0)
    assert found["again"] == [True, "completed", 0]
    assert found["escaped"] == ("NameError" if name == "no builtins" else "")
    assert found.get("child", 0) == 0  # a fork binds no result


def test_what_the_cell_has_used_up_is_told(told):
    assert "Too many open files" in told["no descriptor left"]["errors"][0]
    assert [name for name, found in told.items() if found["errors"]] == ["no descriptor left"]


def test_a_cell_that_awaits_is_not_gone(told):
    assert told["side by side"]["meanwhile"] == 1
