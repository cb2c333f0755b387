"""A share tried out: the function run again under it and without it, in turn."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.clock import SystemClock
from jupyter_gpupredict.core.errors import InvalidOption, TraceError, VerifyRefused
from jupyter_gpupredict.core.files import read_given, read_given_text
from jupyter_gpupredict.core.jsontext import parse
from jupyter_gpupredict.core.verified import Verified
from jupyter_gpupredict.export.code import MAGIC, up_to_measured
from jupyter_gpupredict.mps.isolation import isolate, program_of_folder
from jupyter_gpupredict.mps.lease import Host, hosted
from jupyter_gpupredict.predict import paired
from jupyter_gpupredict.run.options import code_hash as hash_of
from jupyter_gpupredict.run.stored import build_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jupyter_gpupredict.core.cells import CodeRequest
    from jupyter_gpupredict.core.ending import Fault
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.core.verified import Method, Unit
    from jupyter_gpupredict.mps.child import Program
    from jupyter_gpupredict.mps.trials import Bound, Trial

PAIRS = 4


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tried, and for whom the answer holds."""

    program: Program
    code_hash: str | None
    session_id: str = ""
    device: str | None = None
    """UUID of the device; None: the first visible one."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What the runs said, of one share or of several."""

    record: Verified | None
    """What is kept of it; None: no share kept the speed in a sweep."""
    ratios: Mapping[int, float]
    """Percentage -> speed as a part of the uncapped one; 100 is among them."""
    trials: tuple[Trial, ...]
    unit: Unit
    knee: paired.Knee | None = None
    """Of a sweep."""
    stored: str = ""
    """Why it was not stored; empty when it was."""


def verify(
    subject: Subject,
    percent: int,
    bound: Bound,
    pairs: int = PAIRS,
    *,
    on_trial: Callable[[Trial], None] = lambda _: None,
    host: Host | None = None,
) -> Verification:
    """Run a function at a share and without one, in pairs, and say how much speed it keeps.

    Args:
        subject: The function.
        percent: The share, 1..99.
        bound: How far each run goes.
        pairs: How many pairs, at least two.
        on_trial: Told of each run.
        host: Where MPS is; None: what is here.

    Raises:
        InvalidOption: A value is out of range.
        MpsError: There is no MPS.
        VerifyRefused: Its speed cannot be told, or it failed.
        KeyboardInterrupt: Nothing is stored.
    """
    if not 1 <= percent <= 99:
        raise InvalidOption(f"--at {percent} is out of range", "1 to 99: 100 is not capped")
    if not 2 <= pairs <= 100:
        raise InvalidOption(f"--pairs {pairs} is out of range", "2 to 100: one has no interval")
    with hosted(subject.device, host) as host:
        trials, unit = _run_all(subject, (100, percent), pairs, bound, host, on_trial)
        speeds = _speeds(trials, unit)
        found = paired.compare(speeds[percent], speeds[100])
        record = _record(
            subject,
            host,
            percent=percent,
            kept=found.low >= paired.KEPT,
            ratios=(found.value, found.low, found.high),
            method="verify",
            rounds=pairs,
            unit=unit,
            trials=trials,
        )
    ratios = {100: 1.0, percent: found.value}
    return Verification(record, ratios, tuple(trials), unit, stored=_store(record))


