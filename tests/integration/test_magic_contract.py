"""Each row of the magic's contract, against a real kernel."""

import json
import time

import pytest

from tests.integration.kernels import Kernel

pytestmark = pytest.mark.integration
MAGIC = "%%gpupredict --source synthetic --scenario steady"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    home = tmp_path_factory.mktemp("kernel")
    with Kernel(JUPYTER_DATA_DIR=str(home / "data"), IPYTHONDIR=str(home / "ipython")) as one:
        yield one


def live(kernel):
    """How many runs the magics hold: none may be left after a cell."""
    code = (
        "len([c for c in get_ipython().configurables "
        "if type(c).__name__ == 'GpuPredictMagics'][0]._runs)"
    )
    return int(kernel.run(code).result)


@pytest.fixture(autouse=True)
def nothing_left(kernel):
    yield
    assert live(kernel) == 0


def test_the_value_reaches_out(kernel):
    reply = kernel.run(f"{MAGIC}\n1 + 41")
    assert (reply.status, reply.result) == ("ok", "42")
    assert kernel.run("_").result == "42"
    assert len(reply.summaries) == 1


def test_the_users_outputs_come_first(kernel):
    reply = kernel.run(f"{MAGIC}\nprint('mine')\n7")
    assert reply.order[-3:] == ["stream", "execute_result", "summary"]


def test_a_semicolon_silences(kernel):
    assert kernel.run(f"{MAGIC}\n5;").result is None


def test_an_error_keeps_status_and_line(kernel):
    reply = kernel.run(f"{MAGIC}\n\n\n1/0")
    assert reply.status == "error"
    assert len(reply.tracebacks) == 1
    assert "----> 4 1/0" in reply.tracebacks[0]
    assert len(reply.summaries) == 1
    assert "failed" in reply.summaries[0]


def test_run_all_stops_at_an_error(kernel):
    client = kernel.client
    first = client.execute(f"{MAGIC}\n1/0")
    second = client.execute("'not run'")
    found = {}
    while len(found) < 2:
        reply = client.get_shell_msg(timeout=20)
        found[reply["parent_header"]["msg_id"]] = reply["content"]["status"]
    assert found[first] == "error"
    assert found[second] in ("aborted", "error")


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("import asyncio\nawait asyncio.sleep(0.01)\n'awaited'", "'awaited'"),
        ("async def f():\n    yield 3\n[x async for x in f()]", "[3]"),
        (
            "import contextlib\n@contextlib.asynccontextmanager\nasync def c():\n    yield 4\n"
            "async with c() as v:\n    pass\nv",
            "4",
        ),
    ],
)
def test_top_level_await(kernel, body, result):
    reply = kernel.run(f"{MAGIC}\n{body}")
    assert (reply.status, reply.result) == ("ok", result)


def test_an_error_after_await(kernel):
    reply = kernel.run(f"{MAGIC}\nimport asyncio\nawait asyncio.sleep(0)\n1/0")
    assert reply.status == "error"
    assert "----> 4 1/0" in reply.tracebacks[0]


def test_an_interrupt(kernel):
    reply = kernel.run(f"{MAGIC}\nimport time\nprint(1)\ntime.sleep(20)", interrupt_after=0.5)
    assert reply.status == "error"
    assert len(reply.tracebacks) == 1
    assert "KeyboardInterrupt" in reply.tracebacks[0]
    assert "interrupted" in reply.summaries[0]


VIEW = """
import threading
import jupyter_gpupredict.frontends.cellrun as cellrun
opened = cellrun._open_view
class View:
    subscribers, live = (), False
    def show(self, session_id):
        raise {error}
cellrun._open_view = lambda shell: View()
"""


@pytest.fixture
def broken_view(kernel):
    yield lambda error: kernel.run(VIEW.format(error=error))
    kernel.run("cellrun._open_view = opened")


def samplers(kernel):
    names = kernel.run("[t.name for t in threading.enumerate()]").result
    return names.count("gpupredict-sampler")


def test_an_interrupt_while_the_view_comes_up_ends_the_run(kernel, broken_view):
    broken_view("KeyboardInterrupt")
    reply = kernel.run(f"{MAGIC}\nran = True")
    assert reply.status == "error"
    assert "KeyboardInterrupt" in reply.tracebacks[0]
    assert "interrupted" in reply.summaries[-1]
    assert kernel.run("'ran' in globals()").result == "False"
    assert samplers(kernel) == 0


def test_a_view_that_cannot_be_shown_costs_the_view_alone(kernel, broken_view):
    broken_view("RuntimeError('no comm')")
    reply = kernel.run(f"{MAGIC}\n42")
    assert (reply.status, reply.result) == ("ok", "42")
    assert "no live view: RuntimeError: no comm" in reply.text("stderr")
    assert "completed" in reply.summaries[-1]
    assert samplers(kernel) == 0


