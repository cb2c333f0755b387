"""Rules made from options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.run.options import EPOCH_RULE

if TYPE_CHECKING:
    from jupyter_gpupredict.predict import Predictor, ProgressPredictor
    from jupyter_gpupredict.run.options import SessionConfig


def rule_options(config: SessionConfig, period_s: float) -> RuleOptions:
    """Return the preset's figures with what the user gave in their place."""
    _, preset = registry.PRESETS.get(config.rule, ("", {}))
    given = {
        "window_s": config.window_s,
        "agree": config.agree,
        "tolerance_points": config.tolerance_points,
    }
    chosen: dict[str, Any] = {
        key: value if value is not None else preset.get(key) for key, value in given.items()
    }
    if chosen["agree"] is not None:
        chosen["agree"] = int(chosen["agree"])
    return RuleOptions(**chosen, coverage=config.coverage, period_s=period_s, epochs=config.epochs)


def make_rule(rule: str, options: RuleOptions) -> Predictor:
    """Return the rule of a preset, or the predictor of that name.

    Raises:
        UnknownName: There is none.
    """
    predictor, _ = registry.PRESETS.get(rule, (rule, {}))
    made: Predictor = registry.load("predictors", predictor)(options)
    return made


def make_mix(config: SessionConfig, period_s: float) -> ProgressPredictor:
    """Return the rule that learns from epochs; its tolerance is its own unless one is given."""
    options = RuleOptions(
        tolerance_points=config.tolerance_points,
        coverage=config.coverage,
        period_s=period_s,
        epochs=config.epochs,
    )
    made: ProgressPredictor = registry.load("predictors", EPOCH_RULE)(options)
    return made
