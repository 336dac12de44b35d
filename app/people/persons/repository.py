"""Persons in the database."""

import datetime as dt
import functools
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.limits import PERSON_PROPERTY_BYTES
from app.common.time_slices import TimeSlices, in_slices
from app.db.advisory_locks import ProjectLock, lock_project
from app.db.bulk import chunks, insert_rows, read_columns, table_of
from app.db.compiled_queries import fetch_within, is_among
from app.db.models import ActivityEntry, ErasedPerson, HashKeyOverride, Person, PersonDistinctId, PersonMerge
from app.db.sizes import octets
from app.people.persons.identity import IdentityChanges, PersonState
from app.people.persons.known import PersonChanges
from app.people.persons.merge_log import MergedPersons, MergeLog
from app.people.properties import PropertyDocument, write_properties

_LARGE_CHARACTERS = 16 * 1024
_SHORT_CHARACTERS = 1_500
_ALLOCATED_IDS = select(func.nextval(func.pg_get_serial_sequence("person", "id"), type_=BigInteger)).select_from(
    func.generate_series(1, bindparam("count", type_=Integer))
)

# At most that many times ``limits.PERSON_PROPERTY_BYTES`` are in memory.
_PERSONS_AT_A_TIME = 128
_ROWS_AT_A_TIME = 1_000  # which takes milliseconds of the event loop to convert

_OF_PROJECT = bindparam("project_id", type_=Integer)
# Whatever a user does to a person is in the activity log.
_CHANGES: Select[int, int, int, int] = select(
    select(func.coalesce(func.max(PersonMerge.sequence), 0))
    .where(PersonMerge.project_id == _OF_PROJECT)
    .scalar_subquery(),
    func.coalesce(func.max(ActivityEntry.id), 0),
    func.count(ActivityEntry.id),
    select(func.count()).where(ErasedPerson.project_id == _OF_PROJECT).scalar_subquery(),
).where(ActivityEntry.project_id == _OF_PROJECT, ActivityEntry.scope == "Person")

_MERGES: Mapping[str, Select[int, int, int]] = {
    choice: select(PersonMerge.sequence, PersonMerge.merged_id, PersonMerge.person_id).where(
        PersonMerge.project_id == bindparam("project_id"), condition
    )
    for choice, condition in {
        "after": PersonMerge.sequence > bindparam("after"),
        "merged": PersonMerge.merged_id.in_(bindparam("persons", expanding=True)),
        "into": PersonMerge.person_id.in_(bindparam("persons", expanding=True)),
    }.items()
}


@functools.cache
def _ids_query(dialect_name: str) -> Select[str, int, bool]:
    return (
        select(PersonDistinctId.distinct_id, PersonDistinctId.person_id, Person.has_profile)
        .join(Person, Person.id == PersonDistinctId.person_id)
        .where(_is_known_as(dialect_name))
    )


@functools.cache
def _states_query(
    dialect_name: str, *, is_small: bool
) -> Select[str, int, UUID, str | None, bool, dt.datetime, bool, int]:
    """Select persons; ``is_small`` without the properties of those that have many, whose size is selected."""
    document = cast(Person.properties, Text)
    size = func.length(document, type_=Integer) if is_small else literal(0)
    return (
        select(
            PersonDistinctId.distinct_id,
            Person.id,
            Person.uuid,
            case((size <= _LARGE_CHARACTERS, document)) if is_small else document,
            Person.is_identified,
            Person.created_at,
            Person.has_profile,
            size,
        )
        .join(Person, Person.id == PersonDistinctId.person_id)
        .where(_is_known_as(dialect_name))
    )


class StoredPerson(NamedTuple):
    """The person of a distinct id; ``document`` is the JSON of the properties, None where that is long."""

    distinct_id: str
    id: int
    has_profile: bool
    document: str | None


@functools.cache
def _persons_query(dialect_name: str) -> Select[str, int, bool, str | None]:
    document = cast(Person.properties, Text)
    is_short = func.length(document, type_=Integer) <= _SHORT_CHARACTERS
    return (
        select(PersonDistinctId.distinct_id, Person.id, Person.has_profile, case((is_short, document)))
        .join(Person, Person.id == PersonDistinctId.person_id)
        .where(_is_known_as(dialect_name))
    )


@functools.cache
def _id_counts_query(dialect_name: str) -> Select[int, int]:
    return (
        select(PersonDistinctId.person_id, func.count(type_=Integer))
        .where(is_among(PersonDistinctId.person_id, "person_ids", dialect_name))
        .group_by(PersonDistinctId.person_id)
    )


def _is_known_as(dialect_name: str) -> ColumnElement[bool]:
    return and_(
        PersonDistinctId.project_id == bindparam("project_id", type_=Integer),
        is_among(PersonDistinctId.distinct_id, "distinct_ids", dialect_name),
    )


class PersonRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    @property
    def project_id(self) -> int:
        return self._project_id

    async def ids(self, distinct_ids: Sequence[str]) -> tuple[dict[str, int], set[str]]:
        """Return the person id of every known distinct id, and the distinct ids of persons without a profile."""
        query = _ids_query(self._session.get_bind().dialect.name)
        rows = await fetch_within(self._session, query, self._bound(distinct_ids))
        ids = {distinct_id: person_id for distinct_id, person_id, _ in rows}
        return ids, {distinct_id for distinct_id, _, has_profile in rows if not has_profile}

    async def persons(self, distinct_ids: Sequence[str]) -> Sequence[StoredPerson]:
        """Return the person of every known distinct id."""
        query = _persons_query(self._session.get_bind().dialect.name)
        return [StoredPerson(*row) for row in await fetch_within(self._session, query, self._bound(distinct_ids))]

    def _bound(self, distinct_ids: Sequence[str]) -> dict[str, object]:
        return {"project_id": self._project_id, "distinct_ids": distinct_ids}

    async def lock_identities(self) -> None:
        """Wait until no other transaction changes identities of this project."""
        await lock_project(self._session, ProjectLock.IDENTITIES, self._project_id)

    async def keep_from_erasure(self) -> None:
        """Keep persons of this project from being erased until the transaction ends."""
        await lock_project(self._session, ProjectLock.ERASURE, self._project_id, shared=True)

    async def states(self, distinct_ids: Sequence[str]) -> dict[str, PersonState]:
        """Load the persons of distinct ids; ids of one person share one state."""
        return (await self._states(distinct_ids, is_small=False))[0]

    async def small_states(self, distinct_ids: Sequence[str]) -> tuple[dict[str, PersonState], dict[str, int]]:
        """Load the persons whose properties are small; return the size of the other ones' by distinct id."""
        return await self._states(distinct_ids, is_small=True)

    async def _states(
        self, distinct_ids: Sequence[str], *, is_small: bool
    ) -> tuple[dict[str, PersonState], dict[str, int]]:
        by_id: dict[int, PersonState] = {}
        query = _states_query(self._session.get_bind().dialect.name, is_small=is_small)
        rows = await fetch_within(self._session, query, self._bound(distinct_ids))
        slices = TimeSlices()
        found: dict[str, PersonState] = {}
        sizes: dict[str, int] = {}
        for distinct_id, person_id, uuid, document, is_identified, created_at, has_profile, size in rows:
            if document is None:
                sizes[distinct_id] = size
                continue
            if person_id not in by_id:
                properties = PropertyDocument.read(document, PERSON_PROPERTY_BYTES)
                by_id[person_id] = PersonState(person_id, uuid, properties, is_identified, created_at, has_profile)
                if slices.are_over():
                    await slices.pause()
            found[distinct_id] = by_id[person_id]
        return found, sizes

    async def count_ids(self, persons: Iterable[PersonState]) -> None:
        """Give persons the number of their distinct ids."""
        query = _id_counts_query(self._session.get_bind().dialect.name)
        person_ids = {"person_ids": [person.id for person in persons]}
        counts = dict(await fetch_within(self._session, query, person_ids))
        for person in persons:
            person.ids = counts[_id(person)]

    async def store(self, changes: IdentityChanges, known: Iterable[PersonState]) -> None:
        """Store the changes of a batch. Persons that were both created and merged within it leave no row."""
        await self._insert([person for person in changes.created if person.merged_into is None])
        await self._merge([(person.id, _id(person.survivor())) for person in changes.merged if person.id is not None])
        await self._update([person for person in known if person.changed and person.merged_into is None])
        await self._insert_distinct_ids(changes.distinct_ids)

    async def _insert(self, persons: Sequence[PersonState]) -> None:
        if not persons:
            return
        for person, person_id in zip(persons, await self._allocate_ids(len(persons)), strict=True):
            person.id = person_id
        for some in chunks(persons, _ROWS_AT_A_TIME):
            await self._insert_some(some)

    async def _insert_some(self, persons: Sequence[PersonState]) -> None:
        rows = [
            (
                person.id,
                self._project_id,
                person.uuid,
                write_properties(person.properties),
                person.is_identified,
                person.created_at,
                person.has_profile,
            )
            for person in persons
        ]
        columns = ("id", "project_id", "uuid", "properties", "is_identified", "created_at", "has_profile")
        await insert_rows(self._session, Person, columns, rows)

    async def _allocate_ids(self, count: int) -> Sequence[int]:
        """Return ids that no other person has or had.

        With ids allocated in advance, persons are inserted as one batch; returning generated ids would make SQLite
        insert them one by one.
        """
        if self._session.get_bind().dialect.name == "postgresql":
            return [row[0] for row in await fetch_within(self._session, _ALLOCATED_IDS, {"count": count})]
        last = await self._session.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'person'")) or 0
        return range(last + 1, last + 1 + count)

    async def _insert_distinct_ids(self, persons: Mapping[str, PersonState]) -> None:
        for some in chunks(list(persons.items()), _ROWS_AT_A_TIME):
            rows = [(self._project_id, distinct_id, _id(person.survivor())) for distinct_id, person in some]
            await insert_rows(self._session, PersonDistinctId, ("project_id", "distinct_id", "person_id"), rows)

    async def _update(self, persons: Sequence[PersonState]) -> None:
        if not persons:
            return
        connection = await self._session.connection()
        await connection.execute(
            update(Person)
            .where(Person.project_id == self._project_id, Person.id == bindparam("person_id"))
            .values(
                properties=bindparam("new_properties"),
                is_identified=bindparam("new_is_identified"),
                created_at=bindparam("new_created_at"),
                has_profile=bindparam("new_has_profile"),
            ),
            [
                {
                    "person_id": person.id,
                    "new_properties": write_properties(person.properties),
                    "new_is_identified": person.is_identified,
                    "new_created_at": person.created_at,
                    "new_has_profile": person.has_profile,
                }
                for person in persons
            ],
        )

    async def _merge(self, merges: Sequence[tuple[int, int]]) -> None:
        """Move the distinct ids of merged persons to the others, and log the merges: (merged id, person id)."""
        if not merges:
            return
        connection = await self._session.connection()
        pairs = [{"merged": merged_id, "survivor": person_id} for merged_id, person_id in merges]
        await connection.execute(
            update(table_of(PersonDistinctId))
            .where(PersonDistinctId.project_id == self._project_id, PersonDistinctId.person_id == bindparam("merged"))
            .values(person_id=bindparam("survivor")),
            pairs,
        )
        await connection.execute(
            insert(table_of(PersonMerge)),
            [
                {"project_id": self._project_id, "merged_id": merged_id, "person_id": person_id}
                for merged_id, person_id in merges
            ],
        )
        await connection.execute(self._hash_key_moves(), pairs)
        for chunk in chunks([merged_id for merged_id, _ in merges]):
            await self._session.execute(
                delete(Person).where(Person.project_id == self._project_id, Person.id.in_(chunk)),
                execution_options={"synchronize_session": False},
            )

    def _hash_key_moves(self) -> Update:
        """Move a merged person's hash keys to the survivor, except for flags for which the survivor has its own."""
        keys = table_of(HashKeyOverride)
        own = keys.alias()
        has_own = select(own.c.person_id).where(
            own.c.person_id == bindparam("survivor"), own.c.feature_flag_key == keys.c.feature_flag_key
        )
        return (
            update(keys)
            .where(keys.c.person_id == bindparam("merged"), ~has_own.exists())
            .values(person_id=bindparam("survivor"))
        )

    async def distinct_ids(self, person_ids: Sequence[int]) -> dict[int, list[str]]:
        """Return all distinct ids of persons, oldest first."""
        found: dict[int, list[str]] = {person_id: [] for person_id in person_ids}
        for chunk in chunks(person_ids):
            rows = await self._session.execute(
                select(PersonDistinctId.person_id, PersonDistinctId.distinct_id)
                .where(PersonDistinctId.project_id == self._project_id, PersonDistinctId.person_id.in_(chunk))
                .order_by(PersonDistinctId.id)
            )
            for person_id, distinct_id in rows:
                found[person_id].append(distinct_id)
        return found

    async def one_distinct_id_of(self, person_ids: Sequence[int]) -> list[str]:
        """Return a distinct id of each person; erased persons have none."""
        found: list[str] = []
        for chunk in chunks(person_ids):
            query = (
                select(func.min(PersonDistinctId.distinct_id))
                .where(PersonDistinctId.project_id == self._project_id, PersonDistinctId.person_id.in_(chunk))
                .group_by(PersonDistinctId.person_id)
            )
            found += (await self._session.scalars(query)).all()
        return found

    def properties(self, among: Sequence[int] | None = None) -> AsyncIterator[tuple[int, str]]:
        """Return the id and the properties, as JSON text, of every person, or of those who have one of some ids."""
        return in_slices(self._properties(among))

    async def _properties(self, among: Sequence[int] | None) -> AsyncIterator[tuple[int, str]]:
        query = select(Person.id, cast(Person.properties, Text)).where(Person.project_id == self._project_id)
        queries = [query] if among is None else (query.where(Person.id.in_(chunk)) for chunk in chunks(among))
        for one in queries:
            rows = await self._session.stream(one, execution_options={"max_row_buffer": _PERSONS_AT_A_TIME})
            async for part in rows.partitions(_PERSONS_AT_A_TIME):  # one by one, each row costs a switch of contexts
                for person_id, document in part:
                    yield person_id, document

    async def merges(self, after: int = 0) -> MergeLog:
        """Return the entries of the log after a sequence number."""
        return await self._merges("after", {"after": after})

    async def changes(self) -> PersonChanges:
        """Return what tells whether distinct ids have got other persons."""
        [row] = await fetch_within(self._session, _CHANGES, {"project_id": self._project_id})
        return PersonChanges(*row)

    async def merges_of(self, person_ids: NDArray[np.int64]) -> MergeLog:
        """Return every merge of the persons, and of the persons they were merged with, directly or not."""
        known = pending = np.unique(person_ids)
        entries: dict[int, tuple[int, int]] = {}
        while pending.size:
            for choice in ("merged", "into"):
                for chunk in chunks(pending.tolist()):
                    found = await self._merges(choice, {"persons": chunk})
                    pairs = zip(found.merged.tolist(), found.into.tolist(), strict=True)
                    entries.update(zip(found.sequence.tolist(), pairs, strict=True))
            persons = np.array([person for pair in entries.values() for person in pair], dtype=np.int64)
            pending = np.setdiff1d(persons, known)
            known = np.union1d(known, pending)
        merged, into = np.array(list(entries.values()), dtype=np.int64).reshape(-1, 2).T
        return MergeLog(np.array(list(entries), dtype=np.int64), merged, into)

    async def all_numbers_of(self, person_ids: Sequence[int]) -> list[int]:
        """Return the numbers under which events of current, or erased, persons are stored: theirs and merged ones'."""
        current = np.unique(np.array(person_ids, dtype=np.int64))
        log = await self.merges_of(current)
        belongs = np.isin(MergedPersons.of(log).resolve(log.merged), current)
        numbers: list[int] = np.union1d(current, log.merged[belongs]).tolist()
        return numbers

    async def _merges(self, choice: str, bound: Mapping[str, int | Sequence[int]]) -> MergeLog:
        columns = await read_columns(self._session, _MERGES[choice], {"project_id": self._project_id, **bound})
        return MergeLog(*(columns[name].astype(np.int64) for name in ("sequence", "merged_id", "person_id")))

    async def by_ids(self, person_ids: Sequence[int]) -> dict[int, Person]:
        """Return current persons, also under the ids of persons that were merged into them."""
        current = await self._survivors(person_ids)
        persons: dict[int, Person] = {}
        for chunk in chunks(list(set(current.values()))):
            found = await self._session.scalars(
                select(Person).where(Person.project_id == self._project_id, Person.id.in_(chunk))
            )
            persons |= {person.id: person for person in found}
        return {person_id: persons[survivor] for person_id, survivor in current.items() if survivor in persons}

    async def documents(self, person_ids: Sequence[int]) -> dict[int, str]:
        """Return the properties, as JSON text, of the persons that ``by_ids`` returns."""
        current = await self._survivors(person_ids)
        found: dict[int, str] = {}
        for chunk in chunks(list(set(current.values()))):
            rows = await self._session.execute(
                select(Person.id, cast(Person.properties, Text)).where(
                    Person.project_id == self._project_id, Person.id.in_(chunk)
                )
            )
            found.update((person_id, document) for person_id, document in rows)
        return {person_id: found[survivor] for person_id, survivor in current.items() if survivor in found}

    async def sizes(self, person_ids: Sequence[int]) -> dict[int, int]:
        """Return the bytes of the properties of the persons that ``by_ids`` returns."""
        current = await self._survivors(person_ids)
        sizes: dict[int, int] = {}
        for chunk in chunks(list(set(current.values()))):
            found = await self._session.execute(
                select(Person.id, octets(Person.properties)).where(
                    Person.project_id == self._project_id, Person.id.in_(chunk)
                )
            )
            sizes.update((person_id, size) for person_id, size in found)
        return {person_id: sizes[survivor] for person_id, survivor in current.items() if survivor in sizes}

    async def _survivors(self, person_ids: Sequence[int]) -> dict[int, int]:
        """Return the id of the person that each person is, or was merged into."""
        requested = np.array(person_ids, dtype=np.int64)
        resolved = MergedPersons.of(await self.merges_of(requested)).resolve(requested)
        return dict(zip(person_ids, resolved.tolist(), strict=True))


def _id(person: PersonState) -> int:
    if person.id is None:
        raise ValueError(f"person {person.uuid} was not stored")
    return person.id
