"""Definitions in the database."""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.common import limits
from app.db.bulk import chunks
from app.db.models import DefinitionProgress, EventDefinition, EventProperty, EventVolume, PropertyDefinition
from app.db.upserts import insert_if_absent, insert_or_add, insert_or_raise
from app.events.definitions.names import EVENT, Names, PropertyType

EventOrder: TypeAlias = Literal["name", "volume_30_day", "last_seen_at"]

FEATURE_PREFIX: Final = "$feature/"
_PREDEFINED: Final = "$"


@dataclass(frozen=True)
class EventChoice:
    """The names of events to list: those that hold all of the ``terms``."""

    since: int  # the first day that counts for the volume
    terms: Sequence[str] = ()
    is_predefined: bool | None = None
    order: EventOrder = "volume_30_day"
    is_descending: bool = True


@dataclass(frozen=True)
class PropertyChoice:
    """The properties of a subject to list; ``events`` are the names of events on which they are seen or not."""

    subject: str = EVENT
    terms: Sequence[str] = ()
    names: Sequence[str] = ()
    excluded: Sequence[str] = ()
    is_numerical: bool = False
    is_feature_flag: bool | None = None
    events: Sequence[str] = ()
    only_of_events: bool = False


class DefinitionRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def watermark(self, *, for_update: bool = False) -> int:
        """Return the number of the last event whose names were added; on request locked, if there is one."""
        query = select(DefinitionProgress.watermark).where(DefinitionProgress.project_id == self._project_id)
        return await self._session.scalar(query.with_for_update() if for_update else query) or 0

    async def begin(self) -> None:
        await insert_if_absent(self._session, DefinitionProgress, [{"project_id": self._project_id, "watermark": 0}])

    async def add(self, names: Names, watermark: int) -> None:
        """Add the names in the events up to a number, as long as there is room. Call ``watermark`` for its lock."""
        events = await self._with_room(names.last_seen)
        definitions = [
            {"project_id": self._project_id, "name": name, "last_seen_at": names.last_seen_at(name)} for name in events
        ]
        for some in chunks(definitions):
            await insert_or_raise(self._session, EventDefinition, some, EventDefinition.last_seen_at)
        kept = set(events)
        volumes = [(name, day, count) for (name, day), count in names.volumes.items() if name in kept]
        for part in chunks(sorted(volumes)):
            rows = [{"project_id": self._project_id, "name": name, "day": day, "events": n} for name, day, n in part]
            await insert_or_add(self._session, EventVolume, rows, EventVolume.events)
        await self._session.execute(
            delete(EventVolume)
            .where(EventVolume.project_id == self._project_id, EventVolume.day < names.first_day)
            .execution_options(synchronize_session=False)
        )
        of_events = await self._add_properties(names.properties)
        for name in events:
            await self._add_pairs(name, names.of_events.get(name, set()) & of_events)
        await self._session.execute(
            update(DefinitionProgress)
            .where(DefinitionProgress.project_id == self._project_id)
            .values(watermark=watermark)
            .execution_options(synchronize_session=False)
        )

    async def _with_room(self, wanted: Iterable[str]) -> list[str]:
        """Return the wanted names of events that are there, and of the others as many as there is room for."""
        asked, present = list(wanted), set[str]()
        for some in chunks(asked):
            query = select(EventDefinition.name).where(
                EventDefinition.project_id == self._project_id, EventDefinition.name.in_(some)
            )
            present |= set(await self._session.scalars(query))
        of_project = select(func.count()).where(EventDefinition.project_id == self._project_id)
        count = await self._session.scalar(of_project) or 0
        new = [name for name in asked if name not in present][: max(0, limits.DEFINITIONS.value - count)]
        return sorted([*present, *new])

    async def _add_properties(self, of_subjects: Mapping[str, Mapping[str, PropertyType | None]]) -> set[str]:
        """Add properties; return those of events that are kept."""
        count = await self._count_properties()
        kept_of_events: set[str] = set()
        for subject, types in of_subjects.items():
            known = await self._known_properties(subject, types)
            new = [name for name in types if name not in known][: max(0, limits.DEFINITIONS.value - count)]
            count += len(new)
            changed = [*new, *(name for name, kind in known.items() if kind is None and types[name] is not None)]
            rows = [
                {"project_id": self._project_id, "subject": subject, "name": name, "property_type": types[name]}
                for name in sorted(changed)
            ]
            for some in chunks(rows):
                await insert_or_raise(self._session, PropertyDefinition, some, PropertyDefinition.property_type)
            if subject == EVENT:
                kept_of_events = {*known, *new}
        return kept_of_events

    async def _count_properties(self) -> int:
        query = select(func.count()).where(PropertyDefinition.project_id == self._project_id)
        return await self._session.scalar(query) or 0

    async def _known_properties(self, subject: str, names: Collection[str]) -> dict[str, str | None]:
        known: dict[str, str | None] = {}
        for some in chunks(sorted(names)):
            rows = await self._session.execute(
                select(PropertyDefinition.name, PropertyDefinition.property_type).where(
                    PropertyDefinition.project_id == self._project_id,
                    PropertyDefinition.subject == subject,
                    PropertyDefinition.name.in_(some),
                )
            )
            known |= {row.name: row.property_type for row in rows}
        return known

    async def _add_pairs(self, event: str, properties: Set[str]) -> None:
        of_event = select(EventProperty.property).where(
            EventProperty.project_id == self._project_id, EventProperty.event == event
        )
        known = set(await self._session.scalars(of_event))
        room = max(0, limits.EVENT_PROPERTIES.value - len(known))
        rows = [
            {"project_id": self._project_id, "event": event, "property": name}
            for name in sorted(properties - known)[:room]
        ]
        for some in chunks(rows):
            await insert_if_absent(self._session, EventProperty, some)

    async def count_events(self, choice: EventChoice) -> int:
        query = select(func.count()).select_from(EventDefinition).where(*self._events(choice))
        return await self._session.scalar(query) or 0

    async def events(self, choice: EventChoice, limit: int, offset: int) -> Sequence[tuple[EventDefinition, int]]:
        """Return names of events, each with the number of its events in the last 30 days."""
        query, volume = self._with_volumes(choice.since)
        keys: dict[EventOrder, Any] = {
            "name": EventDefinition.name,
            "volume_30_day": volume,
            "last_seen_at": EventDefinition.last_seen_at,
        }
        key = keys[choice.order]
        query = query.where(*self._events(choice)).order_by(
            key.desc() if choice.is_descending else key.asc(), EventDefinition.name
        )
        rows = await self._session.execute(query.limit(limit).offset(offset))
        return [(definition, int(events)) for definition, events in rows]

    async def event(self, identifier: UUID, since: int) -> tuple[EventDefinition, int] | None:
        query, _ = self._with_volumes(since)
        found = await self._session.execute(
            query.where(EventDefinition.project_id == self._project_id, EventDefinition.id == identifier)
        )
        row = found.one_or_none()
        return None if row is None else (row[0], int(row[1]))

    def _with_volumes(self, since: int) -> tuple[Select[EventDefinition, int], ColumnElement[int]]:
        sums = (
            select(EventVolume.name, func.sum(EventVolume.events).label("events"))
            .where(EventVolume.project_id == self._project_id, EventVolume.day >= since)
            .group_by(EventVolume.name)
            .subquery()
        )
        volume = func.coalesce(sums.c.events, 0)
        return select(EventDefinition, volume).outerjoin(sums, sums.c.name == EventDefinition.name), volume

    def _events(self, choice: EventChoice) -> list[ColumnElement[bool]]:
        conditions = [EventDefinition.project_id == self._project_id]
        conditions += [EventDefinition.name.icontains(term, autoescape=True) for term in choice.terms]
        if choice.is_predefined is not None:
            starts = EventDefinition.name.startswith(_PREDEFINED, autoescape=True)
            conditions.append(starts if choice.is_predefined else ~starts)
        return conditions

    async def count_properties(self, choice: PropertyChoice) -> int:
        query = select(func.count()).select_from(PropertyDefinition).where(*self._properties(choice))
        return await self._session.scalar(query) or 0

    async def properties(
        self, choice: PropertyChoice, limit: int, offset: int
    ) -> Sequence[tuple[PropertyDefinition, bool]]:
        """Return properties, and whether they are seen on the events of the choice; those that are come first."""
        seen = self._is_seen(choice.events)
        query = select(PropertyDefinition, seen).where(*self._properties(choice))
        rows = await self._session.execute(
            query.order_by(seen.desc(), PropertyDefinition.name).limit(limit).offset(offset)
        )
        return [(definition, bool(is_seen)) for definition, is_seen in rows]

    async def property(self, identifier: UUID) -> PropertyDefinition | None:
        found = await self._session.scalars(
            select(PropertyDefinition).where(
                PropertyDefinition.project_id == self._project_id, PropertyDefinition.id == identifier
            )
        )
        return found.one_or_none()

    def _is_seen(self, events: Sequence[str]) -> ColumnElement[bool]:
        return (
            select(EventProperty.property)
            .where(
                EventProperty.project_id == self._project_id,
                EventProperty.event.in_(events),
                EventProperty.property == PropertyDefinition.name,
            )
            .exists()
        )

    def _properties(self, choice: PropertyChoice) -> list[ColumnElement[bool]]:
        conditions = [
            PropertyDefinition.project_id == self._project_id,
            PropertyDefinition.subject == choice.subject,
            PropertyDefinition.name.not_in(choice.excluded),
        ]
        conditions += [PropertyDefinition.name.icontains(term, autoescape=True) for term in choice.terms]
        if choice.names:
            conditions.append(PropertyDefinition.name.in_(choice.names))
        if choice.is_numerical:
            conditions.append(PropertyDefinition.property_type == "Numeric")
        if choice.is_feature_flag is not None:
            is_flag = PropertyDefinition.name.startswith(FEATURE_PREFIX, autoescape=True)
            conditions.append(is_flag if choice.is_feature_flag else ~is_flag)
        if choice.only_of_events:
            conditions.append(self._is_seen(choice.events))
        return conditions