def sweep(
    subject: Subject,
    shares: Sequence[int],
    bound: Bound,
    *,
    on_trial: Callable[[Trial], None] = lambda _: None,
    host: Host | None = None,
) -> Verification:
    """Run a function at several shares, down and up again, and find where it begins to lose speed.

    The largest share that did not keep the speed is stored, too: it takes back what was kept.

    Args:
        subject: The function.
        shares: Percentages; 100 is added.
        bound: How far each run goes.
        on_trial: Told of each run.
        host: Where MPS is; None: what is here.

    Raises:
        InvalidOption, MpsError, VerifyRefused, KeyboardInterrupt: As `verify`.
    """
    if not shares or not all(1 <= one <= 100 for one in shares):
        raise InvalidOption(f"--at {','.join(map(str, shares))}", "percentages, 1 to 100")
    chosen = tuple(sorted({100, *shares}, reverse=True))
    if len(chosen) < 2:
        raise InvalidOption("--at 100 compares nothing", "--at 70,50,35")
    with hosted(subject.device, host) as host:
        trials, unit = _run_all(subject, chosen, 2, bound, host, on_trial)
        speeds = _speeds(trials, unit)
        means = {p: math.exp(sum(map(math.log, of)) / len(of)) for p, of in speeds.items()}
        ratios = {p: mean / means[100] for p, mean in means.items()}
        knee = paired.knee(ratios)

        def found(percent: int, *, kept: bool) -> Verified:
            passes = [a / b for a, b in zip(speeds[percent], speeds[100], strict=True)]
            return _record(
                subject,
                host,
                percent=percent,
                kept=kept,
                ratios=(ratios[percent], min(passes), max(passes)),
                method="sweep",
                rounds=2,
                unit=unit,
                trials=trials,
            )

        failed = max((p for p, ratio in ratios.items() if ratio < paired.KEPT), default=None)
        records = [] if failed is None else [found(failed, kept=False)]
        record = None
        if knee.measured is not None and knee.measured < 100:
            record = found(knee.measured, kept=True)
            records.append(record)
    stored = _store(*records)
    return Verification(record, ratios, tuple(trials), unit, knee, stored)


def subject(run: Run, code: CodeRequest) -> Subject:
    """Return the code of a run, to be tried again.

    Args:
        run: What measured it.
        code: The cells, the measured one among them.

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
        InvalidOption: It is no such folder, or has no code.
        VerifyRefused: It was exported for several GPUs.
    """
    path = Path(folder)
    try:
        text = read_given_text(path / "train_fn.py")
    except (OSError, UnicodeDecodeError, TraceError) as error:
        raise InvalidOption(f"{path} holds no train_fn.py", "export a run with its code") from error
    try:
        found = parse(read_given(path / "gpupredict.json"))
        told = found["cell"]["sha256"]
        gpus = found.get("export", {}).get("gpus", 1)
    except (OSError, TraceError, ValueError, KeyError, TypeError, AttributeError):
        told, gpus = None, 1  # then the answer holds for nothing but this
    if gpus != 1:
        raise _several(f"{path} was exported for {gpus} GPUs")
    known = told if isinstance(told, str) and told.strip("0") else None
    return Subject(program_of_folder(text), known, device=device)


def subject_of_notebook(path: str | Path, code: CodeRequest, device: str | None = None) -> Subject:
    """Return the last cell of a notebook that `%%gpupredict` measures.

    Raises:
        InvalidOption: It has none.
        UnsupportedCell: The cell needs what only its kernel has.
    """
    for number in reversed(range(len(code.cells))):
        head, _, body = code.cells[number].source.lstrip().partition("\n")
        if MAGIC.match(head):
            cells = code.cells[: number + 1]
            program = isolate(replace(code, cells=cells)).program
            return Subject(program, hash_of(body), device=device)
    raise InvalidOption(f"{path} has no cell that begins with %%gpupredict", "mark the cell so")


def bound(steps: int | None = None, seconds: float | None = None) -> Bound:
    """Return how far each run goes.

    Raises:
        InvalidOption: A value is out of range.
    """
    from jupyter_gpupredict.mps.trials import Bound

    return Bound(steps, seconds)


def sweep_shares() -> tuple[int, ...]:
    """Return the percentages that a sweep tries when none are named."""
    from jupyter_gpupredict.mps.trials import SHARES

    return SHARES


def _run_all(
    subject: Subject,
    shares: Sequence[int],
    rounds: int,
    limit: Bound,
    host: Host,
    on_trial: Callable[[Trial], None],
) -> tuple[list[Trial], Unit]:
    """Run every share once a round; every other round goes backwards."""
    from jupyter_gpupredict.mps.trials import common_unit, orders

    trials: list[Trial] = []
    for order in orders(shares, rounds):
        for percent in order:
            trial = _run(subject, percent, limit, host)
            if trial.fault is not None:
                raise VerifyRefused(_failed(trial.fault, percent), "nothing was verified")
            _refuse_unproven(trial, host)
            if common_unit([trial]) is None:
                raise VerifyRefused(
                    f"at {percent} % the function told of no steps, and did not finish in "
                    f"{limit.patience_s:g} s: its speed is not known",
                    "mark its loop with track(), or give it longer: --seconds",
                )
            trials.append(trial)
            on_trial(trial)
    for percent in shares:
        counts = sorted({one.sm_count or 0 for one in trials if one.percent == percent})
        if len(counts) > 1:
            raise VerifyRefused(
                f"at {percent} % the runs were given {' and '.join(map(str, counts))} SMs",
                "something changed the limits in between; try again",
            )
    unit = common_unit(trials)
    if unit is None:
        raise VerifyRefused(
            "some runs finished and others told of steps only: they cannot be compared",
            "give each the same work: --steps, or a longer --seconds",
        )
    return trials, unit


