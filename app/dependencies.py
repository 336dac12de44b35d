"""Wiring: the one place where services and repositories are built for a request."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import Depends, Path, Query, Request, params
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.api_keys import Credential
from app.accounts.auth.credentials import find_credential
from app.accounts.auth.rate_limits import ANALYTICS, GENERAL, RateLimit, RateLimiter
from app.accounts.auth.repository import KeyRepository
from app.accounts.auth.scopes import ScopeAction, ScopeObject, scope_for
from app.accounts.auth.service import Access, AuthenticationService, KeyService
from app.accounts.projects.service import CURRENT, OrganizationService, ProjectService
from app.activity_log.repository import ActivityRepository
from app.activity_log.service import ActivityLog
from app.common.errors import NotFound, PermissionDenied, Throttled, Unavailable
from app.common.ids import read_id
from app.db.database import Database
from app.db.models import Action, Cohort, Experiment, FeatureFlag, OrganizationMembership, PersonalApiKey, Project, User
from app.events.actions.repository import ActionRepository
from app.events.actions.service import ActionService
from app.events.capture.service import CaptureService
from app.events.repository import EventRepository
from app.experiments.changes import ExperimentChanges
from app.experiments.exposures.service import ExposureService
from app.experiments.exposures.traffic_split import SplitReader
from app.experiments.health.service import FindingsService
from app.experiments.loading import ExperimentViews
from app.experiments.repository import ExperimentReader, ExperimentRepository
from app.experiments.results.service import ResultsService
from app.experiments.scorecard.counting import ScorecardCounter
from app.experiments.scorecard.service import ScorecardService
from app.experiments.service import ExperimentService
from app.experiments.snapshots.repository import SnapshotRepository
from app.experiments.snapshots.service import SnapshotService, SnapshotTaker, TakenSnapshot
from app.flags.evaluation.active_flags import ActiveFlags
from app.flags.evaluation.enrichment import EnrichmentService
from app.flags.evaluation.project_sources import ProjectCohorts, ProjectGroups
from app.flags.evaluation.service import EvaluationService
from app.flags.evaluation.sources import Cohorts, Groups
from app.flags.local_evaluation.service import DefinitionService
from app.flags.remote_config.scripts import ScriptDirectory
from app.flags.repository import FlagRepository
from app.flags.service import FlagService
from app.http.query_params import read_text
from app.http.request_body import read_bytes
from app.http.routing import negotiate
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materialiser
from app.metrics.queries.service import ExperimentQuestions
from app.operations.maintenance.service import UpkeepService
from app.pages.credentials import read_key
from app.pages.service import PageService
from app.people.cohorts.repository import CohortRepository
from app.people.cohorts.service import CohortService
from app.people.groups.repository import GroupRepository
from app.people.groups.service import GroupService
from app.people.persons.repository import PersonRepository
from app.people.persons.service import PersonService
from app.settings import Settings

# Every dependency is a coroutine, also those that only build something: others are sent to a thread and back.

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_LINKED_PROJECTS = 100


def database_of(request: Request) -> Database:
    """Return the database.

    A plain function, as is ``access_of``: the framework works out each dependency anew wherever it is named, also where
    it keeps the value, at a fifth of the price of a query.
    """
    database: Database = request.app.state.database
    return database


# Text to the code, so that what is no number is a 404 and not a quarrel about types; a number to readers of /docs.
ProjectId = Annotated[str, Path(description="A project's id, or `@current`.", examples=["1"])]
ExperimentId = Annotated[str, Path(description="An experiment's id.", examples=["1"])]
FeatureFlagId = Annotated[str, Path(description="A feature flag's id.", examples=["1"])]
KeyId = Annotated[str, Path(description="The id of a personal API key.", examples=["1"])]
OrganizationId = Annotated[str, Path(description="An organization's id, or `@current`.", examples=["@current"])]
ActionId = Annotated[str, Path(description="An action's id.", examples=["1"])]
CohortId = Annotated[str, Path(description="A cohort's id.", examples=["1"])]


async def access_of(request: Request) -> Access:
    """Return who is asking and what he may do, or refuse. May be called again in the same request."""
    known: Access | None = getattr(request.state, "access", None)
    if known is not None:
        return known
    negotiate(request)
    credential = await find_credential(request)
    project_id = read_id(request.path_params.get("project_id", ""))
    access = await AuthenticationService(database_of(request)).authenticate(credential, project_id)
    request.state.access = access
    return access


class Admission:
    """Lets in whose key may do what a route is for, as often as he may."""

    def __init__(self, scope_object: ScopeObject, limit: RateLimit, action: ScopeAction | None) -> None:
        self._scope_object = scope_object
        self._limit = limit
        self._action = action

    def scope(self, method: str) -> str:
        """Return the scope that a request of a method needs."""
        return scope_for(self._scope_object, method, self._action)

    async def __call__(self, request: Request) -> None:
        access = await access_of(request)
        access.require(self.scope(request.method))
        reference: str | None = request.path_params.get("project_id")
        project = await _project_of(request, reference) if reference is not None else None
        _count(request, self._limit, access, project.id if project is not None else None)


def _count(request: Request, limit: RateLimit, access: Access, project_id: int | None) -> None:
    """Count a request to a project, or refuse it."""
    limiter: RateLimiter | None = request.app.state.rate_limiter
    wait = limiter.count(limit, (access.key_id, project_id)) if limiter is not None else 0
    if wait > 0:
        raise Throttled(math.ceil(wait))


def admit(
    scope_object: ScopeObject, limit: RateLimit = GENERAL, *, action: ScopeAction | None = None
) -> params.Depends:
    """Declare what the routes of a router are about: every private route says so, or a test names it.

    ``action`` says what they do where their methods do not: a POST that changes nothing only reads.
    """
    return params.Depends(Admission(scope_object, limit, action))


def scope_needed(route: APIRoute, method: str) -> str | None:
    """Return the scope that a private route asks for."""
    guards = (dependency.dependency for dependency in route.dependencies)
    return next((guard.scope(method) for guard in guards if isinstance(guard, Admission)), None)


async def get_user(request: Request) -> User:
    return (await access_of(request)).user


UserDep = Annotated[User, Depends(get_user)]


async def get_project(request: Request, project_id: ProjectId) -> Project:
    """The tenant check: nothing of a project is reached but through here."""
    return await _project_of(request, project_id)


async def _project_of(request: Request, reference: str) -> Project:
    """Return the project that a path names, or refuse. May be called again in the same request."""
    known: Project | None = getattr(request.state, "project", None)
    if known is not None:
        return known
    access = await access_of(request)
    if reference == CURRENT:
        async with database_of(request).read() as session:
            project = await ProjectService(session, access.user).current()
    elif read_id(reference) is None:
        raise NotFound
    else:
        project = access.to_project()
    request.state.project = project
    return project


ProjectDep = Annotated[Project, Depends(get_project)]


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """One request, one transaction: committed when the endpoint returns, undone when it raises."""
    if request.method in _SAFE_METHODS:
        async with database_of(request).read() as session:
            yield session
        return
    await read_bytes(request)  # first the slow part: a client that dawdles must not hold up other writers
    async with database_of(request).write() as session:
        yield session


# With the default scope a failed commit would be found after the client was told of success.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


async def get_projects(user: UserDep, session: SessionDep) -> ProjectService:
    return ProjectService(session, user)


async def get_organizations(user: UserDep, session: SessionDep) -> OrganizationService:
    return OrganizationService(session, user)


async def get_own_membership(
    organization_id: OrganizationId, organizations: "OrganizationsDep"
) -> OrganizationMembership:
    """The caller's membership of the organization: without one it does not exist to him."""
    return await organizations.resolve(organization_id)


