"""Projects to test with, made many at a time: one by itself takes 5 ms, which is a third of what most tests take."""

from dataclasses import dataclass
from uuid import uuid4

from app.accounts.auth import api_keys
from app.accounts.projects.service import AccountService
from app.db.database import Database
from app.db.models import Organization, OrganizationMembership, PersonalApiKey, Project, User

NAME = "Web shop"
_AT_A_TIME = 32


@dataclass(frozen=True)
class NewProject:
    """A project, its owner's email address and key, and the owner's organization."""

    id: int
    token: str
    key: str
    email: str
    organization: str


async def set_up_project(
    database: Database, timezone: str = "UTC", *, email: str | None = None, organization: str | None = None
) -> NewProject:
    """Set up a project as operators do, of a new user and organization unless they are given."""
    unique = uuid4().hex[:12]
    email, organization = email or f"ann-{unique}@example.com", organization or f"Example {unique}"
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name=NAME, email=email, organization_name=organization, timezone=timezone
        )
    return NewProject(made.project.id, made.project.api_token, made.personal_api_key, email, organization)


class ProjectStock:
    """Projects that wait in the databases that tests share, each the same as one that operators set up."""

    def __init__(self) -> None:
        self._waiting: dict[Database, list[NewProject]] = {}

    def serve(self, database: Database) -> None:
        """Have projects of a database from now on."""
        self._waiting[database] = []

    def __contains__(self, database: Database) -> bool:
        return database in self._waiting

    async def take(self, database: Database) -> NewProject:
        waiting = self._waiting[database]
        if not waiting:
            waiting += await make_projects(database, _AT_A_TIME)
        return waiting.pop(0)


async def make_projects(database: Database, count: int) -> list[NewProject]:
    """Store projects in as many statements as one takes."""
    made = [uuid4().hex[:12] for _ in range(count)]
    users = [User(email=f"ann-{unique}@example.com") for unique in made]
    organizations = [Organization(name=f"Example {unique}") for unique in made]
    keys = [api_keys.generate_personal_key() for _ in made]
    async with database.write() as session:
        session.add_all([*users, *organizations])
        await session.flush()
        owned = list(zip(users, organizations, keys, strict=True))
        projects = [
            Project(
                organization_id=organization.id,
                name=NAME,
                timezone="UTC",
                api_token=api_keys.generate_token(api_keys.PROJECT_TOKEN_PREFIX),
            )
            for organization in organizations
        ]
        session.add_all(projects)
        session.add_all(OrganizationMembership(organization_id=its.id, user_id=user.id) for user, its, _ in owned)
        session.add_all(
            PersonalApiKey(user_id=user.id, label=f"{NAME} set-up", mask=key.mask, digest=key.digest, scopes=["*"])
            for user, _, key in owned
        )
    return [
        NewProject(project.id, project.api_token, key.value, user.email, organization.name)
        for project, (user, organization, key) in zip(projects, owned, strict=True)
    ]
