"""Builds the application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute

from app import VERSION
from app.accounts.auth.dependencies import required_scope
from app.accounts.auth.rate_limits import RateLimiter
from app.accounts.auth.router import router as keys_router
from app.accounts.projects.router import router as projects_router
from app.analysis.router import router as analysis_router
from app.db.database import Database
from app.events.actions.router import router as actions_router
from app.events.capture.router import router as capture_router
from app.events.capture.service import CaptureService
from app.events.router import router as events_router
from app.experiments.activity_router import router as experiments_activity_router
from app.experiments.exposures.router import router as exposures_router
from app.experiments.health.router import router as findings_router
from app.experiments.results_router import router as results_router
from app.experiments.router import router as experiments_router
from app.experiments.scorecard.router import router as scorecards_router
from app.experiments.snapshots_router import router as snapshots_router
from app.flags.activity_router import router as flags_activity_router
from app.flags.evaluation.dependencies import build_evaluation
from app.flags.evaluation.router import router as evaluation_router
from app.flags.local_evaluation.router import router as definitions_router
from app.flags.remote_config.router import router as remote_config_router
from app.flags.remote_config.scripts import ScriptDirectory
from app.flags.router import router as flags_router
from app.http import docs_pages as documentation
from app.http import exception_handlers, openapi
from app.http.middleware.addresses import TrailingSlashMiddleware
from app.http.middleware.cors import PublicCORSMiddleware, public_paths
from app.http.middleware.direct_dispatch import DirectDispatchMiddleware
from app.http.middleware.error_boundary import ServerErrorMiddleware
from app.http.middleware.proxy_headers import ProxyHeadersMiddleware
from app.http.middleware.request_log import AccessLogMiddleware
from app.http.middleware.security_headers import SecurityHeadersMiddleware
from app.http.routing import allowed_methods
from app.metrics.facts.materializer import Materializer
from app.operations import probes as health
from app.operations import server as serving
from app.operations import watchdog
from app.operations.gc_tuning import raise_gc_threshold
from app.operations.maintenance.scheduler import MaintenanceScheduler
from app.operations.maintenance.wiring import build_maintenance
from app.operations.pool_sampling import keep_sampling
from app.operations.prometheus_endpoint import router as metrics_router
from app.pages.router import router as pages_router
from app.people.cohorts.router import router as cohorts_router
from app.people.groups.router import router as groups_router
from app.people.persons.router import router as persons_router
from app.settings import Settings
from app.telemetry.prometheus import count_captured

DESCRIPTION = """
Send events with the official PostHog SDKs, create experiments, read verdicts that can be trusted.

