"""Incremental aggregation: a stored count plus the delta of new facts and merges.

A stored count is complete in itself: it covers the facts of events up to a watermark, under the merges of persons up to
a mark in their log, that happened before a moment. Facts and merges are only ever appended, so that the contribution of
a person to a stored count can be recomputed at any time. To bring a count up to date, the persons with new facts or
merges are counted twice, as of the stored count and as of now, and the difference is added. That is exact for late
events and merges alike, and costs time in proportion to what is new, beside reading and writing the stored count.
"""

import asyncio
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
from app.metrics.counting.repository import CountRepository, StoredCount
from app.metrics.counting.shared_reads import SharedReads
from app.metrics.facts.columns import WITHOUT_VALUES, ActorRange, Column, FactColumns, concatenate, union
from app.metrics.facts.event_sets import names_actors, series_of
from app.metrics.facts.materializer import MaterializedSeries
from app.metrics.facts.read_filters import CohortMembers, ConditionService
from app.metrics.facts.series import SeriesDefinition
from app.metrics.facts.stores import FactReader, FactStore
from app.people.persons.merge_log import NO_MERGES, MergedPersons, MergeLog
from app.people.persons.repository import PersonRepository

logger = logging.getLogger("abacus")

# With more new facts or persons than this, recomputing is faster.
MAX_DELTA = 20_000
FACTS_AT_A_TIME = 100_000
# Where a store reads ranges of actors, a range has about this many facts: all of them are in memory.
FACTS_AT_ONCE = 2_000_000
# Microseconds by which the clocks of processes that share a database may differ.
MAX_CLOCK_DIFFERENCE = 60_000_000
# Funnels number the moments of actors in 63 bits.
_MAX_MOMENTS = 2**62


class FutureFact(msgspec.Struct, frozen=True, array_like=True):
    """A fact with a time in the future, from a client whose clock is ahead. It counts once that time has come."""

    place: int  # of its event set in the query
    sequence: int
    time: int


class _Body(msgspec.Struct, array_like=True):
    counts: bytes
    pending: list[FutureFact]
    numbered_by: list[int] = []


@dataclass(frozen=True)
class Counted(Generic[CountsT]):
    """Counts and what they cover; ``pending`` are the facts up to the watermark that happen after ``as_of``.

    ``numbered_by`` are the ids of the series whose numbers for the values of properties are in the counts: values that
    were forgotten have other numbers later, in series with other ids.
    """

    counts: CountsT
    watermark: int
    merge_mark: int
    as_of: int
    pending: Sequence[FutureFact] = ()
    numbered_by: Sequence[int] = ()

    @property
    def is_storable(self) -> bool:
        """Whether a stored count of it would be quickly read and added to."""
        return len(self.pending) < MAX_DELTA

    def to_stored(self) -> StoredCount:
        body = msgspec.msgpack.encode(_Body(self.counts.to_bytes(), list(self.pending), list(self.numbered_by)))
        return StoredCount(self.watermark, self.merge_mark, self.as_of, body)

    @classmethod
    def from_stored(cls, stored: StoredCount, decode: Callable[[bytes], CountsT | None]) -> "Counted[CountsT] | None":
        """Return the counts; None when they are unreadable, or cover more time than the query."""
        try:
            body = msgspec.msgpack.decode(stored.body, type=_Body)
            counts = decode(body.counts)
        except (msgspec.DecodeError, ValueError, TypeError):  # written by other code, or damaged
            logger.warning("discarding unreadable stored count; recomputing")
            return None
        if counts is None:
            return None
        return Counted(counts, stored.watermark, stored.merge_mark, stored.until, body.pending, body.numbered_by)


