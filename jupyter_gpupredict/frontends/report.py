"""The result of a run: rich where it can be, text everywhere, small, picklable, without widgets."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.card import profile
from jupyter_gpupredict.core.metrics import METRICS
from jupyter_gpupredict.core.options import listed, options_of, signature
from jupyter_gpupredict.core.plain import one_line
from jupyter_gpupredict.core.summary import finite
from jupyter_gpupredict.core.trace import without_nan
from jupyter_gpupredict.export import CodeRequest, ExportRequest
from jupyter_gpupredict.frontends import executed
from jupyter_gpupredict.frontends.charts import card, figures
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.run import read_events

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from jupyter_gpupredict.core.card import Answer
    from jupyter_gpupredict.core.recommendation import MemoryEstimate
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.core.summary import Summary
    from jupyter_gpupredict.export import ExportOutcome

_recent: deque[Result] = deque(maxlen=1)
_OF_ADVICE = (
    "mean_ratio", "coverage_target_ratio", "coverage_ratio", "converged_at_s", "remaining_s",
    "remaining_low_s", "remaining_high_s", "total_s",
)  # fmt: skip
_OF_CONFIDENCE = ("certified_ratio", "n_eff", "lower_ratio", "upper_ratio")
_OF_OTHERS = ("device", "metric", "basis", "state", "target_ratio", "mean_ratio")


class Result:
    """What one run said. Shown as a table with a chart; `run` holds everything."""

    def __init__(self, run: Run) -> None:
        self.run = run

    # ---- figures ------------------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """The run's id, as `jupyter gpupredict show` takes it."""
        return self.run.session_id

    @property
    def source(self) -> str:
        """Where the readings came from: nvml, cpu, replay, synthetic."""
        return self.run.started.source

    @property
    def metric(self) -> str:
        """The share metric."""
        return self.run.started.share.metric

    @property
    def basis(self) -> str:
        """`time_share` or `sm_share`."""
        return METRICS[self.metric].basis or "time_share"

    @property
    def state(self) -> str:
        """`converged`, `stale` or `abstained` (`warming` when there was no reading)."""
        advice = self.run.recommendation
        return advice.state if advice else "warming"

    @property
    def reason(self) -> str:
        """Why this state, in words."""
        advice = self.run.recommendation
        return advice.reason if advice else "no reading was taken"

    @property
    def target_ratio(self) -> float | None:
        """The share to provision; only a prediction when `state` is `converged`."""
        advice = self.run.recommendation
        return advice.target_ratio if advice else None

    @property
    def mean_ratio(self) -> float | None:
        """The mean usage."""
        advice = self.run.recommendation
        return advice.mean_ratio if advice else None

    @property
    def memory(self) -> MemoryEstimate | None:
        """The memory peak and target."""
        advice = self.run.recommendation
        return advice.memory if advice else None

    @property
    def errors(self) -> tuple[str, ...]:
        """What went wrong in our own machinery; never the user's error."""
        return self.run.errors

    # ---- forms --------------------------------------------------------------------------------

    @property
    def answer(self) -> Answer:
        """What the run needs, and how sure that is, as every view shows it."""
        return answer(self.run)

    def to_text(self, command: str = card.IN_NOTEBOOK) -> str:
        """Return the answer in text, with its details."""
        return card.text(self.answer, command)

    def to_svg(self) -> str:
        """Return the chart as SVG, with the answer above it."""
        return figures.run_svg(self.run)

    def to_curve_svg(self) -> str:
        """Return speed against share of the SMs as SVG; empty where no kernels were recorded."""
        return figures.curve_svg(self.run)

    def to_curve_png(self) -> bytes:
        """Return the same as PNG; empty where no kernels were recorded."""
        drawn = self.to_curve_svg()
        return card.png_of_svg(drawn) if drawn else b""

    def to_png(self) -> bytes:
        """Return the same chart as PNG; empty where nothing was read."""
        return card.png_of_svg(self.to_svg()) if self.run.share else b""

    def to_html(self) -> str:
        """Return the answer with the chart as a picture: no script, and no SVG."""
        return card.html(self.answer, self._untitled_png(), self.to_curve_png())

    def _untitled_png(self) -> bytes:
        """Return the chart for beside the answer's own text; empty where nothing was read."""
        return card.png_of_svg(figures.run_svg(self.run, titled=False)) if self.run.share else b""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data; missing ones are None."""
        run, advice = self.run, self.run.recommendation
        memory = self.memory
        found = advice.confidence if advice else None
        return {
            "session_id": run.session_id,
            "answer": self.answer.as_dict(),
            "notebook": run.started.notebook,
            "cell": run.started.first_line,
            "devices": [
                {"uuid": one.uuid, "name": one.name, "index": one.index, "mig": profile(one.name)}
                for one in run.started.devices
            ],
            "driver": run.started.versions.get("driver"),
            "gaps": [
                {"from_s": one.from_s, "to_s": one.to_s, "cause": one.cause} for one in run.gaps
            ],
            "lost_reason": run.lost_reason,
            "error": run.error,
            "source": self.source,
            "simulated": run.started.simulated,
            "mps": None if run.applied is None else asdict(run.applied),
            "capped": run.capped,
            "metric": self.metric,
            "basis": self.basis,
            "state": self.state,
            "reason": self.reason,
            "target_ratio": self.target_ratio,
            **{name: getattr(advice, name, None) for name in _OF_ADVICE},
            **{name: getattr(found, name, None) for name in _OF_CONFIDENCE},
            "geometry": asdict(advice.geometry) if advice and advice.geometry else None,
            "slowdown": list(advice.slowdown) if advice and advice.slowdown else None,
            "watched_s": advice.watched_s if advice else 0.0,
            "sampled_ratio": advice.sampled_ratio if advice else 0.0,
            "others": [{name: getattr(other, name) for name in _OF_OTHERS} for other in run.beside],
            "gpus": run.gpus,
            "processes": run.processes,
            "other_processes": run.other_processes,
            "throttled_ratio": dict(run.throttled),
            "ranks": [
                {
                    "rank": one.rank,
                    "device": one.device,
                    "state": one.state,
                    "target_ratio": one.target_ratio,
                    "mean_ratio": one.mean_ratio,
                    "memory_peak_bytes": finite(one.memory.peak_bytes) if one.memory else None,
                    "lost": one.lost,
                }
                for one in run.ranks
            ],
            "partial": list(run.partial),
            "memory_peak_bytes": finite(memory.peak_bytes) if memory else None,
            "memory_target_bytes": memory.target_bytes if memory else None,
            "memory_basis": memory.basis if memory else None,
            "allocator_peak_bytes": run.allocator.allocated_bytes if run.allocator else None,
            "verified": None if run.verified is None else asdict(run.verified),
            "progress": advice.progress if advice else "",
            "duration_s": run.duration_s,
            "samples": run.samples,
            "outcome": run.outcome,
            "overhead_s": run.overhead_s,
            "errors": list(run.errors),
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON; a number that is not known is null."""
        return json.dumps(without_nan(self.to_dict()), allow_nan=False)

    def to_dataframe(
        self, *, aligned: bool = False, layout: Literal["wide", "long"] = "wide"
    ) -> Any:
        """Return the stored readings as a pandas DataFrame.

        Args:
            aligned: One row for each reading of the share; the others' values are the newest
                before it.
            layout: `wide` has `time_s` and one column a series: the metric's name, of a further
                device `metric@UUID`. `long` has one row for each time and device, with the columns
                `time_s`, `device` and the metrics.

        Raises:
            ImportError: pandas is not installed.
            UnknownName: The run is not in the session store (any more).
            ValueError: There is no such layout.
        """
        import pandas

        from jupyter_gpupredict.core.events import SamplesTaken

        if layout not in ("wide", "long"):
            raise ValueError(f"layout {layout!r} is unknown: 'wide' or 'long'")
        columns: dict[tuple[str, str], dict[float, float]] = {}
        for event in read_events(self.session_id):
            if isinstance(event, SamplesTaken):
                for readings in event.readings:
                    series = readings.series
                    column = columns.setdefault((series.metric, series.device), {})
                    column.update(zip(readings.times_s, readings.values, strict=True))
        share = self.run.started.share
        frame = pandas.DataFrame(columns).sort_index()
        frame.index.name = "time_s"
        if aligned:
            times = sorted(columns.get((share.metric, share.device), {}))
            frame = frame.ffill().reindex(times)
        if layout == "long":
            frame.columns = pandas.MultiIndex.from_tuples(columns, names=["metric", "device"])
            long = frame.stack("device", future_stack=True).dropna(how="all").reset_index()
            long.columns.name = None
            return long
        frame.columns = [
            metric if device == share.device else f"{metric}@{device}" for metric, device in columns
        ]
        return frame.reset_index()

    def export(self, **options: Any) -> list[Path]:
        """Write the function, its manifests and its container recipe; return the files' paths.

        The function is the measured cell with what it needs from the cells executed before it, so
        it is written in the kernel that measured it; elsewhere the folder has the manifests alone.
        What is left out, and what differs from the notebook, is printed (without the cells, and in
        a script, on standard error) and stands in the folder's README.

        Args:
            **options: These, as on the command line.
        {options}

        Raises:
            ExportError: One clear line; nothing is written.
        """
        from jupyter_gpupredict.export import export_run

        of_code = {one.name for one in options_of(CodeRequest)} & options.keys()
        code = executed.code_of(self.session_id, **{name: options.pop(name) for name in of_code})
        outcome = export_run(self.run, code=code, **options)
        for note in outcome.warnings:
            # a script's standard output is its own; in a notebook standard error looks like failure
            say(f"note: {one_line(note)}", error=code is None)
        return list(outcome.paths)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        found = self.answer
        if found.word == "too short":
            return {"text/plain": card.one_line(found), "text/html": card.html(found, short=True)}
        drawn = self.to_png()
        return {
            "text/plain": card.text(found),
            "text/html": self.to_html(),
            **({"image/png": drawn} if drawn else {}),
        }

    def __repr__(self) -> str:
        return self.to_text()


