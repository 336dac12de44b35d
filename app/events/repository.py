"""What is read of the events in the database, which are appended and removed, and never changed."""

import datetime as dt
import functools
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVarTuple, cast
from uuid import UUID

from sqlalchemy import Integer, ScalarSelect, Select, String, bindparam, func, or_, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from app.common import limits
from app.common.page_sizes import fitting
from app.common.timestamps import to_microseconds
from app.db.advisory_locks import ProjectLock, wait_for_holders, waiting_for_holders
from app.db.bulk import chunks
from app.db.compiled_queries import fetch_within
from app.db.database import Database
from app.db.models import Event, EventArchive, UnreadTimestamp
from app.db.rows import fetch_rows_by_size
from app.db.sizes import octets, size_of

# Databases limit the columns of a result: SQLite to 2,000, PostgreSQL to 1,664.
_MAX_COLUMNS = 500

# SQLite combines at most 500 queries; more names than this are read by a single condition, which is slower.
_MAX_SUBQUERIES = 100

# The number of newest events of each name that are searched for texts.
MAX_SEARCHED = 10_000
_HOUR = 3_600_000_000  # in microseconds

Columns = TypeVarTuple("Columns")

# (sequence, person id, time, name, properties)
EventRow: TypeAlias = tuple[int, int, int, str, str]


class EventChunk(NamedTuple):
    """The next events of some names. They are all up to the sequence number ``end``."""

    rows: Sequence[EventRow]
    end: int


class LastEvents(NamedTuple):
    """The sequence numbers of the last events by their names, 0 where there is none.

    Events up to ``released_until`` are in ClickHouse only, and may have any name.
    """

    by_name: Mapping[str, int]
    released_until: int


class StoredEvent(NamedTuple):
    """An event as it is stored; the uuid is as the driver returns it."""

    sequence: int
    uuid: UUID | str
    name: str
    distinct_id: str
    person_id: int
    time: int
    received_at: int
    properties: str


NO_PERSON = 0  # of events whose visitor is not told apart from others: they are listed, and not counted


@dataclass(frozen=True)
class EventSelection:
    """The events to list: times in microseconds since 1970 UTC, both bounds exclusive."""

    name: str | None = None
    distinct_id: str | None = None
    person_ids: tuple[int, ...] | None = None  # under which events are stored: one person has several after merges
    after: int | None = None
    before: int | None = None
    cursor: tuple[int, int] | None = None  # time and sequence number of the last event of the previous page


_HIGHEST = select(func.max(Event.sequence))
# Up to where events are not in this database any more. Any of those after an older position may have any name.
RELEASED_UNTIL = (
    select(EventArchive.released_until)
    .where(EventArchive.project_id == bindparam("project_id", type_=Integer))
    .scalar_subquery()
)
_UNREAD_TIMESTAMPS = select(UnreadTimestamp.name, UnreadTimestamp.events).where(
    UnreadTimestamp.project_id == bindparam("project_id"),
    UnreadTimestamp.hour.between(bindparam("since"), bindparam("before")),
)


@functools.lru_cache(maxsize=64)
def _last_of(count: int) -> Select[*tuple[Any, ...]]:
    """Return a query for the last events of ``count`` names: one row with a column for each name.

    Before them is the last event of those that are in ClickHouse only.
    """
    return select(
        RELEASED_UNTIL.label("released_until"),
        *(
            select(func.max(Event.sequence))
            .where(Event.project_id == bindparam("project_id"), Event.name == bindparam(f"name_{place}"))
            .scalar_subquery()
            .label(f"of_{place}")
            for place in range(count)
        ),
    )


@functools.lru_cache(maxsize=64)
def _named_query(count: int | None) -> Select[int, int, int, str, str]:
    """Return a query for the events of ``count`` names in a range, or of all names; those of no person are left out."""
    events = select(Event.sequence, Event.person_id, Event.time, Event.name, Event.properties).where(
        Event.project_id == bindparam("project_id"),
        Event.sequence > bindparam("after"),
        Event.sequence <= bindparam("until"),
        Event.person_id != NO_PERSON,
    )
    if count is not None:
        events = events.where(Event.name.in_([bindparam(f"name_{place}", type_=String) for place in range(count)]))
    return events.limit(bindparam("limit"))


_STORED = (
    select(Event.sequence, Event.uuid, Event.name, Event.distinct_id)
    .add_columns(Event.person_id, Event.time, Event.received_at, Event.properties)
    .where(
        Event.project_id == bindparam("project_id"),
        Event.sequence > bindparam("after"),
        Event.sequence <= bindparam("until"),
    )
    .limit(bindparam("limit"))
)


_NEWEST = (
    select(Event.sequence, octets(Event.properties))
    .where(Event.project_id == bindparam("project_id"), Event.name == bindparam("name"))
    .order_by(Event.sequence.desc())
    .limit(MAX_SEARCHED)
)


