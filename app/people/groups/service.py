"""Stores the groups that events name, and reads groups."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.timestamps import from_microseconds
from app.db.models import Group, GroupType
from app.people.groups.decoding import GROUP_IDENTIFY, DescribedGroup, described_group, groups_of, with_group_keys
from app.people.groups.repository import MAX_TYPES, GroupRepository
from app.properties.decoding import PropertyReader
from app.properties.filters import Group as Filter
from app.properties.matcher import compile_filter


class GroupEvent(Protocol):
    """The fields of an event that the service reads."""

    @property
    def uuid(self) -> UUID: ...
    @property
    def name(self) -> str: ...
    @property
    def time(self) -> int: ...
    @property
    def properties(self) -> str: ...


class GroupService:
    def __init__(self, groups: GroupRepository) -> None:
        self._groups = groups

    async def assign(self, events: Sequence[GroupEvent]) -> dict[UUID, str]:
        """Return, by uuid, the properties of the events that belong to groups, with ``$group_<index>`` added.

        A new type, also one in a ``$groupidentify`` event, gets the next index; once a project has five types, others
        are left out. Call this before identities are locked: all transactions must take these locks in one order.
        """
        mentioned = {event.uuid: groups for event in events if (groups := groups_of(event.properties))}
        described = {event.uuid: _described_types(event) for event in events if event.name == GROUP_IDENTIFY}
        if not mentioned and not described:
            return {}
        indexes = await self._indexes(
            [name for event in events for name in (*mentioned.get(event.uuid, ()), *described.get(event.uuid, ()))]
        )
        assigned = {}
        for event in events:
            groups = mentioned.get(event.uuid, {})
            keys = sorted((indexes[name], key) for name, key in groups.items() if name in indexes)
            if keys:
                assigned[event.uuid] = with_group_keys(event.properties, keys)
        return assigned

    async def describe(self, events: Sequence[GroupEvent]) -> None:
        """Add the properties in ``$groupidentify`` events to their groups, in order: the later event wins."""
        described = [(event, group) for event in events if (group := described_group(event.properties)) is not None]
        if not described:
            return
        indexes = await self._indexes([group.type_name for _, group in described])
        changes: dict[int, dict[str, list[DescribedGroup]]] = {}
        created: dict[tuple[int, str], dt.datetime] = {}
        for event, group in described:
            if group.type_name in indexes:
                index = indexes[group.type_name]
                changes.setdefault(index, {}).setdefault(group.key, []).append(group)
                created.setdefault((index, group.key), from_microseconds(event.time))
        if not created:
            return
        await self._groups.add_missing(dict(sorted(created.items())))
        for index in sorted(changes):
            held = await self._groups.locked(index, list(changes[index]))
            await self._groups.set_properties(
                {group_id: _merged(old, changes[index][key]) for key, (group_id, old) in held.items()}
            )

    async def types(self) -> Sequence[GroupType]:
        return await self._groups.types()

    async def page(self, type_index: int, search: str, limit: int, offset: int) -> tuple[int, Sequence[Group]]:
        return await self._groups.count(type_index, search), await self._groups.page(type_index, search, limit, offset)

    async def _indexes(self, names: Sequence[str]) -> dict[str, int]:
        """Return the indexes of types by name; new types get the next indexes in the order of ``names``."""
        known = await self._groups.type_indexes()
        for name in dict.fromkeys(names):
            while name not in known and len(known) < MAX_TYPES:
                await self._groups.add_type(name, len(known))
                known = await self._groups.type_indexes()  # another request may have added a type first
        return known


class GroupFilterService:
    """Finds the groups whose current properties pass a filter."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._groups = GroupRepository(session, project_id)

    async def matching(self, condition: Filter, type_index: int, actor_property: str) -> NDArray[np.int64]:
        """Return the actor numbers of the groups that pass. A group without a ``$groupidentify`` event never passes."""
        matcher = compile_filter(condition)
        reader = PropertyReader(matcher.keys)
        return np.fromiter(
            [
                actor
                async for actor, properties in self._groups.acting(type_index, actor_property)
                if matcher.matches(reader.read(properties))
            ],
            dtype=np.int64,
        )


def _described_types(event: GroupEvent) -> Sequence[str]:
    group = described_group(event.properties)
    return () if group is None else (group.type_name,)


def _merged(old: Mapping[str, Any], changes: Sequence[DescribedGroup]) -> dict[str, Any]:
    merged = dict(old)
    for group in changes:
        merged |= group.properties
    return merged