async def get_keys(request: Request, session: SessionDep) -> KeyService:
    return KeyService(KeyRepository(session), await access_of(request))


async def get_key(key_id: KeyId, keys: "KeysDep") -> PersonalApiKey:
    return await keys.get(key_id)


async def get_locked_key(key_id: KeyId, keys: "KeysDep") -> PersonalApiKey:
    """The key, held against other writers until this request is done."""
    return await keys.get(key_id, for_update=True)


async def get_experiments(project: ProjectDep, session: SessionDep) -> ExperimentService:
    return build_experiments(session, project.id)


async def get_experiment_views(request: Request, project: ProjectDep) -> ExperimentViews:
    return ExperimentViews(ExperimentReader(database_of(request), project.id))


async def get_experiment_changes(request: Request, project: ProjectDep) -> ExperimentChanges:
    """Changes that keep results run for longer than one transaction should: they open short ones of their own."""
    database, materialiser = database_of(request), request.app.state.materialiser
    taker = SnapshotTaker(
        build_results(database, materialiser, project),
        build_scorecards(database, materialiser, project),
        build_findings(database, materialiser, project),
        project,
    )
    return ExperimentChanges(database, lambda session, taken: build_experiments(session, project.id, taken), taker)


async def get_snapshots(project: ProjectDep, session: SessionDep) -> SnapshotService:
    return SnapshotService(SnapshotRepository(session, project.id))