@functools.lru_cache(maxsize=64)
def _page_query(count: int | None) -> Select[int, int]:
    """Return the query of the last of the first events of ``count`` names in a range, or of all, and their number."""
    in_range = (
        Event.project_id == bindparam("project_id"),
        Event.sequence > bindparam("after"),
        Event.sequence <= bindparam("until"),
    )
    limit = bindparam("limit", type_=Integer)
    of_names = [()] if count is None else [(Event.name == bindparam(f"name_{place}"),) for place in range(count)]
    subqueries = [
        select(Event.sequence).where(*in_range, *is_named).order_by(Event.sequence).limit(limit).subquery()
        for is_named in of_names
    ]
    combined = union_all(*(select(subquery.c.sequence) for subquery in subqueries)).subquery()
    first = select(combined.c.sequence).order_by(combined.c.sequence).limit(limit).subquery()
    return select(func.coalesce(func.max(first.c.sequence), 0), func.count()).select_from(first)


def high_water_mark_columns(dialect_name: str) -> Sequence[ScalarSelect[Any]]:
    """Return the columns by which a query learns what ``EventQueries.high_water_mark`` returns: the first one.

    The parameter ``lock`` is ``ProjectLock.EVENT_APPEND``.
    """
    return _HIGHEST.scalar_subquery(), waiting_for_holders(dialect_name)


