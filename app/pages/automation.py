"""What is to happen to an experiment by itself, and what has: in words."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from app.common.number_texts import format_chosen_share
from app.common.timestamps import parse_moment
from app.db.models import Experiment
from app.experiments.automation.actions import actions_of
from app.experiments.automation.planning import metric_of
from app.experiments.automation.schemas import BreakerAction, CircuitBreaker, RampStep, read_breakers, read_schedule
from app.flags.filters import JsonDict
from app.flags.interventions import rollout_of
from app.pages.formatting import format_time

_MOST_SHOWN: Final = 20  # of what happened
_DOES: Final[dict[BreakerAction, str]] = {
    "pause": "the flag is switched off",
    "control_only": "all get the baseline",
    "notify": "it is reported",
}


@dataclass(frozen=True)
class Automation:
    """Rows of a heading and a text each."""

    planned: Sequence[tuple[str, str]]
    happened: Sequence[tuple[str, str]]


def describe_automation(experiment: Experiment, timezone: ZoneInfo) -> Automation:
    """Return the schedule, the ramp and the circuit breakers, and what happened last, the newest first."""
    schedule = read_schedule(experiment.scheduling_config)
    planned = [("Starts", schedule.start_at), ("Ends", schedule.end_at)]
    rows = [(name, _write_time(moment, timezone)) for name, moment in planned if moment is not None]
    rows += [(_after(step.after_hours), _describe_step(experiment, step)) for step in schedule.ramp or ()]
    rows += [_describe_breaker(experiment, breaker) for breaker in read_breakers(experiment.circuit_breakers)]
    shares = {step.after_hours: step.rollout_percentage for step in schedule.ramp or ()}
    happened = [
        (_write_time(parse_moment(str(one["at"])), timezone), _tell(one, shares))
        for one in reversed(actions_of(experiment))
    ]
    return Automation(rows, happened[:_MOST_SHOWN])


def _write_time(moment: dt.datetime | None, timezone: ZoneInfo) -> str:
    """Return a time with its zone: the form takes times in UTC, whatever the project's is."""
    return f"{format_time(moment, timezone)} ({timezone.key})"


def _describe_step(experiment: Experiment, step: RampStep) -> str:
    rollout = rollout_of(experiment.feature_flag.filters)
    taken = [(one["after_hours"], one["rollout_percentage"]) for one in actions_of(experiment, "ramped")]
    holds = experiment.start_date is None or (step.after_hours, step.rollout_percentage) in taken
    if not holds and rollout is not None and rollout > step.rollout_percentage:
        return f"nothing changes: {format_chosen_share(rollout / 100)} get it already, and a ramp never lowers that"
    return f"{format_chosen_share(step.rollout_percentage / 100)} get it"


def _describe_breaker(experiment: Experiment, breaker: CircuitBreaker) -> tuple[str, str]:
    metric = metric_of(experiment, breaker)
    name = breaker.metric_uuid if metric is None else metric.name
    verb = "falls" if breaker.direction == "decrease" else "rises"
    tolerated = format_chosen_share(breaker.threshold_relative)
    return (
        f"If {name} {verb} by more than {tolerated}",
        f"{_DOES[breaker.action]}, once {breaker.min_exposures:,} are exposed to each variant",
    )


def _tell(action: JsonDict, shares: Mapping[float, float]) -> str:
    """Return what happened, as a sentence. ``shares`` are those of the ramp's steps, by their hours."""
    detail = str(action.get("detail") or "")
    match action["kind"]:
        case "started":
            return "It was launched, as scheduled."
        case "start_refused":
            return f"It could not be launched: {detail}"
        case "ended":
            return "It was ended, as scheduled."
        case "ramped":
            reached = float(str(action["rollout_percentage"]))
            was_above = shares.get(float(str(action["after_hours"])), reached) < reached
            return f"The ramp {'left the share at' if was_above else 'reached'} {format_chosen_share(reached / 100)}."
        case "ramp_stopped":
            return f"The ramp was stopped: {detail}"
        case _:
            return f"A circuit breaker acted: {detail}"


def _after(hours: float) -> str:
    if not hours:
        return "At the start"
    days = hours / 24
    if days.is_integer():
        return f"After {days:g} {'day' if days == 1 else 'days'}"
    return f"After {hours:g} {'hour' if hours == 1 else 'hours'}"
