"""The application: routers, middleware and background tasks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import NoMatchFound

from app import VERSION
from app.accounts.auth.dependencies import required_scope
from app.accounts.auth.rate_limits import RateLimiter
from app.accounts.auth.router import router as keys_router
from app.accounts.projects.router import router as projects_router
from app.analysis.router import router as analysis_router
from app.common import limits
from app.common.body_budget import BodyBudget
from app.common.byte_budget import ByteBudget
from app.common.large_blocks import return_large_blocks
from app.db.database import Database
from app.events.actions.router import router as actions_router
from app.events.capture.router import router as capture_router
from app.events.capture.service import CaptureService
from app.events.definitions.router import router as definitions_router
from app.events.ofrep.exposures import RecentExposures
from app.events.ofrep.router import router as ofrep_router
from app.events.router import router as events_router
from app.experiments.activity_router import router as experiments_activity_router
from app.experiments.existing_flags.router import router as existing_flags_router
from app.experiments.export.router import router as export_router
from app.experiments.exposures.router import router as exposures_router
from app.experiments.health.router import router as health_router
from app.experiments.holdout_analysis.router import router as holdout_analysis_router
from app.experiments.holdouts.router import router as holdouts_router
from app.experiments.participants.router import router as participants_router
from app.experiments.phases.dependencies import build_upkeep
from app.experiments.phases.router import router as phases_router
from app.experiments.results.router import router as results_router
from app.experiments.router import router as experiments_router
from app.experiments.saved_metrics.router import router as saved_metrics_router
from app.experiments.scorecard.router import router as scorecard_router
from app.experiments.snapshots.router import router as snapshots_router
from app.experiments.verdicts.dependencies import build_verdicts
from app.experiments.webhooks.activity_router import router as webhooks_activity_router
from app.experiments.webhooks.delivery import Deliverer
from app.experiments.webhooks.dependencies import build_followed_flags, build_watch
from app.experiments.webhooks.router import router as webhooks_router
from app.experiments.webhooks.sending import Sender
from app.flags.activity_router import router as flags_activity_router
from app.flags.evaluation.dependencies import build_evaluation
from app.flags.evaluation.router import router as evaluation_router
from app.flags.local_evaluation.router import router as local_evaluation_router
from app.flags.remote_config.router import router as remote_config_router
from app.flags.remote_config.scripts import ScriptDirectory
from app.flags.router import router as flags_router
from app.http import docs_pages, exception_handlers, front_page, guide, openapi
from app.http.middleware.conditional_reads import ConditionalReadMiddleware
from app.http.middleware.cors import PrivateCORSMiddleware, PublicCORSMiddleware, public_paths
from app.http.middleware.direct_dispatch import DirectDispatchMiddleware
from app.http.middleware.error_boundary import ServerErrorMiddleware
from app.http.middleware.own_cookie import OwnCookieMiddleware
from app.http.middleware.proxy_headers import ProxyHeadersMiddleware
from app.http.middleware.request_log import AccessLogMiddleware
from app.http.middleware.security_headers import SecurityHeadersMiddleware
from app.http.middleware.trailing_slash import TrailingSlashMiddleware
from app.http.middleware.warnings import WarningMiddleware
from app.http.routing import allowed_methods
from app.http.unserved_addresses import resources_of
from app.insights.router import router as insights_router
from app.metrics.facts.materializer import Materializer
from app.operations import probes, server, watchdog
from app.operations.garbage import only_new_objects
from app.operations.imports.page_router import router as import_pages_router
from app.operations.imports.router import router as imports_router
from app.operations.imports.runner import ImportRunner
from app.operations.imports.uploads import Uploads
from app.operations.maintenance.archiving import ArchiveScheduler
from app.operations.maintenance.router import router as erasure_router
from app.operations.maintenance.scheduler import MaintenanceScheduler
from app.operations.maintenance.wiring import build_maintenance
from app.operations.memory_tuning import start_threads_with_small_stacks
from app.operations.pool_sampling import keep_sampling
from app.operations.prometheus_endpoint import router as metrics_router
from app.pages import rendering
from app.pages.actions.router import router as page_actions_router
from app.pages.code.router import router as code_router
from app.pages.cohorts.router import router as page_cohorts_router
from app.pages.credentials import SESSION_COOKIE
from app.pages.downloads.router import router as downloads_router
from app.pages.editing.router import router as editing_router
from app.pages.exploring.router import router as exploring_router
from app.pages.flag_editing.router import router as flag_editing_router
from app.pages.flags.router import router as page_flags_router
from app.pages.history.router import router as history_router
from app.pages.holdouts.router import router as page_holdouts_router
from app.pages.project_settings.router import router as project_settings_router
from app.pages.release_conditions.router import router as release_conditions_router
from app.pages.router import router as pages_router
from app.pages.shared_metrics.router import router as shared_metrics_router
from app.pages.sharing.router import router as sharing_router
from app.pages.sign_in.router import router as sign_in_router
from app.pages.webhooks.router import router as page_webhooks_router
from app.people.cohorts.router import router as cohorts_router
from app.people.cookieless.service import CookielessService
from app.people.groups.router import router as groups_router
from app.people.persons.activity_router import router as persons_activity_router
from app.people.persons.router import router as persons_router
from app.settings import Settings
from app.telemetry.prometheus import count_captured

DESCRIPTION = """
Send events with the official PostHog SDKs, create experiments and read their results.

