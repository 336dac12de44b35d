"""Feature flags in the database."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload, selectinload

from app.db.models import Experiment, FeatureFlag, utc_now
from app.db.sizes import fitting_limit

CHANGED_FLAGS = "changed_flags"  # key in a session's ``info``: the projects whose flags the transaction changes


class KeyTaken(Exception):
    """An undeleted flag of the project has this key."""


@dataclass(frozen=True)
class FlagSelection:
    """The flags to list; ``search`` is a part of the key or the name."""

    search: str | None = None
    is_active: bool | None = None


class FlagRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    def _select(self) -> Select[FeatureFlag]:
        return (
            select(FeatureFlag)
            .where(FeatureFlag.project_id == self._project_id)
            .options(
                joinedload(FeatureFlag.created_by),
                selectinload(FeatureFlag.experiments).load_only(Experiment.id),
            )
        )

    async def get(self, flag_id: int, *, for_update: bool = False) -> FeatureFlag | None:
        """Return a flag, deleted or not, with its author and experiments; ``for_update`` locks it for this writer."""
        query = self._select().where(FeatureFlag.id == flag_id)
        if for_update:
            # Who changes an experiment locks it before its flag: the other way round two would wait for each other.
            await self.planned_on(flag_id)
            query = query.with_for_update(of=FeatureFlag)
        return await self._session.scalar(query)

    async def planned_on(self, flag_id: int) -> Sequence[Experiment]:
        """Return the experiments on a flag that have not started, oldest first, locked for this writer."""
        query = (
            select(Experiment)
            .where(Experiment.project_id == self._project_id, Experiment.feature_flag_id == flag_id)
            .where(or_(Experiment.start_date.is_(None), Experiment.start_date > utc_now()))
            .order_by(Experiment.id)
        )
        return (await self._session.scalars(query.with_for_update())).all()

    async def with_key(self, key: str) -> FeatureFlag | None:
        """Return the undeleted flag that has the key, without its author and experiments."""
        return await self._session.scalar(
            select(FeatureFlag).where(
                FeatureFlag.project_id == self._project_id, FeatureFlag.key == key, ~FeatureFlag.deleted
            )
        )

    async def with_ids(self, flag_ids: Collection[int]) -> Sequence[FeatureFlag]:
        """Return flags with their authors and experiments, newest first."""
        newest = (FeatureFlag.created_at.desc(), FeatureFlag.id.desc())
        found = await self._session.scalars(self._select().where(FeatureFlag.id.in_(flag_ids)).order_by(*newest))
        return found.all()

    async def page(self, selection: FlagSelection, limit: int, offset: int) -> Sequence[FeatureFlag]:
        """Return undeleted flags, newest first; fewer than ``limit`` where they are large."""
        newest = (FeatureFlag.created_at.desc(), FeatureFlag.id.desc())
        conditions = self._conditions(selection)
        query = select(FeatureFlag).where(*conditions)
        columns = (FeatureFlag.filters, FeatureFlag.name)
        limit = await fitting_limit(self._session, query.order_by(*newest), columns, limit, offset)
        found = self._select().where(*conditions).order_by(*newest).limit(limit).offset(offset)
        return (await self._session.scalars(found)).all()

    def _conditions(self, selection: FlagSelection) -> Sequence[ColumnElement[bool]]:
        conditions = [FeatureFlag.project_id == self._project_id, ~FeatureFlag.deleted]
        if selection.is_active is not None:
            conditions.append(FeatureFlag.active.is_(selection.is_active))
        if selection.search:
            columns = (FeatureFlag.key, FeatureFlag.name)
            conditions.append(or_(*(column.icontains(selection.search, autoescape=True) for column in columns)))
        return conditions

    async def all_undeleted(self) -> Sequence[FeatureFlag]:
        """Return all undeleted flags, oldest first, without authors and experiments."""
        found = await self._session.scalars(
            select(FeatureFlag)
            .where(FeatureFlag.project_id == self._project_id, ~FeatureFlag.deleted)
            .order_by(FeatureFlag.id)
        )
        return found.all()

    async def count(self, selection: FlagSelection) -> int:
        return await self._session.scalar(select(func.count()).where(*self._conditions(selection))) or 0

    async def add(self, flag: FeatureFlag) -> None:
        """Store a new flag.

        Raises
        ------
        KeyTaken
            The database has an undeleted flag with this key.
        """
        flag.project_id = self._project_id
        self._note_change()
        try:
            async with self._session.begin_nested():
                self._session.add(flag)
        except IntegrityError as error:
            raise KeyTaken(flag.key) from error

    async def key_is_taken(self, key: str) -> bool:
        undeleted = select(FeatureFlag.id).where(
            FeatureFlag.project_id == self._project_id, FeatureFlag.key == key, ~FeatureFlag.deleted
        )
        return await self._session.scalar(undeleted) is not None

    async def flush(self) -> None:
        """Store changes of flags.

        Raises
        ------
        KeyTaken
            The database has another undeleted flag with a changed key.
        """
        self._note_change()
        try:
            await self._session.flush()
        except IntegrityError as error:
            raise KeyTaken from error

    def _note_change(self) -> None:
        self._session.info.setdefault(CHANGED_FLAGS, set()).add(self._project_id)
