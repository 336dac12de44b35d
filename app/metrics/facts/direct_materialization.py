"""Facts of one series that the database makes, a range of events after another."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from app.db.bulk import Columns
from app.db.database import Database
from app.db.errors import DATABASE_ERRORS, describe, is_data_error, is_statement_timeout
from app.events.history import EventHistory
from app.events.repository import EventRepository
from app.metrics.facts.direct_facts import MAX_VARIANTS, DirectFactRepository, can_be_direct, is_direct
from app.metrics.facts.made_facts import MadeFacts, no_facts, together
from app.metrics.facts.matching import EventRow, SeriesMatcher

logger = logging.getLogger("abacus")

# Ranges grow while they take less than the first of these seconds, and shrink where they take more than the second.
# Up to the usual range, they grow until they take the second, and do not shrink.
_QUICK: Final = 1.2
_SLOW: Final = 4.0
_GROWTH: Final = 4
_MAX_FAILURES: Final = 3


@dataclass(frozen=True)
class _Range:
    """The events of a series in a range of sequence numbers: there are ``count``."""

    after: int
    end: int
    count: int


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
    first, usual, largest : int
        The number of events of the first range, below which nothing is done here, of an ordinary one, and of the
        largest.
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
        usual: int,
        largest: int,
    ) -> None:
        self._database = database
        self._project_id = project_id
        self._matcher = matcher
        self._definition = matcher.definition
        self._turns = turns
        self._ahead = ahead
        self._first = first
        self._usual = usual
        self._largest = max(first, largest)
        self._size = first
        self._carefully = False
        self._variants = [""]  # that the database is told; the others of a range are left over
        self._failures = 0
        self._pays = can_be_direct(database.engine.dialect.name) and is_direct(matcher.definition)

    async def ranges(self, watermark: int, until: int) -> AsyncGenerator[MadeFacts]:
        """Yield the facts of the next events, range after range. Where they end, the others are matched in Python."""
        first = await self._next_range(watermark, until) if self._pays else None
        if first is None:
            return
        begun: deque[asyncio.Task[MadeFacts]] = deque()
        try:
            # The first variants are those that the matcher finds: until then, events that name one are left over.
            has_variants = self._definition.variant_property is not None
            made, position = await (self._matched(first) if has_variants else self._made(first)), first.end
            while True:
                self._learn(made.variants)
                position = await self._begin(begun, position, until)
                yield made
                if not begun:
                    return
                made = await begun[0]
                begun.popleft()
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)  # until their connections are given back

    async def _begin(self, begun: deque[asyncio.Task[MadeFacts]], position: int, until: int) -> int:
        """Begin with further ranges, and return where the last one ends."""
        while self._pays and position < until and len(begun) < self._ahead:
            following = await self._next_range(position, until)
            if following is None:  # the rest are few
                following = _Range(position, until, 0)
                begun.append(asyncio.create_task(self._matched(following)))
            else:
                begun.append(asyncio.create_task(self._made(following)))
            position = following.end
        return position

    def _learn(self, variants: Sequence[str]) -> None:
        known = set(self._variants)
        self._variants += [text for text in variants if text not in known]
        self._pays &= len(self._variants) <= MAX_VARIANTS

    async def _next_range(self, watermark: int, until: int) -> _Range | None:
        """Return the next events; None where they are few."""
        if until - watermark < self._first:
            return None
        async with self._turns, self._database.read() as session:
            end, count = await EventRepository(session, self._project_id).page_of(
                self._matcher.names, watermark, until, self._size
            )
        return None if count < self._first else _Range(watermark, end, count)

    async def _made(self, events: _Range) -> MadeFacts:
        started, variants = time.monotonic(), tuple(self._variants)
        try:
            made, left_over = await self._decided(events, variants)
        except DATABASE_ERRORS as error:
            self._note_refusal(events.end, error)
            return await self._matched(events)
        if made is None:
            made, left_over = await self._matched(events), events.count
        if left_over > events.count // 2 and set(made.variants) <= set(variants):
            self._pays = False  # and with other variants the next ones may be decided
        seconds = time.monotonic() - started
        if seconds < (_SLOW if self._size < self._usual else _QUICK):
            self._size = min(max(self._size, events.count * _GROWTH), self._largest)
        elif seconds > _SLOW:
            self._size = max(self._size // _GROWTH, min(self._size, self._usual))
        return made

    async def _decided(self, events: _Range, variants: Sequence[str]) -> tuple[MadeFacts | None, int]:
        """Return the facts of events, and how many of them were left over; no facts where these are too many."""
        async with self._turns, self._database.read() as session:
            direct = DirectFactRepository(session, self._project_id)
            decided = await direct.decide(
                self._definition, variants, events.after, events.end, carefully=self._carefully
            )
            count = len(decided.unsure)
            left_over = await direct.left_over(decided.unsure) if count <= self._usual else ()
        if len(left_over) < count:
            return None, count
        made = await asyncio.to_thread(self._with_matches, decided.columns, variants, left_over, events)
        return made, count

    def _with_matches(
        self, columns: Columns, variants: Sequence[str], rows: Sequence[EventRow], events: _Range
    ) -> MadeFacts:
        return together(columns, variants, list(self._matcher.match(rows)), events.after, events.end)

    def _note_refusal(self, end: int, error: Exception) -> None:
        """Note that the database refuses properties of some events, or takes too long for them; raise other errors."""
        if not is_data_error(error) and not is_statement_timeout(error):
            raise error
        logger.info("events up to %d are matched one by one: %s", end, describe(error))
        self._carefully = True
        self._failures += 1
        self._pays &= self._failures < _MAX_FAILURES
        self._size = self._first

    async def _matched(self, events: _Range) -> MadeFacts:
        """Make the facts of a range in Python."""
        made = no_facts(events.after, are_valued=self._definition.value_property is not None)
        history = EventHistory(self._database, self._project_id)
        while made.until < events.end:
            async with self._turns:
                chunk = await history.named_after(self._matcher.names, made.until, events.end, self._usual)
            reached = _Range(events.after, chunk.end, 0)
            made = await asyncio.to_thread(self._with_matches, made.columns, made.variants, chunk.rows, reached)
        return made