def test_system_exit(kernel):
    reply = kernel.run(f"{MAGIC}\nraise SystemExit(1)")
    assert reply.status == "error"


def test_a_syntax_error_starts_nothing(kernel):
    reply = kernel.run(f"{MAGIC}\nx = = 1")
    assert reply.status == "error"
    assert not reply.summaries


@pytest.mark.parametrize("options", [{"silent": True}, {"store_history": False}])
def test_quiet_requests_leave_nothing(kernel, options):
    assert kernel.run(f"{MAGIC}\n5", **options).status == "ok"


def test_a_nested_cell_does_not_end_the_run(kernel):
    reply = kernel.run(
        f"{MAGIC}\nget_ipython().run_cell('y = 2')\n"
        "len([c for c in get_ipython().configurables "
        "if type(c).__name__ == 'GpuPredictMagics'][0]._runs)"
    )
    assert reply.result == "1"


def test_time_inside_and_outside(kernel):
    inside = kernel.run(f"{MAGIC}\n%%time\nz = 3")
    assert inside.status == "ok"
    assert "Wall time" in inside.text()
    assert len(inside.summaries) == 1
    outside = kernel.run(f"%%time\n{MAGIC}\nz = 4")
    assert outside.status == "ok"
    assert kernel.run("z").result == "4"


@pytest.mark.parametrize(
    "code",
    [
        f"{MAGIC}\n%%time\nx = 1\n1/0",
        f"{MAGIC}\n\n%%time\nx = 1\n1/0",
        f"%%time\n{MAGIC}\nx = 1\n1/0",
        f"{MAGIC}\n%%capture\nx = 1\n1/0",
        f"%%capture\n{MAGIC}\nx = 1\n1/0",
        f"{MAGIC}\n%%capture\n%%time\nx = 1\n1/0",
    ],
)
def test_an_error_beside_another_cell_magic_is_shown_as_without_us(kernel, code):
    plain = kernel.run(code.replace(f"{MAGIC}\n", ""))
    reply = kernel.run(code)
    assert reply.status == plain.status
    ((shown,), (expected,)) = reply.tracebacks, plain.tracebacks
    assert "magic.py" not in shown
    assert [line for line in shown.splitlines() if line.startswith("File ")] in (
        [line for line in expected.splitlines() if line.startswith("File ")],
        ["File <timed exec>:3"],  # our own line counts below %%time
    )
    if not code.startswith("%%capture"):
        assert len(reply.summaries) == 1


def test_a_value_and_a_stop_pass_through_another_cell_magic(kernel, settling):
    assert kernel.run(f"{MAGIC}\n%%time\n6 * 7").result == "42"
    reply = kernel.run(
        f"{settling} --tolerance 20 --until-converged\n"
        "%%time\nimport time\ntime.sleep(40)\nprint('the end of the cell')"
    )
    assert (reply.status, reply.tracebacks) == ("ok", [])
    assert "stopped this cell" in reply.text()
    assert "the end of the cell" not in reply.text()


def test_line_magics_and_shell(kernel):
    reply = kernel.run(f"{MAGIC}\n%time sum(range(10))\n!echo from-the-shell")
    assert reply.status == "ok"
    assert "from-the-shell" in reply.text()


@pytest.mark.parametrize("before", ["\n\n", "   "])
def test_blank_or_indented_beginnings(kernel, before):
    reply = kernel.run(f"{before}{MAGIC}\n{before.strip(chr(10))}2 + 2")
    assert (reply.status, reply.result) == ("ok", "4")


def test_the_line_is_not_expanded(kernel):
    kernel.run("x = 'expanded'")
    reply = kernel.run("%%gpupredict -o {x}\n1")
    assert reply.status == "error"
    assert "{x}" in reply.text()


def test_other_magics_are_not_ours(kernel):
    assert "UsageError" in kernel.run("%%gpupredictX\n1").text()
    plain = kernel.run("'untouched'")
    assert plain.result == "'untouched'"
    assert not plain.summaries


def test_a_bad_option_is_one_line_and_runs_nothing(kernel):
    reply = kernel.run("%%gpupredict --sauce nvml\nprint('ran')")
    assert reply.status == "error"
    assert reply.text().strip().count("\n") == 0
    assert "ran" not in reply.text().replace("unrecognized", "")
    assert not reply.tracebacks


def test_help_runs_nothing(kernel):
    reply = kernel.run("%%gpupredict -h\nprint('the body')")
    assert reply.status == "ok"
    assert "--until-converged" in reply.text()
    assert "the body" not in reply.text()
    asked = kernel.run("%%gpupredict?")
    assert asked.status == "ok"
    assert not asked.summaries
    assert "%%gpupredict" in kernel.run("%lsmagic").result


