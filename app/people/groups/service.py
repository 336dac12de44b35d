"""Stores the groups that events name, and reads groups."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

import numpy as np
from msgspec import Raw
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.common import limits
from app.common.errors import PayloadTooLarge
from app.common.time_slices import TimeSlices
from app.common.timestamps import from_microseconds
from app.db.bulk import chunks
from app.db.models import Group, GroupType
from app.people.groups.decoding import GROUP_IDENTIFY, DescribedGroup, described_group, groups_of, with_group_keys
from app.people.groups.repository import MAX_TYPES, GroupRepository
from app.people.properties import PropertyDocument, write_properties
from app.people.refusals import report_left_out
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


_FEW_GROUPS = 32  # which are in memory at a time, however large they are


class GroupService:
    def __init__(self, groups: GroupRepository) -> None:
        self._groups = groups
        self._types: dict[str, int] | None = None

    async def assign(self, events: Sequence[GroupEvent]) -> dict[UUID, str]:
        """Return, by uuid, the properties of the events that belong to groups, with ``$group_<index>`` added.

        A new type, also one in a ``$groupidentify`` event, gets the next index; once a project has five types, others
        are left out. Call this before identities are locked: all transactions must take these locks in one order.
        """
        assigned: dict[UUID, str] = {}
        slices = TimeSlices()
        for event in events:
            groups = groups_of(event.properties)
            if not groups and event.name != GROUP_IDENTIFY:
                continue
            names = [*groups, *(_described_types(event) if event.name == GROUP_IDENTIFY else ())]
            indexes = await self._indexes(names) if names else {}
            keys = sorted((indexes[name], key) for name, key in groups.items() if name in indexes)
            if keys:
                assigned[event.uuid] = with_group_keys(event.properties, keys)
            if slices.are_over():
                await slices.pause()
        return assigned

    async def describe(self, events: Sequence[GroupEvent]) -> None:
        """Add the properties in ``$groupidentify`` events to their groups, in order: the later event wins.

        Raises
        ------
        PayloadTooLarge
            The groups that the events describe have too many properties together.
        """
        changes: dict[int, dict[str, list[DescribedGroup]]] = {}
        created: dict[tuple[int, str], dt.datetime] = {}
        slices = TimeSlices()
        for event in events:
            if slices.are_over():
                await slices.pause()
            group = described_group(event.properties)
            if group is None:
                continue
            indexes = await self._indexes([group.type_name])
            if group.type_name in indexes:
                index = indexes[group.type_name]
                changes.setdefault(index, {}).setdefault(group.key, []).append(group)
                created.setdefault((index, group.key), from_microseconds(event.time))
        if not created:
            return
        await self._groups.add_missing(dict(sorted(created.items())))
        for index in sorted(changes):
            for keys in await self._runs(index, sorted(changes[index])):
                await self._change(index, {key: changes[index][key] for key in keys})

    async def _runs(self, index: int, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """Cut keys into runs whose groups have few properties in memory at a time; nearly always it is one."""
        sizes = await self._groups.large(index, keys) if len(keys) > _FEW_GROUPS else {}
        if sum(sizes.values()) > limits.CHANGED_PERSON_BYTES.value:
            raise PayloadTooLarge(limits.CHANGED_PERSON_BYTES.detail)
        return list(chunks(keys, _FEW_GROUPS)) if len(sizes) > _FEW_GROUPS else [keys]

    async def _change(self, index: int, changes: Mapping[str, Sequence[DescribedGroup]]) -> None:
        slices = TimeSlices()
        changed: dict[int, Raw] = {}
        for key, (group_id, text) in (await self._groups.locked(index, list(changes))).items():
            document = PropertyDocument.read(text, limits.GROUP_PROPERTY_BYTES)
            for group in changes[key]:
                document.assign_all(document.cut(group.read_properties()), len(group.sent))
                if slices.are_over():
                    await slices.pause()
            report_left_out(document, "group", self._groups.project_id)
            changed[group_id] = write_properties(document.values)
        await self._groups.set_properties(changed)

    async def types(self) -> Sequence[GroupType]:
        return await self._groups.types()

    async def page(self, type_index: int, search: str, limit: int, offset: int) -> tuple[int, Sequence[Group]]:
        return await self._groups.count(type_index, search), await self._groups.page(type_index, search, limit, offset)

    async def _indexes(self, names: Sequence[str]) -> Mapping[str, int]:
        """Return the indexes of types by name; new types get the next indexes in the order of ``names``."""
        if self._types is None:
            self._types = await self._groups.type_indexes()
        for name in dict.fromkeys(names):
            while name not in self._types and len(self._types) < MAX_TYPES:
                await self._groups.add_type(name, len(self._types))
                self._types = await self._groups.type_indexes()  # another request may have added a type first
        return self._types


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
