"""The erasure of persons, which changes no result."""

import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from app.activity_log.repository import ActivityRepository
from app.activity_log.service import ActivityLog
from app.common import limits
from app.common.errors import NotFound
from app.common.time_slices import TimeSlices
from app.db.bulk import chunks
from app.db.database import Database
from app.db.models import Project, User
from app.events.archive.removal import ArchiveRemoval
from app.events.removal.repository import EventRemovalRepository
from app.events.repository import EventQueries, EventRepository
from app.experiments.repository import ExperimentRepository
from app.operations.maintenance.service import MaintenanceService
from app.people.cohorts.repository import CohortRepository
from app.people.cohorts.service import CohortService
from app.people.directory.repository import DirectoryRepository, PersonReference, StoredPerson
from app.people.erased_persons.repository import ErasedPersonRepository
from app.people.persons.repository import PersonRepository
from app.people.persons.service import PersonService
from app.properties.decoding import PropertyReader
from app.properties.filters import Condition, Conjunction, Node
from app.properties.matcher import compile_filter
from app.properties.subjects import is_cohort, named_cohort
from app.properties.validation import compile_patterns

logger = logging.getLogger("abacus")

# Few enough that transactions that store events do not wait long for one that erases.
PERSONS_AT_A_TIME = 20
_SEQUENCES_AT_A_TIME = 20_000


class ErasureService:
    """Erases persons of one project.

    The facts of an erased person stay, under a number that leads to nothing else: counts, and recounts, are what they
    were. Conditions on persons are evaluated when results are read, so their answers about the person are kept. Events
    are removed, on request, once the facts of all metrics are made of them.
    """

    def __init__(self, database: Database, maintenance: MaintenanceService, project: Project) -> None:
        self._database = database
        self._maintenance = maintenance
        self._project_id = project.id

    async def erase(self, reference: PersonReference, user: User | None, *, removes_events: bool) -> None:
        """Erase one person, with or without the events.

        Raises
        ------
        NotFound
            The project has no such person.
        """
        if not await self.erase_all([reference], user, removes_events=removes_events):
            raise NotFound

    async def erase_all(
        self,
        references: Sequence[PersonReference],
        user: User | None,
        *,
        distinct_ids: Sequence[str] = (),
        removes_events: bool,
    ) -> int:
        """Erase several persons, a few in each transaction; return how many there were. Unknown ones are skipped."""
        async with self._database.read() as session:
            named, _ = await PersonRepository(session, self._project_id).ids(distinct_ids) if distinct_ids else ({}, ())
            found = await DirectoryRepository(session, self._project_id).find_all([*references, *named.values()])
            experiments = await ExperimentRepository(session, self._project_id).all() if found else ()
        if not found:
            return 0
        conditions = await self._maintenance.conditions_on_persons(experiments)
        await compile_patterns(conditions.values())
        erased = 0
        try:
            for some in chunks(found, PERSONS_AT_A_TIME):
                erased += await self._erase(some, conditions, user, removes_events=removes_events)
            if removes_events:
                await self.remove_events(limits.ERASURE_SECONDS.value)
        finally:  # some are erased also where the rest failed
            self._database.forget_statements()  # which found the persons by their texts
        return erased

    async def _erase(
        self, person_ids: Sequence[int], conditions: Mapping[str, Node], user: User | None, *, removes_events: bool
    ) -> int:
        async with self._database.write() as session:
            erased = ErasedPersonRepository(session, self._project_id)
            await erased.lock()
            persons = await DirectoryRepository(session, self._project_id).stored(person_ids)
            answers = await self._answers(
                CohortService(
                    CohortRepository(session, self._project_id),
                    PersonService(PersonRepository(session, self._project_id)),
                ),
                persons,
                conditions,
            )
            log = ActivityLog(ActivityRepository(session, self._project_id))
            for person in persons:
                await erased.erase(person.id, answers[person.id], has_events=removes_events)
                await log.record("Person", person.id, "deleted", user, name=str(person.uuid))
        for person in persons:
            logger.info(
                "project %d: person %s was erased%s",
                *(self._project_id, person.uuid, ", with all events" if removes_events else "; the events stay"),
            )
        return len(persons)

    async def _answers(
        self, cohorts: CohortService, persons: Sequence[StoredPerson], conditions: Mapping[str, Node]
    ) -> dict[int, dict[str, bool]]:
        """Return whether each person passes each condition."""
        documents = {person.id: person.properties for person in persons}
        about_cohorts = {digest: named_cohort(one) for digest, one in conditions.items() if is_cohort(one)}
        loaded = await cohorts.load(about_cohorts.values(), ignores_case=False)
        inside = await cohorts.containing(loaded, documents)
        answers = {
            person_id: {digest: number in inside[person_id] for digest, number in about_cohorts.items()}
            for person_id in documents
        }
        slices = TimeSlices()
        for digest in conditions.keys() - about_cohorts.keys():
            condition = conditions[digest]
            matcher = compile_filter(Conjunction((condition,)) if isinstance(condition, Condition) else condition)
            reader = PropertyReader(matcher.keys)
            for person_id, properties in documents.items():
                answers[person_id][digest] = matcher.matches(reader.read(properties))
                if slices.are_over():
                    await slices.pause()
        return answers

    async def remove_events(self, seconds: float) -> bool:
        """Remove the events of erased persons, for some seconds; return whether all are removed."""
        ends_at = time.monotonic() + seconds
        async for _ in self.steps():
            if time.monotonic() >= ends_at:
                return False
        return True

    async def steps(self) -> AsyncIterator[None]:
        """Remove the events of erased persons, and pause after each piece of work. It can be interrupted and repeated.

        First the facts of all metrics are made of them, so that no result changes.
        """
        async with self._database.read() as session:
            erased = await ErasedPersonRepository(session, self._project_id).with_events()
            experiments = await ExperimentRepository(session, self._project_id).all() if erased else ()
        if not erased:
            return
        while not await self._maintenance.complete_facts(experiments, limits.REFRESH_SECONDS.value):
            yield
        until = await EventQueries(self._database, self._project_id).high_water_mark()
        async with self._database.read() as session:
            numbers = await PersonRepository(session, self._project_id).all_numbers_of(erased)
            reached = await EventRepository(session, self._project_id).first_position() - 1
        removed = 0
        while reached < until:
            step = reached + _SEQUENCES_AT_A_TIME
            async with self._database.write() as session:
                removed += await EventRemovalRepository(session, self._project_id).remove_of_persons(
                    numbers, reached, step
                )
            reached = step
            yield
        if not await ArchiveRemoval(self._database, self._project_id).remove_of_persons(numbers):
            return  # to the next time
        await self._maintenance.forget_breakdowns()
        async with self._database.write() as session:
            await ErasedPersonRepository(session, self._project_id).finish(erased)
        logger.info("project %d: %d events of erased persons were removed", self._project_id, removed)
