"""The groups and cohorts of a project, as evaluation reads them."""

from collections.abc import Collection, Mapping

from pydantic import JsonValue

from app.people.cohorts.criteria import property_groups
from app.people.cohorts.service import CohortService, LoadedCohorts
from app.people.groups.repository import GroupRepository


class ProjectGroups:
    def __init__(self, groups: GroupRepository) -> None:
        self._groups = groups

    async def type_names(self) -> Mapping[int, str]:
        return {index: name for name, index in (await self._groups.type_indexes()).items()}

    async def properties_of(self, groups: Collection[tuple[int, str]]) -> Mapping[tuple[int, str], str]:
        return await self._groups.properties_of(groups)


class ProjectCohorts:
    def __init__(self, cohorts: CohortService) -> None:
        self._cohorts = cohorts

    async def load(self, cohorts: Collection[int]) -> LoadedCohorts:
        return await self._cohorts.load(cohorts)

    async def containing(self, loaded: LoadedCohorts, persons: Mapping[int, str]) -> Mapping[int, Collection[int]]:
        return await self._cohorts.containing(loaded, persons)

    async def definitions(self, cohorts: Collection[int]) -> Mapping[int, JsonValue]:
        found = await self._cohorts.find(cohorts)
        definitions = {
            cohort_id: property_groups(cohort.filters, cohort.groups)
            for cohort_id, cohort in found.items()
            if not cohort.is_static
        }
        return {cohort_id: groups for cohort_id, groups in definitions.items() if groups is not None}
