"""Imports files of events and persons into a project."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.projects.repository import IngestionProject
from app.common.errors import PayloadTooLarge
from app.db.database import Database
from app.db.errors import DATABASE_ERRORS, describe, is_data_error, is_transient_database_error
from app.events.capture.decoding.clock import read_time
from app.events.capture.decoding.events import CapturedEvent
from app.events.capture.storing import (
    PersonsErasedError,
    ResolvedEvents,
    resolve_persons,
    store_events,
    store_resolved,
)
from app.events.history import EventHistory
from app.events.imports.records import ImportedEvent, PersonRecord, identity, link
from app.events.imports.repository import ImportRepository
from app.people.persons.known import KnownPersons
from app.people.persons.repository import PersonRepository
from app.people.persons.service import PersonService

_REMEMBERED: Final = 200_000
_ATTEMPTS: Final = 6
_FIRST_PAUSE: Final = 0.5  # seconds

logger = logging.getLogger("abacus")
T = TypeVar("T")

Finish = Callable[[AsyncSession, int], Awaitable[None]]  # takes the number of events that were new


class ResolvedBatch(NamedTuple):
    """Events whose persons are stored, and those that the database refused, with the reasons."""

    resolved: ResolvedEvents
    refused: list[tuple[CapturedEvent, str]]

    @classmethod
    def of(cls, parts: Sequence["ResolvedBatch"]) -> "ResolvedBatch":
        """Return parts as one batch. Where persons were erased between them, they are resolved again."""
        events = [event for one in parts for event in one.resolved.events]
        person_ids = {name: number for one in parts for name, number in one.resolved.person_ids.items()}
        erased = min(one.resolved.erased for one in parts)
        return cls(ResolvedEvents(events, person_ids, erased), [refusal for one in parts for refusal in one.refused])


NOTHING: Final = ResolvedBatch(ResolvedEvents((), {}), [])


class Recent:
    """The latest of many pairs: those that are in here need not be looked up."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __contains__(self, pair: tuple[str, str]) -> bool:
        return pair in self._pairs

    def add(self, pairs: Iterable[tuple[str, str]]) -> None:
        for pair in pairs:
            self._pairs[pair] = None
        while len(self._pairs) > _REMEMBERED:
            self._pairs.popitem(last=False)


