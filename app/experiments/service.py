"""The rules of experiments, in the order in which the API of 2022 checks them."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, JsonValue

from app.activity_log.changes import State
from app.activity_log.service import ActivityLog
from app.common import limits
from app.common.errors import ValidationFailed
from app.common.timestamps import write_moment
from app.db.models import Experiment, FeatureFlag, Snapshot, User, utc_now
from app.experiments.health.definition import find_flag_problems
from app.experiments.lifecycle import Action, Status, check_action, invalid_state, status_of
from app.experiments.loading import load_experiment
from app.experiments.repository import ExperimentRecord, ExperimentRepository
from app.experiments.saved_metrics.repository import SavedMetricRepository
from app.experiments.schemas import (
    VARIANTS,
    ExperimentCreate,
    ExperimentDuplicate,
    ExperimentEnd,
    ExperimentShip,
    ExperimentUpdate,
    SavedMetricLink,
)
from app.experiments.snapshots.schemas import Definition, Trigger
from app.experiments.snapshots.service import SnapshotService, TakenSnapshot, define
from app.flags.filters import JsonDict, mean_the_same, variant_keys, variants_of
from app.flags.service import FlagService
from app.http.request_body import validate
from app.metrics.queries.typed.schemas import MetricBody, copies_of
from app.properties.budget import size_of

_MAX_NAME_CHARACTERS = 400
_COPY = " (Copy)"

_STORED_AS_SENT = (
    "name",
    "description",
    "start_date",
    "end_date",
    "parameters",
    "secondary_metrics",
    "filters",
    "metrics",
    "metrics_secondary",
    "exposure_criteria",
    "saved_metrics_ids",
    "only_count_matured_users",
    "archived",
    "conclusion",
    "conclusion_comment",
    "stats_config",
    "decision_criteria",
)


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


class ExperimentService:
    """Changes of one project's experiments. ``checked`` is the definition that was found to be valid, if any."""

    def __init__(
        self,
        experiments: ExperimentRepository,
        saved_metrics: SavedMetricRepository,
        flags: FlagService,
        snapshots: SnapshotService,
        log: ActivityLog,
        checked: Definition | None = None,
    ) -> None:
        self._checked = checked
        self._experiments = experiments
        self._saved_metrics = saved_metrics
        self._flags = flags
        self._snapshots = snapshots
        self._log = log

    async def get(self, reference: str, *, for_update: bool = False) -> Experiment:
        """Return the experiment that a path names; ``NotFound`` otherwise."""
        return await load_experiment(self._experiments, reference, for_update=for_update)

    async def record(self, experiment: Experiment) -> ExperimentRecord:
        """Return the current state of the experiment for a response."""
        return await self._experiments.record(experiment)

    async def create(self, body: ExperimentCreate, created_by: User) -> Experiment:
        await self._require_saved_metrics(body.saved_metrics_ids)
        if not body.metrics and not body.saved_metrics_ids and (not isinstance(body.filters, dict) or not body.filters):
            raise ValidationFailed("Filters are required to create an Experiment")
        filters = body.filters if isinstance(body.filters, dict) else {}
        _refuse_large({field: _plain(getattr(body, field)) for field in _DOCUMENTS})
        flag = await self._flags.create_for_experiment(
            key=body.feature_flag_key,
            experiment_name=body.name,
            active=body.start_date is not None,
            properties=_participants(filters) or [],
            variants=_variants(body.parameters) or [],
            aggregation_group_type_index=_aggregation_group_type_index(filters),
            created_by=created_by,
        )
        experiment = Experiment(
            name=body.name,
            description=body.description,
            start_date=body.start_date,
            end_date=body.end_date,
            feature_flag=flag,
            parameters=body.parameters,
            secondary_metrics=body.secondary_metrics,
            filters=filters,
            metrics=_plain(body.metrics),
            metrics_secondary=_plain(body.metrics_secondary),
            exposure_criteria=_plain(body.exposure_criteria),
            saved_metrics_ids=_plain(body.saved_metrics_ids),
            only_count_matured_users=body.only_count_matured_users,
            archived=body.archived,
            conclusion=body.conclusion,
            conclusion_comment=body.conclusion_comment,
            stats_config=_plain(body.stats_config),
            decision_criteria=_plain(body.decision_criteria),
            created_by_id=created_by.id,
        )
        await self._experiments.add(experiment)
        await self._log.record(
            "Experiment", experiment.id, "created", created_by, after=_state(experiment), name=experiment.name
        )
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
        copy = {
            "name": body.name or f"{experiment.name[: _MAX_NAME_CHARACTERS - len(_COPY)]}{_COPY}",
            "description": experiment.description,
            "feature_flag_key": body.feature_flag_key
            or await self._flags.suggest_copy_key(experiment.feature_flag.key),
            "parameters": experiment.parameters,
            "secondary_metrics": experiment.secondary_metrics,
            "filters": experiment.filters,
            "metrics": copies_of(experiment.metrics),
            "metrics_secondary": copies_of(experiment.metrics_secondary),
            "exposure_criteria": experiment.exposure_criteria,
            "saved_metrics_ids": experiment.saved_metrics_ids,
            "only_count_matured_users": experiment.only_count_matured_users,
            "stats_config": experiment.stats_config or None,
            "decision_criteria": experiment.decision_criteria or None,
        }
        await ExperimentCreate.prepare(copy)
        return await self.create(validate(ExperimentCreate, copy), created_by)

    async def update(self, experiment: Experiment, body: ExperimentUpdate, changed_by: User) -> None:
        sent = body.model_fields_set
        flag = experiment.feature_flag
        before, start, end = _state(experiment), experiment.start_date, experiment.end_date
        if "feature_flag_key" in sent and body.feature_flag_key != flag.key:
            raise ValidationFailed("Can't update keys: get_feature_flag_key on Experiment")
        await self._require_saved_metrics(body.saved_metrics_ids)
        variants = _variants(body.parameters)
        if variants is not None:
            _refuse_other_variants(variants_of(flag.filters), variants)
        if body.filters:
            participants = _participants(body.filters)
            if mean_the_same(participants or [], _participants(experiment.filters) or []):
                participants = None  # whatever the flag has been changed to since
            await self._flags.rewrite_participants(
                flag, participants, _aggregation_group_type_index(body.filters), changed_by
            )
        if start is None and body.start_date is not None:
            await self._flags.activate(flag, changed_by)
        if sent & _DOCUMENTS:
            documents = {field: getattr(experiment, field) for field in _DOCUMENTS}
            _refuse_large(documents | {field: _plain(getattr(body, field)) for field in sent & _DOCUMENTS}, documents)
        for field in _STORED_AS_SENT:
            if field in sent:
                setattr(experiment, field, _plain(getattr(body, field)))
        await self._store(experiment, "updated", changed_by, before)
        is_ended = experiment.start_date is not None and experiment.end_date is not None
        if is_ended and (start is None or experiment.end_date != end):
            await self.take_snapshot(experiment, "update", changed_by)

    async def launch(self, experiment: Experiment, changed_by: User) -> None:
        """Start now, and release the flag. An end that is not ahead is cleared.

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
        before = _state(experiment)
        experiment.start_date = now = utc_now()
        if experiment.end_date is not None and experiment.end_date <= now:
            experiment.end_date = None
        await self._flags.activate(experiment.feature_flag, changed_by)
        await self._store(experiment, "launched", changed_by, before)

    async def pause(self, experiment: Experiment, changed_by: User) -> None:
        """Switch the flag off: no person is exposed until it is on again."""
        _check("pause", experiment)
        before = _state(experiment)
        await self._flags.deactivate(experiment.feature_flag, changed_by)
        await self._store(experiment, "paused", changed_by, before)

    async def resume(self, experiment: Experiment, changed_by: User) -> None:
        _check("resume", experiment)
        _refuse_deleted(experiment.feature_flag)
        before = _state(experiment)
        await self._flags.activate(experiment.feature_flag, changed_by)
        await self._store(experiment, "resumed", changed_by, before)

    async def end(self, experiment: Experiment, body: ExperimentEnd, ended_at: dt.datetime, changed_by: User) -> None:
        """End the experiment, and store its results. The flag is left as it is."""
        _check("end", experiment)
        before = _state(experiment)
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
        before = _state(experiment)
        experiment.end_date = min(experiment.end_date or shipped_at, shipped_at)
        _conclude(experiment, body)
        await self._store(experiment, "shipped", changed_by, before)
        await self.take_snapshot(experiment, "ship_variant", changed_by)
        await self._flags.ship(experiment.feature_flag, body.variant_key, changed_by)

    async def reset(self, experiment: Experiment, changed_by: User) -> None:
        """Make it a draft again. Flag and snapshots stay."""
        _check("reset", experiment)
        before = _state(experiment)
        experiment.start_date = experiment.end_date = None
        experiment.conclusion = experiment.conclusion_comment = None
        experiment.archived = False
        await self._store(experiment, "reset", changed_by, before)

    async def archive(self, experiment: Experiment, changed_by: User) -> None:
        _check("archive", experiment)
        before = _state(experiment)
        experiment.archived = True
        await self._store(experiment, "archived", changed_by, before)

    async def unarchive(self, experiment: Experiment, changed_by: User) -> None:
        _check("unarchive", experiment)
        before = _state(experiment)
        experiment.archived = False
        await self._store(experiment, "unarchived", changed_by, before)

    async def delete(self, experiment: Experiment, deleted_by: User) -> None:
        """Remove the experiment for good; its flag is marked as deleted, which frees the key."""
        before = _state(experiment)
        await self._flags.delete(experiment.feature_flag, deleted_by)
        await self._experiments.delete(experiment)
        await self._log.record("Experiment", experiment.id, "deleted", deleted_by, before=before, name=experiment.name)

    async def take_snapshot(self, experiment: Experiment, trigger: Trigger, taken_by: User) -> Snapshot:
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

    async def _store(self, experiment: Experiment, activity: str, changed_by: User, before: State) -> None:
        experiment.updated_at = utc_now()
        await self._experiments.flush()
        await self._log.record(
            "Experiment",
            experiment.id,
            activity,
            changed_by,
            before=before,
            after=_state(experiment),
            name=experiment.name,
        )


def _check(action: Action, experiment: Experiment) -> None:
    check_action(action, current_status(experiment), is_archived=experiment.archived)


def _conclude(experiment: Experiment, body: ExperimentEnd) -> None:
    for field in ("conclusion", "conclusion_comment"):
        if field in body.model_fields_set:
            setattr(experiment, field, getattr(body, field))


def _refuse_deleted(flag: FeatureFlag) -> None:
    if flag.deleted:
        raise invalid_state("The experiment's feature flag is deleted.")


def current_status(experiment: Experiment) -> Status:
    flag = experiment.feature_flag
    is_released = flag.active and not flag.deleted
    return status_of(experiment.start_date, experiment.end_date, utc_now(), is_released=is_released)


def _state(experiment: Experiment) -> State:
    """Return the experiment as the activity log shows it."""
    return {
        "name": experiment.name,
        "description": experiment.description,
        "status": current_status(experiment),
        "start_date": experiment.start_date and write_moment(experiment.start_date),
        "end_date": experiment.end_date and write_moment(experiment.end_date),
        "feature_flag_key": experiment.feature_flag.key,
        "parameters": experiment.parameters,
        "secondary_metrics": experiment.secondary_metrics,
        "filters": experiment.filters,
        "metrics": experiment.metrics,
        "metrics_secondary": experiment.metrics_secondary,
        "exposure_criteria": experiment.exposure_criteria,
        "saved_metrics_ids": experiment.saved_metrics_ids,
        "only_count_matured_users": experiment.only_count_matured_users,
        "archived": experiment.archived,
        "conclusion": experiment.conclusion,
        "conclusion_comment": experiment.conclusion_comment,
        "stats_config": experiment.stats_config,
        "decision_criteria": experiment.decision_criteria,
    }


def _plain(value: object) -> Any:  # noqa: ANN401  # what a column takes
    """Return a value as it is stored; of settings, those that were sent."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, MetricBody):
        return value.to_stored()
    return value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value