export: Any = Result.export
export.__doc__ = export.__doc__.replace(
    "        {options}", listed(ExportRequest, CodeRequest, indent=8)
)
export.__signature__ = signature(ExportRequest, CodeRequest, method=True)


def remember(result: Result) -> None:
    """Keep the newest result for `last`."""
    _recent.append(result)


def last() -> Result | None:
    """Return the newest result of this process; None before the first."""
    return _recent[-1] if _recent else None


def history_text(found: Iterable[Summary]) -> str:
    """Return stored runs as a table in text, newest first."""
    rows = [
        [
            f"{'*' if one.pinned else ' '}{one.session_id[-4:]}",
            one.started_at[:16].replace("T", " "),
            one.notebook.rpartition("/")[2] or one.source,
            one.name or one.first_line[:30],
            one.device,
            words.span(one.duration_s),
            f"damaged: {one.problem}" if one.problem else f"{one.sign} {one.headline}",
        ]
        for one in found
    ]
    if not rows:
        return "no run is stored yet"
    titles = [" id", "when (UTC)", "notebook", "cell", "device", "took", "answer"]
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in [titles, *rows]
    )
    return "\n".join(one_line(line).rstrip() for line in lines)


def row_dict(one: Summary) -> dict[str, Any]:
    """Return a stored run in short, as plain data; what is not known is None."""
    names = (
        "session_id", "started_at", "source", "simulated", "metric", "outcome", "state",
        "target_ratio", "duration_s", "notebook", "first_line", "device", "headline", "word",
        "name", "note", "pinned", "problem",
    )  # fmt: skip
    found = {name: getattr(one, name) for name in names}
    if not one.metric:  # its trace has no beginning that can be read
        found |= dict.fromkeys(("source", "simulated", "metric", "outcome", "state"))
    return found


def export_text(outcome: ExportOutcome) -> str:
    """Return what an export wrote, or would write."""
    lines = [f"wrote {path}" for path in outcome.paths]
    if not outcome.paths:
        lines = [f"--- {name}\n{content}" for name, content in outcome.texts.items()]
    return "\n".join([*lines, *(f"note: {one_line(warning)}" for warning in outcome.warnings)])