* Private endpoints take a personal API key: press **Authorize** and paste it.
* Capture takes the project's public token in the body.
* Every error has the same body: `type`, `code`, `detail`, `attr`.
* Tutorials, guides and explanations are at `/guide/`.
"""

TAGS = [
    {"name": "Experiments", "description": "Create, launch, change and end experiments."},
    {"name": "Results", "description": "Results, exposures, health and scorecards of experiments."},
    {"name": "Webhooks", "description": "URLs that are sent what happens to experiments."},
    {"name": "Analysis", "description": "Analyze counts from any source, and plan sample sizes."},
    {"name": "Feature flags", "description": "Feature flags, including those of experiments."},
    {"name": "Actions", "description": "Named sets of events, for use in metrics."},
    {"name": "Cohorts", "description": "Named sets of persons."},
    {
        "name": "Flags for SDKs",
        "description": "Endpoints that SDKs call: flag evaluation, flag definitions, configuration.",
    },
    {"name": "Capture", "description": "Endpoints that receive events from SDKs."},
    {"name": "Events and persons", "description": "Captured events, persons and groups."},
    {"name": "Projects", "description": "Projects and their tokens."},
    {"name": "Organizations", "description": "Organizations, whose members have access to all of their projects."},
    {"name": "Personal API keys", "description": "The caller's own API keys."},
    {"name": "Users", "description": "The calling user."},
]

# Analysis, results, definitions and the log come first: their fixed paths would also match `/{id}/`.
PRIVATE_ROUTERS = (
    analysis_router,
    results_router,
    exposures_router,
    export_router,
    scorecard_router,
    health_router,
    local_evaluation_router,
    participants_router,
    experiments_activity_router,
    flags_activity_router,
    snapshots_router,
    phases_router,
    existing_flags_router,
    experiments_router,
    saved_metrics_router,
    holdout_analysis_router,
    holdouts_router,
    webhooks_activity_router,
    webhooks_router,
    flags_router,
    actions_router,
    cohorts_router,
    events_router,
    definitions_router,
    insights_router,
    imports_router,
    persons_activity_router,
    erasure_router,
    persons_router,
    groups_router,
    projects_router,
    keys_router,
)
PUBLIC_ROUTERS = (evaluation_router, ofrep_router, capture_router, remote_config_router)
# Fixed paths come before those that begin with a project's id.
PAGE_ROUTERS = (
    sign_in_router,
    import_pages_router,
    sharing_router,
    editing_router,
    page_actions_router,
    exploring_router,
    downloads_router,
    history_router,
    code_router,
    flag_editing_router,
    page_flags_router,
    release_conditions_router,
    shared_metrics_router,
    page_holdouts_router,
    page_cohorts_router,
    page_webhooks_router,
    project_settings_router,
    pages_router,
)
# What orchestrators and monitoring systems call, by IP address instead of host name.
PROBES = frozenset({"/_livez", "/_readyz", "/_health", "/metrics"})

_CLOSING_SECONDS = 5.0


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application. Without settings it is configured from the environment."""
    settings = settings or Settings.from_environment()
    application = FastAPI(
        title="Abacus",
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=_lifespan,
        openapi_url=None,  # ``openapi.install`` adds it
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        # Traces and metrics are exported as the OTEL_* variables say. Exceptions are logged here and not exported,
        # because their text may contain personal data.
        telemetry={"auto_configure": True, "logs": False, "operation_spans": False, "exclude": _is_probe},
    )
    application.state.settings = settings
    application.state.rate_limiter = RateLimiter() if settings.rate_limit_enabled else None
    resources = resources_of(allowed_methods(PRIVATE_ROUTERS))
    exception_handlers.install(application, resources)
    for router in PUBLIC_ROUTERS:
        application.include_router(router, responses=openapi.error_responses(400, 401, 405, 408, 413, 503))
    for router in PRIVATE_ROUTERS:
        application.include_router(
            router,
            responses=openapi.error_responses(400, 401, 403, 404, 405, 406, 408, 413, 415, 429, 503),
        )
    application.include_router(probes.router)
    application.include_router(metrics_router)
    for router in PAGE_ROUTERS:
        application.include_router(router)
    application.include_router(docs_pages.router)
    application.include_router(guide.router)
    application.include_router(front_page.router)
    openapi.install(application, PRIVATE_ROUTERS, required_scope)
    # The last one added is the outermost.
    application.add_middleware(ConditionalReadMiddleware, paths=allowed_methods(PRIVATE_ROUTERS))
    application.add_middleware(WarningMiddleware)
    application.add_middleware(
        TrailingSlashMiddleware,
        declared_without=PROBES | {openapi.DOCUMENT},
        methods=allowed_methods((*PRIVATE_ROUTERS, *PUBLIC_ROUTERS)),
    )
    application.add_middleware(OwnCookieMiddleware, name=SESSION_COOKIE)
    application.add_middleware(DirectDispatchMiddleware, routers=PUBLIC_ROUTERS)
    application.add_middleware(ServerErrorMiddleware)
    application.add_middleware(PrivateCORSMiddleware, origins=settings.cors_allowed_origins, resources=resources)
    application.add_middleware(
        PublicCORSMiddleware, paths=public_paths(PUBLIC_ROUTERS), posted=public_paths([ofrep_router])
    )
    application.add_middleware(
        ProxyHeadersMiddleware,
        trusted=settings.trusted_proxies,
        allowed_hosts=frozenset(settings.allowed_hosts),
        prefix=settings.prefix,
        trusts_prefix=settings.trust_forwarded_prefix,
        probes=PROBES,
    )
    application.add_middleware(SecurityHeadersMiddleware)
    application.add_middleware(AccessLogMiddleware, quiet=PROBES, busy=allowed_methods(PUBLIC_ROUTERS).keys())
    return application


