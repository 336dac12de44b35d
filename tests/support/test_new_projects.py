"""Projects of the stock are what operators set up."""

from typing import Any

import pytest
from sqlalchemy import select

from app.db.database import Database
from app.db.models import Organization, OrganizationMembership, PersonalApiKey, Project, User
from tests.support.new_projects import NewProject, make_projects, set_up_project

pytestmark = pytest.mark.one_database

OWN = {"id", "uuid", "distinct_id", "email", "name", "api_token", "digest", "mask"}


async def rows_of(database: Database, project: NewProject) -> list[dict[str, Any]]:
    """Return what is stored of a project, besides what each has to itself."""
    query = (
        select(Project, Organization, OrganizationMembership, User, PersonalApiKey)
        .join(Organization, Organization.id == Project.organization_id)
        .join(OrganizationMembership, OrganizationMembership.organization_id == Organization.id)
        .join(User, User.id == OrganizationMembership.user_id)
        .join(PersonalApiKey, PersonalApiKey.user_id == User.id)
        .where(Project.id == project.id)
    )
    async with database.read() as session:
        [rows] = (await session.execute(query)).all()
    columns = [(row, column.key) for row in rows for column in row.__table__.columns]
    return [
        {name: getattr(row, name)} for row, name in columns if name not in OWN and not name.endswith(("_id", "_at"))
    ]


async def test_a_project_of_the_stock_has_what_a_project_has_that_operators_set_up(database: Database) -> None:
    one, other = await make_projects(database, 2)

    assert await rows_of(database, one) == await rows_of(database, other)
    assert await rows_of(database, one) == await rows_of(database, await set_up_project(database))
