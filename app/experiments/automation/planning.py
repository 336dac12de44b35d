"""The rules of schedules and circuit breakers: which are taken, and what becomes of them."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from app.common.errors import ValidationFailed
from app.common.timestamps import write_moment
from app.db.models import Experiment
from app.experiments.automation.actions import actions_of
from app.experiments.automation.schemas import CircuitBreaker, SchedulingConfig, read_breakers, read_schedule
from app.experiments.scorecard.experiment_metrics import ExperimentMetric, metrics_of
from app.flags.filters import JsonDict

_OF_THE_SCHEDULE: Final = ("start_refused", "ramped", "ramp_stopped")
_SHOWN_CHARACTERS: Final = 100


def refuse_untimely(
    schedule: SchedulingConfig | None,
    before: Mapping[str, object] | None,
    start_date: dt.datetime | None,
    now: dt.datetime,
) -> None:
    """Refuse times that have passed when they are set, and a start of what has one. Times that stay are not looked at.

    Raises
    ------
    ValidationFailed
        With ``attr`` ``scheduling_config``.
    """
    if schedule is None:
        return
    old = read_schedule(before)
    for name in ("start_at", "end_at"):
        moment = getattr(schedule, name)
        if moment is not None and moment != getattr(old, name) and moment <= now:
            raise _refusal(f"`{name}` has to lie ahead, got {write_moment(moment)}.")
    if schedule.start_at is not None and schedule.start_at != old.start_at and start_date is not None:
        raise _refusal("`start_at` is of drafts: the experiment has a `start_date`.")


def forget_schedule(experiment: Experiment, schedule: JsonDict | None) -> None:
    """Give an experiment another schedule, and forget what became of the one before."""
    if schedule != experiment.scheduling_config:
        experiment.scheduling_config = schedule
        kept = [one for one in actions_of(experiment) if one["kind"] not in _OF_THE_SCHEDULE]
        experiment.automatic_actions = kept or None


def without_times(stored: Mapping[str, Any] | None) -> JsonDict | None:
    """Return a schedule without its times, which are of one run: a ramp stays."""
    return {name: value for name, value in (stored or {}).items() if name == "ramp"} or None


def metric_of(experiment: Experiment, breaker: CircuitBreaker) -> ExperimentMetric | None:
    """Return the metric that a circuit breaker watches; None where the experiment has it no longer."""
    return next((metric for metric in metrics_of(experiment) if metric.is_named(breaker.metric_uuid)), None)


def refuse_unknown_metrics(experiment: Experiment) -> None:
    """Refuse circuit breakers on metrics that the experiment does not have.

    Raises
    ------
    ValidationFailed
        With ``attr`` ``circuit_breakers``.
    """
    for breaker in read_breakers(experiment.circuit_breakers):
        if metric_of(experiment, breaker) is None:
            known = ", ".join(metric.id for metric in metrics_of(experiment))
            shown = ascii(breaker.metric_uuid)[:_SHOWN_CHARACTERS]
            detail = f"The experiment has no metric {shown}; known are {known}."
            raise ValidationFailed(detail, attr="circuit_breakers")


def is_armed(experiment: Experiment, breaker: CircuitBreaker) -> bool:
    """Whether a circuit breaker has not acted yet."""
    return all(
        CircuitBreaker.model_validate(one["breaker"]) != breaker for one in actions_of(experiment, "circuit_breaker")
    )


def _refusal(detail: str) -> ValidationFailed:
    return ValidationFailed(detail, attr="scheduling_config")
