"""Changes of experiments that lead from one phase to another: by a schedule, by a circuit breaker, or by a freeze."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from app.common.errors import NotFound
from app.common.timestamps import write_moment
from app.db.models import Experiment, User
from app.experiments.automation.actions import actions_of, last_action, note
from app.experiments.automation.planning import is_armed
from app.experiments.automation.schemas import CircuitBreaker, RampStep, read_breakers, read_schedule
from app.experiments.current_state import current_status, state_of
from app.experiments.lifecycle import check_action, check_unfreezing, invalid_state
from app.experiments.schemas import ExperimentEnd
from app.experiments.service import ExperimentService
from app.flags.filters import group_type_index_of
from app.flags.holdouts import read_holdout
from app.flags.interventions import hold, rollout_of, with_rollout
from app.flags.options import enrollment_group

MOVING = ("running", "exposure_frozen")


@dataclass(frozen=True)
class Harm:
    """What made a circuit breaker act: the relative anytime-valid interval of a variant."""

    baseline: str
    variant: str
    interval: tuple[float, float]
    exposed: int  # of the variant and the baseline
    detail: str


class PhaseService(ExperimentService):
    """Changes of one project's experiments that others than users make, and the freeze of exposure.

    The former are logged without a user, and made under the lock of the upkeep. Each looks once more whether it is due:
    so it is made once, by however many processes, and a crash leaves it undone or done.
    """

    async def locked(self, experiment_id: int) -> Experiment | None:
        """Return an experiment that no other process changes until the transaction ends; None if it is gone."""
        await self._experiments.lock_upkeep()
        try:
            return await self.get(str(experiment_id), for_update=True)
        except NotFound:
            return None

    async def start(self, experiment_id: int, now: dt.datetime) -> None:
        """Launch a draft whose time has come.

        Raises
        ------
        ValidationFailed
            When it cannot be launched.
        """
        experiment = await self.locked(experiment_id)
        if experiment is not None and start_is_due(experiment, now):
            await self.launch(experiment, None, now)

    async def note_refused_start(self, experiment_id: int, now: dt.datetime, detail: str) -> None:
        """Record why a draft was not launched, unless that is known."""
        experiment = await self.locked(experiment_id)
        if experiment is None or not start_is_due(experiment, now):
            return
        start_at = (experiment.scheduling_config or {})["start_at"]
        known = last_action(experiment, "start_refused")
        if known is None or (known["detail"], known["start_at"]) != (detail, start_at):
            before = state_of(experiment)
            note(experiment, "start_refused", now, start_at=start_at, detail=detail)
            await self._store(experiment, "start_refused", None, before)

    async def end_as_scheduled(self, experiment_id: int, now: dt.datetime) -> None:
        """End an experiment whose time has come, at the time that was scheduled."""
        experiment = await self.locked(experiment_id)
        end_at = read_schedule(experiment.scheduling_config).end_at if experiment is not None else None
        if experiment is None or end_at is None or not end_is_due(experiment, now):
            return
        note(experiment, "ended", end_at, end_at=write_moment(end_at))
        await self.end(experiment, ExperimentEnd(), end_at, None)

    async def ramp(self, experiment_id: int, now: dt.datetime) -> None:
        """Let the rollout grow to the step of a ramp that is due. It is never made smaller."""
        experiment = await self.locked(experiment_id)
        step = None if experiment is None else due_step(experiment, now)
        if experiment is None or step is None:
            return
        before, flag = state_of(experiment), experiment.feature_flag
        last, rollout = last_action(experiment, "ramped"), rollout_of(flag.filters)
        if rollout is None:
            note(experiment, "ramp_stopped", now, detail="The flag has no longer exactly one release condition.")
        elif last is not None and rollout < float(str(last["rollout_percentage"])):
            detail = f"The rollout was lowered to {rollout:g} %, below the {last['rollout_percentage']} % of the ramp."
            note(experiment, "ramp_stopped", now, detail=detail)
        else:
            share = max(step.rollout_percentage, rollout)
            if share > rollout:
                await self._flags.rewrite(flag, with_rollout(flag.filters, share), None)
            note(experiment, "ramped", now, after_hours=step.after_hours, rollout_percentage=share)
        await self._store(experiment, str(actions_of(experiment)[-1]["kind"]), None, before)

    async def trip(self, experiment_id: int, breaker: CircuitBreaker, harm: Harm, now: dt.datetime) -> bool:
        """Let a circuit breaker act on a harm; return whether it did: not if it has, or was changed meanwhile."""
        experiment = await self.locked(experiment_id)
        if experiment is None or breaker not in armed_breakers(experiment, now):
            return False
        before, flag = state_of(experiment), experiment.feature_flag
        note(
            experiment,
            "circuit_breaker",
            now,
            breaker=breaker.model_dump(),
            variant=harm.variant,
            interval=list(harm.interval),
            exposed=harm.exposed,
            detail=harm.detail,
        )
        if breaker.action == "pause":
            await self._flags.deactivate(flag, None)
        elif breaker.action == "control_only":
            held = {"variant_key": harm.baseline, "since": write_moment(now), "filters": flag.filters}
            experiment.baseline_hold = held
            await self._flags.rewrite(flag, hold(flag.filters, harm.baseline), None)
        activity = {"pause": "paused", "control_only": "held_at_baseline", "notify": "harm_noticed"}[breaker.action]
        await self._store(experiment, activity, None, before)
        return True

    async def freeze(
        self, experiment: Experiment, distinct_ids: Sequence[str], frozen_at: dt.datetime, changed_by: User
    ) -> None:
        """Release the flag to persons with some distinct ids only, one of each person."""
        refuse_to_freeze(experiment)
        before, flag, filters = state_of(experiment), experiment.feature_flag, experiment.feature_flag.filters
        name, description = f"Exposed to {experiment.name}"[:400], f"Frozen at {write_moment(frozen_at)}."
        cohort_id = await self._flags.freeze(flag, name, description, distinct_ids, changed_by)
        experiment.exposure_freeze = {
            "cohort_id": cohort_id,
            "frozen_at": write_moment(frozen_at),
            "persons": len(distinct_ids),
            "filters": filters,
        }
        await self._store(experiment, "exposure_frozen", changed_by, before)

    async def unfreeze(self, experiment: Experiment, changed_by: User) -> None:
        """Restore the release conditions from before the freeze. The cohort stays."""
        refuse_to_unfreeze(experiment)
        before = state_of(experiment)
        await self._thaw(experiment, changed_by)
        await self._store(experiment, "exposure_unfrozen", changed_by, before)


def start_is_due(experiment: Experiment, now: dt.datetime) -> bool:
    """Whether a draft is to be launched now."""
    schedule = read_schedule(experiment.scheduling_config)
    is_draft = experiment.start_date is None and not experiment.archived
    is_over = schedule.end_at is not None and schedule.end_at <= now
    return is_draft and schedule.start_at is not None and schedule.start_at <= now and not is_over


def end_is_due(experiment: Experiment, now: dt.datetime) -> bool:
    """Whether an experiment is to be ended now; what was ended at this time once, and runs again, is not."""
    end_at, start = read_schedule(experiment.scheduling_config).end_at, experiment.start_date
    if end_at is None or start is None or not start < end_at <= now:
        return False
    ended = last_action(experiment, "ended")
    was_ended = ended is not None and ended["end_at"] == write_moment(end_at)
    return not was_ended and (experiment.end_date is None or experiment.end_date > end_at)


def due_step(experiment: Experiment, now: dt.datetime) -> RampStep | None:
    """Return the latest step of a ramp whose time has come and that was not taken."""
    ramp, start = read_schedule(experiment.scheduling_config).ramp, experiment.start_date
    if not ramp or start is None or current_status(experiment, now) != "running":
        return None
    if last_action(experiment, "ramp_stopped") is not None:
        return None
    due = [step for step in ramp if start + dt.timedelta(hours=step.after_hours) <= now]
    last = last_action(experiment, "ramped")
    is_taken = bool(due) and last is not None and float(str(last["after_hours"])) >= due[-1].after_hours
    return due[-1] if due and not is_taken else None


def armed_breakers(experiment: Experiment, now: dt.datetime) -> list[CircuitBreaker]:
    """Return the circuit breakers that may act: none of an experiment that is not running, or is held already."""
    if experiment.archived or current_status(experiment, now) not in MOVING:
        return []
    return [one for one in read_breakers(experiment.circuit_breakers) if is_armed(experiment, one)]


def refuse_to_freeze(experiment: Experiment) -> None:
    """Refuse an experiment whose exposure cannot be frozen.

    Raises
    ------
    ValidationFailed
        It does not run, assigns groups, or decides about persons before its release conditions.
    """
    check_action("freeze_exposure", current_status(experiment), is_archived=experiment.archived)
    filters = experiment.feature_flag.filters
    if group_type_index_of(filters) is not None:
        raise invalid_state("The flag assigns groups, and a cohort is a list of persons.")
    if read_holdout(filters) is not None:
        raise invalid_state("The flag has a holdout, which decides before its release conditions.")
    if enrollment_group(filters, "") is not None:
        raise invalid_state("Persons enroll themselves, which decides before the release conditions of the flag.")


def refuse_to_unfreeze(experiment: Experiment) -> None:
    """Refuse an experiment whose exposure is not frozen, or that gives everyone the baseline.

    Raises
    ------
    ValidationFailed
    """
    check_unfreezing(is_frozen=experiment.exposure_freeze is not None, is_held=experiment.baseline_hold is not None)
