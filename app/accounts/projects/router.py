"""Projects, organizations with their members, and the calling user."""

from typing import Annotated

from fastapi import APIRouter
from fastapi.params import Depends

from app.accounts.auth.dependencies import AccessDep, ProjectDep, get_user, require_scope
from app.accounts.auth.scopes import scope_for
from app.accounts.projects.dependencies import OrganizationsDep, OwnMembershipDep, ProjectsDep
from app.accounts.projects.schemas import (
    OrganizationBasic,
    OrganizationMemberRead,
    OrganizationRead,
    ProjectCreate,
    ProjectRead,
    ProjectUpdate,
    UserRead,
)
from app.accounts.users import UserBasic
from app.db.models import OrganizationMembership, Project
from app.http.pagination import PaginationDep
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.schemas import Page
from app.http.strictness import OF_2022

router = APIRouter(prefix="/api", dependencies=[OF_2022])

MEMBER_LEVEL = 1  # the only level: every member may do everything in the organization


def _read(project: Project) -> ProjectRead:
    return ProjectRead(
        id=project.id,
        uuid=project.uuid,
        organization=project.organization.uuid,
        name=project.name,
        timezone=project.timezone,
        test_account_filters=project.test_account_filters,
        anonymize_ips=project.anonymize_ips,
        default_attribution=project.default_attribution,
        default_cuped=project.default_cuped,
        api_token=project.api_token,
        created_at=project.created_at,
        updated_at=project.updated_at,
    )


@router.get("/projects/", summary="List projects", tags=["Projects"], dependencies=[require_scope("project")])
async def list_projects(projects: ProjectsDep, pagination: PaginationDep) -> Page[ProjectRead]:
    """Return the projects of the organizations that the caller belongs to, oldest first."""
    count, rows = await projects.page(pagination.limit, pagination.offset)
    return pagination.page(count, [_read(project) for project in rows])


@router.post(
    "/projects/",
    status_code=201,
    summary="Create a project",
    tags=["Projects"],
    dependencies=[require_scope("project")],
)
async def create_project(projects: ProjectsDep, body: Annotated[ProjectCreate, body_of(ProjectCreate)]) -> ProjectRead:
    """Create a project in the organization that the caller joined first, with a new token for SDKs."""
    return _read(await projects.create(body))


@router.get(
    "/projects/{project_id}/", summary="Retrieve a project", tags=["Projects"], dependencies=[require_scope("project")]
)
async def retrieve_project(project: ProjectDep, projects: ProjectsDep) -> ProjectRead:
    """Return one project; `@current` means the caller's current one."""
    return _read(await projects.get(project.id))


@router.patch(
    "/projects/{project_id}/", summary="Change a project", tags=["Projects"], dependencies=[require_scope("project")]
)
async def update_project(
    project: ProjectDep, projects: ProjectsDep, body: Annotated[ProjectUpdate, body_of(ProjectUpdate)]
) -> ProjectRead:
    """Change the name, time zone, test account filters or storage of IP addresses. Results reflect it at once."""
    return _read(await projects.update(project, body))


def _read_organization(membership: OrganizationMembership) -> OrganizationRead:
    return OrganizationRead(
        id=membership.organization.uuid,
        name=membership.organization.name,
        created_at=membership.organization.created_at,
        membership_level=MEMBER_LEVEL,
    )


def _read_member(membership: OrganizationMembership) -> OrganizationMemberRead:
    return OrganizationMemberRead(
        id=membership.id,
        user=UserBasic.model_validate(membership.user),
        joined_at=membership.joined_at,
        level=MEMBER_LEVEL,
    )


@router.get(
    "/organizations/",
    summary="List organizations",
    tags=["Organizations"],
    dependencies=[require_scope("organization")],
)
async def list_organizations(organizations: OrganizationsDep, pagination: PaginationDep) -> Page[OrganizationRead]:
    """Return the organizations that the caller belongs to, in the order in which they joined them."""
    count, rows = await organizations.page(pagination.limit, pagination.offset)
    return pagination.page(count, [_read_organization(membership) for membership in rows])


@router.get(
    "/organizations/{organization_id}/",
    summary="Retrieve an organization",
    tags=["Organizations"],
    dependencies=[require_scope("organization")],
)
async def retrieve_organization(own_membership: OwnMembershipDep) -> OrganizationRead:
    """Return one organization that the caller belongs to; `@current` means the one that they joined first."""
    return _read_organization(own_membership)


@router.get(
    "/organizations/{organization_id}/members/",
    summary="List members",
    tags=["Organizations"],
    dependencies=[require_scope("organization_member")],
)
async def list_organization_members(
    own_membership: OwnMembershipDep, organizations: OrganizationsDep, pagination: PaginationDep
) -> Page[OrganizationMemberRead]:
    """Return the active members of an organization, oldest first."""
    count, rows = await organizations.members(own_membership.organization_id, pagination.limit, pagination.offset)
    return pagination.page(count, [_read_member(membership) for membership in rows])


@router.get("/users/@me/", summary="Retrieve the calling user", tags=["Users"], dependencies=[require_scope("user")])
async def retrieve_me(access: AccessDep, projects: ProjectsDep) -> UserRead:
    """Return the calling user; with their organizations and current project, if the key has the scopes for those."""
    user, organizations, current = access.user, list[OrganizationBasic](), None
    if access.covers([scope_for("organization", "GET")]):
        organizations = [OrganizationBasic(id=row.uuid, name=row.name) for row in await projects.organizations()]
    if access.covers([scope_for("project", "GET")]):
        current = await projects.current_or_none()
    return UserRead(
        **UserBasic.model_validate(user).model_dump(),
        is_active=user.is_active,
        organization=organizations[0] if organizations else None,
        organizations=organizations,
        team=_read(current) if current else None,
    )


answer_other_methods(router, Depends(get_user))
