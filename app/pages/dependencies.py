"""Builds pages, and authenticates their visitors."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import count_request
from app.accounts.auth.rate_limits import ANALYTICS
from app.accounts.auth.scopes import ScopeObject, scope_for
from app.accounts.auth.service import Access, AuthenticationService
from app.accounts.projects.service import ProjectService
from app.common.errors import NotAuthenticated
from app.common.ids import read_id
from app.common.nouns import PERSONS, plural
from app.db.database import Database
from app.db.models import Experiment, FeatureFlag, Project
from app.experiments.counting.dependencies import build_counter
from app.experiments.dependencies import ExperimentId, get_detached_experiment
from app.experiments.health.definition import DefinitionChecker
from app.experiments.loading import ExperimentViews
from app.experiments.phases.dependencies import build_launch_checklist
from app.experiments.repository import ExperimentQueries
from app.experiments.scorecard.dependencies import build_scorecards
from app.experiments.sharing import SharedCounts
from app.flags.filters import group_type_index_of
from app.http.dependencies import get_database, time_limit
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder
from app.pages.credentials import read_token
from app.pages.listing.service import VerdictService
from app.pages.service import PageService
from app.pages.visits import Visit
from app.people.groups.repository import GroupRepository

_MAX_LINKED_PROJECTS = 100
_SECONDS_UNTIL_PROGRESS = 5.0
_SECONDS_BETWEEN_LOOKS = 2


def limit_page_time(request: Request) -> AbstractAsyncContextManager[None]:
    """Return a context that ends what a page counts when a visitor should see how far it is; counting goes on.

    It is entered in endpoints, and is not a dependency: those end outside of ``PageRoute``.
    """
    return time_limit(request, at_most=_SECONDS_UNTIL_PROGRESS, retry_after=_SECONDS_BETWEEN_LOOKS)


async def get_page_access(request: Request) -> Access:
    """Return the access of a page's visitor, or refuse it."""
    project_id = read_id(request.path_params.get("project_id", ""))
    token = read_token(request)
    if token is None:
        raise NotAuthenticated
    access = await AuthenticationService(get_database(request)).authenticate_session(token, project_id)
    access.require(scope_for("experiment", "GET"))
    # All sessions of a user count together: who begins another one gets no more requests.
    count_request(request, ANALYTICS, ("pages", access.user.id), project_id)
    return access


PageAccessDep = Annotated[Access, Depends(get_page_access)]


async def get_page_project(access: PageAccessDep) -> Project:
    """The tenant check of pages."""
    return access.to_project()


PageProjectDep = Annotated[Project, Depends(get_page_project)]


async def get_visit(access: PageAccessDep, project: PageProjectDep) -> Visit:
    return Visit(access, project)


VisitDep = Annotated[Visit, Depends(get_visit)]


def visit_with_scope(thing: ScopeObject, method: str) -> Callable[[Visit], Awaitable[Visit]]:
    """Return a dependency: a visit whose key may do to a kind of thing what a method of the API does."""
    scope = scope_for(thing, method)

    async def get_visit_with_scope(visit: VisitDep) -> Visit:
        visit.access.require(scope)
        return visit

    return get_visit_with_scope


ChangingVisitDep = Annotated[Visit, Depends(visit_with_scope("experiment", "POST"))]


async def get_page_home(request: Request, access: PageAccessDep) -> Project:
    """The project that is opened when none is named."""
    async with get_database(request).read() as session:
        return await ProjectService(session, access.user).current()


async def get_page_projects(request: Request, access: PageAccessDep, project: PageProjectDep) -> Sequence[Project]:
    """The projects that a list of experiments links to: only its own for a key that may not list projects."""
    if not access.covers([scope_for("project", "GET")]):
        return [project]
    async with get_database(request).read() as session:
        _, projects = await ProjectService(session, access.user).page(_MAX_LINKED_PROJECTS, 0)
        return projects


async def load_unit(request: Request, project: Project, type_index: int | None) -> str:
    """Return groups of a type in the plural, by the type's name; persons without a type."""
    async with get_database(request).read() as session:
        return await GroupRepository(session, project.id).unit(type_index)


async def load_unit_of(request: Request, project: Project, flag: FeatureFlag) -> str:
    """Return what a flag assigns, in the plural."""
    return await load_unit(request, project, group_type_index_of(flag.filters))


async def load_units(request: Request, project: Project) -> dict[str, str]:
    """Return what flags of a project can assign, in the plural: groups by the index of their type, and persons."""
    async with get_database(request).read() as session:
        types = await GroupRepository(session, project.id).types()
    return {"": PERSONS, **{str(one.type_index): plural(one.name) for one in types}}


async def load_group_type(request: Request, project: Project, flag: FeatureFlag) -> str | None:
    """Return the name of the type of groups that a flag assigns; None where it assigns persons."""
    type_index = group_type_index_of(flag.filters)
    async with get_database(request).read() as session:
        types = await GroupRepository(session, project.id).types()
    return next((one.name for one in types if one.type_index == type_index), None)


async def get_page_experiments(request: Request, project: PageProjectDep) -> ExperimentViews:
    return ExperimentViews(ExperimentQueries(get_database(request), project.id))


async def get_page_experiment(request: Request, experiment_id: ExperimentId, project: PageProjectDep) -> Experiment:
    return await get_detached_experiment(request, experiment_id, project)


async def get_pages(request: Request, project: PageProjectDep) -> PageService:
    return build_pages(get_database(request), request.app.state.materializer, project)


def build_pages(database: Database, materializer: Materializer, project: Project) -> PageService:
    counter = build_counter(database, materializer, project)
    queries = MetricQueryBuilder(database, project)
    checker, checklist = DefinitionChecker(queries), build_launch_checklist(database, project)
    return PageService(project, counter, SharedCounts(database, materializer, project), checker, checklist, queries)


async def get_verdicts(request: Request, project: PageProjectDep) -> VerdictService:
    database, materializer = get_database(request), request.app.state.materializer
    return VerdictService(database, build_scorecards(database, materializer, project), project.id)


PageHomeDep = Annotated[Project, Depends(get_page_home)]
PageProjectsDep = Annotated[Sequence[Project], Depends(get_page_projects)]
PageExperimentsDep = Annotated[ExperimentViews, Depends(get_page_experiments)]
PageExperimentDep = Annotated[Experiment, Depends(get_page_experiment)]
VerdictsDep = Annotated[VerdictService, Depends(get_verdicts)]
PagesDep = Annotated[PageService, Depends(get_pages)]
