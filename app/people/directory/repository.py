"""Persons in the database, as lists and changes of single ones need them."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import ColumnElement, Select, Text, cast, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.common import limits
from app.common.page_sizes import fitting
from app.db.bulk import chunks
from app.db.models import Person, PersonDistinctId
from app.db.sizes import octets
from app.people.persons.identity import IdentityChanges, PersonState
from app.people.persons.repository import PersonRepository
from app.people.properties import PropertyDocument

PersonReference: TypeAlias = int | UUID


class StoredPerson(NamedTuple):
    """A person with the properties as JSON text."""

    id: int
    uuid: UUID
    properties: str


class Candidates(NamedTuple):
    """The next persons that may pass a filter, and whether there are more."""

    persons: Sequence[StoredPerson]
    are_all: bool


@dataclass(frozen=True)
class PersonConditions:
    """What the database looks at. Of ``email`` and ``search`` it finds candidates, which are then tested."""

    distinct_id: str | None = None
    email: str | None = None
    search: str | None = None


class DirectoryRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def get(self, reference: PersonReference) -> Person | None:
        return await self._session.scalar(select(Person).where(*self._named([reference])))

    async def find_all(self, references: Sequence[PersonReference]) -> list[int]:
        """Return the ids of the persons that exist, ascending."""
        found: set[int] = set()
        for chunk in chunks(references):
            found |= set(await self._session.scalars(select(Person.id).where(*self._named(chunk))))
        return sorted(found)

    async def stored(self, person_ids: Sequence[int]) -> list[StoredPerson]:
        """Return persons with their properties as text; those that do not exist are left out."""
        rows = await self._session.execute(
            select(Person.id, Person.uuid, cast(Person.properties, Text)).where(*self._named(person_ids))
        )
        return [StoredPerson(*row) for row in rows]

    async def stored_after(self, person_id: int, limit: int) -> Sequence[tuple[int, UUID, str, dt.datetime]]:
        """Return the next persons by id: id, UUID, properties as text, and when they were created."""
        rows = await self._session.execute(
            select(Person.id, Person.uuid, cast(Person.properties, Text), Person.created_at)
            .where(Person.project_id == self._project_id, Person.id > person_id)
            .order_by(Person.id)
            .limit(limit)
        )
        return [(found, uuid, properties, created_at) for found, uuid, properties, created_at in rows]

    async def state(self, person_id: int) -> PersonState | None:
        """Return a person to change. Lock the identities first."""
        row = (
            await self._session.execute(
                select(
                    Person.id, Person.uuid, cast(Person.properties, Text), Person.is_identified, Person.created_at
                ).where(*self._named([person_id]))
            )
        ).one_or_none()
        if row is None:
            return None
        document = PropertyDocument.read(row[2], limits.PERSON_PROPERTY_BYTES)
        return PersonState(row[0], row[1], document, row[3], row[4])

    async def page(self, conditions: PersonConditions, limit: int, offset: int) -> Sequence[Person]:
        """Return persons, newest first; fewer than ``limit`` where they are large, or have many distinct ids."""
        query = self._newest(conditions)
        names = select(func.sum(octets(PersonDistinctId.distinct_id))).where(PersonDistinctId.person_id == Person.id)
        sizes = await self._session.scalars(
            query.with_only_columns(octets(Person.properties) + func.coalesce(names.scalar_subquery(), 0))
            .limit(limit)
            .offset(offset)
        )
        return (await self._session.scalars(query.limit(fitting(sizes)).offset(offset))).all()

    async def count(self, conditions: PersonConditions) -> int:
        query = self._newest(conditions).with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
        return await self._session.scalar(query) or 0

    async def candidates(self, conditions: PersonConditions, before: int | None, limit: int) -> Candidates:
        """Return the next persons after an id, newest first: at most ``limit``, and ``limits.PAGE_BYTES``."""
        query = self._newest(conditions)
        if before is not None:
            query = query.where(Person.id < before)
        rows = (
            await self._session.execute(query.with_only_columns(Person.id, octets(Person.properties)).limit(limit))
        ).all()
        fits = fitting(size for _, size in rows)
        persons = {one.id: one for one in await self.stored([person_id for person_id, _ in rows[:fits]])}
        in_order = [persons[person_id] for person_id, _ in rows[:fits] if person_id in persons]
        return Candidates(in_order, are_all=fits == len(rows) < limit)

    async def by_ids(self, person_ids: Sequence[int]) -> Sequence[Person]:
        """Return persons, newest first: as many as fit into a page."""
        query = select(Person).where(*self._named(person_ids)).order_by(Person.id.desc())
        names = select(func.sum(octets(PersonDistinctId.distinct_id))).where(PersonDistinctId.person_id == Person.id)
        sizes = await self._session.scalars(
            query.with_only_columns(octets(Person.properties) + func.coalesce(names.scalar_subquery(), 0))
        )
        return (await self._session.scalars(query.limit(fitting(sizes)))).all()

    def _newest(self, conditions: PersonConditions) -> Select[Person]:
        query = (
            select(Person).where(Person.project_id == self._project_id, Person.has_profile).order_by(Person.id.desc())
        )
        if conditions.distinct_id is not None:
            query = query.where(Person.id.in_(self._owner(conditions.distinct_id)))
        document = cast(Person.properties, Text)
        if conditions.email:
            query = query.where(document.contains(_as_stored(conditions.email), autoescape=True))
        if conditions.search and conditions.search.isascii():  # databases do not know the case of other letters
            is_similar = document.icontains(_as_stored(conditions.search), autoescape=True)
            query = query.where(or_(is_similar, Person.id.in_(self._owner(conditions.search))))
        return query

    def _owner(self, distinct_id: str) -> Select[int]:
        return select(PersonDistinctId.person_id).where(
            PersonDistinctId.project_id == self._project_id, PersonDistinctId.distinct_id == distinct_id
        )

    def _named(self, references: Sequence[PersonReference]) -> Sequence[ColumnElement[bool]]:
        numbers = [one for one in references if isinstance(one, int)]
        uuids = [one for one in references if isinstance(one, UUID)]
        return (Person.project_id == self._project_id, or_(Person.id.in_(numbers), Person.uuid.in_(uuids)))

    async def split_off(self, distinct_ids: Sequence[str], created_at: dt.datetime) -> None:
        """Give distinct ids persons of their own, without properties. Lock the identities first."""
        for chunk in chunks(distinct_ids):
            await self._session.execute(
                delete(PersonDistinctId).where(
                    PersonDistinctId.project_id == self._project_id, PersonDistinctId.distinct_id.in_(chunk)
                ),
                execution_options={"synchronize_session": False},
            )
        changes = IdentityChanges()
        for distinct_id in distinct_ids:
            person = PersonState(None, uuid4(), {}, is_identified=False, created_at=created_at)
            changes.created.append(person)
            changes.distinct_ids[distinct_id] = person
        await PersonRepository(self._session, self._project_id).store(changes, ())


def _as_stored(text: str) -> str:
    """Return a text as it stands inside a stored document."""
    return msgspec.json.encode(text).decode()[1:-1]
