"""`%%gpupredict --isolate` in a real kernel: all as in the notebook, in another process."""

import json
import os
import queue
import random
import time

import psutil
import pytest

from tests.integration.kernels import Kernel

pytestmark = pytest.mark.integration
MAGIC = "%%gpupredict --isolate --source cpu --interval 0.1"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    home = tmp_path_factory.mktemp("kernel")
    with Kernel(JUPYTER_DATA_DIR=str(home / "data"), IPYTHONDIR=str(home / "ipython")) as one:
        yield one


@pytest.fixture(autouse=True)
def nothing_left(kernel):
    yield
    assert kernel.run("import os, threading").status == "ok"
    deadline = time.monotonic() + 5.0
    pid = int(kernel.run("os.getpid()").result)
    while psutil.Process(pid).children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert psutil.Process(pid).children() == []
    names = kernel.run("sorted(t.name for t in threading.enumerate())").result
    assert "gpupredict-child" not in names


def test_output_and_value_are_the_cells_and_the_process_is_another(kernel):
    kernel.run("import math, os\nscale = 3\ndef times(x):\n    return x * scale")
    reply = kernel.run(
        f"{MAGIC}\nimport os, sys\nprint('out')\nprint('err', file=sys.stderr)\n"
        "print(os.getpid())\ntimes(math.floor(2.5))"
    )
    assert (reply.status, reply.result) == ("ok", "6")
    assert reply.text("stdout").splitlines()[0] == "out"
    assert "err\n" in reply.text("stderr")
    assert int(reply.text("stdout").splitlines()[1]) != int(kernel.run("os.getpid()").result)
    assert "without MPS" in reply.summaries[-1]
    assert kernel.run("'sys' in globals()").result == "False"


def test_names_come_back_when_they_are_asked_for(kernel):
    kernel.run("class Net:\n    def __init__(self, n):\n        self.n = n")
    reply = kernel.run(
        f"{MAGIC} --return net --return losses\nnet = Net(4)\nlosses = [1.0, 0.5]\nx = 1"
    )
    assert reply.status == "ok"
    assert kernel.run("(type(net) is Net, net.n, losses, 'x' in dir())").result == (
        "(True, 4, [1.0, 0.5], False)"
    )


def test_the_value_of_an_only_function_comes_back_under_its_name(kernel):
    reply = kernel.run(
        f"{MAGIC} --return history\ndef fit(n=2):\n    return [n] * n\nhistory = fit(3)"
    )
    assert reply.status == "ok", reply.tracebacks
    assert kernel.run("history").result == "[3, 3, 3]"


def test_an_object_that_an_only_function_returns_comes_back_under_its_name(kernel):
    reply = kernel.run(
        f"{MAGIC} --return model\nimport fractions\ndef fit():\n"
        "    return fractions.Fraction(1, 3)\nmodel = fit()"
    )
    assert reply.status == "ok"
    notes = reply.text("stderr").splitlines()  # of the earlier cells of this kernel
    assert all("left out" in note or "runs again" in note for note in notes)
    assert kernel.run("model").result == "Fraction(1, 3)"


def test_what_an_only_function_returns_and_cannot_come_back_is_said_with_the_reason(kernel):
    reply = kernel.run(
        f"{MAGIC} --return key\nimport threading\ndef fit():\n    return threading.Lock()\n"
        "key = fit()"
    )
    assert reply.status == "ok"
    assert "key was not brought back: cannot be pickled" in reply.text("stderr")


def test_what_cannot_come_back_is_said_in_one_line(kernel):
    reply = kernel.run(f"{MAGIC} --return lock\nimport threading\nlock = threading.Lock()")
    assert reply.status == "ok"
    assert "lock was not brought back: cannot be pickled" in reply.text("stderr")


def test_a_large_value_is_shown_and_stays_where_it_is(kernel):
    reply = kernel.run(f"{MAGIC}\nobject()")
    assert reply.result.startswith("<object object at")


def test_an_error_is_the_cells_own(kernel):
    reply = kernel.run(f"{MAGIC}\ndef deeper(x):\n    return 1 / x\nvalue = deeper(0)\nprint('no')")
    assert reply.status == "error"
    assert reply.of("error")[0]["ename"] == "ZeroDivisionError"
    assert reply.of("error")[0]["evalue"] == "division by zero"
    assert "return 1 / x" in reply.tracebacks[0]
    assert "isolated.py" not in reply.tracebacks[0]
    assert "failed" in reply.summaries[-1]