def _run(subject: Subject, percent: int, limit: Bound, host: Host) -> Trial:
    from jupyter_gpupredict.mps.child import Child
    from jupyter_gpupredict.mps.trials import Count, run

    lease = host.lease(percent, None)  # 100 too: else a cap of the kernel's is inherited
    environ = lease.environment(os.environ)
    if host.device_uuid:
        environ["CUDA_VISIBLE_DEVICES"] = host.device_uuid  # also at a daemon that was joined
    count = Count(limit)
    child = Child(
        subject.program,
        environ,
        on_output=lambda _stream, _text: None,
        on_mark=count.take,
        before_signal=lease.before_signal,
    )
    return run(child, count, limit, percent, lease.attached)


def _refuse_unproven(trial: Trial, host: Host) -> None:
    """A process that does not reach its daemon runs on without a cap, and without a word.

    So the SMs that CUDA gave decide: all of them without a cap, and fewer under one.
    """
    given, whole, at = trial.sm_count, host.device_sm_count, f"at {trial.percent} %"
    if trial.attached is False:
        raise VerifyRefused(
            f"{at} the function's process was not seen as a client of MPS: its share may not have "
            "been applied",
            "it has to start CUDA itself, in that process; %gpupredict mps status tells of the "
            "daemon",
        )
    if given is None:
        raise VerifyRefused(
            f"{at} it is not known how many SMs CUDA gave, so no share can be shown to be applied",
            "the function has to start CUDA itself, in its own process",
        )
    if whole is None:
        raise VerifyRefused(
            "it is not known how many SMs the device has, so no share can be shown to be applied",
            "a newer driver tells",
        )
    if trial.percent == 100 and given != whole:
        raise VerifyRefused(
            f"the run without a cap was given {given} of {whole} SMs: something else limits it",
            "a default percentage of the daemon, or a partition in CUDA_MPS_SM_PARTITION",
        )
    if trial.percent < 100 and given >= whole:
        raise VerifyRefused(
            f"{at} the function was given all of the {whole} SMs: its share was not applied",
            "%gpupredict mps status tells of the daemon; a share that rounds up to all is no cap",
        )


def _several(why: str) -> VerifyRefused:
    return VerifyRefused(
        f"{why}, and shares are tried on one", "measure it where one is visible: --device UUID"
    )


def _failed(fault: Fault, percent: int) -> str:
    message = f": {fault.message}" if fault.message else ""
    return f"at {percent} % the function raised {fault.name}{message}"[:500]


def _speeds(trials: Sequence[Trial], unit: Unit) -> dict[int, list[float]]:
    speeds: dict[int, list[float]] = {}
    for trial in trials:
        speed = trial.speed(unit)
        assert speed is not None  # noqa: S101 - the unit is common to all
        speeds.setdefault(trial.percent, []).append(speed)
    return speeds


def _record(
    subject: Subject,
    host: Host,
    *,
    percent: int,
    kept: bool,
    ratios: tuple[float, float, float],
    method: Method,
    rounds: int,
    unit: Unit,
    trials: Sequence[Trial],
) -> Verified:
    return Verified(
        percent=percent,
        kept=kept,
        speed_ratio=ratios[0],
        low_ratio=ratios[1],
        high_ratio=ratios[2],
        method=method,
        pairs=rounds,
        unit=unit,
        code_hash=subject.code_hash,
        device=host.device_name,
        driver=host.driver,
        session_id=subject.session_id,
        at=SystemClock().wall().isoformat(timespec="seconds"),
        sm_count=next(one.sm_count for one in trials if one.percent == percent),
        tool_version=__version__,
    )


def _store(*records: Verified) -> str:
    from jupyter_gpupredict.run.ledger import Ledger

    store = build_store()
    try:
        store.prepare()
        for record in records:
            Ledger(store.root).add(record)
    except (OSError, TraceError) as error:
        return str(error)
    return ""