class EventImport:
    """Stores events with the persons that their source says they are of, as capture stores events.

    No request, webhook, limit of rates or flag has to do with it. Persons come before the events, in transactions of
    their own, which can be repeated: so those of the next batch are stored while the events of one are.
    """

    def __init__(self, database: Database, project: IngestionProject) -> None:
        self._database = database
        self._project = project
        self._persons = KnownPersons()
        self._known = Recent()  # the ids of persons of the source, with the distinct ids that are joined under them
        self._identified = Recent()  # distinct ids, with the anonymous ones that are joined with them

    async def resolve(self, events: Sequence[ImportedEvent]) -> "ResolvedBatch":
        """Store what a batch says of persons. Call this in the order of batches; ``store`` may be one behind."""
        captured = [one.event for one in events]
        self._persons.discard()
        try:
            await self._join(events)
            resolved = await self._retrying(
                lambda session: resolve_persons(session, self._project.id, captured, self._persons)
            )
        except _BatchRefused as error:
            if len(events) == 1:
                return ResolvedBatch(ResolvedEvents((), {}), [(events[0].event, str(error))])
            return ResolvedBatch.of([await self.resolve(half) for half in _halves(events)])
        self._persons.confirm()
        return ResolvedBatch(resolved, [])

    async def store(self, batch: "ResolvedBatch", finish: Finish) -> list[tuple[CapturedEvent, str]]:
        """Store a batch, and finish in the transaction; return events that the database refuses, with the reasons."""
        refused = list(batch.refused)
        # An imported event has its time, which tells where in years of events its uuid has to be looked for.
        missing = await EventHistory(self._database, self._project.id).without_archived(batch.resolved.events)
        resolved = batch.resolved._replace(events=missing)
        try:
            await self._store(resolved, finish)
        except _BatchRefused:
            stored = await self._store_parts(resolved, refused)
            await self._retrying(lambda session: finish(session, stored))
        return refused

    async def _store(self, resolved: ResolvedEvents, finish: Finish) -> int:
        async def work(session: AsyncSession) -> int:
            stored = await store_resolved(session, self._project, resolved) if resolved.events else 0
            await finish(session, stored)
            return stored

        async def start_anew(session: AsyncSession) -> int:
            stored = await store_events(session, self._project, resolved.events)
            await finish(session, stored)
            return stored

        try:
            return await self._retrying(work)
        except PersonsErasedError:
            return await self._retrying(start_anew)

    async def _store_parts(self, resolved: ResolvedEvents, refused: list[tuple[CapturedEvent, str]]) -> int:
        """Store events of which some are refused, or too large together, in ever smaller parts."""
        stored = 0
        for half in _halves(resolved.events):
            try:
                stored += await self._store(resolved._replace(events=half), _do_nothing)
            except _BatchRefused as error:
                if len(half) == 1:
                    refused.append((half[0], str(error)))
                else:
                    stored += await self._store_parts(resolved._replace(events=half), refused)
        return stored

    async def _join(self, events: Sequence[ImportedEvent]) -> None:
        """Join the persons of distinct ids that the source has as one person."""
        of_persons = {
            (one.person, one.event.distinct_id): one.event.time
            for one in reversed(events)  # so that the first counts
            if one.person is not None and (one.person, one.event.distinct_id) not in self._known
        }
        of_devices = {
            (one.event.distinct_id, one.anonymous_id): one.event.time
            for one in reversed(events)
            if one.anonymous_id is not None and (one.event.distinct_id, one.anonymous_id) not in self._identified
        }
        if of_persons or of_devices:
            pairs = dict(reversed(of_persons.items()))
            await self._retrying(lambda session: self._join_pairs(session, pairs, dict(reversed(of_devices.items()))))
            self._known.add(pairs)
            self._identified.add(of_devices)

    async def _join_pairs(
        self, session: AsyncSession, of_persons: dict[tuple[str, str], int], of_devices: dict[tuple[str, str], int]
    ) -> None:
        links = []
        for (user, device), time in of_devices.items():
            # The user first: a device that others used before would bring an unknown user to their person.
            links += [identity(user, time), link(user, device, time, is_forced=False)]
        if of_persons:
            standing = await self._standing(session, list(of_persons))
            found = [
                (standing[person], distinct_id, time)
                for (person, distinct_id), time in of_persons.items()
                if standing[person] != distinct_id
            ]
            links += await self._missing_links(session, found)
        await self._apply(session, links)

    async def _standing(self, session: AsyncSession, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Return the distinct id that stands for each person: the one that was met first."""
        imports = ImportRepository(session, self._project.id)
        await imports.lock_persons()
        first: dict[str, str] = {}
        for person, distinct_id in pairs:
            first.setdefault(person, distinct_id)
        known = await imports.known_as(list(first))
        await imports.remember({person: one for person, one in first.items() if person not in known})
        return first | known

    async def _missing_links(self, session: AsyncSession, links: Sequence[tuple[str, str, int]]) -> list[CapturedEvent]:
        """Return what joins distinct ids that are not of one person yet."""
        names = {name for one, other, _ in links for name in (one, other)}
        ids, _ = await PersonRepository(session, self._project.id).ids(list(names)) if names else ({}, set())
        return [
            link(standing, distinct_id, time, is_forced=True)
            for standing, distinct_id, time in links
            if ids.get(standing, standing) != ids.get(distinct_id, distinct_id)
        ]

    async def _apply(self, session: AsyncSession, changes: Sequence[CapturedEvent]) -> None:
        if not changes:
            return
        persons = PersonService(PersonRepository(session, self._project.id))
        await persons.keep_from_erasure()
        await persons.lock()
        await persons.apply(changes)

    async def store_persons(self, records: Sequence[PersonRecord], now: int) -> None:
        """Store persons with all distinct ids and properties; properties of the source replace others."""

        async def work(session: AsyncSession) -> None:
            pairs = {
                (record.person, distinct_id): _created(record, now)
                for record in records
                for distinct_id in record.distinct_ids
            }
            await self._join_pairs(session, pairs, {})
            changes = [
                identity(record.distinct_ids[0], _created(record, now), properties=record.properties)
                for record in records
            ]
            await self._apply(session, changes)

        try:
            await self._retrying(work)
        except _BatchRefused as error:
            if len(records) == 1:
                logger.warning("import: a person was not stored: %s", error)
                return
            for half in _halves(records):
                await self.store_persons(half, now)

    async def _retrying(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Do work in a transaction, again if the database was unavailable or busy."""
        for attempt in range(_ATTEMPTS):
            try:
                async with self._database.write(owner=self._project.id) as session:
                    return await work(session)
            except PayloadTooLarge as error:
                raise _BatchRefused(error.detail) from error
            except DATABASE_ERRORS as error:
                if is_data_error(error):
                    raise _BatchRefused(f"the database cannot store it: {describe(error)}") from error
                if not is_transient_database_error(error) or attempt + 1 == _ATTEMPTS:
                    raise
            await asyncio.sleep(_FIRST_PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


class _BatchRefused(Exception):
    """A batch has something that the database refuses, or is too large."""


async def _do_nothing(_session: AsyncSession, _stored: int) -> None:
    pass


def _halves(items: Sequence[T]) -> Iterator[Sequence[T]]:
    if len(items) < 2:
        yield items
        return
    yield items[: len(items) // 2]
    yield items[len(items) // 2 :]


def _created(record: PersonRecord, now: int) -> int:
    moment = None if record.created_at is None else read_time(record.created_at)
    return now if moment is None else moment
