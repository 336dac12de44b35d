"""Experiments in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import ColumnElement, Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import contains_eager, joinedload

from app.models import Experiment, FeatureFlag, utc_now

Status: TypeAlias = Literal["draft", "running", "complete"]
Order: TypeAlias = Literal["created_at", "updated_at", "name", "start_date", "end_date", "duration", "status"]

_STATUSES: Final[Mapping[Status, ColumnElement[bool]]] = {
    "draft": Experiment.start_date.is_(None),
    "running": Experiment.start_date.is_not(None) & Experiment.end_date.is_(None),
    "complete": Experiment.end_date.is_not(None),
}


@dataclass(frozen=True)
class ExperimentSelection:
    """Which experiments a list shows (None: whichever), and in which order."""

    status: Status | None = None
    is_archived: bool | None = None
    search: str | None = None  # part of the name, in capitals or not
    created_by_id: int | None = None
    order: Order = "created_at"
    is_descending: bool = True


class ExperimentRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    def _select(self) -> Select[Experiment]:
        return (
            select(Experiment)
            .join(Experiment.feature_flag)
            .where(Experiment.project_id == self._project_id)
            .options(contains_eager(Experiment.feature_flag), joinedload(Experiment.created_by))
        )

    async def get(self, experiment_id: int, *, for_update: bool = False) -> Experiment | None:
        """Return an experiment with its flag and author, on request both locked against other writers.

        A row that is joined but not locked would come as it was before the lock was waited for.
        """
        query = self._select().where(Experiment.id == experiment_id)
        if for_update:
            query = query.with_for_update(of=(Experiment, FeatureFlag))
        return await self._session.scalar(query)

    async def page(self, selection: ExperimentSelection, limit: int, offset: int) -> Sequence[Experiment]:
        """Return experiments; of equal ones the newest first, and those without a value last."""
        key = self._order_key(selection.order)
        order = (key.desc() if selection.is_descending else key.asc()).nulls_last()
        found = await self._session.scalars(
            self._select()
            .where(*_conditions(selection))
            .order_by(order, Experiment.id.desc())
            .limit(limit)
            .offset(offset)
        )
        return found.all()

    def _order_key(self, order: Order) -> ColumnElement[Any]:
        if order == "status":
            return case(*((condition, place) for place, condition in enumerate(_STATUSES.values())))
        if order == "duration":
            end = func.coalesce(Experiment.end_date, utc_now())
            if self._session.get_bind().dialect.name == "sqlite":
                return func.julianday(end) - func.julianday(Experiment.start_date)
            return end - Experiment.start_date
        column: ColumnElement[Any] = getattr(Experiment, order)
        return column

    async def count(self, selection: ExperimentSelection) -> int:
        query = (
            select(func.count())
            .select_from(Experiment)
            .where(Experiment.project_id == self._project_id, *_conditions(selection))
        )
        return await self._session.scalar(query) or 0

    async def running(self) -> Sequence[Experiment]:
        """Return the experiments that have started, have no end and are not archived."""
        found = await self._session.scalars(self._select().where(_STATUSES["running"], ~Experiment.archived))
        return found.all()

    async def add(self, experiment: Experiment) -> None:
        experiment.project_id = self._project_id
        self._session.add(experiment)
        await self._session.flush()

    async def flush(self) -> None:
        await self._session.flush()

    async def delete(self, experiment: Experiment) -> None:
        await self._session.delete(experiment)
        await self._session.flush()


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