@contextlib.asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    """Create what requests share. The service starts without a database, and ``/_readyz`` reports it."""
    settings: Settings = application.state.settings
    return_large_blocks()
    start_threads_with_small_stacks()
    await _prepare(application)
    server.stop_with_parent()
    application.state.health = monitor = probes.HealthMonitor(settings)
    server.drain_before_stopping(settings.drain_seconds, monitor.drain)
    database = Database(settings)
    materializer = Materializer(database, unstored_facts=limits.UNSTORED_FACTS.value)
    application.state.database = database
    application.state.build_flags = build_followed_flags
    application.state.materializer = materializer
    application.state.evaluation, enrichment = build_evaluation(database)
    application.state.cookieless = cookieless = CookielessService(database, is_enabled=settings.cookieless_visitors)
    application.state.capture = capture = CaptureService(database, enrichment, cookieless)
    application.state.body_bytes = BodyBudget(
        limits.BODIES_BYTES.value,
        settings.body_timeout,
        longest_wait=2 * settings.body_timeout,
        most_waiting=limits.BODIES_WAITING.value,
    )
    application.state.payload_bytes = ByteBudget(limits.PAYLOADS_BYTES.value)
    application.state.recent_exposures = RecentExposures()
    application.state.scripts = ScriptDirectory(settings.static_directory)
    application.state.guide = guide.guide_files(settings.guide_directory)
    scheduler = MaintenanceScheduler(
        database,
        lambda project: build_maintenance(database, materializer, project),
        settings.refresh_interval,
        upkeep=lambda project: build_upkeep(database, materializer, project),
        watch=lambda project: build_watch(database, materializer, project),
        verdicts=lambda project: build_verdicts(database, materializer, project),
    )
    application.state.imports = imports = ImportRunner(database, Uploads.of(settings))
    sender = Sender(settings.webhook_allowed_networks)
    application.state.deliverer = deliverer = Deliverer(database, sender)
    database.on_commit(count_captured)
    tasks = [asyncio.create_task(keep_sampling(database)), asyncio.create_task(cookieless.keep_forgetting())]
    if settings.refresh_interval:
        archive = ArchiveScheduler(database, settings.refresh_interval)
        tasks += [asyncio.create_task(work.run()) for work in (scheduler, archive, imports, deliverer)]
    if settings.migrate_on_start and not settings.uses_sqlite:
        tasks.append(asyncio.create_task(server.migrate_when_possible(settings)))
    try:
        async with watchdog.watch(settings.watchdog_seconds):
            with only_new_objects():
                yield
    finally:
        for task in tasks:
            task.cancel()
        # All requests are finished by now. A database that does not respond must not delay the shutdown.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await asyncio.wait(tasks)  # unlike gather, it can be cancelled while they run
                await imports.close()
                await materializer.close()
                await capture.close()
                await sender.close()
                await database.close()
                await monitor.close()


async def _prepare(application: FastAPI) -> None:
    """Do what the first requests would do otherwise, for a second on the event loop."""
    await asyncio.to_thread(rendering.prepare)
    with contextlib.suppress(NoMatchFound):
        application.url_path_for("")  # the framework builds its routes when they are first looked through


def _is_probe(scope: MutableMapping[str, Any]) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) in PROBES


def _operation_id(route: APIRoute) -> str:
    return route.name
