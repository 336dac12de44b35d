"""The events of a project in ClickHouse.

An insert whose answer got lost is repeated, so that an event may be stored twice: it is read once.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from app.common import limits
from app.common.page_sizes import fitting
from app.db.clickhouse import ClickHouse, literal
from app.db.models import Event
from app.events.repository import MAX_SEARCHED, NO_PERSON, EventChunk, EventSelection, StoredEvent

# The columns of ``EventText``.
EVENT_COLUMNS: Final = (
    "sequence", "project", "uuid", "name", "distinct_id", "person", "time", "received", "properties",
)  # fmt: skip
_STORED: Final = "sequence, uuid, name, distinct_id, person, time, received, properties"
_MATCHED: Final = "sequence, person, time, name, properties"


class ArchivedEvents:
    """Bound to one project when built, so no statement can forget the tenant."""

    def __init__(self, clickhouse: ClickHouse, project_id: int) -> None:
        self._clickhouse = clickhouse
        self._table = clickhouse.table("event")
        self._project_id = project_id

    async def insert(self, text: bytes) -> None:
        """Insert events as PostgreSQL prints them, by ``EVENT_COLUMNS``. ClickHouse knows the same escapes."""
        await self._clickhouse.insert_text("event", EVENT_COLUMNS, text, uuid4().hex)

    async def count(self, after: int, until: int) -> int:
        """Return the number of events in a range of sequence numbers."""
        return await self._number("uniqExact(sequence)", self._inside(after, until))

    async def last_sequence(self, until: int) -> int:
        """Return the number of the last event up to a sequence number; 0 without events."""
        return await self._number("max(sequence)", self._inside(0, until))

    async def named_after(self, names: Sequence[str] | None, after: int, until: int, limit: int) -> EventChunk:
        """Return the first events of some names in a range, by the bounds of ``EventRepository.named_after``."""
        condition = f"{self._inside(after, until)} AND person != {NO_PERSON}"
        if names is not None:
            condition += f" AND {_is_among(names)}"
        rows, last = await self._first(_MATCHED, condition, limit)
        return EventChunk(rows, until if last is None else last)

    async def stored_after(self, after: int, until: int, limit: int) -> list[StoredEvent]:
        """Return the first events in a range, by the bounds of ``EventRepository.named_after``."""
        rows, _ = await self._first(_STORED, self._inside(after, until), limit)
        return [StoredEvent(*row) for row in rows]

    async def last_before(self, until: int, limit: int) -> list[StoredEvent]:
        """Return the last events up to a sequence number, by the bounds of ``EventRepository.named_after``."""
        rows, _ = await self._first(_STORED, self._inside(0, until), limit, "DESC")
        return [StoredEvent(*row) for row in rows]

    async def page(self, selection: EventSelection, until: int, limit: int) -> list[Event]:
        """Return events up to a sequence number, newest first."""
        rows = await self._page(_STORED, selection, until, limit)
        fields = ("sequence", "uuid", "name", "distinct_id", "person_id", "time", "received_at", "properties")
        return [Event(project_id=self._project_id, **dict(zip(fields, row, strict=True))) for row in rows]

    async def sizes(self, selection: EventSelection, until: int, limit: int) -> list[tuple[int, int, int, int]]:
        """Return time, sequence number, person id and bytes of each event that ``page`` returns."""
        size = "length(properties) + length(name) + length(distinct_id)"
        rows = await self._page(f"time, sequence, person, {size} AS size", selection, until, limit)
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    async def busy_buckets(self, starts: Sequence[int], before: int, until: int) -> list[int]:
        """Return the indexes of the time buckets that contain events up to a sequence number."""
        listed = ", ".join(map(literal, starts))
        rows = await self._clickhouse.rows(
            f"SELECT DISTINCT arrayCount(start -> start <= time, [{listed}]) - 1 AS bucket FROM {self._table}"  # noqa: S608  # our own names, and numbers
            f" WHERE {self._inside(0, until)} AND time >= {starts[0]:d} AND time < {before:d} ORDER BY bucket"
        )
        return [int(bucket) for (bucket,) in rows]

    async def first_time(self, until: int) -> int | None:
        """Return when the first event up to a sequence number happened; None without events."""
        inside = self._inside(0, until)
        return await self._number("min(time)", inside) if await self._number("count()", inside) else None

    async def keys_of(self, uuids: Sequence[UUID], first: int, last: int, until: int) -> set[tuple[UUID, str, str]]:
        """Return uuid, name and distinct id of the events between two times that have one of the uuids."""
        listed = ", ".join(f"'{uuid}'" for uuid in uuids)
        rows = await self._clickhouse.rows(
            f"SELECT uuid, name, distinct_id FROM {self._table} WHERE {self._inside(0, until)}"  # noqa: S608  # our own names; numbers and uuids
            f" AND time >= {first:d} AND time <= {last:d} AND uuid IN ({listed})"
        )
        return {(row[0], row[1], row[2]) for row in rows}

    async def any_named(self, names: Sequence[str], until: int) -> bool:
        """Whether there is an event with one of the names up to a sequence number."""
        return bool(await self._number("count()", f"{self._inside(0, until)} AND {_is_among(names)}"))

    async def any_with_text(
        self, names: Sequence[str], texts: Sequence[str], since: int, before: int, until: int
    ) -> bool:
        """Whether properties contain one of some texts; see ``EventRepository.any_with_text``."""
        has_text = " OR ".join(f"position(properties, {literal(text)}) > 0" for text in texts)
        inside = f"has_text AND time >= {since:d} AND time < {before:d}"
        for name in names:  # each by itself, because ClickHouse stops reading once it has enough of one
            newest = (
                f"SELECT time, ({has_text}) AS has_text FROM {self._table} WHERE {self._inside(0, until)}"  # noqa: S608  # our own names; values are numbers, or pass through ``literal``
                f" AND name = {literal(name)} ORDER BY sequence DESC LIMIT {MAX_SEARCHED:d}"
            )
            if await self._clickhouse.rows(f"SELECT 1 FROM ({newest}) WHERE {inside} LIMIT 1"):  # noqa: S608  # of our own statement
                return True
        return False

    async def count_before(self, moment: int, until: int) -> int:
        """Return the number of events up to a sequence number that happened before a time."""
        return await self._number("uniqExact(sequence)", f"{self._inside(0, until)} AND time < {moment:d}")

    async def remove_before(self, moment: int, until: int) -> None:
        await self._remove(f"{self._inside(0, until)} AND time < {moment:d}")

    async def remove_of_persons(self, person_ids: Sequence[int], until: int) -> None:
        await self._remove(f"{self._inside(0, until)} AND person IN ({', '.join(map(literal, person_ids))})")

    async def remove_after(self, sequence: int) -> None:
        await self._remove(f"project = {self._project_id:d} AND sequence > {sequence:d}")

    async def remove_all(self) -> None:
        await self._remove(f"project = {self._project_id:d}")

    async def _remove(self, condition: str) -> None:
        if await self._number("count()", condition):
            await self._clickhouse.remove("event", condition)

    async def _number(self, expression: str, condition: str) -> int:
        found = await self._clickhouse.execute(f"SELECT {expression} FROM {self._table} WHERE {condition}")  # noqa: S608  # our own names; values are numbers, or pass through ``literal``
        return int(str(found))

    async def _first(
        self, columns: str, condition: str, limit: int, order: Literal["ASC", "DESC"] = "ASC"
    ) -> tuple[Sequence[tuple[Any, ...]], int | None]:
        """Return the first events that meet a condition, and the last of them where the limits leave others out."""
        ordered = f"ORDER BY sequence {order} LIMIT 1 BY sequence"
        sizes = await self._clickhouse.columns(
            f"SELECT sequence, length(properties) AS size FROM {self._table} WHERE {condition} {ordered} LIMIT {limit:d}",  # noqa: E501, S608  # our own names; values are numbers, or pass through ``literal``
            ("sequence", "size"),
        )
        count = fitting(sizes["size"].tolist(), limits.ROWS_BYTES.value)
        if not count:
            return [], None
        last = int(sizes["sequence"][count - 1])
        rows = await self._clickhouse.rows(
            f"SELECT {columns} FROM {self._table} WHERE {condition}"  # noqa: S608  # as above
            f" AND sequence {'<=' if order == 'ASC' else '>='} {last:d} {ordered}"
        )
        return rows, last if count < len(sizes["size"]) or count >= limit else None

    async def _page(self, columns: str, selection: EventSelection, until: int, limit: int) -> Sequence[tuple[Any, ...]]:
        conditions = [self._inside(0, until)]
        if selection.name is not None:
            conditions.append(f"name = {literal(selection.name)}")
        if selection.distinct_id is not None:
            conditions.append(f"distinct_id = {literal(selection.distinct_id)}")
        if selection.person_ids is not None:
            conditions.append(f"person IN ({', '.join(map(literal, selection.person_ids)) or 'NULL'})")
        if selection.after is not None:
            conditions.append(f"time > {selection.after:d}")
        if selection.before is not None:
            conditions.append(f"time < {selection.before:d}")
        if selection.cursor is not None:
            time, sequence = selection.cursor
            conditions.append(f"(time, sequence) < ({time:d}, {sequence:d})")
        return await self._clickhouse.rows(
            f"SELECT {columns} FROM {self._table} WHERE {' AND '.join(conditions)}"  # noqa: S608  # our own names; values are numbers, or pass through ``literal``
            f" ORDER BY time DESC, sequence DESC LIMIT 1 BY sequence LIMIT {limit:d}"
        )

    def _inside(self, after: int, until: int) -> str:
        return f"project = {self._project_id:d} AND sequence > {after:d} AND sequence <= {until:d}"


def _is_among(names: Sequence[str]) -> str:
    return f"name IN ({', '.join(map(literal, names)) or 'NULL'})"
