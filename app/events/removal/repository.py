"""What is removed from the events of the database: those of a time, of a range, and of persons."""

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from sqlalchemy import ColumnElement, CursorResult, and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.bulk import table_of
from app.db.compiled_queries import is_among
from app.db.models import Event

# An erased event, where its row has to stay.
_NO_PROJECT = 0
_EMPTY: Mapping[str, object] = {
    "project_id": _NO_PROJECT,
    "name": "",
    "distinct_id": "",
    "person_id": 0,
    "time": 0,
    "received_at": 0,
    "properties": "{}",
}


class EventRemovalRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def count_before(self, moment: int, high_water_mark: int) -> int:
        """Return the number of events up to the mark that happened before a time, without the last event of all."""
        counted = await self._session.scalar(select(func.count()).where(*self._removable(moment, high_water_mark)))
        return counted or 0

    async def remove_before(self, moment: int, high_water_mark: int, limit: int) -> int:
        """Remove at most ``limit`` of the events that ``count_before`` counts; return their number."""
        removable = select(Event.sequence).where(*self._removable(moment, high_water_mark)).limit(limit)
        result = await self._session.execute(delete(Event).where(Event.sequence.in_(removable)))
        return cast("CursorResult[Any]", result).rowcount

    def _removable(self, moment: int, high_water_mark: int) -> Sequence[ColumnElement[bool]]:
        return (
            Event.project_id == self._project_id,
            Event.time < moment,
            # Later events were not read yet. The last event stays, because its number is the position of the event log.
            Event.sequence <= high_water_mark,
            Event.sequence < select(func.max(Event.sequence)).scalar_subquery(),
        )

    async def received_after(self, sequence: int, until: int, limit: int) -> Sequence[tuple[int, int]]:
        """Return sequence number and time of arrival of the first events in a range, without the last event of all."""
        rows = await self._session.execute(
            select(Event.sequence, Event.received_at)
            .where(
                Event.project_id == self._project_id,
                Event.sequence > sequence,
                Event.sequence <= until,
                Event.sequence < select(func.max(Event.sequence)).scalar_subquery(),
            )
            .order_by(Event.sequence)
            .limit(limit)
        )
        return [(row.sequence, row.received_at) for row in rows]

    async def remove_range(self, after: int, until: int) -> None:
        """Remove the events in a range of sequence numbers."""
        is_inside = and_(Event.project_id == self._project_id, Event.sequence > after, Event.sequence <= until)
        await self._session.execute(delete(Event).where(is_inside).execution_options(synchronize_session=False))

    async def remove_of_persons(self, person_ids: Sequence[int], after: int, until: int) -> int:
        """Remove the events that were stored for some persons, in a range of sequence numbers; return how many.

        The last event of all projects stays as a row without content that belongs to no project, because its number is
        the position of the event log.
        """
        last = select(func.max(Event.sequence)).scalar_subquery()
        is_theirs = and_(
            Event.project_id == self._project_id,
            Event.sequence > after,
            Event.sequence <= until,
            is_among(Event.person_id, "person_ids", self._session.get_bind().dialect.name),
        )
        bound = {"person_ids": list(person_ids)}
        events, connection = table_of(Event), await self._session.connection()
        removed = await connection.execute(delete(events).where(is_theirs, Event.sequence < last), bound)
        emptied = await connection.execute(update(events).where(is_theirs).values(**_EMPTY, uuid=uuid4()), bound)
        await connection.execute(delete(events).where(Event.project_id == _NO_PROJECT, Event.sequence < last))
        return removed.rowcount + emptied.rowcount