def test_the_plain_magic_returns_the_value(kernel):
    code = "get_ipython().run_cell_magic('gpupredict', '--source synthetic -q', 'a = 6\\na * 7')"
    assert kernel.run(code).result == "42"
    reply = kernel.run(code.replace("a * 7", "await b()"))
    assert reply.status == "error"
    assert "top-level await" in reply.text()


def test_the_result_is_bound_and_remembered(kernel):
    kernel.run(f"{MAGIC} -o found -q\nimport time\ntime.sleep(0.4)")
    found = json.loads(eval(kernel.run("found.to_json()").result))
    assert found["source"] == "synthetic"
    assert found["simulated"] is True
    assert found["samples"] > 0
    assert kernel.run("import jupyter_gpupredict as g\ng.last() is found").result == "True"
    assert kernel.run("import pickle\nlen(pickle.dumps(found)) < 100_000").result == "True"
    frame = kernel.run("found.to_dataframe().shape[0] == found.run.samples").result
    assert frame == "True"


def test_quiet_shows_nothing(kernel):
    reply = kernel.run(f"{MAGIC} -q\n1;")
    assert reply.order == []


def test_a_config_trait_is_a_default(kernel):
    kernel.run("%config GpuPredictMagics.source = 'synthetic'")
    kernel.run("%%gpupredict -q -o configured\n1;")
    assert kernel.run("configured.source").result == "'synthetic'"
    kernel.run("%config GpuPredictMagics.source = None")


def test_until_converged_stops_the_cell_and_the_reply_is_ok(kernel, settling):
    began = time.monotonic()
    reply = kernel.run(
        f"{settling} --until-converged\nimport time\ntime.sleep(40)\nprint('the end of the cell')"
    )
    assert time.monotonic() - began < 30
    assert reply.status == "ok"
    assert not reply.tracebacks
    assert "stopped this cell" in reply.text()
    assert "the end of the cell" not in reply.text()
    assert kernel.run("1 + 1").result == "2"


def test_until_converged_under_await(kernel, settling):
    began = time.monotonic()
    reply = kernel.run(
        f"{settling} --until-converged\n"
        "import asyncio\nawait asyncio.sleep(40)\nprint('the end of the cell')"
    )
    assert time.monotonic() - began < 30
    assert reply.status == "ok"
    assert not reply.tracebacks
    assert "stopped this cell" in reply.text()
    assert "the end of the cell" not in reply.text()


def test_an_own_error_before_convergence_is_still_shown(kernel):
    reply = kernel.run(f"{MAGIC} --until-converged\nraise KeyError('mine')")
    assert reply.status == "error"
    assert "KeyError" in reply.tracebacks[0]


def test_max_seconds_ends_the_measuring_not_the_cell(kernel):
    reply = kernel.run(f"{MAGIC} --max-seconds 0.5 -o short\nimport time\ntime.sleep(2)\n'end'")
    assert reply.result == "'end'"
    assert float(kernel.run("short.run.share[-1][0]").result) < 1.5


def test_a_source_that_is_not_there_costs_the_measuring_only(kernel):
    reply = kernel.run("%%gpupredict --source nvml\n'ran'")
    assert (reply.status, reply.result) == ("ok", "'ran'")
    assert "unmeasured" in reply.text("stderr")


def test_reload_leaves_one_of_everything(kernel):
    count = (
        "len(get_ipython().input_transformers_cleanup), "
        "len(get_ipython().events.callbacks['post_run_cell'])"
    )
    before = kernel.run(count).result
    for _ in range(10):
        assert kernel.run("%reload_ext jupyter_gpupredict").status == "ok"
    assert kernel.run(count).result == before
    kernel.run("%unload_ext jupyter_gpupredict")
    threads = "[t.name for t in __import__('threading').enumerate() if 'gpupredict' in t.name]"
    assert kernel.run(threads).result == "[]"
    assert kernel.run("%load_ext jupyter_gpupredict").status == "ok"


def test_line_magic_verbs(kernel):
    kernel.run(f"{MAGIC} -q\nimport time\ntime.sleep(0.3)")
    for verb in ("status", "history", "doctor", "close", ""):
        assert kernel.run(f"%gpupredict {verb}").status == "ok", verb
    assert kernel.run("%gpupredict show").status == "ok"
    wrong = kernel.run("%gpupredict sohw")
    assert wrong.status == "error"
    assert not wrong.tracebacks


def test_a_fork_while_measuring_harms_neither(kernel):
    reply = kernel.run(
        f"{MAGIC} -o forked\nimport os, time\ntime.sleep(0.3)\npid = os.fork()\n"
        "if pid == 0:\n    os._exit(0)\nos.waitpid(pid, 0)[1]"
    )
    assert (reply.status, reply.result) == ("ok", "0")
    assert kernel.run("forked.run.outcome").result == "'completed'"
