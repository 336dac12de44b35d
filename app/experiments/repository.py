"""Experiments in the database: objects for changes, and records for responses."""

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, bindparam, case, cast, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import QueryableAttribute, contains_eager

from app.db.advisory_locks import ProjectLock, lock_project
from app.db.bulk import chunks
from app.db.database import Database
from app.db.detached import detached
from app.db.models import Experiment, ExperimentNotice, ExperimentVerdict, FeatureFlag, SavedMetric, User, utc_now
from app.db.sizes import size_of
from app.experiments.lifecycle import Status, status_of

CHANGED_EXPERIMENTS = "changed_experiments"  # in a session's ``info``: whether its transaction changes experiments

Order: TypeAlias = Literal["created_at", "updated_at", "name", "start_date", "end_date", "duration", "status"]

# The statuses that end without a request that changes the experiment: by time, or with its flag.
CHANGING: Final[tuple[Status, ...]] = ("scheduled", "running", "paused", "exposure_frozen")

_IS_RELEASED = FeatureFlag.active & ~FeatureFlag.deleted & Experiment.baseline_hold.is_(None)
NOW: Final = "now"  # the parameter of conditions on the status
_AT = bindparam(NOW, type_=Experiment.end_date.type)
HAS_ENDED = Experiment.start_date.is_not(None) & (Experiment.end_date <= _AT)
IS_OPEN = (Experiment.start_date <= _AT) & (Experiment.end_date.is_(None) | (Experiment.end_date > _AT))
_HAS_NO_PAST_END = Experiment.start_date.is_(None) | Experiment.end_date.is_(None) | (Experiment.end_date > _AT)
# The same as ``status_of``, in SQL.
_STATUSES: Final[Mapping[Status, ColumnElement[bool]]] = {
    "draft": Experiment.start_date.is_(None),
    "scheduled": (Experiment.start_date > _AT) & (Experiment.end_date.is_(None) | (Experiment.end_date > _AT)),
    "running": IS_OPEN & _IS_RELEASED & Experiment.exposure_freeze.is_(None),
    "paused": IS_OPEN & ~_IS_RELEASED,
    "exposure_frozen": IS_OPEN & _IS_RELEASED & Experiment.exposure_freeze.is_not(None),
    "stopped": HAS_ENDED,
}


@dataclass(frozen=True)
class ExperimentSelection:
    """The filters of a list of experiments (None does not filter), and its order."""

    status: Status | None = None
    is_archived: bool | None = None
    search: str | None = None  # part of the name, ignoring case
    created_by_id: int | None = None
    order: Order = "created_at"
    is_descending: bool = True


class ExperimentRecord(NamedTuple):
    """An experiment as it is stored, with its flag's key and its author. Documents are unparsed JSON text."""

    id: int
    name: str
    description: str | None
    start_date: dt.datetime | None
    end_date: dt.datetime | None
    feature_flag_key: str
    feature_flag_id: int
    parameters: str | None
    secondary_metrics: str | None
    filters: str
    metrics: str | None
    metrics_secondary: str | None
    exposure_criteria: str | None
    saved_metrics_ids: str | None
    only_count_matured_users: bool
    scheduling_config: str | None
    circuit_breakers: str | None
    automatic_actions: str | None
    exposure_freeze: str | None
    baseline_hold: str | None
    holdout_id: int | None
    uses_existing_flag: bool
    archived: bool
    conclusion: str | None
    conclusion_comment: str | None
    stats_config: str | None
    decision_criteria: str | None
    is_active: bool  # the flag
    is_deleted: bool  # the flag
    variants: str | None  # of the flag
    author_id: int | None
    author_uuid: UUID
    author_distinct_id: str
    author_first_name: str
    author_email: str
    created_at: dt.datetime
    updated_at: dt.datetime
    verdict: str | None

    @property
    def status(self) -> Status:
        is_released = self.is_active and not self.is_deleted and self.baseline_hold is None
        is_frozen = self.exposure_freeze is not None
        return status_of(self.start_date, self.end_date, utc_now(), is_released=is_released, is_frozen=is_frozen)


def _text_of(document: QueryableAttribute[Any] | ColumnElement[Any]) -> ColumnElement[Any]:
    """Return JSON as text. Drivers parse JSON columns on their own, so the database has to cast them."""
    return cast(document, Text)


