"""The rules of experiments, in the order in which the API of 2022 checks them."""

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from app.activity_log.changes import ABSENT, State
from app.activity_log.service import ActivityLog
from app.common.errors import ValidationFailed
from app.db.models import Experiment, FeatureFlag, Snapshot, User, utc_now
from app.experiments.automation.actions import note
from app.experiments.automation.planning import (
    forget_schedule,
    refuse_unknown_metrics,
    refuse_untimely,
    without_times,
)
from app.experiments.automation.schemas import read_schedule, stored_schedule
from app.experiments.compared_variants import refuse_impossible_exclusions
from app.experiments.copies import copied_fields
from app.experiments.current_state import current_status, state_of
from app.experiments.documents import (
    STORED_AS_SENT,
    aggregation_group_type_index,
    participants,
    plain,
    refuse_foreign_parts,
    refuse_large,
    rollout,
    variants,
)
from app.experiments.existing_flags.service import ExistingFlags, require_participants
from app.experiments.health.definition import find_flag_problems
from app.experiments.holdouts.service import HoldoutService, holdout_for_flag
from app.experiments.lifecycle import Action, check_action, invalid_state
from app.experiments.loading import load_experiment
from app.experiments.repository import ExperimentRecord, ExperimentRepository
from app.experiments.saved_metrics.repository import SavedMetricRepository
from app.experiments.schemas import (
    ExperimentCreate,
    ExperimentDuplicate,
    ExperimentEnd,
    ExperimentShip,
    ExperimentUpdate,
    SavedMetricLink,
)
from app.experiments.snapshots.schemas import Definition, Trigger
from app.experiments.snapshots.service import SnapshotService, TakenSnapshot, define
from app.experiments.webhooks.outbox import Outbox
from app.flags.filters import JsonDict, mean_the_same, variant_keys, variants_of
from app.flags.interventions import release, unfreeze, with_rollout
from app.flags.service import FlagService
from app.http.request_body import validate

_MAX_NAME_CHARACTERS = 400
_COPY = " (Copy)"

_DOCUMENTS = frozenset({"parameters", "secondary_metrics", "filters", "metrics", "metrics_secondary"})


class SnapshotNeeded(Exception):
    """A change needs a snapshot of the experiment in the state that the change leaves it in."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment.id)
        self.experiment = experiment


class CheckNeeded(Exception):
    """A change needs a check of the experiment's definition in its current state."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment.id)
        self.experiment = experiment


@dataclass(frozen=True)
class Prepared:
    """What was done for a change before its transaction.

    Attributes
    ----------
    snapshot : TakenSnapshot or None
        The results, counted.
    checked : Definition or None
        The definition that was found to be valid.
    """

    snapshot: TakenSnapshot | None = None
    checked: Definition | None = None


NOTHING_PREPARED = Prepared()


@contextlib.contextmanager
def _as_sent() -> Iterator[None]:
    """Name the key of a flag as the body of an experiment does."""
    try:
        yield
    except ValidationFailed as refusal:
        if refusal.attr != "key":
            raise
        raise ValidationFailed(refusal.detail, code=refusal.code, attr="feature_flag_key") from refusal


