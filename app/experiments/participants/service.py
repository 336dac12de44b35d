"""Lists who takes part in an experiment, and the experiments that a person takes part in."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from app.common import limits
from app.common.errors import ValidationFailed
from app.db.database import Database
from app.db.models import Experiment
from app.experiments.repository import ExperimentRepository
from app.flags.filters import group_type_index_of
from app.metrics.aggregation.participants import Participants, list_participants
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.facts.event_sets import series_of
from app.metrics.facts.stores import fact_store
from app.metrics.queries.service import MetricQueryBuilder
from app.people.persons.repository import PersonRepository

MULTIPLE = "$multiple"
_PERSONS_AT_A_TIME = 20  # each may have many distinct ids


@dataclass(frozen=True)
class Participant:
    """A person in an experiment; ``person_id`` is None for an erased one."""

    person_id: int | None
    distinct_ids: Sequence[str]
    variant: str
    variants: Sequence[str]
    first_exposure: int


@dataclass(frozen=True)
class ParticipantPage:
    participants: Sequence[Participant]
    last: int | None  # the number of the last person, where others follow


@dataclass(frozen=True)
class _Group:
    """A few participants that follow each other, the characters of their distinct ids, and the last one's number."""

    participants: Sequence[Participant]
    size: int
    last: int


class ParticipantService:
    """Opens short transactions of its own, as results do."""

    def __init__(self, database: Database, facts: FactService, queries: MetricQueryBuilder, project_id: int) -> None:
        self._database = database
        self._facts = facts
        self._queries = queries
        self._project_id = project_id

    async def page(self, experiment: Experiment, variant: str | None, after: int, limit: int) -> ParticipantPage:
        """Return participants, of one variant or of ``$multiple`` if it is given, after a person's number.

        Raises
        ------
        ValidationFailed
            The experiment has not started, or its flag has no such variant.
        """
        variants, found = await self._of_variant(experiment, variant)
        start = int(np.searchsorted(found.person, after, side="right"))
        participants: list[Participant] = []
        size, last = 0, after
        async for group in self._groups(variants, found, slice(start, start + limit)):
            participants += group.participants
            size, last = size + group.size, group.last
            if size > limits.PAGE_BYTES.value:
                break
        has_more = start + len(participants) < len(found.person)
        return ParticipantPage(participants, last if has_more else None)

    async def everyone(self, experiment: Experiment, variant: str | None) -> AsyncIterator[Participant]:
        """Return all participants, or those of one variant; they are read while they are iterated over.

        Raises
        ------
        ValidationFailed
            As ``page``, and when they are too many.
        """
        variants, found = await self._of_variant(experiment, variant)
        if len(found.person) > limits.EXPORTED_PERSONS.value:
            raise ValidationFailed(limits.EXPORTED_PERSONS.detail, code="too_many_persons")
        groups = self._groups(variants, found, slice(None))
        return (one async for group in groups for one in group.participants)

    async def _of_variant(self, experiment: Experiment, variant: str | None) -> tuple[Sequence[str], Participants]:
        variants, found = await self._all(experiment)
        names = [*variants, MULTIPLE]
        if variant is not None and variant not in names:
            raise ValidationFailed(f"variant is one of {', '.join(names)}, got {variant[:100]!r}", attr="variant")
        return variants, found.only(None if variant is None else names.index(variant))

    async def _groups(self, variants: Sequence[str], found: Participants, rows: slice) -> AsyncIterator[_Group]:
        """Yield the participants in some rows, a few at a time, with their distinct ids."""
        names = [*variants, MULTIPLE]
        columns = [column[rows] for column in (found.person, found.first, found.slot, found.seen)]
        for start in range(0, len(columns[0]), _PERSONS_AT_A_TIME):
            some = [column[start : start + _PERSONS_AT_A_TIME].tolist() for column in columns]
            async with self._database.read() as session:
                known = await PersonRepository(session, self._project_id).distinct_ids(some[0])
            participants = [
                # Only an erased person has no distinct id.
                Participant(
                    number if known[number] else None, known[number], names[slot], _named(variants, seen), first
                )
                for number, first, slot, seen in zip(*some, strict=True)
            ]
            yield _Group(participants, sum(len(name) for listed in known.values() for name in listed), some[0][-1])

    async def exposed_distinct_ids(self, experiment: Experiment) -> list[str]:
        """Return a distinct id of each person who was exposed in an experiment, under whatever variants.

        Raises
        ------
        ValidationFailed
            As ``page``, and when they are too many.
        """
        _, found = await self._all(experiment)
        if len(found.person) > limits.FROZEN_PERSONS.value:
            raise ValidationFailed(limits.FROZEN_PERSONS.detail, code="too_many_persons")
        async with self._database.read() as session:
            return await PersonRepository(session, self._project_id).one_distinct_id_of(found.person.tolist())

    async def of_person(self, person_id: int) -> list[tuple[Experiment, Participant]]:
        """Return the started experiments that a person was exposed in, the newest first.

        Those whose exposures cannot be counted, as their health says, are left out.
        """
        async with self._database.read() as session:
            experiments = await ExperimentRepository(session, self._project_id).all()
        started = [experiment for experiment in reversed(experiments) if experiment.start_date is not None]
        plans: list[tuple[Experiment, Sequence[str], FactQuery[Participants]]] = []
        for one in started:
            if not _assigns_groups(one):
                with suppress(ValidationFailed):
                    plans.append((one, *await self._plan(one)))
        series = await self._facts.catch_up([query for *_, query in plans])
        async with self._database.read() as session:
            numbers = await PersonRepository(session, self._project_id).all_numbers_of([person_id])
            known = await fact_store(self._database).series_with(session, self._project_id, numbers)
        taken: list[tuple[Experiment, Participant]] = []
        for experiment, variants, query in plans:
            if known.isdisjoint(series.ids[one.digest] for one in series_of(query.event_sets)):
                continue
            [found] = await self._facts.counts([query])
            place = int(np.searchsorted(found.person, person_id))
            if place < len(found.person) and found.person[place] == person_id:
                names = [*variants, MULTIPLE]
                seen = _named(variants, int(found.seen[place]))
                first, variant = int(found.first[place]), names[int(found.slot[place])]
                taken.append((experiment, Participant(person_id, (), variant, seen, first)))
        return taken

    async def _all(self, experiment: Experiment) -> tuple[Sequence[str], Participants]:
        """Return the variants of an experiment, and everyone who takes part in it."""
        if _assigns_groups(experiment):
            raise ValidationFailed("The flag assigns groups, so that groups take part in the experiment, not persons.")
        variants, query = await self._plan(experiment)
        [found] = await self._facts.counts([query])
        return variants, found

    async def _plan(self, experiment: Experiment) -> tuple[Sequence[str], FactQuery[Participants]]:
        scope = self._queries.scope(experiment)
        exposures, count = await self._queries.exposures(experiment, scope), len(scope.variants)
        return scope.variants, FactQuery(
            event_sets=exposures.ledger_sets,
            window=scope.window,
            variants=scope.exposure_variants,
            count=lambda columns: list_participants(exposures.ledger(columns, count), columns[0], count),
            decode_counts=None,
            additive_over=None,
            parameters=("participants",),
            columns=exposures.columns,
        )


def _assigns_groups(experiment: Experiment) -> bool:
    return group_type_index_of(experiment.feature_flag.filters) is not None


def _named(variants: Sequence[str], seen: int) -> list[str]:
    return [name for place, name in enumerate(variants) if seen >> place & 1]
