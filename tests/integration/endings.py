"""Runs cells that end in every way, in this very process; prints as JSON what each has left.

A script, not a test: some of the cells close the streams, take builtins away or stop the clock.
What they break is mended after each, and a measured cell must then go as if nothing had been.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import faulthandler
import gc
import io
import json
import os
import resource
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

MAGIC = "%%gpupredict --source synthetic --scenario steady -o res"
TEXT = (Path(__file__).parents[1] / "data" / "endings.txt").read_text(encoding="utf-8")
CELLS = {
    name: cell.strip("\n")
    for name, _, cell in (part.partition("\n") for part in TEXT.removeprefix("## ").split("\n## "))
}
"""What is done -> the cell that does it."""
NEVER = """
class Never:
    def __await__(self):
        yield
await Never()
"""
INNER = f"{MAGIC.replace('res', 'inner')}\n3"
WORDLESS = f"{MAGIC.replace('res', 'inner')}\n{CELLS['an exception without words']}"


def pending(shell):
    """Leave a measured cell in the middle, as a loop that is closed does."""
    cell = f"{MAGIC}\n{NEVER}"
    coroutine = shell.run_cell_async(
        cell, store_history=True, transformed_cell=shell.transform_cell(cell)
    )
    coroutine.send(None)
    return coroutine


async def side_by_side(shell):
    """Run a plain cell while a measured one awaits; returns how many runs there are meanwhile."""

    def cell(text):
        return asyncio.create_task(
            shell.run_cell_async(
                text, store_history=True, transformed_cell=shell.transform_cell(text)
            )
        )

    shell.user_ns["go"] = asyncio.Event()
    measured = cell(f"{MAGIC}\nawait go.wait()")
    while not magics(shell)._runs:
        await asyncio.sleep(0)
    plain = await cell("1")
    shell.events.trigger("post_execute")
    shell.events.trigger("post_run_cell", plain)
    meanwhile = len(magics(shell)._runs)
    shell.user_ns["go"].set()
    result = await measured
    shell.events.trigger("post_execute")
    shell.events.trigger("post_run_cell", result)
    return meanwhile


def magics(shell):
    found = [one for one in shell.configurables if type(one).__name__ == "GpuPredictMagics"]
    return found[0] if found else None


def samplers():
    return sum(thread.name == "gpupredict-sampler" for thread in threading.enumerate())


class Mended:
    """Everything that the cells break, as it was."""

    def __init__(self, shell):
        self.shell = shell
        self.builtins = dict(vars(builtins))
        self.time = dict(vars(time))
        self.folder = Path.cwd()
        self.files = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.callbacks = list(gc.callbacks)
        self.remember()

    def remember(self):
        self.magics = magics(self.shell)
        self.hooks = {name: list(hooks) for name, hooks in self.shell.events.callbacks.items()}

    def mend(self):
        sys.settrace(None)
        vars(builtins).update(self.builtins)
        vars(time).update(self.time)
        gc.callbacks[:] = self.callbacks
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        resource.setrlimit(resource.RLIMIT_NOFILE, self.files)
        os.chdir(self.folder)
        faulthandler.cancel_dump_traceback_later()
        warnings.resetwarnings()
        self.shell.__dict__.pop("showtraceback", None)
        self.shell.set_custom_exc((), None)
        stay = self.shell.user_ns.pop("stay", None)
        if stay is not None:
            stay.set()

    def hook_again(self):
        if magics(self.shell) is not self.magics:
            self.remember()  # unloaded, and perhaps loaded again
        for name, hooks in self.hooks.items():
            self.shell.events.callbacks[name][:] = hooks


def run(shell, mended, cell):
    """Run one cell; returns what it left."""
    me = os.getpid()
    shell.user_ns.pop("res", None)
    shell.user_ns |= {"INNER": INNER, "WORDLESS": WORDLESS}
    escaped = ""
    try:
        shell.run_cell(f"{MAGIC}\n{cell}", store_history=True)
    except BaseException as error:  # noqa: BLE001 - what IPython does not catch is reported
        escaped = type(error).__name__
    if os.getpid() != me:  # a fork of the cell: it has measured nothing and shown nothing
        os._exit(int("res" in shell.user_ns))
    return after(shell, mended, escaped)


def after(shell, mended, escaped=""):
    mended.mend()
    found = {"escaped": escaped, "bound": "res" in shell.user_ns}
    pid = shell.user_ns.pop("pid", None)
    if pid:
        with contextlib.suppress(ChildProcessError):  # the cell has waited for it
            found["child"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    loaded = magics(shell)
    found["runs"] = 0 if loaded is None else len(loaded._runs)
    return found


def then(shell, mended, found):
    """Add what a plain cell, and a measured one, find after it; then nothing of it is left."""
    if magics(shell) is None:
        shell.run_line_magic("load_ext", "jupyter_gpupredict")
    mended.hook_again()
    shell.run_cell("0", store_history=True)
    found["runs_next"] = len(magics(shell)._runs)
    ended = shell.user_ns.pop("res", None)
    found["outcome"] = ended and ended.run.outcome
    found["errors"] = ended and ended.run.errors
    result = shell.run_cell(f"{MAGIC.replace('res', 'again')}\n42", store_history=True)
    again = shell.user_ns.pop("again", None)
    found["again"] = (result.success, again is not None and again.run.outcome, samplers())
    return found


def main():
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "jupyter_gpupredict")
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    mended = Mended(shell)
    mended.mend()
    told = {}
    shell.run_cell(f"{MAGIC}\n0", store_history=True)  # imports what measuring needs
    for name, cell in CELLS.items():
        told[name] = then(shell, mended, run(shell, mended, cell))
    coroutine = pending(shell)
    told["a coroutine that is kept"] = then(shell, mended, after(shell, mended))
    with contextlib.suppress(BaseException):
        coroutine.close()
    coroutine = pending(shell)
    with contextlib.suppress(BaseException):
        coroutine.close()
    told["a coroutine that is closed"] = then(shell, mended, after(shell, mended))
    meanwhile = asyncio.run(side_by_side(shell))
    told["side by side"] = then(shell, mended, after(shell, mended))
    told["side by side"]["meanwhile"] = meanwhile
    with out:
        json.dump(told, out)


if __name__ == "__main__":
    os.environ |= {"JUPYTER_DATA_DIR": sys.argv[1], "IPYTHONDIR": sys.argv[1]}
    main()
