"""Counting a metric: all its facts once, and from then on only what is new.

A stored count is complete in itself: it counts the facts of events up to a watermark, under the merges of persons up to
a mark in their log, that happened before a moment. Facts and merges are only ever appended, so what a person had
contributed to a stored count can be found out again at any time. To bring a count up to date, the persons that
something new is about are counted twice, as they were for the stored count and as they are now, and the difference is
added. That is exact for late events and merges alike, needs no memory of persons, and costs what is new.
"""

import asyncio
import functools
import logging
import operator
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Generic

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.metrics.counting.fact_query import CountsT, FactQuery
from app.metrics.facts.columns import WITHOUT_VALUES, Column, FactColumns, concatenate, union
from app.metrics.facts.event_sets import series_of
from app.metrics.facts.materializer import MaterializedSeries
from app.metrics.facts.read_filters import CohortMembers, ConditionService
from app.metrics.facts.repository import CountRepository, SeriesFacts, StoredCount
from app.metrics.facts.series import SeriesDefinition
from app.people.persons.merges import NO_MERGES, MergedPersons, MergeLog
from app.people.persons.repository import PersonRepository

logger = logging.getLogger("abacus")

# With more new facts or persons than this, counting everything is faster.
MAX_DELTA = 20_000
FACTS_AT_A_TIME = 10_000
# Microseconds by which the clocks of processes that share a database may differ.
MAX_CLOCK_DIFFERENCE = 60_000_000
# Moments of actors are numbered in 63 bits.
_MAX_MOMENTS = 2**62


class FutureFact(msgspec.Struct, frozen=True, array_like=True):
    """A fact that will have happened later than now, by a clock that is ahead. It counts when its time has come."""

    place: int  # of its series in the metric
    sequence: int
    time: int


class _Body(msgspec.Struct, array_like=True):
    counts: bytes
    pending: list[FutureFact]


@dataclass(frozen=True)
class Counted(Generic[CountsT]):
    """Counts and what they cover; ``pending`` are the facts up to the watermark that are not inside the window yet."""

    counts: CountsT
    watermark: int
    merge_mark: int
    as_of: int
    pending: Sequence[FutureFact] = ()

    def to_stored(self) -> StoredCount:
        body = msgspec.msgpack.encode(_Body(self.counts.to_bytes(), list(self.pending)))
        return StoredCount(self.watermark, self.merge_mark, self.as_of, body)

    @classmethod
    def from_stored(cls, stored: StoredCount, decode: Callable[[bytes], CountsT | None]) -> "Counted[CountsT] | None":
        """Return the counts; None where they do not fit the question any more."""
        try:
            body = msgspec.msgpack.decode(stored.body, type=_Body)
            counts = decode(body.counts)
        except (msgspec.DecodeError, ValueError, TypeError):  # written by other code, or damaged
            logger.warning("discarding unreadable stored count; recomputing")
            return None
        if counts is None:
            return None
        return Counted(counts, stored.watermark, stored.merge_mark, stored.until, body.pending)