class ExperimentService:
    """Changes of one project's experiments. ``checked`` is the definition that was found to be valid, if any."""

    def __init__(
        self,
        experiments: ExperimentRepository,
        saved_metrics: SavedMetricRepository,
        holdouts: HoldoutService,
        existing_flags: ExistingFlags,
        flags: FlagService,
        snapshots: SnapshotService,
        log: ActivityLog,
        outbox: Outbox,
        checked: Definition | None = None,
    ) -> None:
        self._checked = checked
        self._experiments = experiments
        self._saved_metrics = saved_metrics
        self._holdouts = holdouts
        self._existing_flags = existing_flags
        self._flags = flags
        self._snapshots = snapshots
        self._log = log
        self._outbox = outbox

    async def get(self, reference: str, *, for_update: bool = False) -> Experiment:
        """Return the experiment that a path names; ``NotFound`` otherwise."""
        return await load_experiment(self._experiments, reference, for_update=for_update)

    async def record(self, experiment: Experiment) -> ExperimentRecord:
        """Return the current state of the experiment for a response."""
        return await self._experiments.record(experiment)

    async def create(
        self, body: ExperimentCreate, created_by: User, flag_variants: Sequence[JsonDict] | None = None
    ) -> Experiment:
        """Create an experiment; ``flag_variants`` are those of its flag where ``parameters`` do not say so."""
        await self._require_saved_metrics(body.saved_metrics_ids)
        if not body.metrics and not body.saved_metrics_ids and (not isinstance(body.filters, dict) or not body.filters):
            raise ValidationFailed("Filters are required to create an Experiment")
        filters = body.filters if isinstance(body.filters, dict) else {}
        refuse_large({field: plain(getattr(body, field)) for field in _DOCUMENTS})
        refuse_untimely(body.scheduling_config, None, body.start_date, utc_now())
        holdout = await self._holdouts.find_to_refer(body.holdout_id)
        existing = await self._existing_flags.find(body, holdout)
        with _as_sent():
            flag = existing or await self._flags.create_for_experiment(
                key=body.feature_flag_key,
                experiment_name=body.name,
                active=body.start_date is not None,
                properties=participants(filters) or [],
                variants=flag_variants or variants(body.parameters) or [],
                aggregation_group_type_index=aggregation_group_type_index(filters, body.parameters),
                rollout=rollout(body.parameters),
                holdout=holdout_for_flag(holdout) if holdout else None,
                created_by=created_by,
            )
        stats_config = plain(body.stats_config)
        refuse_impossible_exclusions(variant_keys(flag.filters), stats_config)
        experiment = Experiment(
            name=body.name,
            description=body.description,
            start_date=body.start_date,
            end_date=body.end_date,
            feature_flag=flag,
            parameters=body.parameters,
            secondary_metrics=body.secondary_metrics,
            filters=filters,
            metrics=plain(body.metrics),
            metrics_secondary=plain(body.metrics_secondary),
            exposure_criteria=plain(body.exposure_criteria),
            saved_metrics_ids=plain(body.saved_metrics_ids),
            only_count_matured_users=body.only_count_matured_users,
            scheduling_config=stored_schedule(body.scheduling_config),
            circuit_breakers=plain(body.circuit_breakers),
            holdout_id=body.holdout_id,
            uses_existing_flag=existing is not None,
            archived=body.archived,
            conclusion=body.conclusion,
            conclusion_comment=body.conclusion_comment,
            stats_config=stats_config,
            decision_criteria=plain(body.decision_criteria),
            created_by_id=created_by.id,
        )
        await self._experiments.add(experiment)
        if body.circuit_breakers:
            refuse_unknown_metrics(await self.get(str(experiment.id)))
        if experiment.start_date is not None:
            await self._begin_ramp(experiment, utc_now(), created_by)
        await self._record(experiment, "created", created_by, after=state_of(experiment))
        return experiment

    async def _require_saved_metrics(self, links: Sequence[SavedMetricLink] | None) -> None:
        missing = {link.id for link in links or ()} - await self._saved_metrics.present(
            [link.id for link in links or ()]
        )
        if missing:
            detail = f"There is no saved metric {min(missing)}."
            raise ValidationFailed(detail, code="does_not_exist", attr="saved_metrics_ids")

    async def duplicate(self, experiment: Experiment, body: ExperimentDuplicate, created_by: User) -> Experiment:
        """Create a draft of the same definition, with a flag of its own."""
        copy = copied_fields(experiment) | {
            "name": body.name or f"{experiment.name[: _MAX_NAME_CHARACTERS - len(_COPY)]}{_COPY}",
            "feature_flag_key": body.feature_flag_key
            or await self._flags.suggest_copy_key(experiment.feature_flag.key),
        }
        await ExperimentCreate.prepare(copy)
        of_flag = variants_of(experiment.feature_flag.filters) if experiment.uses_existing_flag else None
        return await self.create(validate(ExperimentCreate, copy), created_by, of_flag)

    async def update(self, experiment: Experiment, body: ExperimentUpdate, changed_by: User) -> None:
        sent = body.model_fields_set
        flag = experiment.feature_flag
        before, start, end = state_of(experiment), experiment.start_date, experiment.end_date
        if "feature_flag_key" in sent and body.feature_flag_key != flag.key:
            raise ValidationFailed("Can't update keys: feature_flag_key on Experiment")
        await self._require_saved_metrics(body.saved_metrics_ids)
        refuse_foreign_parts(experiment, body)
        if "holdout_id" in sent:
            await self._holdouts.change(experiment, body.holdout_id, changed_by)
        if body.filters:
            await self._change_participants(experiment, body.filters, changed_by)
        if start is None and body.start_date is not None:
            await self._flags.activate(flag, changed_by)
        if sent & _DOCUMENTS:
            documents = {field: getattr(experiment, field) for field in _DOCUMENTS}
            refuse_large(documents | {field: plain(getattr(body, field)) for field in sent & _DOCUMENTS}, documents)
        for field in STORED_AS_SENT:
            if field in sent:
                setattr(experiment, field, plain(getattr(body, field)))
        await self._plan(experiment, body, changed_by, is_started=start is None and experiment.start_date is not None)
        await self._existing_flags.check_opening(experiment, before["status"])
        await self._store(experiment, "updated", changed_by, before)
        is_ended = experiment.start_date is not None and experiment.end_date is not None
        if is_ended and (start is None or experiment.end_date != end):
            await self.take_snapshot(experiment, "update", changed_by)

    async def _change_participants(
        self, experiment: Experiment, filters: Mapping[str, JsonValue], changed_by: User
    ) -> None:
        if experiment.uses_existing_flag:
            require_participants(experiment.feature_flag, filters)
            return
        wanted = participants(filters)
        before = participants(experiment.filters)
        if mean_the_same(wanted or [], before or []):  # whatever the flag has been changed to since
            wanted = None
        if wanted is not None and experiment.exposure_freeze:
            raise invalid_state("The exposure is frozen: unfreeze it before the participants change.")
        index = aggregation_group_type_index(filters, experiment.parameters)
        await self._flags.rewrite_participants(experiment.feature_flag, wanted, index, changed_by)

    async def _plan(
        self, experiment: Experiment, body: ExperimentUpdate, changed_by: User, *, is_started: bool
    ) -> None:
        """Change what an experiment is to do by itself; a ramp begins where the experiment ``is_started`` by this."""
        now = utc_now()
        if "scheduling_config" in body.model_fields_set:
            refuse_untimely(body.scheduling_config, experiment.scheduling_config, experiment.start_date, now)
            forget_schedule(experiment, stored_schedule(body.scheduling_config))
        if is_started:
            await self._begin_ramp(experiment, now, changed_by)
        if body.circuit_breakers:
            await self._experiments.flush()
            refuse_unknown_metrics(await self.get(str(experiment.id)))

    async def launch(self, experiment: Experiment, changed_by: User | None, now: dt.datetime | None = None) -> None:
        """Start now, and release the flag, to the share that a ramp begins with. An end that is not ahead is cleared.

        Raises
        ------
        CheckNeeded
            When the experiment's definition in this state was not checked yet.
        """
        _check("launch", experiment)
        for problem in find_flag_problems(experiment):
            raise invalid_state(problem.detail)
        if self._checked != define(experiment):
            raise CheckNeeded(self._experiments.detach(experiment))
        await self._existing_flags.refuse_second_run(experiment)
        before = state_of(experiment)
        experiment.start_date = now = now or utc_now()
        if experiment.end_date is not None and experiment.end_date <= now:
            experiment.end_date = None
        if changed_by is None:
            note(experiment, "started", now)
        await self._release(experiment, changed_by)
        await self._begin_ramp(experiment, now, changed_by)
        await self._store(experiment, "launched", changed_by, before)

    async def _begin_ramp(self, experiment: Experiment, now: dt.datetime, changed_by: User | None) -> None:
        """Make the rollout that of a ramp's first step."""
        if ramp := read_schedule(experiment.scheduling_config).ramp:
            for problem in find_flag_problems(experiment):
                raise invalid_state(problem.detail)
            flag, share = experiment.feature_flag, ramp[0].rollout_percentage
            await self._flags.rewrite(flag, with_rollout(flag.filters, share), changed_by)
            note(experiment, "ramped", now, after_hours=0, rollout_percentage=share)

    async def _release(self, experiment: Experiment, changed_by: User | None) -> None:
        """Switch the flag on, and let it serve the split again where everyone gets the baseline."""
        flag = experiment.feature_flag
        if (held := experiment.baseline_hold) is not None:
            experiment.baseline_hold = None
            await self._flags.rewrite(flag, release(flag.filters, held["variant_key"], held["filters"]), changed_by)
        await self._flags.activate(flag, changed_by)

    async def _thaw(self, experiment: Experiment, changed_by: User | None) -> None:
        """Restore the release conditions of a frozen experiment."""
        if (frozen := experiment.exposure_freeze) is not None:
            experiment.exposure_freeze, flag = None, experiment.feature_flag
            filters = unfreeze(flag.filters, frozen["cohort_id"], frozen["filters"])
            await self._flags.rewrite(flag, filters, changed_by)

    async def pause(self, experiment: Experiment, changed_by: User | None) -> None:
        """Switch the flag off: no person is exposed until it is on again."""
        _check("pause", experiment)
        before = state_of(experiment)
        await self._flags.deactivate(experiment.feature_flag, changed_by)
        await self._store(experiment, "paused", changed_by, before)

    async def resume(self, experiment: Experiment, changed_by: User) -> None:
        _check("resume", experiment)
        _refuse_deleted(experiment.feature_flag)
        before = state_of(experiment)
        await self._release(experiment, changed_by)
        await self._store(experiment, "resumed", changed_by, before)

    async def end(
        self, experiment: Experiment, body: ExperimentEnd, ended_at: dt.datetime, changed_by: User | None
    ) -> None:
        """End the experiment, and store its results. The flag is left as it is."""
        _check("end", experiment)
        before = state_of(experiment)
        experiment.end_date = ended_at
        _conclude(experiment, body)
        await self._store(experiment, "ended", changed_by, before)
        await self.take_snapshot(experiment, "end", changed_by)

    async def ship_variant(
        self, experiment: Experiment, body: ExperimentShip, shipped_at: dt.datetime, changed_by: User
    ) -> None:
        """Release one variant to everyone, and end the experiment. The snapshot is taken under the old split."""
        _check("ship_variant", experiment)
        _refuse_deleted(experiment.feature_flag)
        if body.variant_key not in variant_keys(experiment.feature_flag.filters):
            raise ValidationFailed(f"Variant {body.variant_key!r} is not one of the flag's.", attr="variant_key")
        before = state_of(experiment)
        experiment.end_date = min(experiment.end_date or shipped_at, shipped_at)
        _conclude(experiment, body)
        await self._store(experiment, "shipped", changed_by, before)
        await self.take_snapshot(experiment, "ship_variant", changed_by)
        if experiment.baseline_hold or experiment.exposure_freeze:
            await self._release(experiment, changed_by)
            await self._thaw(experiment, changed_by)
            await self._experiments.flush()
        await self._flags.ship(experiment.feature_flag, body.variant_key, changed_by)

    async def reset(self, experiment: Experiment, changed_by: User) -> None:
        """Make it a draft again. Flag and snapshots stay."""
        _check("reset", experiment)
        before = state_of(experiment)
        experiment.start_date = experiment.end_date = None
        experiment.conclusion = experiment.conclusion_comment = None
        experiment.archived = False
        experiment.automatic_actions = None
        experiment.scheduling_config = without_times(experiment.scheduling_config)
        await self._store(experiment, "reset", changed_by, before)

    async def archive(self, experiment: Experiment, changed_by: User) -> None:
        _check("archive", experiment)
        before = state_of(experiment)
        experiment.archived = True
        await self._store(experiment, "archived", changed_by, before)

    async def unarchive(self, experiment: Experiment, changed_by: User) -> None:
        _check("unarchive", experiment)
        before = state_of(experiment)
        experiment.archived = False
        await self._store(experiment, "unarchived", changed_by, before)

    async def delete(self, experiment: Experiment, deleted_by: User) -> None:
        """Remove the experiment for good; a flag of its own is marked as deleted, which frees the key."""
        before = state_of(experiment)
        if await self._existing_flags.is_own(experiment):
            await self._flags.delete(experiment.feature_flag, deleted_by)
        await self._experiments.delete(experiment)
        await self._record(experiment, "deleted", deleted_by, before=before)

    async def take_snapshot(self, experiment: Experiment, trigger: Trigger, taken_by: User | None) -> Snapshot:
        """Store the results as they are now.

        Raises
        ------
        SnapshotNeeded
            When the results of the experiment in this state were not counted yet.
        """
        if experiment.start_date is None:
            raise invalid_state("Experiment has not been launched yet.")
        snapshot = await self._snapshots.store(experiment, trigger, taken_by)
        if snapshot is None:
            raise SnapshotNeeded(self._experiments.detach(experiment))
        return snapshot

    async def _store(self, experiment: Experiment, activity: str, changed_by: User | None, before: State) -> None:
        experiment.updated_at = utc_now()
        await self._experiments.flush()
        if activity not in {"archived", "unarchived"}:  # which change nothing that is decided on
            await self._experiments.forget_verdict(experiment.id)
        await self._record(experiment, activity, changed_by, before=before, after=state_of(experiment))

    async def _record(
        self,
        experiment: Experiment,
        activity: str,
        changed_by: User | None,
        *,
        before: State = ABSENT,
        after: State = ABSENT,
    ) -> None:
        """Log a change, and tell receivers of it, in its own transaction."""
        await self._log.record(
            "Experiment", experiment.id, activity, changed_by, before=before, after=after, name=experiment.name
        )
        await self._outbox.tell_change(experiment.id, activity, changed_by, before, after)


def _check(action: Action, experiment: Experiment) -> None:
    check_action(action, current_status(experiment), is_archived=experiment.archived)


def _conclude(experiment: Experiment, body: ExperimentEnd) -> None:
    for field in ("conclusion", "conclusion_comment"):
        if field in body.model_fields_set:
            setattr(experiment, field, getattr(body, field))


def _refuse_deleted(flag: FeatureFlag) -> None:
    if flag.deleted:
        raise invalid_state("The experiment's feature flag is deleted.")
