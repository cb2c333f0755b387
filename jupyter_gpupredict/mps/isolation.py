"""A cell as the function that would be exported, in a child process that is measured from outside.

Here `export`, which slices the cell, meets `mps.child`, which runs the text of a module.
"""

from __future__ import annotations

import ast
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import InvalidOption, TraceError, UnsupportedCell, VerifyRefused
from jupyter_gpupredict.core.files import read_given, read_given_text
from jupyter_gpupredict.core.plain import parse
from jupyter_gpupredict.core.progress import Phase
from jupyter_gpupredict.export.code import MAGIC, up_to_measured
from jupyter_gpupredict.mps.child import Child, Program
from jupyter_gpupredict.mps.directory import Patience
from jupyter_gpupredict.mps.lease import ChildLease, Lease
from jupyter_gpupredict.mps.states import overrun, unreachable
from jupyter_gpupredict.run import progress_hooks, progress_hub
from jupyter_gpupredict.run.options import code_hash as hash_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jupyter_gpupredict.core.protocols import ShareHold
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.export.deployment import CodeRequest
    from jupyter_gpupredict.export.function.slicing import Slice
    from jupyter_gpupredict.mps.states import Ended, Fault, Fetched

PATIENCE_S = 10.0
"""Seconds for an interrupted cell to unwind, before the ladder (gpu.md, rule 9)."""
NOTICED_S = 4.0
"""Seconds for it to notice: a cell in native code that never returns does not."""
LOOK_S = 0.25
PROGRESS = f"{__name__}:Listening"
SM_COUNT = "jupyter_gpupredict.sources.driver.cuda:visible_sm_count"
_CALL = "_isolated"


@dataclass(frozen=True, slots=True)
class Isolated:
    """A cell that is ready to run on its own."""

    program: Program
    value_name: str
    """The name that the cell gives to its function's value; empty: none."""
    shows: bool
    """Whether the cell ends with a value that a notebook would show."""
    notes: tuple[str, ...]


def isolate(code: CodeRequest, returns: tuple[str, ...] = ()) -> Isolated:
    """Return the last of the cells, in the order of execution, as a program of its own.

    Its names in `returns` will be fetched.

    Raises:
        UnsupportedCell: The cell needs what only this kernel has.
        InvalidOption: It never binds a name that is to be returned.
    """
    from jupyter_gpupredict.export.function.module import module_text
    from jupyter_gpupredict.export.function.slicing import slice_cells

    try:
        found = slice_cells(
            code.cells,
            code.params,
            code.setup,
            drop_magics=code.drop_magics,
            mode=code.mode,
            folder=code.folder,
        )
    except UnsupportedCell as error:
        if "--param" not in error.hint:  # nobody calls an isolated cell
            raise
        raise UnsupportedCell(
            error.message,
            "make it in the cell, or mark what makes it `# gpupredict: setup` (--setup TAG)",
        ) from None
    text = module_text(found, "isolated", code.cells[-1].label, measured=True)
    value_name = _value_name(found)
    known = {name for one in found.placed.kept for name in one.names.binds}
    known |= {name for name, _ in found.placed.defaults} | {value_name}
    for name in returns:
        if name not in known or not name:
            raise InvalidOption(f"--return {name}: the cell does not bind it", "a name it assigns")
    call, imports = "_cell(_known(values))", ""
    if found.waits:
        call, imports = f"asyncio.run({call})", "    import asyncio\n\n"
    text += f"\n\ndef {_CALL}(values):\n{imports}    return {call}\n"
    program = Program(text, _CALL, keep_of="_cell", progress=PROGRESS, sm_count=SM_COUNT)
    # of the kernel's own set-up, such as %load_ext, nothing is missed here
    notes = [one for one in (*code.notes, *found.notes) if not one.endswith(" was left out")]
    return Isolated(program, value_name, _shows(found), tuple(notes))


def _value_name(found: Slice) -> str:
    """Return the name that a cell gives to what its only function returns."""
    call = found.entry.call.node if found.entry and found.entry.call else None
    match call:
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return ""


def _shows(found: Slice) -> bool:
    if found.silenced:
        return False
    if found.entry is not None:
        return found.entry.call is not None and isinstance(found.entry.call.node, ast.Expr)
    last = found.placed.body[-1].node if found.placed.body else None
    if not isinstance(last, ast.Expr):
        return False
    # the function answers with `result` where its last expression has no value: not shown
    return not (found.placed.returns_result and isinstance(last.value, ast.Call))


class Listening:
    """What reports progress in the child: the same hints as in a kernel. Made in the child."""

    def __init__(self) -> None:
        self._board = progress_hub()
        self._marks = self._board.join()
        self._hooks = progress_hooks()
        self._problems = self._hooks.join()
        self._due_s = 0.0

    def poll(self) -> list[dict[str, Any]]:
        """Return what is new, as plain data."""
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + 1.0
            self._hooks.poll()
        found = []
        while self._marks:
            mark = self._marks.popleft()
            found.append(
                {"mark": "phase" if isinstance(mark, Phase) else "progress"} | asdict(mark)
            )
        return found


