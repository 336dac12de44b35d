"""Cohorts in the database."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BindParameter, ColumnElement, Select, Text, bindparam, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from app.common.time_slices import in_slices
from app.db.advisory_locks import ProjectLock, lock_project
from app.db.bulk import chunks, insert_missing_rows, read_columns
from app.db.models import (
    Action,
    Cohort,
    CohortDistinctId,
    Experiment,
    FeatureFlag,
    PersonDistinctId,
    Project,
    SavedMetric,
)
from app.db.sizes import fitting_limit

_DOCUMENTS_TOGETHER: Final = 10  # are in memory at a time: each may have a quarter of a megabyte


def _listed(
    project_id: BindParameter[int] | int,
    *columns: Any,  # noqa: ANN401  # columns of any type
) -> Select[*tuple[Any, ...]]:
    """Select from the persons on the lists of undeleted cohorts."""
    return (
        select(*columns)
        .select_from(CohortDistinctId)
        .join(Cohort, Cohort.id == CohortDistinctId.cohort_id)
        .join(PersonDistinctId, PersonDistinctId.distinct_id == CohortDistinctId.distinct_id)
        .where(Cohort.project_id == project_id, ~Cohort.deleted, PersonDistinctId.project_id == project_id)
    )


_LISTED_PERSONS = _listed(bindparam("project_id"), PersonDistinctId.person_id).where(
    CohortDistinctId.cohort_id == bindparam("cohort_id")
)


def _undeleted(model: type[FeatureFlag | Action], project_id: int) -> ColumnElement[bool]:
    return (model.project_id == project_id) & ~model.deleted


class CohortRepository:
    """Bound to one project when built, so no query can forget the tenant. Deleted cohorts are not found."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    def _is_undeleted(self) -> ColumnElement[bool]:
        return (Cohort.project_id == self._project_id) & ~Cohort.deleted

    def _select(self) -> Select[Cohort]:
        return select(Cohort).where(self._is_undeleted())

    async def get(self, cohort_id: int, *, for_update: bool = False) -> Cohort | None:
        """Return a cohort with its author; with ``for_update`` it is locked against other writers."""
        query = self._select().where(Cohort.id == cohort_id).options(joinedload(Cohort.created_by))
        return await self._session.scalar(query.with_for_update(of=Cohort) if for_update else query)

    async def by_ids(self, cohort_ids: Sequence[int]) -> dict[int, Cohort]:
        found: dict[int, Cohort] = {}
        for chunk in chunks(cohort_ids):
            cohorts = await self._session.scalars(self._select().where(Cohort.id.in_(chunk)))
            found |= {cohort.id: cohort for cohort in cohorts}
        return found

    async def existing(self, cohort_ids: Iterable[int]) -> set[int]:
        """Return those of some ids that cohorts have."""
        found: set[int] = set()
        for chunk in chunks(sorted(cohort_ids)):
            query = select(Cohort.id).where(self._is_undeleted(), Cohort.id.in_(chunk))
            found.update((await self._session.scalars(query)).all())
        return found

    async def page(self, limit: int, offset: int) -> Sequence[Cohort]:
        """Return cohorts with their authors, newest first; fewer than ``limit`` where they are large."""
        query = self._select().order_by(Cohort.created_at.desc(), Cohort.id.desc())
        columns = (Cohort.filters, Cohort.groups, Cohort.description)
        limit = await fitting_limit(self._session, query, columns, limit, offset)
        query = query.options(joinedload(Cohort.created_by))
        return (await self._session.scalars(query.limit(limit).offset(offset))).all()

    async def count(self) -> int:
        return await self._session.scalar(select(func.count()).select_from(Cohort).where(self._is_undeleted())) or 0

    async def add(self, cohort: Cohort) -> None:
        cohort.project_id = self._project_id
        self._session.add(cohort)
        await self._session.flush()

    async def flush(self) -> None:
        await self._session.flush()

    async def lock_references(self) -> None:
        """Wait until no other transaction changes which cohort refers to which."""
        await lock_project(self._session, ProjectLock.COHORT_REFERENCES, self._project_id)

    async def documents_naming_cohorts(self) -> AsyncIterator[tuple[str, Sequence[object]]]:
        """Yield what may refer to cohorts, as a person would call it, with its documents.

        These are feature flags, experiments, saved metrics, actions and other cohorts that are not deleted, and the
        filter of test accounts. Those without the word are not read.
        """
        for name, key, columns, is_ours in (
            ("the feature flag", FeatureFlag.key, [FeatureFlag.filters], _undeleted(FeatureFlag, self._project_id)),
            (
                "the experiment",
                Experiment.name,
                [
                    Experiment.filters,
                    Experiment.secondary_metrics,
                    Experiment.parameters,
                    Experiment.metrics,
                    Experiment.metrics_secondary,
                    Experiment.exposure_criteria,
                ],
                Experiment.project_id == self._project_id,
            ),
            (
                "the saved metric",
                SavedMetric.name,
                [SavedMetric.query],
                SavedMetric.project_id == self._project_id,
            ),
            ("the action", Action.name, [Action.steps], _undeleted(Action, self._project_id)),
            ("the cohort", Cohort.name, [Cohort.filters, Cohort.groups], self._is_undeleted()),
            (
                "the filter of test accounts of the project",
                Project.name,
                [Project.test_account_filters],
                Project.id == self._project_id,
            ),
        ):
            mentions = or_(*(cast(column, Text).like("%cohort%") for column in columns))
            query = select(key, *columns).where(is_ours, mentions).execution_options(yield_per=_DOCUMENTS_TOGETHER)
            async for row in in_slices(await self._session.stream(query)):
                yield f"{name} {row[0]!r}", row[1:]

    async def add_distinct_ids(self, cohort: Cohort, distinct_ids: Sequence[str]) -> None:
        """Add ids to the list of a static cohort; ids that are on it already are skipped."""
        rows = [(cohort.id, distinct_id) for distinct_id in distinct_ids]
        await insert_missing_rows(self._session, CohortDistinctId, ("cohort_id", "distinct_id"), rows)

    async def listed(self, cohort_id: int, after: str, limit: int) -> Sequence[str]:
        """Return the next distinct ids on the list of a static cohort, in the database's order."""
        query = (
            select(CohortDistinctId.distinct_id)
            .join(Cohort, Cohort.id == CohortDistinctId.cohort_id)
            .where(
                Cohort.project_id == self._project_id,
                CohortDistinctId.cohort_id == cohort_id,
                CohortDistinctId.distinct_id > after,
            )
        )
        return (await self._session.scalars(query.order_by(CohortDistinctId.distinct_id).limit(limit))).all()

    async def listed_persons(self, cohort_id: int) -> NDArray[np.int64]:
        """Return the distinct persons on a static cohort's list, in ascending order."""
        bound = {"project_id": self._project_id, "cohort_id": cohort_id}
        columns = await read_columns(self._session, _LISTED_PERSONS, bound)
        return np.unique(columns["person_id"].astype(np.int64))

    async def listed_counts(self, cohort_ids: Sequence[int]) -> dict[int, int]:
        """Return the number of persons on the lists of static cohorts; an empty cohort is absent."""
        found: dict[int, int] = {}
        for chunk in chunks(cohort_ids):
            rows = await self._session.execute(
                _listed(self._project_id, CohortDistinctId.cohort_id, func.count(PersonDistinctId.person_id.distinct()))
                .where(CohortDistinctId.cohort_id.in_(chunk))
                .group_by(CohortDistinctId.cohort_id)
            )
            found.update((cohort_id, count) for cohort_id, count in rows)
        return found

    async def lists_with(self, person_ids: Sequence[int], cohort_ids: Sequence[int]) -> dict[int, set[int]]:
        """Return those of the cohorts whose lists contain each person; a person on none is absent."""
        found: dict[int, set[int]] = {}
        for persons in chunks(person_ids):
            for cohorts in chunks(cohort_ids):
                rows = await self._session.execute(
                    _listed(self._project_id, PersonDistinctId.person_id, CohortDistinctId.cohort_id).where(
                        PersonDistinctId.person_id.in_(persons), CohortDistinctId.cohort_id.in_(cohorts)
                    )
                )
                for person_id, cohort_id in rows:
                    found.setdefault(person_id, set()).add(cohort_id)
        return found
