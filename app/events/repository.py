"""Events in the database: appended, counted through, never changed."""

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, ScalarSelect, delete, func, or_, select, text, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from app.bulk import chunks, insert_missing_rows
from app.models import Event
from app.moments import to_microseconds

# First number of the advisory lock that every transaction adding events holds (shared); the second is the project.
APPEND_LOCK = 1
# Databases limit the columns of a result: SQLite to 2,000, PostgreSQL to 1,664.
_MOST_COLUMNS = 500

# SQLite joins 500 queries at most; more names than this are looked up together, however long it takes.
_MOST_LOOK_UPS = 100

_COLUMNS = ("project_id", "uuid", "name", "distinct_id", "person_id", "time", "received_at", "properties")


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be stored; times in microseconds since 1970 UTC, properties as JSON text."""

    uuid: UUID
    name: str
    distinct_id: str
    person_id: int
    time: int
    received_at: int
    properties: str


@dataclass(frozen=True)
class EventSelection:
    """Which events to look at; times in microseconds, both bounds exclusive."""

    name: str | None = None
    distinct_id: str | None = None
    after: int | None = None
    before: int | None = None
    cursor: tuple[int, int] | None = None  # time and sequence of the last event already seen


class EventRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def append(self, events: Sequence[NewEvent]) -> int:
        """Store events; one whose uuid is known in the project changes nothing. Return how many are new."""
        await self._lock("pg_advisory_xact_lock_shared")
        rows = [
            (
                self._project_id,
                event.uuid,
                event.name,
                event.distinct_id,
                event.person_id,
                event.time,
                event.received_at,
                event.properties,
            )
            for event in events
        ]
        return await insert_missing_rows(self._session, Event, _COLUMNS, rows)

    async def known(self, uuids: Sequence[UUID]) -> set[UUID]:
        """Return those of the uuids that are stored already."""
        found: set[UUID] = set()
        for chunk in chunks(uuids):
            found.update(
                await self._session.scalars(
                    select(Event.uuid).where(Event.project_id == self._project_id, Event.uuid.in_(chunk))
                )
            )
        return found

    async def high_water_mark(self) -> int:
        """Return a sequence number below which this project gets no further event.

        Sequence numbers are handed out before they are committed, so the highest visible one may have a lower one still
        on its way. Writers hold a shared lock from before they draw numbers until they have committed: having the
        exclusive lock once, after the number was read, means that whoever drew a lower one is done.
        """
        highest = await self._session.scalar(select(func.max(Event.sequence)))
        await self._lock("pg_advisory_xact_lock")
        return highest or 0

    async def _lock(self, function: str) -> None:
        if self._session.get_bind().dialect.name == "postgresql":
            await self._session.execute(
                text(f"SELECT {function}(:space, :project)"), {"space": APPEND_LOCK, "project": self._project_id}
            )

    async def last_named(self, names: Iterable[str]) -> dict[str, int]:
        """Return the sequence number of the last event of each name; 0 where there is none."""
        found: dict[str, int] = {}
        for some in chunks(list(names), _MOST_COLUMNS):
            last = [
                select(func.max(Event.sequence))
                .where(Event.project_id == self._project_id, Event.name == name)
                .scalar_subquery()
                .label(f"of_{place}")
                for place, name in enumerate(some)
            ]
            row = (await self._session.execute(select(*last))).one()
            found |= {name: sequence or 0 for name, sequence in zip(some, row, strict=True)}
        return found

    async def count_before(self, moment: int, high_water_mark: int) -> int:
        """Return how many events up to the mark happened before a moment, but for the very last one of all."""
        counted = await self._session.scalar(select(func.count()).where(*self._removable(moment, high_water_mark)))
        return counted or 0

    async def remove_before(self, moment: int, high_water_mark: int, limit: int) -> int:
        """Remove some of the events that ``count_before`` counts; return how many."""
        some = select(Event.sequence).where(*self._removable(moment, high_water_mark)).limit(limit)
        done = await self._session.execute(delete(Event).where(Event.sequence.in_(some)))
        return cast("CursorResult[Any]", done).rowcount

    def _removable(self, moment: int, high_water_mark: int) -> Sequence[ColumnElement[bool]]:
        return (
            Event.project_id == self._project_id,
            Event.time < moment,
            # What comes later has not been looked at; and the last one stays, because it says how far events have come.
            Event.sequence <= high_water_mark,
            Event.sequence < select(func.max(Event.sequence)).scalar_subquery(),
        )

    async def named_after(
        self, names: Sequence[str] | None, sequence: int, high_water_mark: int, limit: int
    ) -> Sequence[tuple[int, int, int, str, str]]:
        """Return (sequence, person id, time, name, properties) of events in the order they came; None: of all names."""
        events = select(Event.sequence, Event.person_id, Event.time, Event.name, Event.properties).where(
            Event.project_id == self._project_id, Event.sequence > sequence, Event.sequence <= high_water_mark
        )
        if names is not None and len(names) == 1:
            events = events.where(Event.name == names[0])
        elif names is not None:
            events = events.where(Event.name.in_(names))
            if 1 < len(names) <= _MOST_LOOK_UPS:
                events = events.where(Event.sequence <= self._place_of(names, sequence, high_water_mark, limit))
        # The connection's rows: those of a session cost half as much again.
        connection = await self._session.connection()
        rows = await connection.execute(events.order_by(Event.sequence).limit(limit))
        return rows.all()

    def _place_of(self, names: Sequence[str], sequence: int, high_water_mark: int, limit: int) -> ScalarSelect[int]:
        """Return where the first so many events of several names end, found in the index alone.

        Without it a database would collect all later events of the names, to sort them and return the first few.
        """
        each = [
            select(Event.sequence)
            .where(
                Event.project_id == self._project_id,
                Event.name == name,
                Event.sequence > sequence,
                Event.sequence <= high_water_mark,
            )
            .order_by(Event.sequence)
            .limit(limit)
            .subquery()
            for name in names
        ]
        together = union_all(*(select(one.c.sequence) for one in each)).subquery()
        first = select(together.c.sequence).order_by(together.c.sequence).limit(limit).subquery()
        return select(func.max(first.c.sequence)).scalar_subquery()

    async def busy_buckets(self, starts: Sequence[int], until: int) -> list[int]:
        """Return the places of the buckets of time that have any event; the last one ends at ``until``.

        One look at the index for each bucket with events, whatever their number.
        """
        found: list[int] = []
        since = starts[0]
        while True:
            time = await self._session.scalar(
                select(func.min(Event.time)).where(
                    Event.project_id == self._project_id, Event.time >= since, Event.time < until
                )
            )
            if time is None:
                return found
            place = bisect_right(starts, time) - 1
            found.append(place)
            if place + 1 == len(starts):
                return found
            since = starts[place + 1]

    async def any_naming_a_variant(self, names: Sequence[str], since: dt.datetime, before: dt.datetime) -> bool:
        """Whether an event with one of the names carries a property ``$feature/...``."""
        query = select(Event.sequence).where(
            Event.project_id == self._project_id,
            Event.name.in_(names),
            Event.time >= to_microseconds(since),
            Event.time < to_microseconds(before),
            or_(Event.properties.contains("$feature/"), Event.properties.contains(r"$feature\/")),
        )
        return await self._session.scalar(query.limit(1)) is not None

    async def page(self, selection: EventSelection, limit: int) -> Sequence[Event]:
        """Return events, newest first."""
        query = select(Event).where(Event.project_id == self._project_id)
        if selection.name is not None:
            query = query.where(Event.name == selection.name)
        if selection.distinct_id is not None:
            query = query.where(Event.distinct_id == selection.distinct_id)
        if selection.after is not None:
            query = query.where(Event.time > selection.after)
        if selection.before is not None:
            query = query.where(Event.time < selection.before)
        if selection.cursor is not None:
            query = query.where(tuple_(Event.time, Event.sequence) < selection.cursor)
        found = await self._session.scalars(query.order_by(Event.time.desc(), Event.sequence.desc()).limit(limit))
        return found.all()
