"""Projects, organizations, users and their keys."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth import api_keys
from app.accounts.auth.repository import KeyRepository
from app.accounts.auth.scopes import EVERYTHING, SCOPES, find_unknown
from app.accounts.browser_sessions.repository import BrowserSessionRepository
from app.accounts.browser_sessions.service import BrowserSessionService
from app.accounts.projects.repository import AccountRepository, OrganizationRepository, ProjectRepository
from app.accounts.projects.schemas import CupedConfig, ProjectCreate, ProjectUpdate
from app.common.errors import AuthenticationFailed, NotFound, PermissionDenied, ValidationFailed
from app.common.ids import read_uuid
from app.db.models import Organization, OrganizationMembership, PersonalApiKey, Project, User, utc_now

CURRENT = "@current"
_NUMBERED_CHARACTERS = 190  # of the 200 that the name of an organization may have


class ProjectService:
    """The projects that one user has access to."""

    def __init__(self, session: AsyncSession, user: User) -> None:
        self._projects = ProjectRepository(session, user.id)
        self._accounts = AccountRepository(session)
        self._user = user

    async def current(self) -> Project:
        project = await self.current_or_none()
        if project is None:
            raise NotFound("Project not found.")
        return project

    async def get(self, project_id: int, *, for_update: bool = False) -> Project:
        """Return a project with its organization; with ``for_update`` it is locked against other writers."""
        project = await self._projects.get(project_id, for_update=for_update)
        if project is None:
            raise NotFound("Project not found.")
        return project

    async def with_token(self, token: str) -> Project:
        """Return the project with a public token; that of an organization without the user counts as unknown."""
        project = await self._projects.with_token(token)
        if project is None:
            raise AuthenticationFailed("Project API key invalid.", code="invalid_api_key")
        return project

    async def current_or_none(self) -> Project | None:
        """Return the first project of the organization that the user joined first."""
        return await self._projects.first()

    async def page(self, limit: int, offset: int) -> tuple[int, Sequence[Project]]:
        return await self._projects.count(), await self._projects.page(limit, offset)

    async def create(self, body: ProjectCreate) -> Project:
        organization = await self._accounts.organization_of(self._user.id)
        if organization is None:
            raise PermissionDenied("You don't belong to any organization.")
        project = _new_project(organization, body.name, body.timezone)
        project.test_account_filters = body.test_account_filters
        project.anonymize_ips = body.anonymize_ips
        project.default_attribution = body.default_attribution
        project.default_cuped = body.default_cuped.model_dump() if body.default_cuped else None
        await self._accounts.add(project)
        return project

    async def update(self, project: Project, body: ProjectUpdate) -> Project:
        held = await self.get(project.id, for_update=True)  # unless the user left the organization meanwhile
        for field in body.model_fields_set:
            value = getattr(body, field)
            setattr(held, field, value.model_dump() if isinstance(value, CupedConfig) else value)
        held.updated_at = utc_now()
        await self._projects.flush()
        return held

    async def organizations(self) -> Sequence[Organization]:
        return await self._accounts.organizations_of(self._user.id)


class OrganizationService:
    """The organizations that one user belongs to, and their members."""

    def __init__(self, session: AsyncSession, user: User) -> None:
        self._organizations = OrganizationRepository(session, user.id)

    async def resolve(self, reference: str) -> OrganizationMembership:
        """Return the user's membership of the organization that a path names: an id, or ``@current``."""
        if reference == CURRENT:
            own = await self._organizations.first()
        else:
            uuid = read_uuid(reference)
            own = await self._organizations.get(uuid) if uuid is not None else None
        if own is None:
            raise NotFound
        return own

    async def page(self, limit: int, offset: int) -> tuple[int, Sequence[OrganizationMembership]]:
        return await self._organizations.count(), await self._organizations.page(limit, offset)

    async def members(
        self, organization_id: int, limit: int, offset: int
    ) -> tuple[int, Sequence[OrganizationMembership]]:
        count = await self._organizations.count_members(organization_id)
        return count, await self._organizations.members(organization_id, limit, offset)


@dataclass(frozen=True)
class NewProject:
    """A new project with its user and the value of a new personal key, which is shown once."""

    project: Project
    user: User
    personal_api_key: str