def test_an_error_of_a_class_of_the_cell_keeps_its_name(kernel):
    reply = kernel.run(f"{MAGIC}\nclass Odd(Exception):\n    pass\nraise Odd('why')")
    assert reply.of("error")[0]["ename"] == "Odd"
    assert reply.of("error")[0]["evalue"] == "why"


def test_an_error_that_is_one_of_ours_is_still_the_cells(kernel):
    reply = kernel.run(
        f"{MAGIC}\nimport importlib\n"
        "e = importlib.import_module('jupyter_gpupredict.core.errors')\n"
        "raise e.InvalidOption('mine', 'hint')"
    )
    assert reply.of("error")[0]["ename"] == "InvalidOption"
    assert reply.of("error")[0]["evalue"] == "mine (hint)"


def test_run_all_stops_at_an_error(kernel):
    client = kernel.client
    first = client.execute(f"{MAGIC}\n1/0")
    second = client.execute("'not run'")
    found = {}
    while len(found) < 2:
        reply = client.get_shell_msg(timeout=30)
        found[reply["parent_header"]["msg_id"]] = reply["content"]["status"]
    assert (found[first], found[second]) == ("error", "aborted")


@pytest.mark.parametrize("waiting", ["time.sleep(60)", "while True: pass"])
def test_an_interrupt_is_an_interrupt(kernel, waiting):
    began = time.monotonic()
    reply = kernel.run(
        f"{MAGIC} --return n\nimport time\nn = 5\ntry:\n    print('here')\n    {waiting}\n"
        "finally:\n    print('unwound')",
        interrupt_after=0.2,
    )
    assert reply.status == "error"
    assert reply.of("error")[0]["ename"] == "KeyboardInterrupt"
    assert reply.text("stdout") == "here\nunwound\n"
    assert "interrupted" in reply.summaries[-1]
    assert kernel.run("n").result == "5"
    assert time.monotonic() - began < 15.0


def test_interrupts_while_the_process_starts_end_it(kernel):
    """One of these comes at an early moment; one before the cell has begun means nothing."""
    message = kernel.client.execute(f"{MAGIC}\nimport time\ntime.sleep(60)")
    deadline = time.monotonic() + 40.0
    while time.monotonic() < deadline:
        kernel.manager.interrupt_kernel()
        try:
            reply = kernel.client.get_shell_msg(timeout=0.15)
        except queue.Empty:
            continue
        if reply["parent_header"].get("msg_id") == message:
            break
    assert reply["content"]["status"] == "error"
    assert reply["content"]["ename"] == "KeyboardInterrupt"


def test_a_second_interrupt_does_not_wait_for_a_cell_that_holds_on(kernel):
    code = (
        f"{MAGIC}\nimport time\nprint('here')\nwhile True:\n    try:\n        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n        print('no')"
    )
    message = kernel.client.execute(code)
    began = time.monotonic()
    for _ in range(4):
        time.sleep(2.0)
        kernel.manager.interrupt_kernel()
    while True:
        reply = kernel.client.get_shell_msg(timeout=40)
        if reply["parent_header"].get("msg_id") == message:
            break
    assert reply["content"]["status"] == "error"
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert time.monotonic() - began < 25.0


def test_a_killed_process_is_an_error_and_the_kernel_lives(kernel):
    reply = kernel.run(f"{MAGIC}\nimport os\nos.kill(os.getpid(), 9)")
    assert reply.status == "error"
    assert reply.of("error")[0]["ename"] == "ProcessDied"
    assert "SIGKILL" in reply.of("error")[0]["evalue"]
    assert kernel.run("1").result == "1"


def test_megabytes_of_output_arrive(kernel):
    reply = kernel.run(f"{MAGIC} -q\nfor n in range(3000):\n    print('x' * 1000)")
    assert reply.status == "ok"
    assert reply.text("stdout").count("x") == 3_000_000


def test_an_awaiting_cell_runs(kernel):
    reply = kernel.run(f"{MAGIC}\nimport asyncio\nawait asyncio.sleep(0.01)\n'awaited'")
    assert (reply.status, reply.result) == ("ok", "'awaited'")