class MetricCounter(Generic[CountsT]):
    """Counts one metric in one snapshot of the database. Its series are complete up to ``series.high_water_mark``."""

    def __init__(
        self,
        session: AsyncSession,
        store: FactStore,
        project_id: int,
        metric: FactQuery[CountsT],
        series: MaterializedSeries,
        cohorts: CohortMembers,
        reads: SharedReads,
    ) -> None:
        self._session = session
        self._store = store
        self._reads = reads
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
        self._sources: dict[tuple[tuple[int, ...], Set[Column]], FactReader] = {}

    @property
    def _numbered_by(self) -> list[int]:
        """See ``Counted``."""
        named = [(one.digest, one.actor_property) for one in series_of(self._metric.event_sets)]
        return sorted(self._series.ids[one] for one, name in named if name is not None and not names_actors(name))

    def _counted(
        self, counts: CountsT, watermark: int, merge_mark: int, pending: Sequence[FutureFact]
    ) -> Counted[CountsT]:
        return Counted(counts, watermark, merge_mark, self._window.until, pending, self._numbered_by)

    async def find_stored(self) -> Counted[CountsT] | None:
        """Return the stored count, if it is usable. Call this first: it checks that the series still exist.

        Raises
        ------
        SeriesGone
            When one of the series was removed.
        """
        digests = {self._series.ids[series.digest]: series.digest for series in series_of(self._metric.event_sets)}
        found, last_merge = await self._counts.find([self._metric.digest], digests)
        return await self.restore(found.get(self._metric.digest), last_merge)

    async def restore(self, stored: StoredCount | None, last_merge: int) -> Counted[CountsT] | None:
        """Return a count that was found, if it is usable; ``last_merge`` is the project's last merge, read with it."""
        self._last_merge = last_merge
        if stored is None or self._metric.decode_counts is None:
            return None
        decode = self._metric.decode_counts
        counted = await asyncio.to_thread(lambda: Counted[CountsT].from_stored(stored, decode))
        if counted is None or list(counted.numbered_by) != self._numbered_by:
            return None
        if counted.as_of - self._window.until > MAX_CLOCK_DIFFERENCE:
            return None
        if counted.as_of > self._window.until:  # stored by a process whose clock is slightly ahead
            self._window = replace(self._window, until=counted.as_of)
        return counted

    async def recompute(self) -> Counted[CountsT]:
        """Count every fact."""
        log = await self._persons.merges()
        self._merged = await asyncio.to_thread(MergedPersons.of, log)
        if self._can_be_counted_in_ranges:
            ranges = await self._all_sources().ranges(self._high_water_mark, FACTS_AT_ONCE)
            if len(ranges) > 1:
                return await self._recompute_in_ranges(ranges, log)
        facts: list[FactColumns] = []
        pending: list[FutureFact] = []
        for place, event_set in enumerate(self._metric.event_sets):
            columns = WITHOUT_VALUES if event_set.only_series is None else self._metric.columns
            parts = []
            for part in event_set.parts:
                found = await self._read(part.series, event_set.padding, columns)
                if self._has_pending(found):
                    pending += await self._pending_facts(place, part.series)
                visible = await asyncio.to_thread(self._visible, found, event_set.padding)
                parts.append(await self._conditions.passing(part, visible))
            facts.append(parts[0] if len(parts) == 1 else await asyncio.to_thread(union, parts))
        counts = await asyncio.to_thread(self._count_in_shares, facts, self._metric.as_of(self._window.until).count)
        return self._counted(counts, self._high_water_mark, log.last, pending)

    @property
    def _can_be_counted_in_ranges(self) -> bool:
        """Whether the facts of some actors can be counted without those of the others."""
        return self._metric.is_incremental and not self._metric.joined and self._metric.continuing is None

    async def _recompute_in_ranges(self, ranges: Sequence[ActorRange], log: MergeLog) -> Counted[CountsT]:
        """Count every fact, a range of actors at a time, so that memory does not grow with the number of facts."""
        series = [one.only_series for one in self._metric.event_sets if one.only_series is not None]
        count = self._metric.as_of(self._window.until).count
        later: set[int] = set()
        counts: CountsT | None = None
        for actors in ranges:
            facts: list[FactColumns] = []
            for place, definition in enumerate(series):
                found = await self._read_range(definition, actors)
                later |= {place} if self._has_pending(found) else set()
                facts.append(await asyncio.to_thread(self._visible, found))
            of_range = await asyncio.to_thread(self._count_in_shares, facts, count)
            counts = of_range if counts is None else counts + of_range
        if counts is None:
            raise ValueError("no range of actors")
        pending = [fact for place in later for fact in await self._pending_facts(place, series[place])]
        return self._counted(counts, self._high_water_mark, log.last, pending)

    async def _read(
        self, definition: SeriesDefinition, padding: int, columns: Set[Column] = WITHOUT_VALUES
    ) -> FactColumns:
        """Return the facts of a series from the start of the window on, with merges of persons applied."""

        async def read(variants: Sequence[str], columns: Set[Column], since: int) -> FactColumns:
            source = self._store.read(self._session, [self._series.ids[definition.digest]], variants, columns)
            [found] = await source.since(since, self._high_water_mark)
            return found

        asked = _with_values(columns, [definition])
        since = self._window.since - padding
        found = await self._reads.since(definition, self._metric.variants, asked, since, read)
        if definition.actor_property is not None or "actor" not in columns:
            return found
        return await asyncio.to_thread(lambda: found.of_actors(self._merged.resolve(found.actor)))

    async def _read_range(self, definition: SeriesDefinition, actors: ActorRange) -> FactColumns:
        """Return the facts of some actors from the start of the window on, with merges of persons applied.

        They are not shared with other queries of the answer: the facts of all ranges would be in memory.
        """
        columns, since = self._metric.columns, self._window.since
        source = self._source([definition], _with_values(columns, [definition]))
        [found] = await source.since(since, self._high_water_mark, actors)
        if definition.actor_property is not None or "actor" not in columns:
            return found
        parts, joined = [found], self._merged.joining(*actors)
        if len(joined):
            parts += await source.of_persons(joined.tolist(), since, self._high_water_mark)

        def merged() -> FactColumns:
            every = parts[0] if len(parts) == 1 else concatenate(parts)
            every = every.of_actors(self._merged.resolve(every.actor))
            return every.select((every.actor >= actors[0]) & (every.actor < actors[1]))

        return await asyncio.to_thread(merged)

    def _has_pending(self, found: FactColumns) -> bool:
        """Whether facts that were read have a time in the future."""
        return self._window.is_open and bool((found.time >= self._window.until).any())

    async def _pending_facts(self, place: int, definition: SeriesDefinition) -> list[FutureFact]:
        """Return the facts of a series with a time in the future."""
        # An experiment may be counted before its start: what happens until then is not due later either.
        beginning = max(self._window.since, self._window.until)
        [later] = await self._source([definition]).since(beginning, self._high_water_mark)
        return self._in_the_future(place, later)

    def _source(self, definitions: Sequence[SeriesDefinition], columns: Set[Column] = WITHOUT_VALUES) -> FactReader:
        ids, wanted = tuple(self._series.ids[definition.digest] for definition in definitions), frozenset(columns)
        if (ids, wanted) not in self._sources:  # each looks the codes of variants up
            self._sources[ids, wanted] = self._store.read(self._session, ids, self._metric.variants, wanted)
        return self._sources[ids, wanted]

    def _all_sources(self) -> FactReader:
        """Return the series of an incremental query: one for each event set."""
        every = [one.only_series for one in self._metric.event_sets if one.only_series is not None]
        return self._source(every, _with_values(WITHOUT_VALUES, every))

    def is_up_to_date(self, known: Counted[CountsT]) -> bool:
        """Whether a count that was found covers all events, merges and due facts."""
        has_matured = self._metric.maturing is not None and known.as_of < self._window.until
        has_news = has_matured or self.has_events_after(known.watermark)
        return not has_news and not self._due(known) and not self._has_merges_after(known)

    def has_events_after(self, watermark: int) -> bool:
        """Whether there may be events of the metric that a count up to a watermark does not cover."""
        return self._last_event > watermark

    def _due(self, known: Counted[CountsT]) -> list[FutureFact]:
        return [fact for fact in known.pending if fact.time < self._window.until]

    def _has_merges_after(self, known: Counted[CountsT]) -> bool:
        depends = self._metric.additive_over != "events" and self._metric.counts_persons
        return depends and self._last_merge > known.merge_mark

    async def bring_up_to_date(self, known: Counted[CountsT]) -> Counted[CountsT] | None:
        """Return a count with what is new; None when it has to be recomputed."""
        if self.is_up_to_date(known):
            return known
        return await self._apply_delta(known) if self._metric.is_incremental else None

    async def _apply_delta(self, known: Counted[CountsT]) -> Counted[CountsT] | None:
        """Add what is new to a count; None when recomputing is faster."""
        source, due = self._all_sources(), self._due(known)
        watermark = max(known.watermark, self._high_water_mark)
        log = await self._persons.merges(after=known.merge_mark) if self._has_merges_after(known) else NO_MERGES
        new = await source.after(known.watermark, watermark, MAX_DELTA)
        if max(len(log), len(due), sum(map(len, new))) >= MAX_DELTA:  # then not all new facts may have been read
            return None
        new = [facts.select(facts.time >= self._window.since) for facts in new]
        pending = [fact for fact in known.pending if fact.time >= self._window.until]
        pending += [fact for place, facts in enumerate(new) for fact in self._in_the_future(place, facts)]
        visible = [self._visible(facts) for facts in new]
        if due:
            places = [[one.sequence for one in due if one.place == place] for place in range(len(new))]
            found = await source.of_events([one.sequence for one in due])
            arrived = [facts.select(np.isin(facts.sequence, at)) for facts, at in zip(found, places, strict=True)]
            visible = [concatenate(pair) for pair in zip(visible, arrived, strict=True)]
        counts, matured = known.counts, await self._matured_since(known, watermark)
        if not len(log) and not len(matured) and not any(map(len, visible)):
            pass
        elif self._metric.additive_over == "events":
            counts = counts + self._metric.count(visible)
        else:
            actors = [facts.actor for place, facts in enumerate(visible) if place not in self._metric.joined]
            difference = await self._difference(known, np.concatenate([log.persons(), matured, *actors]))
            if difference is None:
                return None
            counts = await asyncio.to_thread(operator.add, counts, difference)
            if not counts.is_complete:
                return None
        return self._counted(counts, watermark, max(known.merge_mark, log.last), pending)

    async def _matured_since(self, known: Counted[CountsT], watermark: int) -> NDArray[np.int64]:
        """Return the actors who may count since a count was stored, without anything new about them."""
        maturing = self._metric.maturing
        if maturing is None or known.as_of >= self._window.until:
            return np.empty(0, np.int64)
        counted = self._counted_series()
        since, before = known.as_of - maturing.most, self._window.until - maturing.least + 1
        found = await self._source(counted, frozenset({"actor"})).between(since, before, watermark)
        return np.concatenate([facts.actor for facts in found])

    def _counted_series(self) -> list[SeriesDefinition]:
        """Return the series whose actors are counted, in the order of their event sets."""
        every = [
            one.only_series for place, one in enumerate(self._metric.event_sets) if place not in self._metric.joined
        ]
        return [one for one in every if one is not None]

    async def _difference(self, known: Counted[CountsT], touched: NDArray[np.int64]) -> CountsT | None:
        """Return what some persons contribute now, minus what they contributed to the stored count."""
        are_persons = self._metric.counts_persons  # the log of merges does not know the numbers of other actors
        log = await self._persons.merges_of(touched) if self._last_merge and are_persons else NO_MERGES
        persons = np.union1d(touched, log.persons())
        if len(persons) >= MAX_DELTA:
            return None
        facts = await self._facts_of(persons.tolist(), max(known.watermark, self._high_water_mark))
        before = [part.select((part.sequence <= known.watermark) & (part.time < known.as_of)) for part in facts]
        now = [self._visible(part) for part in facts]
        count_now, count_before = (
            metric.count if metric.continuing is None else metric.continuing(known.counts)
            for metric in map(self._metric.as_of, (self._window.until, known.as_of))
        )
        log_before = log.up_to(known.merge_mark)
        return await asyncio.to_thread(
            lambda: self._count(log, now, count_now) - self._count(log_before, before, count_before)
        )

    async def _facts_of(self, persons: Sequence[int], watermark: int) -> list[FactColumns]:
        """Return the facts of some actors, and those that are joined to them."""
        joined, every = self._metric.joined, [one.only_series for one in self._metric.event_sets]
        counted = self._counted_series()
        own = iter(
            await self._source(counted, _with_values(WITHOUT_VALUES, counted)).of_persons(
                persons, self._window.since, watermark
            )
        )
        facts = {place: next(own) for place in range(len(every)) if place not in joined}
        for place, base in joined.items():
            events = [one for one in [every[place]] if one is not None]
            [facts[place]] = await self._source(events).of_events(np.unique(facts[base].sequence).tolist())
        return [facts[place] for place in range(len(every))]

    def _count(
        self, log: MergeLog, facts: Sequence[FactColumns], count: Callable[[Sequence[FactColumns]], CountsT]
    ) -> CountsT:
        persons = MergedPersons.of(log)
        current = [
            part if place in self._metric.joined else part.of_actors(persons.resolve(part.actor))
            for place, part in enumerate(facts)
        ]
        return self._count_in_shares(current, count)

    def _count_in_shares(
        self, facts: Sequence[FactColumns], count: Callable[[Sequence[FactColumns]], CountsT]
    ) -> CountsT:
        """Count the facts share by share, those of an actor in the same share, to keep intermediate arrays small."""
        total = sum(map(len, facts))
        shares = 1 + max(total // FACTS_AT_A_TIME, total * self._span(facts) // _MAX_MOMENTS)
        if shares == 1 or self._metric.additive_over is None or self._metric.continuing is not None:
            return count(facts)
        if self._metric.additive_over == "events":
            apart = [list(part.in_pieces(shares)) for part in facts]
        else:
            apart = [
                list(part.by_actor(shares)) if place not in self._metric.joined else []
                for place, part in enumerate(facts)
            ]
            for place, base in self._metric.joined.items():
                apart[place] = list(facts[place].of_same_events(apart[base]))
        counts = [count(share) for share in zip(*apart, strict=True)]
        return type(counts[0]).total(counts)

    def _span(self, facts: Sequence[FactColumns]) -> int:
        """Return the microseconds from the first of the facts to the last."""
        firsts = [int(part.time.min()) for part in facts if len(part)]
        return max((int(part.time.max()) for part in facts if len(part)), default=0) - min(firsts, default=0)

    def _visible(self, facts: FactColumns, padding: int = 0) -> FactColumns:
        in_time = facts.time < self._window.until + padding
        return facts if in_time.all() else facts.select(in_time)

    def _in_the_future(self, place: int, facts: FactColumns) -> list[FutureFact]:
        if not self._window.is_open:
            return []  # facts after a fixed end never count
        later = np.flatnonzero(facts.time >= self._window.until)
        pairs = zip(facts.sequence[later].tolist(), facts.time[later].tolist(), strict=True)
        return [FutureFact(place, sequence, time) for sequence, time in pairs]


def _with_values(columns: Set[Column], series: Sequence[SeriesDefinition]) -> Set[Column]:
    """Return the columns, and the values where one of the series has any."""
    return columns | {"value"} if any(one.value_property is not None for one in series) else columns
