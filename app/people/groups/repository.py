"""Groups and their types in the database."""

import datetime as dt
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from msgspec import Raw
from sqlalchemy import Select, Text, and_, bindparam, cast, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.nouns import GROUPS, PERSONS, plural
from app.common.time_slices import in_slices
from app.db.bulk import chunks
from app.db.models import ActorKey, Group, GroupType
from app.db.sizes import fitting_limit
from app.db.upserts import insert_if_absent

MAX_TYPES = 5
_ROWS_AT_A_TIME = 1_000  # whose values are prepared on the event loop, in ten milliseconds
_LARGE_CHARACTERS = 16 * 1024
# At most that many times ``limits.GROUP_PROPERTY_BYTES`` are in memory.
_GROUPS_AT_A_TIME = 128


class GroupRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def types(self) -> Sequence[GroupType]:
        found = await self._session.scalars(
            select(GroupType).where(GroupType.project_id == self._project_id).order_by(GroupType.type_index)
        )
        return found.all()

    async def type_indexes(self) -> dict[str, int]:
        """Return the index of each type by its name."""
        rows = await self._session.execute(
            select(GroupType.name, GroupType.type_index).where(GroupType.project_id == self._project_id)
        )
        return {row.name: row.type_index for row in rows}

    async def unit(self, type_index: int | None) -> str:
        """Return what a flag assigns, in the plural: the name of a type of groups, or persons."""
        if type_index is None:
            return PERSONS
        found = [name for name, index in (await self.type_indexes()).items() if index == type_index]
        return plural(found[0]) if found else GROUPS

    async def add_type(self, name: str, type_index: int) -> None:
        """Add a type, unless the name or the index is taken."""
        row = {"project_id": self._project_id, "name": name, "type_index": type_index}
        await insert_if_absent(self._session, GroupType, [row])

    async def add_missing(self, groups: Mapping[tuple[int, str], dt.datetime]) -> None:
        """Add groups without properties, by their type's index and key; those that exist stay as they are."""
        for chunk in chunks(list(groups.items()), _ROWS_AT_A_TIME):
            rows = [
                {
                    "project_id": self._project_id,
                    "type_index": type_index,
                    "key": key,
                    "properties": {},
                    "created_at": created_at,
                }
                for (type_index, key), created_at in chunk
            ]
            await insert_if_absent(self._session, Group, rows)

    async def properties_of(self, groups: Collection[tuple[int, str]]) -> dict[tuple[int, str], str]:
        """Return the properties of groups, as JSON text, by their type's index and key; unknown ones are absent."""
        found: dict[tuple[int, str], str] = {}
        for type_index in {index for index, _ in groups}:
            for keys in chunks([key for index, key in groups if index == type_index]):
                rows = await self._session.execute(
                    select(Group.key, cast(Group.properties, Text).label("document")).where(
                        self._of_type(type_index), Group.key.in_(keys)
                    )
                )
                found |= {(type_index, row.key): row.document for row in rows}
        return found

    @property
    def project_id(self) -> int:
        return self._project_id

    async def large(self, type_index: int, keys: Sequence[str]) -> dict[str, int]:
        """Return the number of characters of the properties of those groups that have many, by key."""
        size = func.length(cast(Group.properties, Text))
        found: dict[str, int] = {}
        for chunk in chunks(keys):
            rows = await self._session.execute(
                select(Group.key, size.label("size")).where(
                    self._of_type(type_index), Group.key.in_(chunk), size > _LARGE_CHARACTERS
                )
            )
            found |= {row.key: row.size for row in rows}
        return found

    async def locked(self, type_index: int, keys: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Return the id and the properties, as JSON text, of groups by their keys, locked against other writers."""
        found: dict[str, tuple[int, str]] = {}
        for chunk in chunks(sorted(keys)):
            rows = await self._session.execute(
                select(Group.key, Group.id, cast(Group.properties, Text).label("document"))
                .where(self._of_type(type_index), Group.key.in_(chunk))
                .order_by(Group.key)  # one order for all writers, so that they cannot deadlock
                .with_for_update()
            )
            found |= {row.key: (row.id, row.document) for row in rows}
        return found

    async def set_properties(self, properties: Mapping[int, Raw]) -> None:
        """Replace the properties of groups, by id."""
        connection = await self._session.connection()
        statement = (
            update(Group)
            .where(Group.project_id == self._project_id, Group.id == bindparam("group_id"))
            .values(properties=bindparam("new_properties"))
        )
        for chunk in chunks(list(properties.items()), _ROWS_AT_A_TIME):
            rows = [{"group_id": group_id, "new_properties": new_properties} for group_id, new_properties in chunk]
            await connection.execute(statement, rows)

    async def page(self, type_index: int, search: str, limit: int, offset: int) -> Sequence[Group]:
        """Return groups whose key contains a text, newest first; fewer than ``limit`` where they are large."""
        query = self._search(select(Group), type_index, search).order_by(Group.created_at.desc(), Group.id.desc())
        limit = await fitting_limit(self._session, query, (Group.properties,), limit, offset)
        return (await self._session.scalars(query.limit(limit).offset(offset))).all()

    async def count(self, type_index: int, search: str) -> int:
        query = self._search(select(func.count()).select_from(Group), type_index, search)
        return await self._session.scalar(query) or 0

    async def acting(self, type_index: int, actor_property: str) -> AsyncIterator[tuple[int, str]]:
        """Yield the actor number and the properties, as JSON text, of every described group that occurs in facts."""
        rows = await self._session.stream(
            select(ActorKey.id, cast(Group.properties, Text))
            .join(
                ActorKey,
                and_(
                    ActorKey.project_id == Group.project_id,
                    ActorKey.property == actor_property,
                    ActorKey.key == Group.key,
                ),
            )
            .where(self._of_type(type_index)),
            execution_options={"max_row_buffer": _GROUPS_AT_A_TIME},
        )
        async for row in in_slices(rows):
            yield row[0], row[1]

    def _of_type(self, type_index: int) -> Any:  # noqa: ANN401  # a clause, whose type SQLAlchemy does not export
        return and_(Group.project_id == self._project_id, Group.type_index == type_index)

    def _search(self, query: Select[Any], type_index: int, search: str) -> Select[Any]:
        query = query.where(self._of_type(type_index))
        return query.where(Group.key.icontains(search, autoescape=True)) if search else query