_VARIANTS: Final = FeatureFlag.filters["multivariate"]["variants"]
_RECORDS: Select[*tuple[Any, ...]] = (
    select(
        Experiment.id,
        Experiment.name,
        Experiment.description,
        Experiment.start_date,
        Experiment.end_date,
        FeatureFlag.key,
        Experiment.feature_flag_id,
        _text_of(Experiment.parameters),
        _text_of(Experiment.secondary_metrics),
        _text_of(Experiment.filters),
        _text_of(Experiment.metrics),
        _text_of(Experiment.metrics_secondary),
        _text_of(Experiment.exposure_criteria),
        _text_of(Experiment.saved_metrics_ids),
        Experiment.only_count_matured_users,
        _text_of(Experiment.scheduling_config),
        _text_of(Experiment.circuit_breakers),
        _text_of(Experiment.automatic_actions),
        _text_of(Experiment.exposure_freeze),
        _text_of(Experiment.baseline_hold),
        Experiment.holdout_id,
        Experiment.uses_existing_flag,
        Experiment.archived,
        Experiment.conclusion,
        Experiment.conclusion_comment,
        _text_of(Experiment.stats_config),
        _text_of(Experiment.decision_criteria),
        FeatureFlag.active,
        FeatureFlag.deleted,
        _text_of(_VARIANTS),
        User.id,
        User.uuid,
        User.distinct_id,
        User.first_name,
        User.email,
        Experiment.created_at,
        Experiment.updated_at,
        _text_of(ExperimentVerdict.document),
    )
    .join(Experiment.feature_flag)
    .outerjoin(Experiment.created_by)
    .outerjoin(ExperimentVerdict, ExperimentVerdict.experiment_id == Experiment.id)
    .where(Experiment.project_id == bindparam("project_id"))
)
_SIZES: Select[*tuple[Any, ...]] = _RECORDS.with_only_columns(
    size_of(
        (
            Experiment.parameters,
            Experiment.secondary_metrics,
            Experiment.filters,
            Experiment.metrics,
            Experiment.metrics_secondary,
            Experiment.exposure_criteria,
            Experiment.automatic_actions,
            Experiment.exposure_freeze,
            Experiment.baseline_hold,
            Experiment.stats_config,
            Experiment.decision_criteria,
            _VARIANTS,
            Experiment.description,
            Experiment.conclusion_comment,
            ExperimentVerdict.document,
        )
    ).label("size"),
    maintain_column_froms=True,
)
_RECORD = _RECORDS.where(Experiment.id == bindparam("experiment_id"))
_EXPERIMENT: Final = Experiment.__table__.columns
_FLAG: Final = FeatureFlag.__table__.columns
_WHOLE: Select[*tuple[Any, ...]] = (
    select(*_EXPERIMENT, *_FLAG)
    .join(FeatureFlag, FeatureFlag.id == Experiment.feature_flag_id)
    .where(Experiment.project_id == bindparam("project_id"), Experiment.id == bindparam("experiment_id"))
)


