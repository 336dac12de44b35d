"""What evaluation asks about groups and cohorts."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeAlias

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession


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

    async def containing(self, person_id: int, properties: str, cohorts: Collection[int]) -> Collection[int]:
        """Return which of the cohorts a person is in, given his properties as JSON text. Unknown ones have nobody."""
        ...

    async def definitions(self, cohorts: Collection[int]) -> Mapping[int, JsonValue]:
        """Return by id the property groups of cohorts that properties alone define, as SDKs read them."""
        ...


GroupsOf: TypeAlias = Callable[[AsyncSession, int], Groups]  # of the project with this id
CohortsOf: TypeAlias = Callable[[AsyncSession, int], Cohorts]
