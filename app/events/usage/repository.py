"""Which events a project has received of late, on connections of their own."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Select, func, literal, select

from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.models import Event

MAX_NAMES: Final = 300
# Of a name no more than these are looked at, the newest: a form shows how much there is, and not a count to rely on.
MAX_EVENTS: Final = 100_000


@dataclass(frozen=True)
class Usage:
    """The newest events of a name: how many there are, of how many persons."""

    events: int
    persons: int


@dataclass(frozen=True)
class Overlap:
    """Persons with one event, and what another one makes of them: how many have it, its events and their squares."""

    persons: int
    converted: int
    total: float
    total_squares: float


class EventUsageQueries:
    """Recent events of one project."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def names(self) -> Sequence[str]:
        """Return names of events in alphabetical order, by a jump through the index from each to the next."""
        of_project = Event.project_id == self._project_id
        first = select(func.min(Event.name).label("name"), literal(1).label("place")).where(of_project)
        names = first.cte("names", recursive=True)
        following = select(func.min(Event.name)).where(of_project, Event.name > names.c.name).scalar_subquery()
        names = names.union_all(
            select(following, names.c.place + 1).where(names.c.name.is_not(None), names.c.place < MAX_NAMES)
        )
        async with self._database.read() as session:
            found = await session.scalars(select(names.c.name).where(names.c.name.is_not(None)))
            return found.all()

    async def usage(self, name: str, since: dt.datetime) -> Usage:
        if "\0" in name:  # PostgreSQL has no such text, and no event has such a name
            return Usage(0, 0)
        recent = self._recent(name, since).subquery()
        async with self._database.read() as session:
            found = await session.execute(
                select(func.count(), func.count(recent.c.person_id.distinct())).select_from(recent)
            )
            events, persons = found.one()
            return Usage(events, persons)

    async def overlap(self, met: str, name: str, since: dt.datetime) -> Overlap:
        """Return what events of a name make of the persons with another event."""
        if "\0" in met + name:
            return Overlap(0, 0, 0, 0)
        persons = self._recent(met, since).distinct().subquery()
        recent = self._recent(name, since).subquery()
        counts = select(recent.c.person_id, func.count().label("events")).group_by(recent.c.person_id).subquery()
        query = select(
            func.count(),
            func.count(counts.c.person_id),
            func.coalesce(func.sum(counts.c.events), 0),
            func.coalesce(func.sum(counts.c.events * counts.c.events), 0),
        ).select_from(persons.outerjoin(counts, counts.c.person_id == persons.c.person_id))
        async with self._database.read() as session:
            found = await session.execute(query)
            return Overlap(*map(int, found.one()))

    def _recent(self, name: str, since: dt.datetime) -> Select[int]:
        newest = (
            select(Event.person_id, Event.time)
            .where(Event.project_id == self._project_id, Event.name == name, Event.person_id > 0)
            .order_by(Event.sequence.desc())
            .limit(MAX_EVENTS)
            .subquery()
        )
        return select(newest.c.person_id).where(newest.c.time >= to_microseconds(since))
