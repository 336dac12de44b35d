"""Builds pages, and authenticates their visitors."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.api_keys import Credential
from app.accounts.auth.dependencies import count_request
from app.accounts.auth.rate_limits import ANALYTICS
from app.accounts.auth.scopes import scope_for
from app.accounts.auth.service import Access, AuthenticationService
from app.accounts.projects.service import ProjectService
from app.common.ids import read_id
from app.db.database import Database
from app.db.models import Experiment, Project
from app.experiments.counting.dependencies import build_counter
from app.experiments.dependencies import ExperimentId, get_detached_experiment
from app.experiments.health.definition import DefinitionChecker
from app.experiments.loading import ExperimentViews
from app.experiments.phases.dependencies import build_launch_checklist
from app.experiments.repository import ExperimentQueries
from app.experiments.sharing import SharedCounts
from app.http.dependencies import get_database
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.service import MetricQueryBuilder
from app.pages.credentials import read_key
from app.pages.service import PageService

_MAX_LINKED_PROJECTS = 100


async def authenticate_page(request: Request, credential: Credential | None) -> Access:
    """Return the access of a page's visitor, or refuse it. Pages and the API share nothing but the key."""
    project_id = read_id(request.path_params.get("project_id", ""))
    access = await AuthenticationService(get_database(request)).authenticate(credential, project_id)
    access.require(scope_for("experiment", "GET"))
    return access


async def get_page_access(request: Request) -> Access:
    key = read_key(request)
    access = await authenticate_page(request, Credential(key, "cookie") if key is not None else None)
    count_request(request, ANALYTICS, access, read_id(request.path_params.get("project_id", "")))
    return access


PageAccessDep = Annotated[Access, Depends(get_page_access)]


async def get_page_project(access: PageAccessDep) -> Project:
    """The tenant check of pages."""
    return access.to_project()


PageProjectDep = Annotated[Project, Depends(get_page_project)]


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
    return PageService(project, counter, SharedCounts(materializer.shared, project), checker, checklist, queries)


PageHomeDep = Annotated[Project, Depends(get_page_home)]
PageProjectsDep = Annotated[Sequence[Project], Depends(get_page_projects)]
PageExperimentsDep = Annotated[ExperimentViews, Depends(get_page_experiments)]
PageExperimentDep = Annotated[Experiment, Depends(get_page_experiment)]
PagesDep = Annotated[PageService, Depends(get_pages)]