async def get_activity_log(project: ProjectDep, session: SessionDep) -> ActivityLog:
    return build_activity_log(session, project.id)


async def get_detached_experiment(request: Request, experiment_id: ExperimentId, project: ProjectDep) -> Experiment:
    """The experiment, loaded in a transaction that is over already: for work that takes longer than one should."""
    async with database_of(request).read() as session:
        return await build_experiments(session, project.id).get(experiment_id)


async def get_locked_experiment(experiment_id: ExperimentId, experiments: "ExperimentsDep") -> Experiment:
    """The experiment, held against other writers until this request is done."""
    return await experiments.get(experiment_id, for_update=True)


async def get_flags(project: ProjectDep, session: SessionDep) -> FlagService:
    return build_flags(session, project.id)


async def get_flag(feature_flag_id: FeatureFlagId, flags: "FlagsDep") -> FeatureFlag:
    return await flags.get(feature_flag_id)


async def get_locked_flag(feature_flag_id: FeatureFlagId, flags: "FlagsDep") -> FeatureFlag:
    """The flag, held against other writers until this request is done."""
    return await flags.get(feature_flag_id, for_update=True)


async def get_actions(project: ProjectDep, session: SessionDep) -> ActionService:
    return ActionService(ActionRepository(session, project.id))


async def get_action(action_id: ActionId, actions: "ActionsDep") -> Action:
    return await actions.get(action_id)


async def get_locked_action(action_id: ActionId, actions: "ActionsDep") -> Action:
    """The action, held against other writers until this request is done."""
    return await actions.get(action_id, for_update=True)


async def get_cohorts(project: ProjectDep, session: SessionDep) -> CohortService:
    return build_cohorts(session, project.id)


async def limit_time(request: Request) -> AsyncIterator[None]:
    """Give up an answer that takes too long to be counted: a proxy in front would, and tell the client less.

    What has been matched and counted so far is kept, so that the next attempt goes on there.
    """
    settings: Settings = request.app.state.settings
    deadline = asyncio.timeout(settings.results_timeout)
    try:
        async with deadline:
            yield
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise Unavailable("Results are still being counted. Please try again.", retry_after=10) from error


# For everything that an endpoint counts together, its waiting for a turn included.
LimitedTimeDep = Annotated[None, Depends(limit_time, scope="function")]


