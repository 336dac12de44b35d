"""Looks up the cohorts that metrics name."""

from collections.abc import Iterable

from app.common.errors import ValidationFailed
from app.db.database import Database
from app.metrics.counting.basis import rest_on_more
from app.metrics.facts.read_filters import cohorts_of_project
from app.properties.filters import Group, InvalidFilter
from app.properties.subjects import cohorts_in


class CohortReferences:
    """The cohorts of one project, to which conditions refer."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def check(self, trees: Iterable[Group]) -> None:
        """Refuse conditions on cohorts that are gone or not understood: they would count no person.

        Raises
        ------
        ValidationFailed
            It names the cohort.
        """
        try:
            named = frozenset[int]().union(*map(cohorts_in, trees))
        except InvalidFilter as error:
            raise ValidationFailed(error.detail, code=error.code, attr="filters") from error
        if not named:
            return
        rest_on_more()
        async with self._database.read() as session:
            cohorts = cohorts_of_project(session, self._project_id)
            lost = await cohorts.lost(named)
            existing = await cohorts.find(lost)
        for cohort_id in sorted(lost):
            if cohort_id not in existing:
                raise ValidationFailed(f"Cohort ID {cohort_id} does not exist!", attr="filters")
            detail = (
                f"Cohort ID {cohort_id} cannot be evaluated: change its criteria, or those of a cohort it refers to."
            )
            raise ValidationFailed(detail, attr="filters")
