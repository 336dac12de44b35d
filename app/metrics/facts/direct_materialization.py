"""Materialization of one series inside the database, a range of events at a time."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from app.db.compiled_queries import interrupted_after
from app.db.database import Database
from app.db.errors import DATABASE_ERRORS, describe, is_data_error, is_statement_timeout
from app.events.repository import EventRepository
from app.metrics.facts.direct_facts import DirectFactRepository, can_be_direct, is_direct
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
    """The next events of a series: up to the sequence number ``end`` there are ``count`` of them."""

    end: int
    count: int


class _TooManyLeftOverError(Exception):
    """The database cannot decide about most events."""


class DirectMaterialization:
    """Makes the facts of a series inside the database, as long as that pays.

    Each range is one transaction with the watermark, as in Python. The events of a range of which the database cannot
    be sure are matched in Python within the same transaction.

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
        self._has_learned = False
        self._failures = 0
        dialect = database.engine.dialect.name
        self._pays = can_be_direct(dialect) and is_direct(matcher.definition)

    async def next_range(self, watermark: int, until: int) -> EventRange | None:
        """Return the next events; None where they have to be matched in Python."""
        if not self._pays or until - watermark < self._first:
            return None
        async with self._database.read() as session:
            events = EventRepository(session, self._project_id)
            end, count = await events.page_of(self._matcher.names, watermark, until, self._size)
        if count < self._first:
            return None
        return EventRange(end, count)

    async def store(self, events: EventRange) -> bool:
        """Store the facts of the next events and move the watermark; False where that has to be done in Python.

        Raises
        ------
        SeriesGone
            When the series was removed.
        """
        started = time.monotonic()
        try:
            await self._store(events)
        except _TooManyLeftOverError:
            self._pays = False
            return False
        except DATABASE_ERRORS as error:
            if not is_data_error(error) and not is_statement_timeout(error):
                raise
            logger.info("events up to %d are matched one by one: %s", events.end, describe(error))
            self._carefully = True
            self._failures += 1
            self._pays = self._failures < _MAX_FAILURES
            self._size = self._first
            return False
        seconds = (time.monotonic() - started) / (1 if self._database.is_sqlite else _TIMES_AS_LONG)
        if seconds < (_SLOW if self._size < self._usual else _QUICK):
            self._size = min(self._size * _GROWTH, self._largest)
        elif seconds > _SLOW:
            self._size = max(self._size // _GROWTH, min(self._size, self._usual))
        return True

    async def _store(self, events: EventRange) -> None:
        series_id, definition = self._series_id, self._matcher.definition
        async with self._database.write(durable=False, owner=self._project_id) as session:
            facts, direct = FactRepository(session, self._project_id), DirectFactRepository(session, self._project_id)
            watermark = (await facts.lock({series_id: self._matcher.digest}))[series_id]
            if watermark >= events.end:  # another process was faster
                return
            codes = await direct.codes(series_id)
            if codes is None:
                raise _TooManyLeftOverError
            # Until the first variants have a code, the events that name one are left over.
            is_learning = definition.variant_property is not None and not codes and not self._has_learned
            stored = 0
            if not is_learning:
                async with interrupted_after(session, _STATEMENT_SECONDS):
                    stored = await direct.append(
                        series_id, definition, codes, watermark, events.end, carefully=self._carefully
                    )
            if stored < events.count:
                left_over, may_be_more = await direct.left_over(
                    series_id, definition, watermark, events.end, self._largest
                )
                if may_be_more:
                    raise _TooManyLeftOverError
                matches = await asyncio.to_thread(lambda: list(self._matcher.match(left_over)))
                await facts.append({series_id: matches})
                self._has_learned = True
                self._pays = is_learning or len(left_over) <= events.count // 2
            await facts.move_watermarks([series_id], events.end)