class EventQueries:
    """Reads the positions of one project's events, each query on a connection of its own."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def high_water_mark(self) -> int:
        """Return a sequence number up to which this project gets no further events.

        Sequence numbers are allocated before they are committed, so a number below the highest visible one may not be
        committed yet. Writers hold a shared lock from before the allocation until their commit: once the exclusive lock
        was held, after the number was read, every writer with a lower number has finished.
        """
        highest = await self.highest()
        await wait_for_holders(self._database, ProjectLock.EVENT_APPEND, self._project_id)
        return highest

    async def highest(self) -> int:
        """Return the highest sequence number that is committed, of all projects; 0 without events."""
        [(highest,)] = await self._database.fetch(_HIGHEST, {})
        return highest or 0

    async def last_named(self, names: Iterable[str]) -> LastEvents:
        """Return after which event there is none of a name, for each name, and up to where events left the database."""
        found: dict[str, int] = {}
        released_until = 0
        for chunk in [*chunks(list(names), _MAX_COLUMNS)] or [[]]:
            bound = {f"name_{place}": name for place, name in enumerate(chunk)}
            [row] = await self._database.fetch(_last_of(len(chunk)), {"project_id": self._project_id, **bound})
            released, *last = row
            released_until = released or 0
            found |= {name: max(sequence or 0, released_until) for name, sequence in zip(chunk, last, strict=True)}
        return LastEvents(found, released_until)

    async def unread_timestamps(self, names: Collection[str] | None, since: dt.datetime, before: dt.datetime) -> int:
        """Return how many events of some names, or of all, arrived with a time that could not be read."""
        hours = {"since": to_microseconds(since) // _HOUR, "before": to_microseconds(before) // _HOUR}
        rows = await self._database.fetch(_UNREAD_TIMESTAMPS, {"project_id": self._project_id, **hours})
        return sum(count for name, count in rows if names is None or name in names)


class EventRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def count_after(self, sequence: int) -> int:
        """Return the number of events after a sequence number."""
        counted = await self._session.scalar(
            select(func.count()).where(Event.project_id == self._project_id, Event.sequence > sequence)
        )
        return counted or 0

    async def first_time(self) -> int | None:
        """Return when the first event happened; None without events."""
        return await self._session.scalar(select(func.min(Event.time)).where(Event.project_id == self._project_id))

    async def first_position(self) -> int:
        """Return the sequence number of the first event of all projects; 0 where there is none."""
        return await self._session.scalar(select(func.min(Event.sequence))) or 0

    async def named_after(
        self, names: Sequence[str] | None, sequence: int, high_water_mark: int, limit: int
    ) -> EventChunk:
        """Return the first events after a sequence number; names None means all names.

        They are at most ``limit``, and have at most ``limits.ROWS_BYTES`` of properties, unless one alone has more.
        """
        end = high_water_mark
        # Fewer numbers than the limit leave nothing to look for.
        if names is not None and 1 < len(names) <= _MAX_SUBQUERIES and high_water_mark - sequence > limit:
            end, _ = await self.page_of(names, sequence, high_water_mark, limit)
        named = {f"name_{place}": name for place, name in enumerate(names or ())}
        bound = {"project_id": self._project_id, "after": sequence, "until": end, "limit": limit, **named}
        query = _named_query(None if names is None else len(names))
        size = limits.ROWS_BYTES.value
        rows, is_cut = await fetch_rows_by_size(self._session, query, Event.sequence, Event.properties, size, bound)
        is_full = is_cut or len(rows) >= limit
        return EventChunk(cast("Sequence[EventRow]", rows), rows[-1][0] if rows and is_full else end)

    async def stored_after(self, sequence: int, high_water_mark: int, limit: int) -> Sequence[StoredEvent]:
        """Return the first events after a sequence number, as they are stored, by the bounds of ``named_after``."""
        bound = {"project_id": self._project_id, "after": sequence, "until": high_water_mark, "limit": limit}
        rows, _ = await fetch_rows_by_size(
            self._session, _STORED, Event.sequence, Event.properties, limits.ROWS_BYTES.value, bound
        )
        return [StoredEvent(*row) for row in rows]

    async def page_of(
        self, names: Sequence[str] | None, sequence: int, high_water_mark: int, limit: int
    ) -> tuple[int, int]:
        """Return the last sequence number of the first ``limit`` events of some names, and how many there are.

        The sequence number is the mark where there are fewer. Some of the events may have no person. Names None means
        all names; at most a hundred may be given.

        It is read from the index alone. Without it a database would collect and sort all later events of several names
        to return the first ones. It is a separate query, because a planner that knows the range reads it in the order
        of the table.
        """
        named = {f"name_{place}": name for place, name in enumerate(names or ())}
        bound = {"project_id": self._project_id, "after": sequence, "until": high_water_mark, "limit": limit, **named}
        found = await self._session.execute(_page_query(None if names is None else len(names)), bound)
        last, count = found.one()
        return (last if count == limit else high_water_mark), count

    async def busy_buckets(self, starts: Sequence[int], until: int) -> list[int]:
        """Return the indexes of the time buckets that contain events; the last bucket ends at ``until``.

        One index lookup for each such bucket, regardless of the number of its events.
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
            index = bisect_right(starts, time) - 1
            found.append(index)
            if index + 1 == len(starts):
                return found
            since = starts[index + 1]

    async def any_named(self, names: Sequence[str]) -> bool:
        """Whether there is an event with one of the names."""
        found = select(Event.sequence).where(Event.project_id == self._project_id, Event.name.in_(names)).limit(1)
        return await self._session.scalar(found) is not None

    async def any_with_text(
        self, names: Sequence[str], texts: Sequence[str], since: dt.datetime, before: dt.datetime
    ) -> bool:
        """Whether the properties of an event with one of the names, as JSON text, contain one of some texts.

        Only the newest 10,000 events of each name are searched, whatever their time, and of large ones fewer: if the
        client's code has no flag, no event has the property, and a full search would read all of them.
        """
        for name in names:
            is_named = (Event.project_id == self._project_id, Event.name == name)
            sizes = await fetch_within(self._session, _NEWEST, {"project_id": self._project_id, "name": name})
            if not sizes:
                continue
            oldest = sizes[fitting((one[1] for one in sizes), limits.ROWS_BYTES.value) - 1][0]
            properties = Event.properties
            query = select(Event.time).where(
                *is_named,
                Event.sequence >= oldest,
                Event.time >= to_microseconds(since),
                Event.time < to_microseconds(before),
                or_(*(properties.contains(text, autoescape=True) for text in texts)),
            )
            if await self._session.scalar(query.limit(1)) is not None:
                return True
        return False

    async def page(self, selection: EventSelection, limit: int) -> Sequence[Event]:
        """Return events, newest first."""
        return (await self._session.scalars(self._page(select(Event), selection, limit))).all()

    async def sizes(self, selection: EventSelection, limit: int) -> Sequence[tuple[int, int, int, int]]:
        """Return time, sequence number, person id and bytes of each event that ``page`` returns."""
        size = size_of((Event.properties, Event.name, Event.distinct_id))
        columns = select(Event.time, Event.sequence, Event.person_id, size)
        rows = await self._session.execute(self._page(columns, selection, limit))
        return [(time, sequence, person_id, size) for time, sequence, person_id, size in rows]

    def _page(self, query: Select[*Columns], selection: EventSelection, limit: int) -> Select[*Columns]:
        query = query.where(Event.project_id == self._project_id)
        if selection.name is not None:
            query = query.where(Event.name == selection.name)
        if selection.distinct_id is not None:
            query = query.where(Event.distinct_id == selection.distinct_id)
        if selection.person_ids is not None:
            query = query.where(Event.person_id.in_(selection.person_ids))
        if selection.after is not None:
            query = query.where(Event.time > selection.after)
        if selection.before is not None:
            query = query.where(Event.time < selection.before)
        if selection.cursor is not None:
            query = query.where(tuple_(Event.time, Event.sequence) < selection.cursor)
        return query.order_by(Event.time.desc(), Event.sequence.desc()).limit(limit)