class IsolatedRun:
    """One run of an isolated cell. `start`, `go`, `wait`, perhaps `fetch`, and always `stop`.

    Under the lease it is a client of MPS, or a process like any other. `on_output` takes output and
    the name of its stream, `on_note` what is to be said about the run.
    """

    def __init__(
        self,
        isolated: Isolated,
        lease: Lease,
        *,
        on_output: Callable[[str, str], None],
        on_note: Callable[[str], None],
    ) -> None:
        self._isolated = isolated
        self._lease = lease
        self.share: ShareHold = ChildLease(lease, self)
        """How it stands to MPS, for whoever measures it."""
        self.ended: Ended | None = None
        self._child = Child(
            isolated.program,
            lease.environment(os.environ),
            on_output=on_output,
            on_mark=progress_hub().relay,
            on_note=on_note,
            before_signal=lease.before_signal,
        )
        self.start, self.go, self.stop = self._child.start, self._child.go, self._child.stop
        self.shown, self.raised = self._child.shown, self._child.raised

    @property
    def pid(self) -> int:
        """The child's process id, for whoever measures it."""
        return self._child.pid

    def wait(self) -> Ended | None:
        """Hand on output until the cell has ended. An interrupt is passed on to it, once.

        Returns:
            None when an interrupted cell did not unwind in time, or a second interrupt came.
        """
        patience: Patience | None = None
        notices_until_s = 0.0
        while True:
            try:
                left_s = None if patience is None else min(patience.step_s(), LOOK_S)
                self.ended = self._child.wait(left_s and time.monotonic() + left_s)
            except KeyboardInterrupt:
                if patience is not None:
                    return None
                patience = Patience(PATIENCE_S, "the cell to stop")
                notices_until_s = time.monotonic() + NOTICED_S
                self._child.interrupt()
                continue
            if self.ended is not None or patience is None or patience.over:
                return self.ended
            if not self._child.unwinding and time.monotonic() > notices_until_s:
                return None

    def fetch(self, names: tuple[str, ...], namespace: Mapping[str, Any]) -> dict[str, Fetched]:
        """Bring names back from the cell."""
        own = {name: "" if name == self._isolated.value_name else name for name in names}
        found = self._child.fetch(dict.fromkeys(own.values()), namespace)
        return {name: found[inner] for name, inner in own.items()}

    def fault_note(self, fault: Fault) -> str:
        """Return in words that memory ran out, or MPS was out of reach; empty for all else."""
        if unreachable(fault.message):
            return "CUDA could not reach its MPS server; the kernel's own CUDA is not affected"
        limit_bytes = self._lease.share.memory_limit_bytes
        return overrun(fault, None if limit_bytes is None else limit_bytes >> 20)


# ---- what is verified ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subject:
    """A function that is tried at shares, and the code for which the answer holds."""

    program: Program
    code_hash: str | None
    session_id: str = ""
    device: str | None = None
    """UUID of the device; None: the first visible one."""


def subject(run: Run, code: CodeRequest) -> Subject:
    """Return the measured one of the cells of a run, to be tried again.

    Raises:
        ExportError: None of the cells is the measured one.
        UnsupportedCell: It needs what only its kernel has.
        VerifyRefused: It used several GPUs, or may have.
    """
    if not run.on_one_gpu:
        count = run.gpus if run.gpus > 1 else len(run.started.devices)
        raise _several(f"the run {'used' if run.gpus > 1 else 'may have used'} {count} GPUs")
    isolated = isolate(up_to_measured(code, run.started.code_hash))
    gpu = run.started.share.device if run.started.share.metric != "cpu_util_ratio" else None
    device = None if run.started.simulated else gpu
    return Subject(isolated.program, run.started.code_hash, run.session_id, device)


def subject_of_folder(folder: str | Path, device: str | None = None) -> Subject:
    """Return the function of an exported folder.

    Raises:
        InvalidOption: It holds no function.
        VerifyRefused: It was exported for several GPUs.
    """
    path = Path(folder)
    try:
        text = read_given_text(path / "train_fn.py")
    except (OSError, UnicodeDecodeError, TraceError) as error:
        raise InvalidOption(f"{path} holds no train_fn.py", "export a run with its code") from error
    try:
        found = parse(read_given(path / "gpupredict.json"))
        known, gpus = found["cell"]["sha256"], found.get("export", {}).get("gpus", 1)
    except (OSError, TraceError, ValueError, KeyError, TypeError, AttributeError):
        known, gpus = None, 1  # then the answer holds for nothing but this
    if gpus != 1:
        raise _several(f"{path} was exported for {gpus} GPUs")
    code_hash = known if isinstance(known, str) and known.strip("0") else None
    program = Program(text, progress=PROGRESS, sm_count=SM_COUNT)
    return Subject(program, code_hash, device=device)


def subject_of_notebook(path: str | Path, code: CodeRequest, device: str | None = None) -> Subject:
    """Return the last cell of a notebook that `%%gpupredict` measures.

    Raises:
        InvalidOption: It has none.
        UnsupportedCell: The cell needs what only its kernel has.
    """
    for number in reversed(range(len(code.cells))):
        head, _, body = code.cells[number].source.lstrip().partition("\n")
        if MAGIC.match(head):
            program = isolate(replace(code, cells=code.cells[: number + 1])).program
            return Subject(program, hash_of(body), device=device)
    raise InvalidOption(f"{path} has no cell that begins with %%gpupredict", "mark the cell so")


def _several(why: str) -> VerifyRefused:
    return VerifyRefused(
        f"{why}, and shares are tried on one", "measure it where one is visible: --device UUID"
    )
