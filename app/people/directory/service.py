"""Persons as members of a project find, read and change them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from pydantic import JsonValue

from app.activity_log.service import ActivityLog
from app.common import limits
from app.common.errors import NotFound, ValidationFailed
from app.common.ids import read_id, read_uuid
from app.db.models import Person, User, utc_now
from app.people.cohorts.service import CohortService, LoadedCohorts
from app.people.directory.repository import DirectoryRepository, PersonConditions, PersonReference, StoredPerson
from app.people.persons.identity import IdentityChanges, PersonState
from app.people.persons.repository import PersonRepository
from app.people.properties import read_properties
from app.properties.filters import Condition, Conjunction, Group

_READ_AT_A_TIME = 1_000
# The criteria of a list, evaluated as cohorts, which have no such ids.
_WANTED, _FOUND = -1, -2


@dataclass(frozen=True)
class ShownPerson:
    """A person with all distinct ids, oldest first."""

    person: Person
    distinct_ids: Sequence[str]


@dataclass(frozen=True)
class PersonSelection:
    """Which persons a list shows: those that pass all of it. ``criteria`` are about properties and cohorts."""

    distinct_id: str | None = None
    email: str | None = None
    search: str | None = None
    criteria: "Group | None" = None

    @property
    def is_tested(self) -> bool:
        """Whether persons have to be read to know whether they pass."""
        return bool(self.email or self.search or self.criteria)


@dataclass(frozen=True)
class FoundPersons:
    """A page of persons that passed.

    Attributes
    ----------
    last : int or None
        The last person that was looked at, where others follow.
    skipped : int
        How many of those that passed were skipped.
    """

    persons: Sequence[ShownPerson]
    last: int | None
    skipped: int


class PersonDirectory:
    def __init__(
        self, directory: DirectoryRepository, persons: PersonRepository, cohorts: CohortService, log: ActivityLog
    ) -> None:
        self._directory = directory
        self._persons = persons
        self._cohorts = cohorts
        self._log = log

    async def get(self, reference: str) -> ShownPerson:
        """Return the person that a path names, by id or UUID."""
        parsed = read_person_reference(reference)
        person = None if parsed is None else await self._directory.get(parsed)
        if person is None:
            raise NotFound
        [shown] = await self._shown([person])
        return shown

    async def numbers(self, reference: str) -> list[int]:
        """Return the numbers under which events of a person are stored; none for a person that there is not."""
        parsed = read_person_reference(reference)
        person = None if parsed is None else await self._directory.get(parsed)
        return [] if person is None else await self._persons.all_numbers_of([person.id])

    async def page(self, distinct_id: str | None, limit: int, offset: int) -> tuple[int, Sequence[ShownPerson]]:
        """Return the number of all persons, or of those with a distinct id, and one page of them, newest first."""
        conditions = PersonConditions(distinct_id)
        count = await self._directory.count(conditions)
        return count, await self._shown(await self._directory.page(conditions, limit, offset))

    async def find(self, selection: PersonSelection, limit: int, offset: int, before: int | None) -> FoundPersons:
        """Return persons that pass, newest first, from an id on: ``offset`` of them are skipped.

        The page ends where enough persons were read.
        """
        conditions = PersonConditions(selection.distinct_id, selection.email, selection.search)
        test = await self._prepare(selection)
        passing: list[int] = []
        last, rows, size, skipped, are_all = before, 0, 0, 0, False
        while not are_all and rows < limits.SEARCHED_ROWS.value and size < limits.SEARCHED_BYTES.value:
            at_most = min(_READ_AT_A_TIME, limits.SEARCHED_ROWS.value - rows)
            candidates, are_all = await self._directory.candidates(conditions, last, at_most)
            inside = await test.passing(candidates)
            for person in candidates:
                if person.id in inside and skipped < offset:
                    skipped += 1
                elif person.id in inside:
                    passing.append(person.id)
            rows, size = rows + len(candidates), size + sum(len(one.properties) for one in candidates)
            last = candidates[-1].id if candidates else last
            if len(passing) > limit:
                break
        found = await self._directory.by_ids(passing[:limit]) if passing else []
        if len(found) < len(passing):
            return FoundPersons(await self._shown(found), found[-1].id, skipped)
        return FoundPersons(await self._shown(found), None if are_all else last, skipped)

    async def _prepare(self, selection: PersonSelection) -> "_Test":
        wanted = [] if selection.criteria is None else [selection.criteria]
        if selection.email:
            wanted.append(Conjunction((Condition("email", "exact", selection.email, "person"),)))
        criteria: dict[int, Group] = {_WANTED: Conjunction(tuple(wanted))} if wanted else {}
        owner = None
        if selection.search:
            criteria[_FOUND] = Conjunction((Condition("email", "icontains", selection.search, "person"),))
            ids, _ = await self._persons.ids([selection.search])
            owner = ids.get(selection.search)
        return _Test(self._cohorts, await self._cohorts.load_criteria(criteria), owner)

    async def _shown(self, persons: Sequence[Person]) -> list[ShownPerson]:
        names = await self._persons.distinct_ids([person.id for person in persons])
        return [ShownPerson(person, names[person.id]) for person in persons]

    async def set_properties(self, reference: str, properties: Mapping[str, JsonValue], user: User) -> None:
        """Give properties of a person other values; the others stay.

        Raises
        ------
        ValidationFailed
            They do not fit, or are nested too deeply.
        """
        state = await self._changeable(reference)
        values = read_properties(msgspec.json.encode(properties))
        if values.keys() != properties.keys():
            raise ValidationFailed("A property is nested too deeply.", attr="properties")
        for key, value in values.items():
            state.changed |= state.document.assign(key, value)
        if state.document.left_out:
            detail = (
                f"A person may have {limits.PROPERTIES.value:,} properties with "
                f"{limits.PERSON_PROPERTY_BYTES.value:,} bytes: {state.document.first_left_out[0]!r} does not fit."
            )
            raise ValidationFailed(detail, code="too_large", attr="properties")
        await self._store(state, "updated", sorted(properties), user)

    async def remove_property(self, reference: str, key: str, user: User) -> None:
        """Remove a property of a person; one that there is not stays away."""
        state = await self._changeable(reference)
        state.changed |= state.document.remove({key})
        await self._store(state, "delete_property", [key], user)

    async def split(self, reference: str, main: str | None, user: User) -> None:
        """Give every distinct id but one a person of its own. Without ``main`` the first stays, without properties.

        Past events stay with the person, because they were counted as this person's.

        Raises
        ------
        ValidationFailed
            The person does not have the main distinct id.
        """
        state = await self._changeable(reference)
        person_id = _id(state)
        names = (await self._persons.distinct_ids([person_id]))[person_id]
        if main is not None and main not in names:
            raise ValidationFailed("The person does not have this distinct id.", attr="main_distinct_id")
        if main is None:
            state.changed |= state.document.remove(set(state.properties))
        kept = main or names[0]
        await self._directory.split_off([name for name in names if name != kept], utc_now())
        await self._persons.store(IdentityChanges(), [state])
        before, after = {"distinct_ids": len(names)}, {"distinct_ids": 1}
        name = str(state.uuid)
        await self._log.record("Person", person_id, "split_person", user, before=before, after=after, name=name)

    async def _changeable(self, reference: str) -> PersonState:
        """Return a person, locked against other changes of identities until the transaction ends."""
        await self._persons.lock_identities()
        person = (await self.get(reference)).person
        state = await self._directory.state(person.id)
        if state is None:
            raise NotFound
        return state

    async def _store(self, state: PersonState, activity: str, names: Sequence[str], user: User) -> None:
        """Store a changed person. The log gets the names of properties, and no value: it outlives the person."""
        await self._persons.store(IdentityChanges(), [state])
        listed: list[JsonValue] = list(names[: limits.PROPERTIES.value])
        after: Mapping[str, JsonValue] = {"properties": listed}
        await self._log.record("Person", _id(state), activity, user, after=after, name=str(state.uuid))


class _Test:
    """Tests persons with the criteria of a list, all properties of one at once."""

    def __init__(self, cohorts: CohortService, loaded: LoadedCohorts, owner: int | None) -> None:
        self._cohorts = cohorts
        self._loaded = loaded
        self._owner = owner

    async def passing(self, candidates: Sequence[StoredPerson]) -> set[int]:
        documents = {person.id: person.properties for person in candidates}
        inside = await self._cohorts.containing(self._loaded, documents)
        return {
            person_id
            for person_id, found in inside.items()
            if all(number in found or (number == _FOUND and person_id == self._owner) for number in self._loaded.wanted)
        }


def read_person_reference(text: str) -> PersonReference | None:
    """Read the id or the UUID of a person."""
    return read_id(text) or read_uuid(text)


def _id(state: PersonState) -> int:
    if state.id is None:
        raise ValueError(f"person {state.uuid} was not stored")
    return state.id
