"""Authentication of the caller, the scope that a route requires, and the project that a path names."""

import math
from typing import Annotated

from fastapi import Depends, Path, Request, params
from fastapi.routing import APIRoute

from app.accounts.auth.credentials import find_credential
from app.accounts.auth.rate_limits import GENERAL, RateLimit, RateLimiter
from app.accounts.auth.repository import KeyRepository
from app.accounts.auth.scopes import ScopeAction, ScopeObject, scope_for
from app.accounts.auth.service import Access, AuthenticationService, KeyService
from app.accounts.projects.service import CURRENT, ProjectService
from app.common.errors import NotFound, Throttled
from app.common.ids import read_id
from app.db.models import PersonalApiKey, Project, User
from app.http.dependencies import SessionDep, get_database
from app.http.fields import ProjectReference
from app.http.routing import negotiate
from app.http.strictness import check_query

# A string, so that a non-numeric id is a 404 and not a validation error.
ProjectId = Annotated[ProjectReference, Path(description="The id of a project, or `@current`.")]


async def get_access(request: Request) -> Access:
    """Authenticate the caller and return their access. May be called again in the same request."""
    known: Access | None = getattr(request.state, "access", None)
    if known is not None:
        return known
    negotiate(request)
    credential = await find_credential(request)
    project_id = read_id(request.path_params.get("project_id", ""))
    access = await AuthenticationService(get_database(request)).authenticate(credential, project_id)
    request.state.access = access
    return access


AccessDep = Annotated[Access, Depends(get_access)]


class RequireScope:
    """Requires a scope and applies the rate limit of a route."""

    def __init__(self, scope_object: ScopeObject, limit: RateLimit, action: ScopeAction | None) -> None:
        self._scope_object = scope_object
        self._limit = limit
        self._action = action

    def scope(self, method: str) -> str:
        """Return the scope that a request with a method requires."""
        return scope_for(self._scope_object, method, self._action)

    async def __call__(self, request: Request) -> None:
        access = await get_access(request)
        access.require(self.scope(request.method))
        reference: str | None = request.path_params.get("project_id")
        project = await _project_of(request, reference) if reference is not None else None
        count_request(request, self._limit, access.source, project.id if project is not None else None)
        check_query(request)


def count_request(request: Request, limit: RateLimit, source: tuple[str, int], project_id: int | None) -> None:
    """Count a request of a key, or of another source, to a project against its rate limit, or refuse it."""
    limiter: RateLimiter | None = request.app.state.rate_limiter
    wait = limiter.count(limit, (source, project_id)) if limiter is not None else 0
    if wait > 0:
        raise Throttled(math.ceil(wait))


def require_scope(
    scope_object: ScopeObject, limit: RateLimit = GENERAL, *, action: ScopeAction | None = None
) -> params.Depends:
    """Return the dependency that requires a scope. Every private route has one; a test names those without.

    ``action`` overrides what follows from the method: a POST that changes nothing requires only ``read``.
    """
    return params.Depends(RequireScope(scope_object, limit, action))


def required_scope(route: APIRoute, method: str) -> str | None:
    """Return the scope that a private route requires."""
    guards = (dependency.dependency for dependency in route.dependencies)
    return next((guard.scope(method) for guard in guards if isinstance(guard, RequireScope)), None)


async def get_user(request: Request) -> User:
    return (await get_access(request)).user


UserDep = Annotated[User, Depends(get_user)]


async def get_project(request: Request, project_id: ProjectId) -> Project:
    """The tenant check: every access to a project passes through here."""
    return await _project_of(request, project_id)


async def _project_of(request: Request, reference: str) -> Project:
    """Return the project that a path names, or refuse. May be called again in the same request."""
    known: Project | None = getattr(request.state, "project", None)
    if known is not None:
        return known
    access = await get_access(request)
    if reference == CURRENT:
        async with get_database(request).read() as session:
            project = await ProjectService(session, access.user).current()
    elif read_id(reference) is None:
        raise NotFound
    else:
        project = access.to_project()
    request.state.project = project
    return project


ProjectDep = Annotated[Project, Depends(get_project)]
KeyId = Annotated[str, Path(description="The id of a personal API key.", examples=["1"])]


async def get_keys(request: Request, session: SessionDep) -> KeyService:
    return KeyService(KeyRepository(session), await get_access(request))


async def get_key(key_id: KeyId, keys: "KeysDep") -> PersonalApiKey:
    return await keys.get(key_id)


async def get_locked_key(key_id: KeyId, keys: "KeysDep") -> PersonalApiKey:
    """The key, locked against other writers until the end of this request."""
    return await keys.get(key_id, for_update=True)


KeysDep = Annotated[KeyService, Depends(get_keys)]
LockedKeyDep = Annotated[PersonalApiKey, Depends(get_locked_key)]
