"""Findings about the phases of an experiment's life: what happened to it by itself, and how its flag is held."""

from collections.abc import Iterator
from typing import Final

from app.common.timestamps import write_moment
from app.db.models import Experiment, utc_now
from app.experiments.automation.actions import actions_of, last_action
from app.experiments.automation.planning import metric_of
from app.experiments.automation.schemas import CircuitBreaker, read_breakers, read_schedule
from app.experiments.health.rules import Finding
from app.flags.filters import JsonDict
from app.flags.interventions import is_frozen

_DONE: Final = {
    "pause": "the flag was switched off",
    "control_only": "everyone was given the baseline",
    "notify": "this was noticed, and nothing was changed",
}


def find_phases(experiment: Experiment) -> list[Finding]:
    """Return the findings about the schedule, the circuit breakers and the frozen exposure of an experiment."""
    return [
        *(_missed_start(experiment) or _refused_start(experiment)),
        *_stopped_ramp(experiment),
        *_tripped_breakers(experiment),
        *_blind_breakers(experiment),
        *_frozen_exposure(experiment),
    ]


def _refused_start(experiment: Experiment) -> Iterator[Finding]:
    refused = last_action(experiment, "start_refused")
    if refused is None or experiment.start_date is not None:
        return
    yield Finding(
        "START_REFUSED",
        None,
        "critical",
        "The experiment was not started as scheduled",
        f"It was to start at {refused['start_at']}, and is still a draft: {refused['detail']}",
        {"start_at": refused["start_at"], "tried_at": refused["at"]},
        ["Mend what is named: it is then launched at once. Or take the start out of `scheduling_config`."],
    )


def _missed_start(experiment: Experiment) -> list[Finding]:
    """Return the finding about a draft that is not launched any more, because it would have ended by now."""
    schedule = read_schedule(experiment.scheduling_config)
    if experiment.start_date is not None or schedule.start_at is None or schedule.end_at is None:
        return []
    if schedule.end_at > utc_now():
        return []
    start, end = write_moment(schedule.start_at), write_moment(schedule.end_at)
    return [
        Finding(
            "START_REFUSED",
            "missed",
            "critical",
            "The time for which the experiment was scheduled has passed",
            f"It was to run from {start} to {end}, and is still a draft. It is not launched any more.",
            {"start_at": start, "end_at": end},
            ["Set other times in `scheduling_config`, or launch it yourself."],
        )
    ]


def _stopped_ramp(experiment: Experiment) -> Iterator[Finding]:
    stopped = last_action(experiment, "ramp_stopped")
    if stopped is None:
        return
    yield Finding(
        "RAMP_STOPPED",
        None,
        "warning",
        "The rollout does not grow any more",
        f"{stopped['detail']} The remaining steps of the ramp are left out.",
        {"stopped_at": stopped["at"]},
        ["Set the rollout of the flag yourself, or set `scheduling_config` again."],
    )


def _tripped_breakers(experiment: Experiment) -> Iterator[Finding]:
    for one in actions_of(experiment, "circuit_breaker"):
        breaker = CircuitBreaker.model_validate(one["breaker"])
        is_in_effect = _is_in_effect(experiment, breaker)
        end = "." if is_in_effect or breaker.action == "notify" else "; that was taken back since."
        yield Finding(
            "CIRCUIT_BREAKER",
            breaker.action,
            "critical" if is_in_effect else "warning",
            "A circuit breaker acted",
            f"{one['detail']} At {one['at']} {_DONE[breaker.action]}{end}",
            _evidence(one),
            ["End the experiment, or `resume/` it: the circuit breaker stays off until it is changed."],
        )


def _is_in_effect(experiment: Experiment, breaker: CircuitBreaker) -> bool:
    if breaker.action == "pause":
        return not experiment.feature_flag.active
    return breaker.action == "notify" or experiment.baseline_hold is not None


def _evidence(action: JsonDict) -> JsonDict:
    return {name: action[name] for name in ("at", "variant", "interval", "exposed")}


def _blind_breakers(experiment: Experiment) -> Iterator[Finding]:
    for breaker in read_breakers(experiment.circuit_breakers):
        if metric_of(experiment, breaker) is None:
            yield Finding(
                "CIRCUIT_BREAKER",
                "no_metric",
                "warning",
                "A circuit breaker watches nothing",
                f"The experiment has no metric {ascii(breaker.metric_uuid)[:100]} any more.",
                {"metric_uuid": breaker.metric_uuid},
                ["Change `circuit_breakers`."],
            )


def _frozen_exposure(experiment: Experiment) -> Iterator[Finding]:
    frozen = experiment.exposure_freeze
    if frozen is None:
        return
    evidence = {name: frozen[name] for name in ("cohort_id", "frozen_at", "persons")}
    if is_frozen(experiment.feature_flag.filters, frozen["cohort_id"]):
        yield Finding(
            "EXPOSURE_FROZEN",
            None,
            "info",
            "Only persons who were exposed already get a variant",
            f"The exposure was frozen at {frozen['frozen_at']}, to {frozen['persons']} persons (cohort "
            f"{frozen['cohort_id']}).",
            evidence,
            ["Use `unfreeze_exposure/` to expose others again."],
        )
    else:
        yield Finding(
            "EXPOSURE_FROZEN",
            "changed",
            "warning",
            "The exposure is frozen, and the flag lets others in",
            f"A release condition of the flag does not ask for cohort {frozen['cohort_id']}: it was changed since.",
            evidence,
            ["Use `unfreeze_exposure/`, and freeze the exposure again."],
        )
