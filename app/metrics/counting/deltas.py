"""What is new of metrics that are counted together: read once for all of them, in one snapshot.

What a statement costs beside its rows is more than the facts of a thousand new events cost. So one statement reads the
new facts of all metrics, and another one all facts of the persons that these are about.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.metrics.counting.counted import MAX_DELTA, Counted, Delta
from app.metrics.counting.incremental import MetricCounter, with_values
from app.metrics.counting.shared_reads import narrowed
from app.metrics.facts.columns import WITHOUT_VALUES, FactColumns, concatenate
from app.metrics.facts.event_sets import series_of
from app.metrics.facts.series import SeriesDefinition
from app.metrics.facts.stores import FactStore
from app.people.persons.merge_log import NO_MERGES, MergedPersons, MergeLog
from app.people.persons.repository import PersonRepository

Member: TypeAlias = tuple[MetricCounter[Any], Counted[Any]]
# What is new of a metric, the facts of the actors it is about, and their merges.
_Changed: TypeAlias = tuple[Delta[Any], Sequence[FactColumns], MergeLog]
_NONE = concatenate([])


class Deltas:
    """Adds what is new to counts, in the snapshot of a session."""

    def __init__(self, session: AsyncSession, store: FactStore, project_id: int) -> None:
        self._session = session
        self._store = store
        self._persons = PersonRepository(session, project_id)

    async def add(self, counted: Mapping[int, Member]) -> dict[int, Counted[Any]]:
        """Return counts with what is new, without those that have to be recomputed."""
        added = {place: known for place, (counter, known) in counted.items() if counter.is_up_to_date(known)}
        behind = {
            place: member for place, member in counted.items() if place not in added and member[0].metric.is_incremental
        }
        for places in _groups(behind):
            group = [behind[place] for place in places]
            added |= {place: one for place, one in zip(places, await self._add(group), strict=True) if one is not None}
        return added

    async def _add(self, members: Sequence[Member]) -> Sequence[Counted[Any] | None]:
        """Add what is new to the counts of a group; None in place of those of which recomputing is faster."""
        reads = _GroupReads(self._session, self._store, members)
        changed = await self._with_facts(reads, members)
        if changed is not None:
            return await asyncio.to_thread(
                lambda: [counter.apply(*one) for (counter, _), one in zip(members, changed, strict=True)]
            )
        if len(members) == 1:
            return [None]
        return [one for member in members for one in await self._add([member])]

    async def _with_facts(self, reads: "_GroupReads", members: Sequence[Member]) -> Sequence[_Changed] | None:
        """Return what is new of each metric, with all facts of the actors it is about; None where that is too much."""
        marks = [known.merge_mark for counter, known in members if counter.has_merges_after(known)]
        merges = await self._persons.merges(after=min(marks)) if marks else NO_MERGES
        new = await reads.after_watermarks() if len(merges) < MAX_DELTA else None
        if new is None:
            return None
        deltas = [
            await counter.delta(known, facts, merges) for (counter, known), facts in zip(members, new, strict=True)
        ]
        touched = [np.unique(delta.touched) for delta in deltas]
        of_all = np.unique(np.concatenate(touched))
        if len(of_all) >= MAX_DELTA:
            return None
        # The log of merges does not know the numbers of other actors.
        are_persons = members[0][0].metric.counts_persons and members[0][0].last_merge > 0
        log = await self._persons.merges_of(of_all) if are_persons and len(of_all) else NO_MERGES
        merged = log.persons()
        if len(np.union1d(of_all, merged)) >= MAX_DELTA:
            return None
        found = await reads.of_actors([np.union1d(some, merged) if len(some) else some for some in touched])
        changed: list[_Changed] = []
        for (counter, known), delta, actors in zip(members, deltas, touched, strict=True):
            facts: Sequence[FactColumns] = ()
            if len(actors):
                facts = reads.part_of(counter, known, found, after=0)
                if len(actors) < len(of_all):  # the news of others are about more actors
                    facts = _of_same_persons(facts, actors, log)
                facts = await counter.with_joined(facts)
            changed.append((delta, facts, log))
        return changed


class _GroupReads:
    """Reads the facts of several metrics at once, with the variants of the one that has most."""

    def __init__(self, session: AsyncSession, store: FactStore, members: Sequence[Member]) -> None:
        self._members = members
        self._ids = members[0][0].series.ids
        variants = max((counter.metric.variants for counter, _ in members), key=len)
        self._all = series_of([one for counter, _ in members for one in counter.metric.event_sets])
        ids, columns = [self._ids[one.digest] for one in self._all], with_values(WITHOUT_VALUES, self._all)
        self._source = store.read(session, ids, variants, columns)
        self._mark = max(counter.watermark_after(known) for counter, known in members)

    async def after_watermarks(self) -> list[list[FactColumns]] | None:
        """Return the new facts of each metric, one part for each of its event sets; None where there are too many."""
        after = min(known.watermark for _, known in self._members)
        found = await self._source.after(after, self._mark, MAX_DELTA)
        if sum(map(len, found)) >= MAX_DELTA:  # then not all may have been read
            return None
        parts = _by_digest(self._all, found)
        return [self.part_of(*member, parts, after=member[1].watermark) for member in self._members]

    async def of_actors(self, actors: Sequence[NDArray[np.int64]]) -> Mapping[str, FactColumns]:
        """Return all facts of some actors of each metric that it may count, by series."""
        wanted: defaultdict[int, list[NDArray[np.int64]]] = defaultdict(list)
        for (counter, _), some in zip(self._members, actors, strict=True):
            if len(some):
                for one in counter.counted_series():
                    wanted[self._ids[one.digest]].append(some)
        if not wanted:
            return {}
        of_series = {series_id: np.unique(np.concatenate(parts)).tolist() for series_id, parts in wanted.items()}
        since = min(counter.metric.window.since for counter, _ in self._members)
        return _by_digest(self._all, await self._source.of_persons(of_series, since, self._mark))

    def part_of(
        self, counter: MetricCounter[Any], known: Counted[Any], found: Mapping[str, FactColumns], *, after: int
    ) -> list[FactColumns]:
        """Return what a metric counts of facts that were read for all: those of events after one, by event set."""
        metric, until = counter.metric, counter.watermark_after(known)
        parts = [found.get(one.digest, _NONE) for one in counter.series_of_sets()]
        parts = [narrowed(part, len(metric.variants), metric.window.since) for part in parts]
        return [part.select((part.sequence > after) & (part.sequence <= until)) for part in parts]


def _by_digest(series: Sequence[SeriesDefinition], found: Sequence[FactColumns]) -> dict[str, FactColumns]:
    return {one.digest: facts for one, facts in zip(series, found, strict=True)}


def _of_same_persons(parts: Sequence[FactColumns], actors: NDArray[np.int64], log: MergeLog) -> list[FactColumns]:
    """Return the facts of some actors, and of those that they were ever merged with."""
    current = MergedPersons.of(log)
    wanted = current.resolve(actors)
    return [part.select(np.isin(current.resolve(part.actor), wanted)) for part in parts]


def _groups(behind: Mapping[int, Member]) -> list[list[int]]:
    """Return metrics that can be read together: with actors of one kind, and variants numbered alike."""
    groups: list[list[int]] = []
    for place in sorted(behind, key=lambda one: -len(behind[one][0].metric.variants)):
        metric = behind[place][0].metric
        for group in groups:
            first = behind[group[0]][0].metric
            are_alike = list(first.variants[: len(metric.variants)]) == list(metric.variants)
            if are_alike and first.actor_properties == metric.actor_properties:
                group.append(place)
                break
        else:
            groups.append([place])
    return groups
