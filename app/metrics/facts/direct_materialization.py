"""Facts of one series that the database makes, a range of events after another."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Final, TypeAlias

from app.db.bulk import Columns
from app.db.database import Database
from app.db.errors import DATABASE_ERRORS, describe, is_data_error, is_statement_timeout
from app.events.history import EventHistory
from app.events.repository import EventRepository
from app.metrics.facts.direct_facts import MAX_VARIANTS, DirectFactRepository, can_be_direct, is_direct
from app.metrics.facts.made_facts import MadeFacts, no_facts, together
from app.metrics.facts.matching import EventRow, SeriesMatcher

logger = logging.getLogger("abacus")

# Ranges get wider where they take less than the first of these seconds, and narrower where they take more than the
# second.
_QUICK: Final = 0.6
_SLOW: Final = 2.5
_GROWTH: Final = 4
# A range spans at most so many times as many sequence numbers as it should have facts: where events of other projects
# come first, every later event may be one.
_WIDEST: Final = 4
_MAX_FAILURES: Final = 3

# The sequence numbers of some events: of the first one exclusively, of the last one inclusively.
Range: TypeAlias = tuple[int, int]


class DirectMaterialization:
    """Lets the database make the facts of a series, as long as that pays; nothing is stored.

    The events of a range of which the database cannot be sure are matched in Python, and so are all events of a range
    that it refuses.

    Parameters
    ----------
    turns : asyncio.Semaphore
        Held while a range is decided: each takes a connection.
    ahead : int
        How many ranges are decided at once, beside what the caller does with those before.
    first, largest : int
        The number of events below which nothing is done here, and about that of the facts of the largest range.
    chunk : int
        How many events are matched in Python at a time.
    """

    def __init__(
        self,
        database: Database,
        project_id: int,
        matcher: SeriesMatcher,
        turns: asyncio.Semaphore,
        *,
        ahead: int,
        first: int,
        largest: int,
        chunk: int,
    ) -> None:
        self._database = database
        self._project_id = project_id
        self._matcher = matcher
        self._definition = matcher.definition
        self._turns = turns
        self._ahead = ahead
        self._first = first
        self._largest = max(first, largest)
        self._chunk = chunk
        self._width = 0  # of the next range, in sequence numbers
        self._carefully = False
        self._variants = [""]  # that the database is told; the others of a range are left over
        self._failures = 0
        self._pays = can_be_direct(database.engine.dialect.name) and is_direct(matcher.definition)

    async def ranges(self, watermark: int, until: int) -> AsyncGenerator[MadeFacts]:
        """Yield the facts of the next events, range after range. Where they end, the others are matched in Python."""
        first = await self._first_range(watermark, until) if self._pays else None
        if first is None:
            return
        begun: deque[asyncio.Task[MadeFacts]] = deque()
        try:
            # The first variants are those that the matcher finds: until then, events that name one are left over.
            has_variants = self._definition.variant_property is not None
            made, position = await (self._matched(first) if has_variants else self._made(first)), first[1]
            while True:
                self._learn(made.variants)
                position = self._begin(begun, position, until)
                yield made
                if not begun:
                    return
                made = await begun[0]
                begun.popleft()
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)  # until their connections are given back

    def _begin(self, begun: deque[asyncio.Task[MadeFacts]], position: int, until: int) -> int:
        """Begin with further ranges, and return where the last one ends."""
        while self._pays and position < until and len(begun) < self._ahead:
            end = min(position + self._width, until)
            begun.append(asyncio.create_task(self._made((position, end))))
            position = end
        return position

    def _learn(self, variants: Sequence[str]) -> None:
        known = set(self._variants)
        self._variants += [text for text in variants if text not in known]
        self._pays &= len(self._variants) <= MAX_VARIANTS

    async def _first_range(self, watermark: int, until: int) -> Range | None:
        """Return the range of some of the first events; None where there are few in all."""
        if until - watermark < self._first:
            return None
        async with self._turns, self._database.read() as session:
            events, names = EventRepository(session, self._project_id), self._matcher.names
            end, count = await events.page_of(names, watermark, until, self._first)
            if count < self._first:
                return None
            begin, _ = await events.page_of(names, watermark, until, 1)  # there may be a gap before
        self._width = min(end - begin + 1, _WIDEST * self._largest)
        return watermark, begin - 1 + max(self._width // _GROWTH, 1)

    async def _made(self, events: Range) -> MadeFacts:
        variants = tuple(self._variants)
        try:
            made, left_over = await self._decided(events, variants)
        except DATABASE_ERRORS as error:
            self._note_refusal(events, error)
            return await self._matched(events)
        if made is None:
            made = await self._matched(events)
        if left_over > max(len(made) // 2, self._first) and set(made.variants) <= set(variants):
            self._pays = False  # with variants that are new, the next ranges may be decided
        return made

    def _adapt(self, width: int, count: int, seconds: float) -> None:
        """Choose the width of the next ranges by the time that one took, and by the number of facts in it."""
        if seconds < _QUICK:
            self._width = max(self._width, width * _GROWTH)
        elif seconds > _SLOW:
            self._width = width // _GROWTH
        most = min(width * self._largest // max(count, 1), _WIDEST * self._largest)
        self._width = max(min(self._width, most), self._first)

    async def _decided(self, events: Range, variants: Sequence[str]) -> tuple[MadeFacts | None, int]:
        """Return the facts of events, and how many of them were left over; no facts where these are too many."""
        async with self._turns, self._database.read() as session:
            started, direct = time.monotonic(), DirectFactRepository(session, self._project_id)
            decided = await direct.decide(self._definition, variants, *events, carefully=self._carefully)
            count = len(decided.unsure)
            left_over = await direct.left_over(decided.unsure) if count <= self._chunk else ()
        found = len(decided.columns["sequence"]) + count
        self._adapt(events[1] - events[0], found, time.monotonic() - started)
        if len(left_over) < count:
            return None, count
        made = await asyncio.to_thread(self._with_matches, decided.columns, variants, left_over, events)
        return made, count

    def _with_matches(
        self, columns: Columns, variants: Sequence[str], rows: Sequence[EventRow], events: Range
    ) -> MadeFacts:
        return together(columns, variants, list(self._matcher.match(rows)), *events)

    def _note_refusal(self, events: Range, error: Exception) -> None:
        """Note that the database refuses properties of some events, or takes too long for them; raise other errors."""
        if not is_data_error(error) and not is_statement_timeout(error):
            raise error
        logger.info("events up to %d are matched one by one: %s", events[1], describe(error))
        self._carefully = True
        self._failures += 1
        self._pays &= self._failures < _MAX_FAILURES
        self._width = max((events[1] - events[0]) // _GROWTH, self._first)

    async def _matched(self, events: Range) -> MadeFacts:
        """Make the facts of a range in Python."""
        made = no_facts(events[0], are_valued=self._definition.value_property is not None)
        history = EventHistory(self._database, self._project_id)
        while made.until < events[1]:
            async with self._turns:
                chunk = await history.named_after(self._matcher.names, made.until, events[1], self._chunk)
            until = (events[0], chunk.end)
            made = await asyncio.to_thread(self._with_matches, made.columns, made.variants, chunk.rows, until)
        return made
