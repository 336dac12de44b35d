"""The rules of cohorts, and their members."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from app.common import limits
from app.common.errors import NotFound, ValidationFailed
from app.common.ids import MAX_ID, read_id
from app.common.time_slices import TimeSlices
from app.db.bulk import chunks
from app.db.models import Cohort, User
from app.people.cohorts.criteria import read_criteria, read_filters, referred_cohorts, trees_in
from app.people.cohorts.matching import CohortMatcher
from app.people.cohorts.repository import CohortRepository
from app.people.cohorts.schemas import CohortCreate, CohortUpdate
from app.people.persons.service import PersonService
from app.properties.decoding import PropertyReader
from app.properties.filters import Group, InvalidFilter
from app.properties.references import cohorts_written
from app.properties.validation import compile_patterns

logger = logging.getLogger("abacus")

Members = NDArray[np.int64]

MAX_NESTING = 10
_LOGGED_CHARACTERS = 200
_LISTED_AT_A_TIME = 2_000
_SHOWN_CHARACTERS = 200
_STORED_AS_SENT = ("name", "description", "groups", "filters", "deleted")
_NO_CRITERIA: Mapping[int, Group] = {}
_NO_MEMBERS: Members = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class CountedCohort:
    """A cohort with its number of persons; None where they were not counted."""

    cohort: Cohort
    count: int | None


@dataclass(frozen=True)
class LoadedCohorts:
    """Cohorts in memory, with those they refer to."""

    wanted: Set[int]
    lists: Sequence[int]
    matcher: CohortMatcher
    reader: PropertyReader

    @property
    def lost(self) -> Set[int]:
        """The cohorts that are gone or not understood: no condition on them holds."""
        return self.wanted - self.matcher.known

    @property
    def of_unknown(self) -> Set[int]:
        """The cohorts that a person is in who has neither properties nor a place in a list."""
        return self.wanted & self.matcher.cohorts_of({})


class CohortService:
    """Cohorts of one project. Deleted cohorts stay in the database and are hidden from the API."""

    def __init__(self, cohorts: CohortRepository, persons: PersonService) -> None:
        self._cohorts = cohorts
        self._persons = persons

    async def get(self, reference: str, *, for_update: bool = False) -> Cohort:
        """Return the cohort that a path names; a reference that is not a number is reported as not found."""
        cohort_id = read_id(reference)
        cohort = await self._cohorts.get(cohort_id, for_update=for_update) if cohort_id else None
        if cohort is None:
            raise NotFound
        return cohort

    async def find(self, cohort_ids: Iterable[int]) -> dict[int, Cohort]:
        """Return the cohorts that filters refer to, by id; unknown and deleted ones are absent."""
        return await self._cohorts.by_ids([cohort_id for cohort_id in set(cohort_ids) if 0 < cohort_id <= MAX_ID])

    async def page(self, limit: int, offset: int) -> tuple[int, Sequence[CountedCohort]]:
        """Return the number of all cohorts, and one page of them, newest first."""
        return await self._cohorts.count(), await self._counted(await self._cohorts.page(limit, offset))

    async def listed(self, cohort_id: int, after: str, limit: int) -> Sequence[str]:
        """Return the next distinct ids on the list of a static cohort."""
        return await self._cohorts.listed(cohort_id, after, limit)

    async def count_list(self, cohort: Cohort) -> CountedCohort:
        """Count a cohort if it is static, which takes one query."""
        [counted] = await self._counted([cohort])
        return counted

    async def count_members(self, cohort: Cohort) -> CountedCohort:
        """Count a cohort; a dynamic one by reading every person. Must be called inside a transaction."""
        members = await self.members(cohort.id)
        return CountedCohort(cohort, 0 if members is None else len(members))

    async def _counted(self, cohorts: Sequence[Cohort]) -> list[CountedCohort]:
        counts = await self._cohorts.listed_counts([cohort.id for cohort in cohorts if cohort.is_static])
        return [CountedCohort(cohort, counts.get(cohort.id, 0) if cohort.is_static else None) for cohort in cohorts]

    async def create(self, body: CohortCreate, created_by: User) -> Cohort:
        cohort = Cohort(
            name=body.name,
            description=body.description,
            is_static=body.is_static,
            groups=body.groups,
            filters=body.filters or None,
            created_by_id=created_by.id,
        )
        _refuse_mixed_kinds(cohort, body.distinct_ids)
        await self._check_references(cohort)
        await self._cohorts.add(cohort)
        await self._cohorts.add_distinct_ids(cohort, _as_texts(body.distinct_ids))
        created = await self.get(str(cohort.id))
        if body.deleted:
            await self.delete(created)
        return created

    async def create_list(self, name: str, description: str, distinct_ids: Sequence[str], created_by: User) -> Cohort:
        """Create a static cohort with some distinct ids on its list, which may be many."""
        cohort = Cohort(name=name, description=description, is_static=True, groups=[], created_by_id=created_by.id)
        await self._cohorts.add(cohort)
        for some in chunks(distinct_ids, _LISTED_AT_A_TIME):
            await self._cohorts.add_distinct_ids(cohort, some)
        return cohort

    async def update(self, cohort: Cohort, body: CohortUpdate) -> Cohort:
        sent = body.model_fields_set
        if body.is_static is not None and body.is_static != cohort.is_static:
            detail = "A cohort cannot change between a list and criteria: create another cohort"
            raise ValidationFailed(detail, attr="is_static")
        if body.deleted and not cohort.deleted:
            await self._refuse_if_used(cohort)
        for field in _STORED_AS_SENT:
            if field in sent:
                setattr(cohort, field, getattr(body, field))
        if "groups" in sent and "filters" not in sent:
            cohort.filters = None  # otherwise they would take precedence over the groups that were sent
        distinct_ids = body.distinct_ids or []
        _refuse_mixed_kinds(cohort, distinct_ids)
        if sent & {"groups", "filters"}:
            await self._check_references(cohort)
        await self._cohorts.flush()
        await self._cohorts.add_distinct_ids(cohort, _as_texts(distinct_ids))
        return cohort

    async def delete(self, cohort: Cohort) -> None:
        """Mark the cohort as deleted.

        Raises
        ------
        ValidationFailed
            A flag, an experiment, a saved metric, an action, another cohort or the filter of test accounts names it.
        """
        await self._refuse_if_used(cohort)
        cohort.deleted = True
        await self._cohorts.flush()

    async def find_to_refer(self, cohort_ids: Iterable[int]) -> dict[int, Cohort]:
        """Return cohorts as `find` does, and keep them from being deleted until the transaction ends."""
        await self._cohorts.lock_references()
        return await self.find(cohort_ids)

    async def _refuse_if_used(self, cohort: Cohort) -> None:
        await self._cohorts.lock_references()
        async for user, documents in self._cohorts.documents_naming_cohorts():
            if any(cohort.id in cohorts_written(document) for document in documents):
                detail = f"The cohort cannot be deleted: {user[:_SHOWN_CHARACTERS]} refers to it."
                raise ValidationFailed(detail, code="cohort_in_use")

    async def members(self, cohort_id: int) -> Members | None:
        """Return the ids of the persons that are currently in a cohort, ascending; None if it is unknown.

        A list is joined with the current distinct ids, so it follows merges; criteria are tested on every person. Must
        be called inside a transaction (``Database.snapshot`` or ``Database.write``).
        """
        return (await self.members_of([cohort_id])).get(cohort_id)

    async def members_of(self, cohort_ids: Iterable[int]) -> dict[int, Members]:
        """Return the `members` of several cohorts; every person is read once for all of them.

        Cohorts that are gone or not understood are absent: nothing is known of who is in them and who is not.
        """
        wanted = set(cohort_ids)
        cohorts, _ = await self._with_references(wanted)
        lists = {cohort.id: await self._cohorts.listed_persons(cohort.id) for cohort in cohorts if cohort.is_static}
        matcher = _matcher(cohorts)
        found = {cohort_id: lists.get(cohort_id, _NO_MEMBERS) for cohort_id in wanted & matcher.known}
        dynamic = found.keys() - lists.keys()
        if dynamic and matcher.has_criteria:
            found |= await self._matching(dynamic, matcher, lists)
        return found

    async def lost(self, cohort_ids: Iterable[int]) -> Set[int]:
        """Return those of the cohorts that are gone or not understood."""
        wanted = set(cohort_ids)
        return wanted - _matcher((await self._with_references(wanted))[0]).known if wanted else wanted

    async def load(self, cohort_ids: Iterable[int], *, ignores_case: bool = True) -> LoadedCohorts:
        """Load cohorts and those they refer to, to test persons one after another.

        For flags their conditions are conditions of the flags, and ignore case like these: SDKs evaluate both alike.
        """
        wanted = frozenset(cohort_ids)
        cohorts, _ = await self._with_references(wanted)
        matcher = _matcher(cohorts, ignores_case=ignores_case)
        lists = [cohort.id for cohort in cohorts if cohort.is_static]
        return LoadedCohorts(wanted, lists, matcher, PropertyReader(matcher.keys))

    async def load_criteria(self, criteria: Mapping[int, Group]) -> LoadedCohorts:
        """Load criteria that are not stored, by numbers that no cohort has, with the cohorts that they refer to.

        Raises
        ------
        ValidationFailed
            One of these cohorts does not exist.
        """
        referred = frozenset[int]().union(*map(referred_cohorts, criteria.values()))
        await compile_patterns(criteria.values())
        cohorts, _ = await self._with_references(referred)
        _refuse_unknown(referred, cohorts)
        matcher = _matcher(cohorts, criteria)
        lists = [cohort.id for cohort in cohorts if cohort.is_static]
        return LoadedCohorts(frozenset(criteria), lists, matcher, PropertyReader(matcher.keys))

    async def containing(self, loaded: LoadedCohorts, persons: Mapping[int, str]) -> dict[int, Set[int]]:
        """Return those of the cohorts that each person is in, by the person's id.

        Parameters
        ----------
        persons
            The current id and, as JSON text, the properties of each. No other person is read, and no transaction is
            needed.
        """
        listed_in = await self._cohorts.lists_with(list(persons), loaded.lists) if loaded.lists else {}
        slices = TimeSlices()
        found: dict[int, Set[int]] = {}
        for person_id, properties in persons.items():
            inside = loaded.matcher.cohorts_of(loaded.reader.read(properties), listed_in.get(person_id, ()))
            found[person_id] = loaded.wanted & inside
            if slices.are_over():
                await slices.pause()
        return found

    async def _matching(
        self, dynamic: Set[int], matcher: CohortMatcher, lists: Mapping[int, Members]
    ) -> dict[int, Members]:
        reader = PropertyReader(matcher.keys)
        listed_in: defaultdict[int, list[int]] = defaultdict(list)
        slices = TimeSlices()
        for cohort_id, persons in lists.items():
            for person_id in persons.tolist():
                listed_in[person_id].append(cohort_id)
                if slices.are_over():
                    await slices.pause()
        found: dict[int, list[int]] = {cohort_id: [] for cohort_id in dynamic}
        async for person_id, properties in self._persons.iter_properties():
            inside = matcher.cohorts_of(reader.read(properties), listed_in.get(person_id, ()))
            for cohort_id in inside & dynamic:
                found[cohort_id].append(person_id)
        return {cohort_id: np.sort(np.array(persons, dtype=np.int64)) for cohort_id, persons in found.items()}

    async def _with_references(self, cohort_ids: Iterable[int]) -> tuple[list[Cohort], int]:
        """Return cohorts and all cohorts they refer to, with the number of levels of references."""
        found: dict[int, Cohort] = {}
        requested: set[int] = set()
        levels = 0
        missing = set(cohort_ids)
        while missing:
            levels += 1
            requested |= missing
            cohorts = await self.find(missing)
            for cohort in cohorts.values():
                with suppress(InvalidFilter):  # an older one, from before its size was limited
                    await compile_patterns(trees_in(cohort.filters, cohort.groups))
            found |= cohorts
            missing = set().union(*map(referred_cohorts, _criteria(cohorts.values()).values())) - requested
        return list(found.values()), levels

    async def _check_references(self, cohort: Cohort) -> None:
        """Refuse criteria that refer to a missing cohort, to the cohort itself, or through too many levels."""
        wanted = referred_cohorts(read_criteria(cohort.filters, cohort.groups))
        if not wanted:
            return
        attr = _deciding_field(cohort)
        await self._cohorts.lock_references()
        cohorts, levels = await self._with_references(wanted)
        _refuse_unknown(wanted, cohorts, attr)
        if any(found is cohort for found in cohorts):
            raise ValidationFailed(
                "A cohort cannot refer to itself, neither directly nor through other cohorts", attr=attr
            )
        if len(cohorts) > limits.REFERRED_COHORTS.value:
            raise ValidationFailed(limits.REFERRED_COHORTS.detail, code="too_many_cohorts", attr=attr)
        if levels >= MAX_NESTING:
            raise ValidationFailed(f"Cohorts refer to each other through more than {MAX_NESTING} levels", attr=attr)


def _refuse_unknown(wanted: Set[int], cohorts: Iterable[Cohort], attr: str | None = None) -> None:
    unknown = wanted - {found.id for found in cohorts}
    if unknown:
        detail = f"Cohort with id {min(unknown)} does not exist"
        raise ValidationFailed(detail, code="cohort_does_not_exist", attr=attr)


def _matcher(
    cohorts: Sequence[Cohort], others: Mapping[int, Group] = _NO_CRITERIA, *, ignores_case: bool = False
) -> CohortMatcher:
    """Return the matcher of cohorts, and of criteria that are not stored, by number.

    Cohorts whose criteria are not understood stay unknown to it.
    """
    criteria = _criteria(cohorts)
    dynamic = {cohort_id: group for cohort_id, group in criteria.items() if group is not None} | dict(others)
    listed = [cohort.id for cohort in cohorts if cohort.is_static] + [
        cohort_id for cohort_id, group in criteria.items() if group is None
    ]
    return CohortMatcher(dynamic, listed, ignores_case=ignores_case)


def _criteria(cohorts: Iterable[Cohort]) -> "dict[int, Group | None]":
    """Return the criteria of the dynamic cohorts, None for those without a condition.

    Those that are not understood are left out: they are older than what refuses them today.
    """
    found = {}
    for cohort in cohorts:
        if cohort.is_static:
            continue
        try:
            found[cohort.id] = read_criteria(cohort.filters, cohort.groups)
        except InvalidFilter as error:
            detail = error.detail[:_LOGGED_CHARACTERS]
            logger.warning("cohort %d of project %d has no members: %s", cohort.id, cohort.project_id, detail)
    return found


def _deciding_field(cohort: Cohort) -> str:
    return "filters" if read_filters(cohort.filters) else "groups"


def _refuse_mixed_kinds(cohort: Cohort, distinct_ids: Sequence[JsonValue]) -> None:
    """Refuse criteria of a static cohort, and distinct ids of a dynamic one."""
    if cohort.is_static and read_criteria(cohort.filters, cohort.groups) is not None:
        detail = "A static cohort is a list of distinct ids and does not take criteria"
        raise ValidationFailed(detail, attr=_deciding_field(cohort))
    if not cohort.is_static and distinct_ids:
        raise ValidationFailed("Only a static cohort takes distinct ids", attr="distinct_ids")


def _as_texts(distinct_ids: Iterable[JsonValue]) -> list[str]:
    return [str(distinct_id) for distinct_id in distinct_ids]
