"""The interfaces through which evaluation reads groups and cohorts."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeAlias

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from app.people.cohorts.service import LoadedCohorts


class Groups(Protocol):
    """The groups of one project."""

    async def type_names(self) -> Mapping[int, str]:
        """Return the name of each type of group, by its index."""
        ...

    async def properties_of(self, groups: Collection[tuple[int, str]]) -> Mapping[tuple[int, str], str]:
        """Return the properties, as JSON text, of groups by their type's index and key; unknown ones are absent."""
        ...


class Cohorts(Protocol):
    """The cohorts of one project."""

    async def load(self, cohorts: Collection[int]) -> LoadedCohorts:
        """Load cohorts, to test persons one after another."""
        ...

    async def containing(self, loaded: LoadedCohorts, persons: Mapping[int, str]) -> Mapping[int, Collection[int]]:
        """Return those of the cohorts that each person is in, given the persons' properties as JSON text by id."""
        ...

    async def definitions(self, cohorts: Collection[int]) -> Mapping[int, JsonValue]:
        """Return the criteria of dynamic cohorts by id, as SDKs read them."""
        ...


GroupsOf: TypeAlias = Callable[[AsyncSession, int], Groups]  # of the project with this id
CohortsOf: TypeAlias = Callable[[AsyncSession, int], Cohorts]