class AccountService:
    """Accounts as operators manage them on the command line, without a key."""

    def __init__(self, session: AsyncSession) -> None:
        self._accounts = AccountRepository(session)
        self._keys = KeyRepository(session)
        self._browser_sessions = BrowserSessionService(BrowserSessionRepository(session))

    async def set_up_project(
        self, *, name: str, email: str, timezone: str, organization_name: str | None = None, joins: bool = False
    ) -> NewProject:
        """Create a project and a key, and the user and organization if they do not exist.

        Without ``organization_name`` it is the organization that the user joined first, or a new one. Only with
        ``joins`` does the user become a member of an organization that exists: its members share all projects.
        """
        user = await self._accounts.find_user(email)
        if user is None:
            user = User(email=email)
            await self._accounts.add(user)
        if organization_name is None:
            organization = await self._accounts.organization_of(user.id)
            organization_name = await self._free_name(name) if organization is None else organization.name
        else:
            organization = await self._accounts.find_organization(organization_name)
        if organization is None:
            organization = Organization(name=organization_name)
            await self._accounts.add(organization)
            joins = True
        if not await self._accounts.is_member(organization.id, user.id):
            if not joins:
                raise ValidationFailed(
                    f"There is an organization {organization_name!r} already, and {email} is not a member."
                    " Choose another name, or pass --join to share its projects."
                )
            await self._accounts.add(OrganizationMembership(organization_id=organization.id, user_id=user.id))
        project = _new_project(organization, name, timezone)
        await self._accounts.add(project)
        _, value = await self._issue_key(user, f"{name} set-up"[:40], (EVERYTHING,))
        return NewProject(project, user, value)

    async def _free_name(self, name: str) -> str:
        """Return a name that no organization has: the given one, or with a number behind it."""
        candidate, number = name, 1
        while await self._accounts.find_organization(candidate) is not None:
            number += 1
            candidate = f"{name[:_NUMBERED_CHARACTERS]} {number}"
        return candidate

    async def find_project(self, project_id: int) -> Project:
        project = await self._accounts.find_project(project_id)
        if project is None:
            raise NotFound("Project not found.")
        return project

    async def create_key(
        self, email: str, label: str, scopes: Sequence[str] = (EVERYTHING,)
    ) -> tuple[PersonalApiKey, str]:
        """Create a key and return it with its value, which is not stored."""
        unknown = find_unknown(scopes)
        if unknown is not None:
            raise ValidationFailed(
                f"There is no scope {unknown!r}; valid scopes are {', '.join((EVERYTHING, *SCOPES))}."
            )
        return await self._issue_key(await self._user(email), label, scopes)

    async def list_keys(self, email: str) -> Sequence[PersonalApiKey]:
        return await self._keys.of_user((await self._user(email)).id)

    async def rotate_key(self, key_id: int) -> str:
        """Give a key another value, and return it. The one before stops working at once."""
        key = await self._keys.get(key_id)
        if key is None:
            raise NotFound(f"There is no key {key_id}.")
        new = api_keys.generate_personal_key()
        key.mask, key.digest, key.last_used_at = new.mask, new.digest, None
        return new.value

    async def list_projects(self) -> Sequence[Project]:
        return await self._accounts.projects_with_organizations()

    async def rotate_token(self, project_id: int) -> str:
        """Give a project another public token, and return it. SDKs with the one before are refused."""
        project = await self._accounts.find_project(project_id)
        if project is None:
            raise NotFound(f"There is no project {project_id}.")
        project.api_token = api_keys.generate_token(api_keys.PROJECT_TOKEN_PREFIX)
        project.updated_at = utc_now()
        return project.api_token

    async def list_users(self) -> Sequence[tuple[User, Sequence[str]]]:
        """Return all users with the names of their organizations."""
        return await self._accounts.users_with_organizations()

    async def revoke_key(self, key_id: int) -> None:
        key = await self._keys.get(key_id)
        if key is None:
            raise NotFound(f"There is no key {key_id}.")
        await self._keys.delete(key)

    async def create_sign_in_link(self, email: str) -> str:
        """Return the token of a link that signs a user in to the pages once."""
        user = await self._user(email)
        _refuse_deactivated(user)
        return await self._browser_sessions.create_link(user)

    async def deactivate_user(self, email: str) -> None:
        """Refuse all keys of a user from now on. The user and everything that they created stay."""
        (await self._user(email)).is_active = False

    async def activate_user(self, email: str) -> None:
        """Accept the keys of a user again."""
        (await self._user(email)).is_active = True

    async def _user(self, email: str) -> User:
        user = await self._accounts.find_user(email)
        if user is None:
            raise NotFound(f"There is no user {email!r}.")
        return user

    async def _issue_key(self, user: User, label: str, scopes: Sequence[str]) -> tuple[PersonalApiKey, str]:
        _refuse_deactivated(user)
        new = api_keys.generate_personal_key()
        return await self._keys.add(user, label, new, scopes), new.value


def _refuse_deactivated(user: User) -> None:
    if not user.is_active:
        raise ValidationFailed(f"The user {user.email!r} is deactivated.")


def _new_project(organization: Organization, name: str, timezone: str) -> Project:
    return Project(
        organization_id=organization.id,
        organization=organization,
        name=name,
        timezone=timezone,
        api_token=api_keys.generate_token(api_keys.PROJECT_TOKEN_PREFIX),
    )