async def get_cohorts_in_a_snapshot(
    request: Request, project: ProjectDep, _time: LimitedTimeDep
) -> AsyncIterator[CohortService]:
    """Cohorts whose members are going to be counted: that streams persons, which takes a transaction."""
    database = database_of(request)
    async with database.counting_turns, database.snapshot() as session:
        yield build_cohorts(session, project.id)


async def get_locked_cohort(cohort_id: CohortId, cohorts: "CohortsDep") -> Cohort:
    """The cohort, held against other writers until this request is done."""
    return await cohorts.get(cohort_id, for_update=True)


async def get_persons(project: ProjectDep, session: SessionDep) -> PersonService:
    return PersonService(PersonRepository(session, project.id))


async def get_groups(project: ProjectDep, session: SessionDep) -> GroupService:
    return GroupService(GroupRepository(session, project.id))


async def get_events(project: ProjectDep, session: SessionDep) -> EventRepository:
    return EventRepository(session, project.id)


async def get_results(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ResultsService:
    """Results run for longer than one transaction should: they open short ones of their own."""
    return build_results(database_of(request), request.app.state.materialiser, project)


async def get_exposures(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ExposureService:
    """Exposures open short transactions of their own, as results do."""
    return build_exposures(database_of(request), request.app.state.materialiser, project)


async def get_scorecards(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> ScorecardService:
    """Scorecards open short transactions of their own, as results do."""
    return build_scorecards(database_of(request), request.app.state.materialiser, project)


async def get_findings(request: Request, project: ProjectDep, _time: LimitedTimeDep) -> FindingsService:
    """Findings open short transactions of their own, as results do."""
    return build_findings(database_of(request), request.app.state.materialiser, project)


async def authenticate_page(request: Request, credential: Credential | None) -> Access:
    """Return who looks at a page, or refuse. Pages and the API know each other's visitors by nothing but the key."""
    project_id = read_id(request.path_params.get("project_id", ""))
    access = await AuthenticationService(database_of(request)).authenticate(credential, project_id)
    access.require(scope_for("experiment", "GET"))
    return access


async def get_page_access(request: Request) -> Access:
    key = read_key(request)
    access = await authenticate_page(request, Credential(key, "cookie") if key is not None else None)
    _count(request, ANALYTICS, access, read_id(request.path_params.get("project_id", "")))
    return access


PageAccessDep = Annotated[Access, Depends(get_page_access)]


async def get_page_project(access: PageAccessDep) -> Project:
    """The tenant check of pages: to people without access a project does not exist."""
    try:
        return access.to_project()
    except PermissionDenied as error:
        raise NotFound("Project not found.") from error


PageProjectDep = Annotated[Project, Depends(get_page_project)]


async def get_page_home(request: Request, access: PageAccessDep) -> Project:
    """The project that is opened when none is named."""
    async with database_of(request).read() as session:
        return await ProjectService(session, access.user).current()


async def get_page_projects(request: Request, access: PageAccessDep) -> Sequence[Project]:
    """The projects that a list of experiments leads to."""
    async with database_of(request).read() as session:
        _, projects = await ProjectService(session, access.user).page(_MAX_LINKED_PROJECTS, 0)
        return projects


async def get_page_experiments(request: Request, project: PageProjectDep) -> ExperimentViews:
    return ExperimentViews(ExperimentReader(database_of(request), project.id))


async def get_page_experiment(request: Request, experiment_id: ExperimentId, project: PageProjectDep) -> Experiment:
    return await get_detached_experiment(request, experiment_id, project)


async def get_pages(request: Request, project: PageProjectDep) -> PageService:
    return build_pages(database_of(request), request.app.state.materialiser, project)


def capture_of(request: Request) -> CaptureService:
    """Return the one of the process. To be called, not declared: solving a dependency costs more than decoding."""
    capture: CaptureService = request.app.state.capture
    return capture


def evaluation_of(request: Request) -> EvaluationService:
    """Return the one of the process. To be called, not declared: solving a dependency costs more than evaluating."""
    evaluation: EvaluationService = request.app.state.evaluation
    return evaluation


async def get_scripts(request: Request) -> ScriptDirectory:
    scripts: ScriptDirectory = request.app.state.scripts
    return scripts


async def get_project_by_token(
    request: Request,
    user: UserDep,
    token: Annotated[str | None, Query(description="A project's public token.", examples=["phc_3xAmPl3"])] = None,
) -> Project:
    """The tenant check for addresses that name no project: its token does, or else it is the caller's current one."""
    token = read_text(token)
    async with database_of(request).read() as session:
        projects = ProjectService(session, user)
        return await (projects.with_token(token) if token else projects.current())


async def get_definitions_by_id_or_token(
    request: Request,
    project_id: ProjectId,
    session: SessionDep,
    token: Annotated[str | None, Query(description="Which project `@current` is.", examples=["phc_3xAmPl3"])] = None,
) -> DefinitionService:
    access = await access_of(request)
    token = read_text(token) if project_id == CURRENT else None
    if token:
        project = await ProjectService(session, access.user).with_token(token)
    else:
        project = await get_project(request, project_id)
    return build_definitions(session, project.id)


async def get_definitions(project: ProjectDep, session: SessionDep) -> DefinitionService:
    return build_definitions(session, project.id)


async def get_definitions_by_token(
    project: Annotated[Project, Depends(get_project_by_token)], session: SessionDep
) -> DefinitionService:
    return build_definitions(session, project.id)


def build_definitions(session: AsyncSession, project_id: int) -> DefinitionService:
    return DefinitionService(
        build_flags(session, project_id), evaluated_groups(session, project_id), evaluated_cohorts(session, project_id)
    )


def evaluated_groups(session: AsyncSession, project_id: int) -> Groups:
    return ProjectGroups(GroupRepository(session, project_id))


def evaluated_cohorts(session: AsyncSession, project_id: int) -> Cohorts:
    return ProjectCohorts(build_cohorts(session, project_id))


def build_evaluation(database: Database) -> tuple[EvaluationService, EnrichmentService]:
    """Build what evaluates flags for clients, and for events that lack them. One of each serves the whole process."""
    active_flags = ActiveFlags(database, evaluated_groups)
    evaluation = EvaluationService(database, active_flags, evaluated_groups, evaluated_cohorts)
    return evaluation, EnrichmentService(active_flags, evaluation)


def build_experiments(session: AsyncSession, project_id: int, taken: TakenSnapshot | None = None) -> ExperimentService:
    return ExperimentService(
        ExperimentRepository(session, project_id),
        build_flags(session, project_id),
        SnapshotService(SnapshotRepository(session, project_id), taken),
        build_activity_log(session, project_id),
    )


def build_flags(session: AsyncSession, project_id: int) -> FlagService:
    return FlagService(
        FlagRepository(session, project_id), build_cohorts(session, project_id), build_activity_log(session, project_id)
    )


def build_activity_log(session: AsyncSession, project_id: int) -> ActivityLog:
    return ActivityLog(ActivityRepository(session, project_id))


def build_cohorts(session: AsyncSession, project_id: int) -> CohortService:
    return CohortService(CohortRepository(session, project_id), PersonService(PersonRepository(session, project_id)))


def build_results(database: Database, materialiser: Materialiser, project: Project) -> ResultsService:
    return ResultsService(database, FactService(database, materialiser, project.id), project, materialiser.shared)


def build_exposures(database: Database, materialiser: Materialiser, project: Project) -> ExposureService:
    return ExposureService(FactService(database, materialiser, project.id), ExperimentQuestions(database, project))


def build_scorecards(database: Database, materialiser: Materialiser, project: Project) -> ScorecardService:
    facts, questions = FactService(database, materialiser, project.id), ExperimentQuestions(database, project)
    return ScorecardService(ScorecardCounter(facts, questions, SplitReader(database, project.id)))


def build_findings(database: Database, materialiser: Materialiser, project: Project) -> FindingsService:
    return FindingsService(
        build_exposures(database, materialiser, project),
        build_results(database, materialiser, project),
        build_scorecards(database, materialiser, project),
        SplitReader(database, project.id),
    )


def build_pages(database: Database, materialiser: Materialiser, project: Project) -> PageService:
    return PageService(
        project,
        build_scorecards(database, materialiser, project),
        build_exposures(database, materialiser, project),
        build_findings(database, materialiser, project),
        build_results(database, materialiser, project),
    )


def build_upkeep(database: Database, materialiser: Materialiser, project: Project) -> UpkeepService:
    facts, questions = FactService(database, materialiser, project.id), ExperimentQuestions(database, project)
    return UpkeepService(facts, questions, ScorecardCounter(facts, questions, SplitReader(database, project.id)))


ProjectsDep = Annotated[ProjectService, Depends(get_projects)]
OrganizationsDep = Annotated[OrganizationService, Depends(get_organizations)]
OwnMembershipDep = Annotated[OrganizationMembership, Depends(get_own_membership)]
KeysDep = Annotated[KeyService, Depends(get_keys)]
LockedKeyDep = Annotated[PersonalApiKey, Depends(get_locked_key)]
ExperimentViewsDep = Annotated[ExperimentViews, Depends(get_experiment_views)]
ExperimentsDep = Annotated[ExperimentService, Depends(get_experiments)]
ExperimentChangesDep = Annotated[ExperimentChanges, Depends(get_experiment_changes)]
SnapshotsDep = Annotated[SnapshotService, Depends(get_snapshots)]
ActivityLogDep = Annotated[ActivityLog, Depends(get_activity_log)]
DetachedExperimentDep = Annotated[Experiment, Depends(get_detached_experiment)]
LockedExperimentDep = Annotated[Experiment, Depends(get_locked_experiment)]
FlagsDep = Annotated[FlagService, Depends(get_flags)]
LockedFlagDep = Annotated[FeatureFlag, Depends(get_locked_flag)]
ActionsDep = Annotated[ActionService, Depends(get_actions)]
LockedActionDep = Annotated[Action, Depends(get_locked_action)]
CohortsDep = Annotated[CohortService, Depends(get_cohorts)]
CountingCohortsDep = Annotated[CohortService, Depends(get_cohorts_in_a_snapshot, scope="function")]
LockedCohortDep = Annotated[Cohort, Depends(get_locked_cohort)]
PersonsDep = Annotated[PersonService, Depends(get_persons)]
GroupsDep = Annotated[GroupService, Depends(get_groups)]
EventsDep = Annotated[EventRepository, Depends(get_events)]
ExposuresDep = Annotated[ExposureService, Depends(get_exposures)]
FindingsDep = Annotated[FindingsService, Depends(get_findings)]
ScorecardsDep = Annotated[ScorecardService, Depends(get_scorecards)]
ResultsDep = Annotated[ResultsService, Depends(get_results)]
ScriptsDep = Annotated[ScriptDirectory, Depends(get_scripts)]
DefinitionsDep = Annotated[DefinitionService, Depends(get_definitions)]
DefinitionsByIdOrTokenDep = Annotated[DefinitionService, Depends(get_definitions_by_id_or_token)]
DefinitionsByTokenDep = Annotated[DefinitionService, Depends(get_definitions_by_token)]
PageHomeDep = Annotated[Project, Depends(get_page_home)]
PageProjectsDep = Annotated[Sequence[Project], Depends(get_page_projects)]
PageExperimentsDep = Annotated[ExperimentViews, Depends(get_page_experiments)]
PageExperimentDep = Annotated[Experiment, Depends(get_page_experiment)]
PagesDep = Annotated[PageService, Depends(get_pages)]
