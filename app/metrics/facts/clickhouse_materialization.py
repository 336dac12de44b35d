"""Materialization of series inside ClickHouse, from the events that it has."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from app.common import limits
from app.common.recently_used import RecentlyUsed
from app.db.clickhouse import ClickHouse, ClickHouseFailure
from app.db.clickhouse_flags import is_flag_property
from app.db.database import Database
from app.events.archive.repository import copied_until
from app.metrics.facts.clickhouse_inserts import FactInserts, PlannedFacts
from app.metrics.facts.clickhouse_matching import (
    FACTS,
    MAX_COMBINATIONS,
    ArchivedTokens,
    Combination,
    Outcome,
    outcomes_of,
    reads_few,
)
from app.metrics.facts.clickhouse_records import to_records
from app.metrics.facts.matching import EventRow, Match, SeriesMatcher
from app.metrics.facts.repository import FactRepository

logger = logging.getLogger("abacus")

# Sequence numbers of a range: more where a range is quickly done, and fewer where it takes long.
_FIRST_RANGE: Final = 400_000
_SMALLEST_RANGE: Final = 10_000
_LARGEST_RANGE: Final = 8_000_000
_GROWTH: Final = 4
_QUICK: Final = 1.0
_SLOW: Final = 4.0
# Above this part of them unsure, it is as fast to match all events one by one.
_MOST_UNSURE: Final = 0.2
_FEW: Final = 1_000
_MATCHED: Final = "sequence, person, time, toString(name), properties"  # of an ``EventRow``


@dataclass(frozen=True)
class _Decided:
    """What is known of a range of events before its facts are inserted."""

    outcomes: Mapping[Combination, Sequence[Outcome]]
    counts: Mapping[Combination, int]
    matches: Mapping[int, Sequence[Match]]  # of the unsure events

    def facts_by_series(self) -> dict[int, int]:
        found: dict[int, int] = defaultdict(int)
        for combination, outcomes in self.outcomes.items():
            for outcome in outcomes:
                found[outcome.series_id] += self.counts[combination]
        for series_id, matches in self.matches.items():
            found[series_id] += len(matches)
        return {series_id: count for series_id, count in found.items() if count}

    def variants(self) -> dict[int, set[str]]:
        found: dict[int, set[str]] = defaultdict(set)
        for outcomes in self.outcomes.values():
            for outcome in outcomes:
                found[outcome.series_id].add(outcome.variant)
        return found


class _OvertakenError(Exception):
    """Another process has made facts of some of the events."""


class ArchivedMaterialization:
    """Makes the facts of a project's series inside ClickHouse, as far as it has the events and can decide.

    Series that read the same properties are made together. What is left over is matched in Python afterwards.
    """

    def __init__(
        self, database: Database, clickhouse: ClickHouse, project_id: int, sizes: RecentlyUsed[int, int]
    ) -> None:
        self._database = database
        self._clickhouse = clickhouse
        self._project_id = project_id
        self._sizes = sizes  # of the first range of each project
        self._inserts = FactInserts(database, clickhouse, project_id)

    async def steps(
        self, matchers: Mapping[int, SeriesMatcher], watermarks: Mapping[int, int], until: int
    ) -> AsyncGenerator[tuple[Sequence[int], int]]:
        """Make facts range by range; yield series and the event up to which their facts are made after each range.

        Raises
        ------
        SeriesGone
            When a series was removed.
        """
        until = min(until, await copied_until(self._database, self._project_id))
        async with self._database.read() as session:
            here = await FactRepository(session, self._project_id).in_clickhouse(matchers)
        for ids in _groups({one: matchers[one] for one in here if reads_few(matchers[one])}, watermarks):
            group = {series_id: matchers[series_id] for series_id in ids}
            async for reached in self._ranges(group, watermarks[ids[0]], until):
                yield ids, reached

    async def _ranges(self, matchers: Mapping[int, SeriesMatcher], watermark: int, until: int) -> AsyncGenerator[int]:
        reads_flags = any(is_flag_property(key) for one in matchers.values() for key in one.keys)
        ways = [
            ArchivedTokens(self._clickhouse.table("event"), self._project_id, matchers, by_flags=by_flags)
            for by_flags in ([True, False] if reads_flags else [False])
        ]
        size = self._sizes.get(self._project_id) or _FIRST_RANGE
        while watermark < until and ways:
            end, started = min(watermark + size, until), time.monotonic()
            try:
                is_made = await self._make(ways[0], matchers, watermark, end)
            except _OvertakenError:
                return
            except ClickHouseFailure as error:  # an engine that lacks a function, say
                logger.info("events up to %d are not made into facts this way: %s", end, error)
                is_made = False
            except OSError:  # which may mean that the range takes longer than a statement may
                self._sizes.put(self._project_id, min(max(size // _GROWTH, _SMALLEST_RANGE), _FIRST_RANGE))
                raise
            if not is_made:
                ways.pop(0)
                continue
            seconds = time.monotonic() - started
            if seconds < _QUICK:
                size = min(size * _GROWTH, _LARGEST_RANGE)
            elif seconds > _SLOW:
                size = max(size // _GROWTH, _SMALLEST_RANGE)
            self._sizes.put(self._project_id, min(size, _FIRST_RANGE))
            watermark = end
            yield watermark

    async def _make(
        self, tokens: ArchivedTokens, matchers: Mapping[int, SeriesMatcher], after: int, until: int
    ) -> bool:
        """Make the facts of a range; return whether that was possible.

        Raises
        ------
        _OvertakenError
            When another process has made facts of some of the events.
        """
        decided = await self._decide(tokens, matchers, after, until)
        if decided is None:
            return False

        async def plan(session: AsyncSession, behind: Mapping[int, int]) -> PlannedFacts:
            if any(behind.get(series_id) != after for series_id in matchers):
                raise _OvertakenError
            facts = FactRepository(session, self._project_id)
            codes = await facts.codes_of(decided.variants())
            rows = await asyncio.to_thread(to_records, self._project_id, await facts.to_rows(decided.matches))
            selected = await asyncio.to_thread(tokens.facts, after, until, decided.outcomes, codes)

            async def insert() -> None:
                if any(decided.outcomes.values()):
                    await self._clickhouse.insert_selected("fact", FACTS, selected)
                if len(rows):
                    await self._clickhouse.insert("fact", rows, uuid4().hex)

            return PlannedFacts(decided.facts_by_series(), insert)

        return await self._inserts.attempt({one: matcher.digest for one, matcher in matchers.items()}, until, plan)

    async def _decide(
        self, tokens: ArchivedTokens, matchers: Mapping[int, SeriesMatcher], after: int, until: int
    ) -> _Decided | None:
        """Let the matchers decide on all combinations of a range; None where they are too many, or too few are sure."""
        rows = await self._clickhouse.rows(tokens.combinations(after, until))
        if len(rows) > MAX_COMBINATIONS:
            return None
        found = {Combination(row[0], tuple(row[1:-1])): int(row[-1]) for row in rows}
        counts = {one: events for one, events in found.items() if tokens.is_sure(one)}
        unsure = sum(found.values()) - sum(counts.values())
        if unsure > max(_FEW, _MOST_UNSURE * sum(counts.values())):
            return None
        left: Sequence[tuple[Any, ...]] = []
        if unsure:
            [[size]] = await self._clickhouse.rows(tokens.unsure("sum(length(properties))", after, until))
            if size > limits.ROWS_BYTES.value:
                return None
            left = await self._clickhouse.rows(f"{tokens.unsure(_MATCHED, after, until)} ORDER BY sequence")
        outcomes = await asyncio.to_thread(outcomes_of, list(counts), tokens.keys, matchers, tokens.summed)
        matches = await asyncio.to_thread(_match, matchers, [(one[0], one[1], one[2], one[3], one[4]) for one in left])
        return _Decided(outcomes, counts, matches)


def _groups(matchers: Mapping[int, SeriesMatcher], watermarks: Mapping[int, int]) -> list[list[int]]:
    """Return the series that read the same properties of the same events."""
    found: dict[tuple[int, Sequence[str]], list[int]] = defaultdict(list)
    for series_id, matcher in matchers.items():
        found[watermarks[series_id], matcher.keys].append(series_id)
    return list(found.values())


def _match(matchers: Mapping[int, SeriesMatcher], rows: Iterable[EventRow]) -> dict[int, list[Match]]:
    events = list(rows)
    return {series_id: list(matcher.match(events)) for series_id, matcher in matchers.items()}
