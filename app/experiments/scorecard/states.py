"""The situation of an experiment, as far as its data do not matter: what is running, and what was decided."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from app.common.nouns import PERSONS
from app.db.models import Experiment
from app.experiments.compared_variants import baseline_of, compared_variants
from app.experiments.exposures.traffic_split import shipped_variant
from app.flags.filters import variant_keys

Phase: TypeAlias = Literal["draft", "scheduled", "running", "paused", "ended", "shipped", "concluded"]

_SECONDS_OF_A_DAY = 86_400


@dataclass(frozen=True)
class Situation:
    """What is known of an experiment apart from its data.

    Attributes
    ----------
    runtime : float
        Days since the start, until the end where there is one.
    decided_variant : str or None
        The variant that was decided on; None where a variant won, and several could have.
    decided : str
        What was decided, in words.
    unit : str
        What is compared, in the plural: persons, or groups of a type.
    """

    phase: Phase
    runtime: float
    baseline: str | None
    decided_variant: str | None = None
    decided: str = ""
    unit: str = PERSONS


def situation_of(experiment: Experiment, now: dt.datetime) -> Situation:
    """Return the situation of an experiment."""
    flag, start, end = experiment.feature_flag, experiment.start_date, experiment.end_date
    keys = compared_variants(variant_keys(flag.filters), experiment.stats_config)
    basis = baseline_of(keys, experiment.stats_config)
    if start is None:
        return Situation("draft", 0.0, basis)
    if start > now:
        return Situation("scheduled", 0.0, basis)
    is_over = end is not None and end <= now
    last = min(end, now) if end is not None else now
    runtime = max(0.0, (last - start).total_seconds() / _SECONDS_OF_A_DAY)
    shipped = shipped_variant(flag.filters) if is_over else None
    if shipped is not None:
        return Situation("shipped", runtime, basis, shipped, _tell_shipped(experiment, shipped))
    if experiment.conclusion:
        variant = _concluded_variant(experiment, keys, basis)
        return Situation("concluded", runtime, basis, variant, _tell_conclusion(experiment, is_over=is_over))
    if is_over:
        return Situation("ended", runtime, basis)
    is_released = flag.active and not flag.deleted and experiment.baseline_hold is None
    return Situation("running" if is_released else "paused", runtime, basis)


def _concluded_variant(experiment: Experiment, keys: Sequence[str], baseline: str | None) -> str | None:
    """Return the variant that a conclusion means: None where it won, and several could have."""
    if experiment.conclusion != "won":
        return baseline
    tests = [key for key in keys if key != baseline]
    return tests[0] if len(tests) == 1 else None


def _tell_shipped(experiment: Experiment, variant: str) -> str:
    concluded = f" Its conclusion: {_name(experiment)}." if experiment.conclusion else ""
    return f"{variant} was shipped to everyone.{concluded}"


def _tell_conclusion(experiment: Experiment, *, is_over: bool) -> str:
    running = "" if is_over else " It has not ended yet: end it."
    return f"It was concluded as {_name(experiment)}.{running}"


def _name(experiment: Experiment) -> str:
    return (experiment.conclusion or "").replace("_", " ")