def test_the_childs_use_is_measured_and_not_the_kernels(kernel):
    """The kernel holds 300 MiB; the cell burns one CPU."""
    kernel.run("ballast = bytearray(300 << 20)")
    reply = kernel.run(
        f"{MAGIC} -o run -q\nimport time\nend = time.monotonic() + 2.0\n"
        "while time.monotonic() < end:\n    pass"
    )
    assert reply.status == "ok"
    found = json.loads(kernel.run("print(run.to_json())").text())
    cpus = len(os.sched_getaffinity(0))
    assert 0.1 / cpus < found["mean_ratio"] <= 1.0  # other work may hold the CPU
    assert found["memory_peak_bytes"] < 200 << 20
    kernel.run("del ballast")


def test_progress_of_the_cell_reaches_the_run(kernel):
    kernel.run("from jupyter_gpupredict import track")
    reply = kernel.run(
        f"{MAGIC} -o run -q\nimport time\nfor epoch in track(range(4)):\n    time.sleep(0.3)"
    )
    assert reply.status == "ok", reply.tracebacks
    shown = kernel.run("(run.run.progress.done, run.run.progress.total, run.run.progress.hint)")
    assert shown.result == "(4.0, 4.0, 'api')"


def test_a_converged_cell_is_stopped_and_its_names_come_back(kernel, settling):
    reply = kernel.run(
        f"{settling} --isolate --until-converged --return n\nn = 0\nwhile True:\n    n += 1",
        limit=90.0,
    )
    assert reply.status == "ok", reply.tracebacks
    assert "gpupredict stopped this cell" in reply.text("stdout")
    assert int(kernel.run("n").result) > 0


def test_what_only_the_kernel_has_is_made_again_by_setup(kernel):
    kernel.run("import random\ndice = random.Random(3)")
    replayed = kernel.run(f"{MAGIC}\ndice.random()")
    assert replayed.status == "ok", replayed.text("stderr")
    assert float(replayed.result) == random.Random(3).random()
    assert "runs again before the cell" in replayed.text("stderr")
    number = int(kernel.run("len(get_ipython().history_manager.input_hist_raw) - 1").result)
    reply = kernel.run(f"{MAGIC} --setup {number - 2}\ndice.random()")
    assert reply.status == "ok", reply.text("stderr")
    assert float(reply.result) == random.Random(3).random()


@pytest.mark.parametrize(
    ("options", "body", "words"),
    [
        ("--return 1x", "x = 1", "not a Python name"),
        ("--return y", "x = 1", "--return y: the cell does not bind it"),
        ("--mps-percentage 50", "x = 1", "--mps-percentage cannot be applied"),
        ("--memory-limit 512", "x = 1", "--memory-limit cannot be applied"),
        ("--mps-percentage 0", "x = 1", "out of range"),
        ("--cluster auto", "x = 1", "(leave one of them out)"),
        ("--cluster auto --memory-limit 512", "x = 1", "--isolate measures one process"),
        ("", "print(undefined_name)", "no executed cell defines undefined_name"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_runs_nothing(kernel, options, body, words):
    reply = kernel.run(f"{MAGIC} {options}\n{body}\nprint('ran')")
    assert reply.status == "error"
    assert reply.of("error") == []
    *notes, line = reply.text("stderr").strip().splitlines()
    assert all("left out" in note or "runs again" in note for note in notes)
    assert words in line
    assert "ran\n" not in reply.text("stdout")


def test_the_options_need_the_isolation(kernel):
    reply = kernel.run("%%gpupredict --return x\nx = 1")
    assert reply.status == "error"
    assert "--return needs --isolate" in reply.text("stderr")


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_cell_is_the_same_code_in_its_own_process(kernel, end):
    """So what was measured in one way is the earlier run, and the verified share, of the other."""
    code = f"x = 1\nx{end}"
    kernel.run(f"{MAGIC} -o apart\n{code}")
    kernel.run(f"{MAGIC.replace(' --isolate', '')} -o here\n{code}")
    reply = kernel.run("[one.run.started.code_hash for one in (apart, here)]")
    apart, here = eval(reply.result)
    assert apart == here
