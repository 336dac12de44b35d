"""Materialization of one series inside the database, a range of events at a time."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.db.database import Database
from app.db.drivers import interrupted_after
from app.db.errors import DATABASE_ERRORS, describe, is_data_error, is_statement_timeout
from app.events.repository import EventRepository
from app.metrics.facts.direct_facts import DecidedFacts, DirectFactRepository, can_be_direct, is_direct
from app.metrics.facts.matching import SeriesMatcher
from app.metrics.facts.repository import FactRepository

logger = logging.getLogger("abacus")

# Ranges grow while they take less than the first of these seconds, and shrink where they take more than the second:
# other writers of SQLite wait meanwhile. Those of PostgreSQL do not, so that more seconds do no harm. Up to the usual
# range, they grow until they take the second, and do not shrink.
_QUICK: Final = 0.3
_SLOW: Final = 1.0
_TIMES_AS_LONG: Final = 4  # where others do not wait
_GROWTH: Final = 4
# A statement of SQLite that takes longer is given up. (PostgreSQL has a timeout of its own.)
_STATEMENT_SECONDS: Final = 5.0
_MAX_FAILURES: Final = 3


@dataclass(frozen=True)
class EventRange:
    """The next events of a series: up to the sequence number ``end`` there are ``count`` of them.

    ``facts`` are theirs, where these were decided already, and ``is_refused`` is whether that failed. They took
    ``seconds``.
    """

    end: int
    count: int
    codes: Mapping[str, int]
    facts: DecidedFacts | None = None
    is_refused: bool = False
    seconds: float = 0.0


class _TooManyLeftOverError(Exception):
    """The database cannot decide about most events."""


class DirectMaterialization:
    """Lets the database make the facts of a series, as long as that pays. Call ``aclose`` at the end.

    Each range is one transaction with the watermark, as in Python. The events of a range of which the database cannot
    be sure are matched in Python within the same transaction.

    SQLite makes facts in a statement. PostgreSQL decides about the next range while the facts of one are stored: the
    connections that read and that write have a process of the server each.

    Parameters
    ----------
    first, usual, largest : int
        The number of events of the first range, below which nothing is done here, of an ordinary one, and of the
        largest. Smaller ones than usual cost more for each fact: each transaction writes most pages of the index of
        persons again.
    """

    def __init__(
        self,
        database: Database,
        project_id: int,
        series_id: int,
        matcher: SeriesMatcher,
        *,
        first: int,
        usual: int,
        largest: int,
    ) -> None:
        self._database = database
        self._project_id = project_id
        self._series_id = series_id
        self._matcher = matcher
        self._first = first
        self._usual = usual
        self._largest = max(first, largest)
        self._size = first
        self._carefully = False
        self._has_learned = matcher.definition.variant_property is None
        self._failures = 0
        self._reading: asyncio.Task[EventRange | None] | None = None
        dialect = database.engine.dialect.name
        self._pays = can_be_direct(dialect) and is_direct(matcher.definition)

    async def next_range(self, watermark: int, until: int) -> EventRange | None:
        """Return the next events; None where they have to be matched in Python."""
        if not self._pays:
            return None
        reading, self._reading = self._reading, None
        found = await (reading or self._read(watermark, until))
        if found is not None and found.facts is not None and found.end < until:
            self._reading = asyncio.create_task(self._read(found.end, until))
        return found

    async def aclose(self) -> None:
        """End what is read ahead, and wait until its connection is given back."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, watermark: int, until: int) -> EventRange | None:
        if until - watermark < self._first:
            return None
        started = time.monotonic()
        async with self._database.read() as session:
            end, count = await EventRepository(session, self._project_id).page_of(
                self._matcher.names, watermark, until, self._size
            )
            direct = DirectFactRepository(session, self._project_id)
            codes = None if count < self._first else await direct.codes(self._series_id)
            if codes is None:
                return None
            # Until the first variants have a code, the events that name one are left over.
            self._has_learned |= bool(codes)
            if self._database.is_sqlite or not self._has_learned:
                return EventRange(end, count, codes)
            try:
                facts = await direct.decide(self._matcher.definition, codes, watermark, end, carefully=self._carefully)
            except DATABASE_ERRORS as error:
                self._note_refusal(end, error)
                return EventRange(end, count, codes, is_refused=True)
        return EventRange(end, count, codes, facts, seconds=time.monotonic() - started)

    async def store(self, events: EventRange) -> bool:
        """Store the facts of the next events and move the watermark; False where that has to be done in Python.

        Raises
        ------
        SeriesGone
            When the series was removed.
        """
        if events.is_refused:
            return False
        if not self._has_learned:  # the matcher gives codes to the variants of these
            self._has_learned = True
            return False
        started = time.monotonic()
        try:
            await self._store(events)
        except _TooManyLeftOverError:
            await self.aclose()
            self._pays = False
            return False
        except DATABASE_ERRORS as error:
            await self.aclose()
            self._note_refusal(events.end, error)
            return False
        seconds = events.seconds + time.monotonic() - started
        seconds /= 1 if self._database.is_sqlite else _TIMES_AS_LONG
        if seconds < (_SLOW if self._size < self._usual else _QUICK):
            self._size = min(self._size * _GROWTH, self._largest)
        elif seconds > _SLOW:
            self._size = max(self._size // _GROWTH, min(self._size, self._usual))
        return True

    def _note_refusal(self, end: int, error: Exception) -> None:
        """Note that the database refuses properties of some events, or takes too long for them; raise other errors."""
        if not is_data_error(error) and not is_statement_timeout(error):
            raise error
        logger.info("events up to %d are matched one by one: %s", end, describe(error))
        self._carefully = True
        self._failures += 1
        self._pays = self._failures < _MAX_FAILURES
        self._size = self._first

    async def _store(self, events: EventRange) -> None:
        series_id, definition = self._series_id, self._matcher.definition
        async with self._database.write(durable=False, owner=self._project_id) as session:
            facts, direct = FactRepository(session, self._project_id), DirectFactRepository(session, self._project_id)
            watermark = (await facts.lock({series_id: self._matcher.digest}))[series_id]
            if watermark >= events.end:  # another process was faster
                return
            bulk = await facts.choose_bulk({series_id: events.count}, events.end)
            if events.facts is not None:
                unsure = await direct.store(series_id, definition, events.facts, watermark, in_bulk=series_id in bulk)
            else:
                async with interrupted_after(session, _STATEMENT_SECONDS):
                    unsure = await direct.append(series_id, definition, events.codes, watermark, events.end)
            if len(unsure):
                left_over, may_be_more = await direct.left_over(unsure, self._largest)
                if may_be_more:
                    raise _TooManyLeftOverError
                matches = await asyncio.to_thread(lambda: list(self._matcher.match(left_over)))
                await facts.append({series_id: matches}, bulk)
                self._pays = len(left_over) <= events.count // 2
            await facts.move_watermarks([series_id], events.end)
