"""Organizations, projects, memberships and users in the database."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import contains_eager, joinedload

from app.db.models import Organization, OrganizationMembership, Project, User


class IngestionProject(NamedTuple):
    """What capture needs to know of a project."""

    id: int
    anonymize_ips: bool


_INGESTION_PROJECT = select(Project.id, Project.anonymize_ips).where(Project.api_token == bindparam("token"))


class ProjectRepository:
    """The projects that one user has access to."""

    def __init__(self, session: AsyncSession, user_id: int) -> None:
        self._session = session
        self._user_id = user_id

    def _reachable(self) -> Select[Project]:
        return (
            select(Project)
            .join(OrganizationMembership, OrganizationMembership.organization_id == Project.organization_id)
            .where(OrganizationMembership.user_id == self._user_id)
            .options(joinedload(Project.organization))
        )

    async def get(self, project_id: int, *, for_update: bool = False) -> Project | None:
        """Return the project if the user is a member of its organization, on request locked against other writers."""
        query = self._reachable().where(Project.id == project_id)
        if for_update:
            query = query.with_for_update(of=Project)
        return await self._session.scalar(query)

    async def with_token(self, token: str) -> Project | None:
        return await self._session.scalar(self._reachable().where(Project.api_token == token))

    async def first(self) -> Project | None:
        """Return the first project of the organization that the user joined first."""
        order = (OrganizationMembership.id, Project.id)
        return await self._session.scalar(self._reachable().order_by(*order).limit(1))

    async def page(self, limit: int, offset: int) -> Sequence[Project]:
        found = await self._session.scalars(self._reachable().order_by(Project.id).limit(limit).offset(offset))
        return found.all()

    async def count(self) -> int:
        return await self._session.scalar(select(func.count()).select_from(self._reachable().subquery())) or 0

    async def flush(self) -> None:
        await self._session.flush()


class OrganizationRepository:
    """The organizations that one user is a member of."""

    def __init__(self, session: AsyncSession, user_id: int) -> None:
        self._session = session
        self._user_id = user_id

    def _own(self) -> Select[OrganizationMembership]:
        return (
            select(OrganizationMembership)
            .join(OrganizationMembership.organization)
            .where(OrganizationMembership.user_id == self._user_id)
            .options(contains_eager(OrganizationMembership.organization))
        )

    async def get(self, uuid: UUID) -> OrganizationMembership | None:
        return await self._session.scalar(self._own().where(Organization.uuid == uuid))

    async def first(self) -> OrganizationMembership | None:
        """Return the oldest membership."""
        return await self._session.scalar(self._own().order_by(OrganizationMembership.id).limit(1))

    async def page(self, limit: int, offset: int) -> Sequence[OrganizationMembership]:
        """Return the user's memberships with their organizations, oldest first."""
        found = await self._session.scalars(self._own().order_by(OrganizationMembership.id).limit(limit).offset(offset))
        return found.all()

    async def count(self) -> int:
        own = select(func.count()).where(OrganizationMembership.user_id == self._user_id)
        return await self._session.scalar(own) or 0

    def _members(self, organization_id: int) -> Select[OrganizationMembership]:
        return (
            select(OrganizationMembership)
            .join(OrganizationMembership.user)
            .where(OrganizationMembership.organization_id == organization_id, User.is_active)
            .options(contains_eager(OrganizationMembership.user))
        )

    async def members(self, organization_id: int, limit: int, offset: int) -> Sequence[OrganizationMembership]:
        """Return the memberships of active users, oldest first."""
        found = await self._session.scalars(
            self._members(organization_id).order_by(OrganizationMembership.id).limit(limit).offset(offset)
        )
        return found.all()

    async def count_members(self, organization_id: int) -> int:
        members = self._members(organization_id).with_only_columns(func.count(), maintain_column_froms=True)
        return await self._session.scalar(members) or 0


class AccountRepository:
    """Accounts of all organizations: for the command line and for project tokens."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, row: Organization | OrganizationMembership | Project | User) -> None:
        self._session.add(row)
        await self._session.flush()

    async def find_organization(self, name: str) -> Organization | None:
        return await self._session.scalar(select(Organization).where(Organization.name == name))

    async def organization_of(self, user_id: int) -> Organization | None:
        """Return the organization the user joined first."""
        return await self._session.scalar(
            select(Organization)
            .join(OrganizationMembership)
            .where(OrganizationMembership.user_id == user_id)
            .order_by(OrganizationMembership.id)
            .limit(1)
        )

    async def organizations_of(self, user_id: int) -> Sequence[Organization]:
        found = await self._session.scalars(
            select(Organization)
            .join(OrganizationMembership)
            .where(OrganizationMembership.user_id == user_id)
            .order_by(OrganizationMembership.id)
        )
        return found.all()

    async def is_member(self, organization_id: int, user_id: int) -> bool:
        membership = select(OrganizationMembership.id).where(
            OrganizationMembership.organization_id == organization_id, OrganizationMembership.user_id == user_id
        )
        return await self._session.scalar(membership) is not None

    async def find_project(self, project_id: int) -> Project | None:
        return await self._session.get(Project, project_id)

    async def find_user(self, email: str) -> User | None:
        return await self._session.scalar(select(User).where(User.email == email))

    async def projects(self) -> Sequence[Project]:
        """Return the projects of all organizations."""
        return (await self._session.scalars(select(Project).order_by(Project.id))).all()

    async def projects_with_organizations(self) -> Sequence[Project]:
        query = select(Project).options(joinedload(Project.organization)).order_by(Project.id)
        return (await self._session.scalars(query)).all()

    async def users_with_organizations(self) -> Sequence[tuple[User, Sequence[str]]]:
        """Return all users, oldest first, with the names of their organizations."""
        users = (await self._session.scalars(select(User).order_by(User.id))).all()
        query = select(OrganizationMembership.user_id, Organization.name).join(OrganizationMembership.organization)
        names: dict[int, list[str]] = {}
        for user_id, name in await self._session.execute(query.order_by(OrganizationMembership.id)):
            names.setdefault(user_id, []).append(name)
        return [(user, names.get(user.id, [])) for user in users]

    async def events_since(self, project_id: int) -> int:
        """Return the moment, in microseconds, before which events of a project were removed."""
        found = await self._session.scalar(select(Project.events_since).where(Project.id == project_id))
        return found or 0

    async def find_project_by_token(self, token: str) -> Project | None:
        return await self._session.scalar(select(Project).where(Project.api_token == token))

    async def find_ingestion_project(self, token: str) -> IngestionProject | None:
        """Return the project with a token, reduced to what capture needs: half the cost of loading the whole row."""
        connection = await self._session.connection()
        row = (await connection.execute(_INGESTION_PROJECT, {"token": token})).one_or_none()
        return None if row is None else IngestionProject(*row)
