"""`verify` and `sweep`: their options, their progress, and what they found; the same everywhere."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import mps
from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.metrics import sm_percent
from jupyter_gpupredict.core.plain import html as escape
from jupyter_gpupredict.core.plain import one_line
from jupyter_gpupredict.frontends.charts import figures
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.predict import KEPT

if TYPE_CHECKING:
    import argparse

    from jupyter_gpupredict.core.recommendation import SmNeed
    from jupyter_gpupredict.core.run import Run
    from jupyter_gpupredict.mps import Subject, Verification

_UNITS = {"step": "steps/s", "epoch": "epochs/s", "run": "runs/s"}


def arguments(parser: argparse.ArgumentParser, *, sweeps: bool) -> None:
    """Add the options of a verify, or of a sweep."""
    add = parser.add_argument
    if sweeps:
        default = ",".join(map(str, mps.SHARES))
        usual = f"those about the bracket by kernel geometry, else {default}"
        add("--at", metavar="P,P,...", help=f"the shares, in percent (default: {usual})")
    else:
        add("--at", type=int, metavar="P", help="the share, in percent (default: the predicted)")
        add(
            "--pairs",
            type=int,
            default=mps.PAIRS,
            metavar="K",
            help=f"runs at the share and without it (default: {mps.PAIRS} each)",
        )
    add("--steps", type=int, metavar="N", help="count so many steps in each run")
    add("--seconds", type=float, metavar="S", help="or count for so long (default: 30)")
    add(
        "--setup",
        action="append",
        default=[],
        metavar="TAG",
        help="cells with this tag, or number, run again before it; may be repeated",
    )
    add("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace, subject: Subject, run_: Run | None, *, sweeps: bool) -> Found:
    """Do what parsed options ask for; progress goes to standard error.

    Raises:
        GpuPredictError: One clear line.
    """
    bound = mps.Bound(options.steps, options.seconds)
    if sweeps:
        shares = _inside(_need(run_)) if options.at is None else _shares(options.at)
        return Found(mps.sweep(subject, shares, bound, on_trial=_tell))
    percent = _predicted(run_) if options.at is None else options.at
    return Found(mps.verify(subject, percent, bound, options.pairs, on_trial=_tell))


class Found:
    """What a verify or a sweep found. Shown as text, and a sweep with its chart."""

    def __init__(self, found: Verification) -> None:
        self.found = found
        self.folded = False
        """A chart that moves with the mouse stands above: the static one is folded away."""

    def to_text(self) -> str:
        """Return it in lines."""
        found, record = self.found, self.found.record
        lines = []
        if found.knee is None and record is not None:
            lines.append(words.verified(record))
            slow = f"{record.slowdown:.3f}x"
            low, high = 1.0 / record.high_ratio, 1.0 / record.low_ratio
            lines.append(
                f"slowdown {slow} ({low:.3f}x to {high:.3f}x: Student's t interval of 95 % on the "
                f"logarithms of {record.pairs} paired ratios of {_UNITS[found.unit]})"
            )
            lines.append(_verdict(record.kept, record.low_ratio, record.high_ratio))
        else:
            lines += [
                f"{percent:>3} %  {100 * ratio:5.1f} % of the uncapped speed"
                for percent, ratio in sorted(found.ratios.items(), reverse=True)
            ]
            lines.append(self._knee())
        if found.stored:
            lines.append(f"not stored: {found.stored}")
        return "\n".join(map(one_line, lines))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        found = self.found
        return {
            "verified": None if found.record is None else asdict(found.record),
            "unit": found.unit,
            "ratios": {str(percent): ratio for percent, ratio in found.ratios.items()},
            "knee": None if found.knee is None else asdict(found.knee),
            "trials": [
                {"percent": one.percent, "speed": one.speed(found.unit), "sm_count": one.sm_count}
                for one in found.trials
            ],
            "stored": not found.stored,
        }

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def to_svg(self) -> str:
        """Return speed against share; empty for a single share."""
        knee = self.found.knee
        return (
            ""
            if knee is None
            else figures.sweep_svg(self.found.ratios, knee.between, KEPT, "the GPU")
        )

    def to_item(self) -> dict[str, Any]:
        """Return the figure as the JSON that BokehJS embeds; errors as `to_bokeh`."""
        return figures.item(self.to_bokeh())

    def to_bokeh(self) -> Any:
        """Return speed against share as a figure for `bokeh.io.show`.

        Raises:
            ImportError: Bokeh is not installed.
        """
        knee = self.found.knee
        return figures.sweep_figure(dict(self.found.ratios), knee.between if knee else None, KEPT)

    def _knee(self) -> str:
        knee = self.found.knee
        if knee is None or knee.measured is None or knee.measured == 100:
            return f"no smaller share kept {100 * KEPT:.0f} % of the speed"
        line = f"{knee.measured} % is the smallest tried share that kept {100 * KEPT:.0f} %"
        if knee.between is not None:
            line += f"; on a straight line to the next one, {knee.between:.0f} % would"
        return line

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        drawn = self.to_svg()
        if self.folded:
            drawn = f"<details><summary>static chart</summary>{drawn}</details>"
        html = f'<div class="gpupredict-result">{drawn}<pre>{escape(self.to_text())}</pre></div>'
        return {"text/plain": self.to_text(), "text/html": html}

    def __repr__(self) -> str:
        return self.to_text()


def _verdict(kept: bool, low: float, high: float) -> str:
    limit = f"{100 * KEPT:.0f} %"
    if kept:
        return f"verified: at least {limit} of the speed is kept; exports take this share"
    if high < KEPT:
        return f"not verified: less than {limit} of the speed is kept"
    return f"not verified: {limit} lies within the interval; try more --pairs, or longer runs"


def _predicted(run_: Run | None) -> int:
    """Return the percentage that an export would write.

    Raises:
        InvalidOption: The run predicts none.
    """
    if run_ is not None:
        uuid = run_.started.share.device
        counts = {device.uuid: device.sm_count for device in run_.started.devices}
        for one in (run_.recommendation, *run_.others):
            if one is None or one.device not in ("", uuid):  # of a GPU that is not tried
                continue
            if one.basis == "sm_share" and one.state == "converged" and one.target_ratio:
                return min(99, sm_percent(one.target_ratio, counts.get(uuid)))
        if (need := _need(run_)) is not None:
            return min(99, sm_percent(need.high_ratio, need.sms, 1))
    raise InvalidOption("no predicted share of the SMs is known to verify", "name one: --at P")


def _need(run_: Run | None) -> SmNeed | None:
    """Return what the run's kernels need of the SMs, where that is known."""
    main = None if run_ is None else run_.recommendation
    return None if main is None else main.geometry


def _inside(need: SmNeed | None) -> tuple[int, ...]:
    """Return the shares of a sweep, from the larger: those about a bracket where there is one."""
    if need is None:
        return mps.SHARES
    low, high = (sm_percent(one, need.sms, 1) for one in (need.low_ratio, need.high_ratio))
    between = {low, high, *(low + (high - low) * third // 3 for third in (1, 2))}
    return (100, *sorted({*between, max(5, low // 2)} - {100}, reverse=True))


def _shares(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise InvalidOption(f"--at {text!r}", "percentages, such as --at 70,50,35") from None


def _tell(trial: Any) -> None:
    speeds = ((trial.steps_per_s, "steps/s"), (trial.epochs_per_s, "epochs/s"))
    figures = [f"{speed:.4g} {unit}" for speed, unit in speeds if speed is not None]
    if trial.runs_per_s is not None:
        figures.append(f"finished in {1 / trial.runs_per_s:.4g} s")
    sms = "" if trial.sm_count is None else f", {trial.sm_count} SMs"
    share = "uncapped" if trial.percent == 100 else f"{trial.percent} %"
    say(f"gpupredict: {share}{sms}: {', '.join(figures)}", error=True)
