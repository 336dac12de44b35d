"""Incremental aggregation: a stored count plus the delta of new facts and merges.

A stored count is complete in itself: it covers the facts of events up to a watermark, under the merges of persons up to
a mark in their log, that happened before a moment. Facts and merges are only ever appended, so that the contribution of
a person to a stored count can be recomputed at any time. To bring a count up to date, the persons with new facts or
merges are counted twice, as of the stored count and as of now, and the difference is added. That is exact for late
events and merges alike, and costs time in proportion to what is new, beside reading and writing the stored count.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Generic

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.threads import in_thread
from app.metrics.counting.counted import Counted, Delta, FutureFact
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

FACTS_AT_A_TIME = 100_000
# Where a store reads ranges of actors, a range has about this many facts: all of them are in memory.
FACTS_AT_ONCE = 2_000_000
# Microseconds by which the clocks of processes that share a database may differ.
MAX_CLOCK_DIFFERENCE = 60_000_000
# Bytes of a stored count that are decoded in less than a millisecond.
_SHORT_BODY = 50_000
# Funnels number the moments of actors in 63 bits.
_MAX_MOMENTS = 2**62


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
        self.metric = metric
        self._window = metric.window
        self.series = series
        self._high_water_mark = series.high_water_mark
        self._last_event = max(
            (series.last_event_sequences[one.digest] for one in series_of(metric.event_sets)), default=0
        )
        self._merged = MergedPersons.of(NO_MERGES)
        self.last_merge = 0
        self._sources: dict[tuple[tuple[int, ...], Set[Column]], FactReader] = {}

    @property
    def _numbered_by(self) -> list[int]:
        """See ``Counted``."""
        named = [(one.digest, one.actor_property) for one in series_of(self.metric.event_sets)]
        return sorted(self.series.ids[one] for one, name in named if name is not None and not names_actors(name))

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
        digests = {self.series.ids[series.digest]: series.digest for series in series_of(self.metric.event_sets)}
        found, last_merge = await self._counts.find([self.metric.digest], digests)
        return await self.restore(found.get(self.metric.digest), last_merge)

    async def restore(self, stored: StoredCount | None, last_merge: int) -> Counted[CountsT] | None:
        """Return a count that was found, if it is usable; ``last_merge`` is the project's last merge, read with it."""
        self.last_merge = last_merge
        if stored is None or self.metric.decode_counts is None:
            return None
        decode = self.metric.decode_counts
        counted = await in_thread(
            lambda: Counted[CountsT].from_stored(stored, decode), if_long=len(stored.body) > _SHORT_BODY
        )
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
        for place, event_set in enumerate(self.metric.event_sets):
            columns = WITHOUT_VALUES if event_set.only_series is None else self.metric.columns
            parts = []
            for part in event_set.parts:
                found = await self._read(part.series, event_set.padding, columns)
                if self._has_pending(found):
                    pending += await self._pending_facts(place, part.series)
                visible = await asyncio.to_thread(self._visible, found, event_set.padding)
                parts.append(await self._conditions.passing(part, visible))
            facts.append(parts[0] if len(parts) == 1 else await asyncio.to_thread(union, parts))
        counts = await asyncio.to_thread(self._count_in_shares, facts, self.metric.as_of(self._window.until).count)
        return self._counted(counts, self._high_water_mark, log.last, pending)

    @property
    def _can_be_counted_in_ranges(self) -> bool:
        """Whether the facts of some actors can be counted without those of the others."""
        return self.metric.is_incremental and not self.metric.joined and self.metric.continuing is None

    async def _recompute_in_ranges(self, ranges: Sequence[ActorRange], log: MergeLog) -> Counted[CountsT]:
        """Count every fact, a range of actors at a time, so that memory does not grow with the number of facts."""
        series = self.series_of_sets()
        count = self.metric.as_of(self._window.until).count
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
        asked = with_values(columns, [definition])
        since, read = self._window.since - padding, functools.partial(self._since, definition)
        found = await self._reads.since(definition, self.metric.variants, asked, since, read)
        if definition.actor_property is not None or "actor" not in columns:
            return found
        return await asyncio.to_thread(lambda: found.of_actors(self._merged.resolve(found.actor)))

    async def _since(
        self, definition: SeriesDefinition, variants: Sequence[str], columns: Set[Column], since: int
    ) -> FactColumns:
        """Return the facts of a series from a moment on: those that are stored, and those that are not yet."""
        mark, unstored = self._high_water_mark, self.series.unstored.get(definition.digest)
        parts: list[FactColumns] = []
        stored_until = mark if unstored is None else unstored.after
        if stored_until:
            source = self._store.read(self._session, [self.series.ids[definition.digest]], variants, columns)
            parts += await source.since(since, stored_until)
        if unstored is not None:
            parts.append(await asyncio.to_thread(unstored.facts, variants, columns, since, mark))
        return parts[0] if len(parts) == 1 else await asyncio.to_thread(concatenate, parts)

    async def _read_range(self, definition: SeriesDefinition, actors: ActorRange) -> FactColumns:
        """Return the facts of some actors from the start of the window on, with merges of persons applied.

        They are not shared with other queries of the answer: the facts of all ranges would be in memory.
        """
        columns, since = self.metric.columns, self._window.since
        source = self._source([definition], with_values(columns, [definition]))
        [found] = await source.since(since, self._high_water_mark, actors)
        if definition.actor_property is not None or "actor" not in columns:
            return found
        parts, joined = [found], self._merged.joining(*actors)
        if len(joined):
            of_series = {self.series.ids[definition.digest]: joined.tolist()}
            parts += await source.of_persons(of_series, since, self._high_water_mark)

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
        later = await self._since(definition, self.metric.variants, WITHOUT_VALUES, beginning)
        return self._in_the_future(place, later)

    def _source(self, definitions: Sequence[SeriesDefinition], columns: Set[Column] = WITHOUT_VALUES) -> FactReader:
        ids, wanted = tuple(self.series.ids[definition.digest] for definition in definitions), frozenset(columns)
        if (ids, wanted) not in self._sources:  # each looks the codes of variants up
            self._sources[ids, wanted] = self._store.read(self._session, ids, self.metric.variants, wanted)
        return self._sources[ids, wanted]

    def series_of_sets(self) -> list[SeriesDefinition]:
        """Return the series of an incremental query: one for each event set."""
        return [one.only_series for one in self.metric.event_sets if one.only_series is not None]

    def counted_series(self) -> list[SeriesDefinition]:
        """Return the series whose actors are counted, in the order of their event sets."""
        return [one for place, one in enumerate(self.series_of_sets()) if place not in self.metric.joined]

    def _all_sources(self) -> FactReader:
        every = self.series_of_sets()
        return self._source(every, with_values(WITHOUT_VALUES, every))

    def is_up_to_date(self, known: Counted[CountsT]) -> bool:
        """Whether a count that was found covers all events, merges and due facts."""
        has_matured = self.metric.maturing is not None and known.as_of < self._window.until
        has_news = has_matured or self.has_events_after(known.watermark)
        return not has_news and not self._due(known) and not self.has_merges_after(known)

    def has_events_after(self, watermark: int) -> bool:
        """Whether there may be events of the metric that a count up to a watermark does not cover."""
        return self._last_event > watermark

    def _due(self, known: Counted[CountsT]) -> list[FutureFact]:
        return [fact for fact in known.pending if fact.time < self._window.until]

    def has_merges_after(self, known: Counted[CountsT]) -> bool:
        depends = self.metric.additive_over != "events" and self.metric.counts_persons
        return depends and self.last_merge > known.merge_mark

    def watermark_after(self, known: Counted[CountsT]) -> int:
        """Return the event up to which a count will cover all, once what is new was added."""
        return max(known.watermark, self._high_water_mark)

    async def delta(self, known: Counted[CountsT], new: Sequence[FactColumns], merges: MergeLog) -> Delta[CountsT]:
        """Return what is new since a count: facts, merges, and what comes with time.

        Parameters
        ----------
        new : sequence of FactColumns
            The facts of each event set after the watermark of the count.
        merges
            Entries of the log, with all after the mark of the count where it depends on them.
        """
        later = merges.after(known.merge_mark) if self.has_merges_after(known) else NO_MERGES
        due, watermark = self._due(known), self.watermark_after(known)
        pending = [fact for fact in known.pending if fact.time >= self._window.until]
        pending += [fact for place, facts in enumerate(new) for fact in self._in_the_future(place, facts)]
        visible = [self._visible(facts) for facts in new]
        if due:
            places = [[one.sequence for one in due if one.place == place] for place in range(len(new))]
            found = await self._all_sources().of_events([one.sequence for one in due])
            arrived = [facts.select(np.isin(facts.sequence, at)) for facts, at in zip(found, places, strict=True)]
            visible = [concatenate(pair) for pair in zip(visible, arrived, strict=True)]
        touched = await self._touched(known, visible, later, watermark)
        return Delta(known, visible, pending, touched, max(known.merge_mark, later.last), watermark)

    async def _touched(
        self, known: Counted[CountsT], visible: Sequence[FactColumns], merges: MergeLog, watermark: int
    ) -> NDArray[np.int64]:
        """Return the actors whose contribution to a count may be another one now, with repetitions."""
        if self.metric.additive_over == "events":
            return np.empty(0, np.int64)
        matured = await self._matured_since(known, watermark)
        actors = [facts.actor for place, facts in enumerate(visible) if place not in self.metric.joined]
        return np.concatenate([merges.persons(), matured, *actors])

    async def _matured_since(self, known: Counted[CountsT], watermark: int) -> NDArray[np.int64]:
        """Return the actors who may count since a count was stored, without anything new about them."""
        maturing = self.metric.maturing
        if maturing is None or known.as_of >= self._window.until:
            return np.empty(0, np.int64)
        counted = self.counted_series()
        since, before = known.as_of - maturing.most, self._window.until - maturing.least + 1
        found = await self._source(counted, frozenset({"actor"})).between(since, before, watermark)
        return np.concatenate([facts.actor for facts in found])

    def apply(self, delta: Delta[CountsT], facts: Sequence[FactColumns], log: MergeLog) -> Counted[CountsT] | None:
        """Return a count with what is new; None when it has to be recomputed.

        Parameters
        ----------
        facts : sequence of FactColumns
            All facts of each event set that the touched actors have, and those that were ever merged with them.
        log
            All merges of these persons.
        """
        counts = delta.known.counts
        if self.metric.additive_over == "events":
            if any(map(len, delta.visible)):
                counts = counts + self.metric.count(delta.visible)
        elif len(delta.touched):
            counts = counts + self._difference(delta.known, facts, log)
            if not counts.is_complete:
                return None
        return self._counted(counts, delta.watermark, delta.merge_mark, delta.pending)

    def _difference(self, known: Counted[CountsT], facts: Sequence[FactColumns], log: MergeLog) -> CountsT:
        """Return what some actors contribute now, minus what they contributed to the stored count."""
        before = [part.select((part.sequence <= known.watermark) & (part.time < known.as_of)) for part in facts]
        now = [self._visible(part) for part in facts]
        count_now, count_before = (
            metric.count if metric.continuing is None else metric.continuing(known.counts)
            for metric in map(self.metric.as_of, (self._window.until, known.as_of))
        )
        return self._count(log, now, count_now) - self._count(log.up_to(known.merge_mark), before, count_before)

    async def with_joined(self, counted: Sequence[FactColumns]) -> Sequence[FactColumns]:
        """Return facts of each event set, with those of joined ones chosen by the events of the sets that count."""
        facts, series = list(counted), self.series_of_sets()
        for place, base in self.metric.joined.items():
            events = np.unique(facts[base].sequence).tolist()
            [facts[place]] = await self._source([series[place]]).of_events(events)
        return facts

    def _count(
        self, log: MergeLog, facts: Sequence[FactColumns], count: Callable[[Sequence[FactColumns]], CountsT]
    ) -> CountsT:
        persons = MergedPersons.of(log)
        current = [
            part if place in self.metric.joined else part.of_actors(persons.resolve(part.actor))
            for place, part in enumerate(facts)
        ]
        return self._count_in_shares(current, count)

    def _count_in_shares(
        self, facts: Sequence[FactColumns], count: Callable[[Sequence[FactColumns]], CountsT]
    ) -> CountsT:
        """Count the facts share by share, those of an actor in the same share, to keep intermediate arrays small."""
        total = sum(map(len, facts))
        shares = 1 + max(total // FACTS_AT_A_TIME, total * self._span(facts) // _MAX_MOMENTS)
        if shares == 1 or self.metric.additive_over is None or self.metric.continuing is not None:
            return count(facts)
        if self.metric.additive_over == "events":
            apart = [list(part.in_pieces(shares)) for part in facts]
        else:
            apart = [
                list(part.by_actor(shares)) if place not in self.metric.joined else []
                for place, part in enumerate(facts)
            ]
            for place, base in self.metric.joined.items():
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


def with_values(columns: Set[Column], series: Sequence[SeriesDefinition]) -> Set[Column]:
    """Return the columns, and the values where one of the series has any."""
    return columns | {"value"} if any(one.value_property is not None for one in series) else columns
