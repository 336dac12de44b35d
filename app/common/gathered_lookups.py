"""Gathered lookups: callers that come while one query is under way share the next one."""

from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from typing import Generic, TypeAlias, TypeVar

from app.common.single_flight import SingleFlight

Owner = TypeVar("Owner", bound=Hashable)
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

LookUp: TypeAlias = Callable[[Owner, Sequence[Key]], Awaitable[Mapping[Key, Value]]]


class GatheredLookups(Generic[Owner, Key, Value]):
    """Looks up values by their keys, at any time with at most one query for each owner.

    No caller is delayed to form a group: the first one starts a query at once. A group collects keys for as long as a
    query takes, so its size grows with the load. What was committed before a caller came is found.
    """

    def __init__(self, look_up: "LookUp[Owner, Key, Value]") -> None:
        self._look_up = look_up
        self._flight = SingleFlight()
        self._gathered: dict[Owner, set[Key]] = {}

    async def find(self, owner: Owner, keys: Collection[Key]) -> dict[Key, Value]:
        """Return the values of some keys; unknown ones are absent. An error of the query is raised to all callers."""
        self._gathered.setdefault(owner, set()).update(keys)
        found = await self._flight.result(owner, lambda: self._find_gathered(owner))
        return {key: found[key] for key in keys if key in found}

    async def _find_gathered(self, owner: Owner) -> Mapping[Key, Value]:
        return await self._look_up(owner, list(self._gathered.pop(owner)))
