"""Services for projects and organizations, limited to those of the caller."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request

from app.accounts.auth.dependencies import UserDep
from app.accounts.projects.service import OrganizationService, ProjectService
from app.db.models import OrganizationMembership, Project
from app.http.dependencies import SessionDep, get_database
from app.http.query_params import read_text

OrganizationId = Annotated[str, Path(description="The id of an organization, or `@current`.", examples=["@current"])]


async def get_projects(user: UserDep, session: SessionDep) -> ProjectService:
    return ProjectService(session, user)


async def get_organizations(user: UserDep, session: SessionDep) -> OrganizationService:
    return OrganizationService(session, user)


async def get_own_membership(
    organization_id: OrganizationId, organizations: "OrganizationsDep"
) -> OrganizationMembership:
    """The caller's membership of the organization; without one the organization is not found."""
    return await organizations.resolve(organization_id)


async def get_project_by_token(
    request: Request,
    user: UserDep,
    token: Annotated[str | None, Query(description="The public token of a project.", examples=["phc_3xAmPl3"])] = None,
) -> Project:
    """The tenant check for paths without a project: the token names it; by default it is the caller's current one."""
    token = read_text(token)
    async with get_database(request).read() as session:
        projects = ProjectService(session, user)
        return await (projects.with_token(token) if token else projects.current())


ProjectsDep = Annotated[ProjectService, Depends(get_projects)]
OrganizationsDep = Annotated[OrganizationService, Depends(get_organizations)]
OwnMembershipDep = Annotated[OrganizationMembership, Depends(get_own_membership)]