class ExperimentQueries:
    """Records of one project, each query on a connection of its own."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def get(self, experiment_id: int) -> ExperimentRecord | None:
        rows = await self._database.fetch(_RECORD, {"project_id": self._project_id, "experiment_id": experiment_id})
        return ExperimentRecord._make(rows[0]) if rows else None

    async def get_detached(self, experiment_id: int) -> Experiment | None:
        """Return what ``ExperimentRepository.get`` does, outside any session."""
        rows = await self._database.fetch(_WHOLE, {"project_id": self._project_id, "experiment_id": experiment_id})
        if not rows:
            return None
        [row] = rows
        flag = detached(FeatureFlag, _FLAG.keys(), row[len(_EXPERIMENT) :])
        names, values = (*_EXPERIMENT.keys(), "feature_flag"), (*row[: len(_EXPERIMENT)], flag)
        experiment = detached(Experiment, names, values)
        if experiment.saved_metrics_ids:
            async with self._database.read() as session:
                await ExperimentRepository(session, self._project_id).load_saved_metrics([experiment])
        return experiment

    async def page(self, selection: ExperimentSelection, limit: int, offset: int) -> Sequence[ExperimentRecord]:
        """Return experiments; ties are ordered newest first, and rows without a value come last."""
        query = _page_of(selection, _RECORDS, is_sqlite=self._database.is_sqlite)
        rows = await self._database.fetch(query, self._bound(selection, limit, offset))
        return [ExperimentRecord._make(row) for row in rows]

    async def sizes(self, selection: ExperimentSelection, limit: int, offset: int) -> Sequence[int]:
        """Return the bytes of the documents of the experiments that ``page`` returns."""
        query = _page_of(selection, _SIZES, is_sqlite=self._database.is_sqlite)
        return [row[0] for row in await self._database.fetch(query, self._bound(selection, limit, offset))]

    def _bound(self, selection: ExperimentSelection, limit: int, offset: int) -> dict[str, object]:
        now = {NOW: utc_now()} if selection.status or selection.order in {"duration", "status"} else {}
        return {"project_id": self._project_id, "limit": limit, "offset": offset, **now}

    async def count(self, selection: ExperimentSelection) -> int:
        now = {NOW: utc_now()} if selection.status else {}
        [(count,)] = await self._database.fetch(_count_of(selection), {"project_id": self._project_id, **now})
        return count


@functools.cache
def _one_experiment(*, for_update: bool) -> Select[Experiment]:
    """Return the query of an experiment with its flag, built once: that takes longer than to execute it."""
    query = _with_flags().where(Experiment.project_id == bindparam("project_id"), Experiment.id == bindparam("id"))
    return query.with_for_update(of=(Experiment, FeatureFlag)) if for_update else query


def _with_flags() -> Select[Experiment]:
    return select(Experiment).join(Experiment.feature_flag).options(contains_eager(Experiment.feature_flag))


class ExperimentRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    def _select(self) -> Select[Experiment]:
        return _with_flags().where(Experiment.project_id == self._project_id)

    async def get(self, experiment_id: int, *, for_update: bool = False) -> Experiment | None:
        """Return an experiment with its flag, on request both locked against other writers.

        A row that is joined but not locked would be returned as it was before the wait for the lock.
        """
        query = _one_experiment(for_update=for_update)
        experiment = await self._session.scalar(query, {"project_id": self._project_id, "id": experiment_id})
        if experiment is not None:
            await self.load_saved_metrics([experiment])
        return experiment

    async def load_saved_metrics(self, experiments: Sequence[Experiment]) -> Sequence[Experiment]:
        """Load the saved metrics that experiments count; only those that have any cost a query."""
        wanted = {link["id"] for experiment in experiments for link in experiment.saved_metrics_ids or ()}
        if not wanted:
            return experiments
        query = select(SavedMetric).where(SavedMetric.project_id == self._project_id)
        found: dict[int, SavedMetric] = {}
        for chunk in chunks(sorted(wanted)):
            found |= {one.id: one for one in await self._session.scalars(query.where(SavedMetric.id.in_(chunk)))}
        for experiment in experiments:
            links = experiment.saved_metrics_ids or ()
            experiment.saved_metrics = [found[link["id"]] for link in links if link["id"] in found]  # type: ignore[misc]
        return experiments

    async def record(self, experiment: Experiment) -> ExperimentRecord:
        """Return the experiment as readers will see it: with the stored text of its documents."""
        found = await self._session.execute(_RECORD, {"project_id": self._project_id, "experiment_id": experiment.id})
        return ExperimentRecord._make(found.one())

    async def running(self) -> Sequence[Experiment]:
        """Return the experiments that have started, have not ended and are not archived."""
        query = self._select().where(IS_OPEN, ~Experiment.archived)
        found = await self._session.scalars(query, {NOW: utc_now()})
        return await self.load_saved_metrics(found.all())

    async def watched(self, now: dt.datetime) -> Sequence[Experiment]:
        """Return the experiments that run, and those that webhooks last knew in a status that time or a flag ends."""
        known = select(ExperimentNotice.experiment_id).where(ExperimentNotice.status.in_(CHANGING))
        is_watched = (IS_OPEN & ~Experiment.archived) | Experiment.id.in_(known)
        found = await self._session.scalars(self._select().where(is_watched).order_by(Experiment.id), {NOW: now})
        return await self.load_saved_metrics(found.all())

    async def automated(self, now: dt.datetime) -> Sequence[Experiment]:
        """Return the experiments with a schedule or circuit breakers that have not ended and are not archived."""
        planned = Experiment.scheduling_config.is_not(None) | Experiment.circuit_breakers.is_not(None)
        query = self._select().where(planned, ~Experiment.archived, _HAS_NO_PAST_END).order_by(Experiment.id)
        found = await self._session.scalars(query, {NOW: now})
        return await self.load_saved_metrics(found.all())

    async def forget_verdict(self, experiment_id: int) -> None:
        await self._session.execute(
            delete(ExperimentVerdict)
            .where(ExperimentVerdict.experiment_id == experiment_id)
            .execution_options(synchronize_session=False)
        )

    async def lock_upkeep(self) -> None:
        """Wait until no other process changes experiments by itself."""
        await lock_project(self._session, ProjectLock.UPKEEP, self._project_id)

    async def with_ids(self, experiment_ids: Sequence[int]) -> Sequence[Experiment]:
        """Return some experiments, newest first."""
        query = self._select().where(Experiment.id.in_(experiment_ids)).order_by(Experiment.id.desc())
        return await self.load_saved_metrics((await self._session.scalars(query)).all())

    async def of_holdout(self, holdout_id: int) -> Sequence[Experiment]:
        """Return the experiments that name a holdout, oldest first."""
        query = self._select().where(Experiment.holdout_id == holdout_id).order_by(Experiment.id)
        return await self.load_saved_metrics((await self._session.scalars(query)).all())

    async def all(self) -> Sequence[Experiment]:
        """Return all experiments, archived ones too."""
        found = await self._session.scalars(self._select().order_by(Experiment.id))
        return await self.load_saved_metrics(found.all())

    async def add(self, experiment: Experiment) -> None:
        experiment.project_id = self._project_id
        self._session.add(experiment)
        await self.flush()

    async def flush(self) -> None:
        self._session.info[CHANGED_EXPERIMENTS] = True
        await self._session.flush()

    def detach(self, experiment: Experiment) -> Experiment:
        """Detach the experiment and its flag, so that they keep their values when the transaction is rolled back."""
        self._session.expunge(experiment)
        self._session.expunge(experiment.feature_flag)
        for metric in experiment.saved_metrics:
            self._session.expunge(metric)
        return experiment

    async def delete(self, experiment: Experiment) -> None:
        await self._session.delete(experiment)
        await self._session.flush()


@functools.lru_cache(maxsize=32)
def _page_of(
    selection: ExperimentSelection, records: Select[*tuple[Any, ...]], *, is_sqlite: bool
) -> Select[*tuple[Any, ...]]:
    key = _order_key(selection.order, is_sqlite=is_sqlite)
    order = (key.desc() if selection.is_descending else key.asc()).nulls_last()
    return (
        records.where(*_conditions(selection))
        .order_by(order, Experiment.id.desc())
        .limit(bindparam("limit"))
        .offset(bindparam("offset"))
    )


@functools.lru_cache(maxsize=32)
def _count_of(selection: ExperimentSelection) -> Select[int]:
    return (
        select(func.count())
        .select_from(Experiment)
        .join(Experiment.feature_flag)
        .where(Experiment.project_id == bindparam("project_id"), *_conditions(selection))
    )


def _order_key(order: Order, *, is_sqlite: bool) -> ColumnElement[Any]:
    if order == "status":
        return case(*((condition, place) for place, condition in enumerate(_STATUSES.values())))
    if order == "duration":
        end = func.coalesce(Experiment.end_date, _AT)
        if is_sqlite:
            return func.julianday(end) - func.julianday(Experiment.start_date)
        return end - Experiment.start_date
    column: ColumnElement[Any] = getattr(Experiment, order)
    return column


def _conditions(selection: ExperimentSelection) -> list[ColumnElement[bool]]:
    conditions = []
    if selection.status is not None:
        conditions.append(_STATUSES[selection.status])
    if selection.is_archived is not None:
        conditions.append(Experiment.archived.is_(selection.is_archived))
    if selection.search:
        conditions.append(Experiment.name.icontains(selection.search, autoescape=True))
    if selection.created_by_id is not None:
        conditions.append(Experiment.created_by_id == selection.created_by_id)
    return conditions