* Private endpoints take a personal API key: press **Authorize** and paste it.
* Capture takes the project's public token in the body.
* Every error has the same body: `type`, `code`, `detail`, `attr`.
"""

TAGS = [
    {"name": "Experiments", "description": "Create, launch, change and end experiments."},
    {"name": "Results", "description": "What the data say."},
    {"name": "Analysis", "description": "The engine by itself: counts in, figures out; and planning."},
    {"name": "Feature flags", "description": "Who sees what; the flags behind experiments too."},
    {"name": "Actions", "description": "Name the events that a metric is about."},
    {"name": "Cohorts", "description": "Name groups of persons."},
    {"name": "Flags for SDKs", "description": "What SDKs ask: a person's flags, definitions, configuration."},
    {"name": "Capture", "description": "Where SDKs send events."},
    {"name": "Events and persons", "description": "Look at what arrived: events, persons, groups."},
    {"name": "Projects", "description": "Projects and their tokens."},
    {"name": "Organizations", "description": "Who works together: their members reach all their projects."},
    {"name": "Personal API keys", "description": "The caller's keys to this API."},
    {"name": "Users", "description": "The caller."},
]

# Analysis, results, definitions and the log first: their fixed paths lie where an id could be.
PRIVATE_ROUTERS = (
    analysis_router,
    results_router,
    exposures_router,
    scorecards_router,
    findings_router,
    definitions_router,
    experiments_activity_router,
    flags_activity_router,
    snapshots_router,
    experiments_router,
    flags_router,
    actions_router,
    cohorts_router,
    events_router,
    persons_router,
    groups_router,
    projects_router,
    keys_router,
)
PUBLIC_ROUTERS = (evaluation_router, capture_router, remote_config_router)
# What an orchestrator or a monitoring system calls, by address and not by name.
PROBES = frozenset({"/_livez", "/_readyz", "/_health", "/metrics"})

_CLOSING_SECONDS = 5.0


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service. Without arguments it is configured from the environment."""
    settings = settings or Settings.from_environment()
    application = FastAPI(
        title="Abacus",
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        # Traces and metrics go where the usual OTEL_* variables say, if they say so. What fails is logged here, not
        # there: an exception's text may hold people's data.
        telemetry={"auto_configure": True, "logs": False, "operation_spans": False, "exclude": _is_probe},
    )
    application.state.settings = settings
    application.state.rate_limiter = RateLimiter() if settings.rate_limit_enabled else None
    exception_handlers.install(application)
    for router in PUBLIC_ROUTERS:
        application.include_router(router, responses=openapi.error_responses(400, 401, 405, 408, 413, 503))
    for router in PRIVATE_ROUTERS:
        application.include_router(
            router,
            responses=openapi.error_responses(400, 401, 403, 404, 405, 406, 408, 413, 415, 429, 503),
        )
    application.include_router(health.router)
    application.include_router(metrics_router)
    application.include_router(pages_router)
    application.include_router(documentation.router)
    openapi.install(application, PRIVATE_ROUTERS, required_scope)
    # The last one added is the outermost.
    application.add_middleware(
        TrailingSlashMiddleware,
        declared_without=PROBES | {"/openapi.json"},
        methods=allowed_methods((*PRIVATE_ROUTERS, *PUBLIC_ROUTERS)),
    )
    application.add_middleware(DirectDispatchMiddleware, routers=PUBLIC_ROUTERS)
    application.add_middleware(ServerErrorMiddleware)
    if settings.cors_allowed_origins:
        application.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_allowed_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-Match", "If-None-Match"],
            expose_headers=["ETag", "Retry-After", "X-Request-ID"],
        )
    application.add_middleware(PublicCORSMiddleware, paths=public_paths(PUBLIC_ROUTERS))
    application.add_middleware(
        ProxyHeadersMiddleware,
        trusted=settings.trusted_proxies,
        allowed_hosts=frozenset(settings.allowed_hosts),
        prefix=settings.prefix,
        believes_prefix=settings.trust_forwarded_prefix,
        probes=PROBES,
    )
    application.add_middleware(SecurityHeadersMiddleware)
    application.add_middleware(AccessLogMiddleware, quiet=PROBES, busy=allowed_methods(PUBLIC_ROUTERS).keys())
    return application


@contextlib.asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    """Open the database lazily: the service starts without one, and says so at ``/_readyz``."""
    settings: Settings = application.state.settings
    raise_gc_threshold()
    serving.stop_with_parent()
    application.state.health = probes = health.Health(settings)
    serving.drain_before_stopping(settings.drain_seconds, probes.drain)
    database = Database(settings)
    materializer = Materializer(database)
    application.state.database = database
    application.state.materializer = materializer
    application.state.evaluation, enrichment = build_evaluation(database)
    application.state.capture = capture = CaptureService(database, enrichment)
    application.state.scripts = ScriptDirectory(settings.static_directory)
    schedule = MaintenanceScheduler(
        database, lambda project: build_maintenance(database, materializer, project), settings.refresh_interval
    )
    database.on_commit(count_captured)
    tasks = [asyncio.create_task(keep_sampling(database))]
    if settings.refresh_interval:
        tasks.append(asyncio.create_task(schedule.run()))
    if settings.migrate_on_start and not settings.uses_sqlite:
        tasks.append(asyncio.create_task(serving.migrate_when_possible(settings)))
    try:
        async with watchdog.watch(settings.watchdog_seconds):
            yield
    finally:
        for task in tasks:
            task.cancel()
        # Whoever waited for an answer has had it or given up. A database that does not answer must not hold up the end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await asyncio.wait(tasks)  # which, unlike gather, can be given up while they do not end
                await materializer.shared.close()
                await capture.close()
                await database.close()
                await probes.close()


def _is_probe(scope: MutableMapping[str, Any]) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) in PROBES


def _operation_id(route: APIRoute) -> str:
    return route.name