class MetricCounter(Generic[CountsT]):
    """Counts one metric in one snapshot of the database. Its series are complete up to ``series.high_water_mark``."""

    def __init__(
        self,
        session: AsyncSession,
        project_id: int,
        metric: FactQuery[CountsT],
        series: MaterializedSeries,
        cohorts: CohortMembers,
    ) -> None:
        self._session = session
        self._persons = PersonRepository(session, project_id)
        self._conditions = ConditionService(session, project_id, cohorts, self._read)
        self._counts = CountRepository(session, project_id)
        self._metric = metric
        self._window = metric.window
        self._series = series
        self._high_water_mark = series.high_water_mark
        self._last_event = max(
            (series.last_event_sequences[one.digest] for one in series_of(metric.event_sets)), default=0
        )
        self._merged = MergedPersons.of(NO_MERGES)
        self._last_merge = 0

    async def find_stored(self) -> Counted[CountsT] | None:
        """Return the count that is stored, if it is any use. Call this first: it sees to it that the series are there.

        Raises
        ------
        SeriesGone
            When one of the series was removed.
        """
        numbers = {self._series.ids[series.digest]: series.digest for series in series_of(self._metric.event_sets)}
        return self.restore(*await self._counts.find(self._metric.digest, numbers))

    def restore(self, stored: StoredCount | None, last_merge: int) -> Counted[CountsT] | None:
        """Return a count that was found, if it is any use; ``last_merge`` is the project's last, found with it."""
        self._last_merge = last_merge
        if stored is None:
            return None
        counted = Counted.from_stored(stored, self._metric.decode_counts)
        if counted is None or counted.as_of - self._window.until > MAX_CLOCK_DIFFERENCE:
            return None
        if counted.as_of > self._window.until:  # by a clock that is a little ahead: then it is as late as that
            self._window = replace(self._window, until=counted.as_of)
        return counted

    async def recompute(self) -> Counted[CountsT]:
        """Count every fact."""
        log = await self._persons.merges()
        self._merged = MergedPersons.of(log)
        facts: list[FactColumns] = []
        pending: list[FutureFact] = []
        for place, event_set in enumerate(self._metric.event_sets):
            columns = WITHOUT_VALUES if event_set.only_series is None else self._metric.columns
            parts = []
            for part in event_set.parts:
                found = await self._read(part.series, event_set.padding, columns)
                pending += await self._pending_facts(place, part.series, found)
                parts.append(await self._conditions.passing(part, self._visible(found, event_set.padding)))
            facts.append(parts[0] if len(parts) == 1 else await asyncio.to_thread(union, parts))
        counts = await asyncio.to_thread(self._count_in_shares, facts)
        return Counted(counts, self._high_water_mark, log.last, self._window.until, pending)

    async def _read(
        self, definition: SeriesDefinition, padding: int, columns: Set[Column] = WITHOUT_VALUES
    ) -> FactColumns:
        """Return the facts of a series from the start of the window on, under today's persons."""
        source = self._source([definition], columns if definition.value_property is None else columns | {"value"})
        [found] = await source.since(self._window.since - padding, self._high_water_mark)
        if definition.actor_property is not None or "actor" not in columns:
            return found
        return found.of_actors(self._merged.resolve(found.actor))

    async def _pending_facts(self, place: int, definition: SeriesDefinition, found: FactColumns) -> list[FutureFact]:
        """Return which of a series' facts, as far as they were read, will have happened later than now."""
        if not self._window.is_open or not (found.time >= self._window.until).any():
            return []
        [later] = await self._source([definition]).since(self._window.until, self._high_water_mark)
        return self._in_the_future(place, later)

    def _source(self, definitions: Sequence[SeriesDefinition], columns: Set[Column] = WITHOUT_VALUES) -> SeriesFacts:
        ids = [self._series.ids[definition.digest] for definition in definitions]
        return SeriesFacts(self._session, ids, self._metric.variants, columns)

    def _all_sources(self) -> SeriesFacts:
        """Return the series of an incremental query: one for each event set, without values."""
        event_sets = self._metric.event_sets
        return self._source([event_set.only_series for event_set in event_sets if event_set.only_series is not None])

    def is_up_to_date(self, known: Counted[CountsT]) -> bool:
        """Whether a count that was found covers everything there is by now."""
        return self._last_event <= known.watermark and not self._due(known) and not self._has_merges_after(known)

    def _due(self, known: Counted[CountsT]) -> list[FutureFact]:
        return [fact for fact in known.pending if fact.time < self._window.until]

    def _has_merges_after(self, known: Counted[CountsT]) -> bool:
        return self._metric.additive_over == "actors" and self._last_merge > known.merge_mark

    async def apply_delta(self, known: Counted[CountsT]) -> Counted[CountsT] | None:
        """Bring a count up to date; None when counting everything is faster."""
        if self.is_up_to_date(known):
            return known
        source, due = self._all_sources(), self._due(known)
        watermark = max(known.watermark, self._high_water_mark)
        log = await self._persons.merges(after=known.merge_mark) if self._has_merges_after(known) else NO_MERGES
        new = await source.after(known.watermark, watermark, MAX_DELTA)
        if max(len(log), len(due), sum(map(len, new))) >= MAX_DELTA:  # and what was read of the new may not be all
            return None
        new = [facts.select(facts.time >= self._window.since) for facts in new]
        pending = [fact for fact in known.pending if fact.time >= self._window.until]
        pending += [fact for place, facts in enumerate(new) for fact in self._in_the_future(place, facts)]
        visible = [self._visible(facts) for facts in new]
        if due:
            places = [[one.sequence for one in due if one.place == place] for place in range(len(new))]
            met = await source.of_events([one.sequence for one in due])
            came = [facts.select(np.isin(facts.sequence, at)) for facts, at in zip(met, places, strict=True)]
            visible = [concatenate(pair) for pair in zip(visible, came, strict=True)]
        counts = known.counts
        if not len(log) and not any(map(len, visible)):
            pass
        elif self._metric.additive_over == "events":
            counts = counts + self._metric.count(visible)
        else:
            touched = np.concatenate([log.persons(), *(facts.actor for facts in visible)])
            difference = await self._difference(known, source, touched)
            if difference is None:
                return None
            counts = counts + difference
        return Counted(counts, watermark, max(known.merge_mark, log.last), self._window.until, pending)

    async def _difference(
        self, known: Counted[CountsT], source: SeriesFacts, touched: NDArray[np.int64]
    ) -> CountsT | None:
        """Return what some persons count for now, less what they counted for."""
        log = await self._persons.merges_of(touched) if self._last_merge else NO_MERGES
        persons = np.union1d(touched, log.persons())
        if len(persons) >= MAX_DELTA:
            return None
        watermark = max(known.watermark, self._high_water_mark)
        facts = await source.of_persons(persons.tolist(), self._window.since, watermark)
        before = [part.select((part.sequence <= known.watermark) & (part.time < known.as_of)) for part in facts]
        now = [self._visible(part) for part in facts]
        return await asyncio.to_thread(lambda: self._count(log, now) - self._count(log.up_to(known.merge_mark), before))

    def _count(self, log: MergeLog, facts: Sequence[FactColumns]) -> CountsT:
        persons = MergedPersons.of(log)
        return self._count_in_shares([part.of_actors(persons.resolve(part.actor)) for part in facts])

    def _count_in_shares(self, facts: Sequence[FactColumns]) -> CountsT:
        """Count some facts after others, all of one actor together, so that the arrays made on the way stay small."""
        total = sum(map(len, facts))
        shares = 1 + max(total // FACTS_AT_A_TIME, total * self._span(facts) // _MAX_MOMENTS)
        if shares == 1 or self._metric.additive_over is None:
            return self._metric.count(facts)
        is_of_events = self._metric.additive_over == "events"
        apart = [part.in_pieces(shares) if is_of_events else part.by_actor(shares) for part in facts]
        counts = (self._metric.count(share) for share in zip(*apart, strict=True))
        return functools.reduce(operator.add, counts)

    def _span(self, facts: Sequence[FactColumns]) -> int:
        """Return how many microseconds the facts lie apart at most."""
        firsts = [int(part.time.min()) for part in facts if len(part)]
        return max((int(part.time.max()) for part in facts if len(part)), default=0) - min(firsts, default=0)

    def _visible(self, facts: FactColumns, padding: int = 0) -> FactColumns:
        in_time = facts.time < self._window.until + padding
        return facts if in_time.all() else facts.select(in_time)

    def _in_the_future(self, place: int, facts: FactColumns) -> list[FutureFact]:
        if not self._window.is_open:
            return []  # what comes after the end never counts
        later = np.flatnonzero(facts.time >= self._window.until)
        pairs = zip(facts.sequence[later].tolist(), facts.time[later].tolist(), strict=True)
        return [FutureFact(place, sequence, time) for sequence, time in pairs]