def _refuse_large(documents: Mapping[str, JsonValue], before: Mapping[str, JsonValue] | None = None) -> None:
    """Refuse documents that are too large together; those of an older experiment may still become smaller."""
    sizes = {field: size_of(document) for field, document in documents.items()}
    held = sum(map(size_of, before.values())) if before else 0
    if sum(sizes.values()) > max(held, limits.DOCUMENT_BYTES.value):
        largest = max(sizes, key=sizes.__getitem__)
        raise ValidationFailed(limits.DOCUMENT_BYTES.detail, code="too_large", attr=largest)


def _participants(filters: Mapping[str, JsonValue]) -> list[JsonDict] | None:
    properties = filters.get("properties")
    return [item for item in properties if isinstance(item, dict)] if isinstance(properties, list) else None


def _aggregation_group_type_index(filters: Mapping[str, JsonValue]) -> int | None:
    index = filters.get("aggregation_group_type_index")
    return index if isinstance(index, int) else None


def _variants(parameters: JsonValue) -> list[JsonDict] | None:
    """Return the variants in the parameters, if there are any."""
    variants = parameters.get(VARIANTS) if isinstance(parameters, dict) else None
    return [variant for variant in variants if isinstance(variant, dict)] if isinstance(variants, list) else None


def _refuse_other_variants(of_flag: Sequence[JsonDict], given: Sequence[JsonDict]) -> None:
    """Refuse to change the flag's split through the experiment; the same variants may come in any order."""
    shares = {variant["key"]: variant.get("rollout_percentage") for variant in of_flag}
    same = len(given) == len(of_flag) and all(
        variant["key"] in shares and shares[variant["key"]] == variant.get("rollout_percentage") for variant in given
    )
    if not same:
        raise ValidationFailed("Can't update feature_flag_variants on Experiment")
