"""The layers: who may import whom. A module that breaks a rule is named."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "app").rglob("*.py"))
}
HTTP_MODULES = (
    "router",
    "dependencies",
    "main",
    "exception_handlers",
    "request_body",
    "forms",
    "submission",
    "credentials",
    "routing",
    "cross_origin",
    "pagination",
    "conditional",
    "health",
    "proxies",
    "security_headers",
    "documentation",
)
SQL_PACKAGES = (
    "app.db.models",
    "app.db.database",
    "app.db.compiled_queries",
    "app.db.bulk",
    "app.db.migrations",
    "app.settings",
)
# Pure: they know nothing of HTTP, SQL or the features around them.
PURE = {
    "app.statistics": (),
    "app.properties": (),
    "app.common.timestamps": (),
    "app.common.lenient_json": (),
    "app.accounts.auth.api_keys": (),
    "app.accounts.auth.rate_limits": (),
    "app.accounts.auth.scopes": (),
    "app.activity_log.changes": (),
    "app.experiments.lifecycle": ("app.common.errors",),
    "app.people.persons.identity": ("app.common.timestamps",),
    "app.events.capture.decoding": ("app.common.errors", "app.common.lenient_json", "app.common.timestamps"),
    "app.flags.filters": ("app.common.errors", "app.properties"),
    "app.events.actions.matching": ("app.properties",),
    "app.people.cohorts.criteria": ("app.properties", "app.http.fields"),
    "app.people.cohorts.matching": ("app.people.cohorts.criteria", "app.properties"),
    "app.sdk.payloads": ("app.common.errors", "app.sdk.lz_string"),
    "app.sdk.lz_string": (),
    "app.flags.evaluation.hashing": (),
    "app.flags.evaluation.rules.rules": (
        "app.common.errors",
        "app.flags.filters",
        "app.flags.evaluation.hashing",
        "app.properties",
    ),
    "app.flags.evaluation.event_flags": (),
    "app.flags.evaluation.decoding": ("app.common.errors", "app.sdk.payloads", "app.common.lenient_json"),
    "app.flags.evaluation.responses": ("app.flags.evaluation.rules.rules",),
    "app.flags.local_evaluation.documents": ("app.flags.evaluation.rules.rules", "app.flags.filters"),
    "app.flags.remote_config.documents": ("app.flags.evaluation.responses",),
    "app.flags.remote_config.scripts": (),
    "app.pages.formatting": (),
    "app.metrics.facts.columns": (),
    "app.metrics.aggregation.calendar": (),
    "app.metrics.aggregation.funnel": ("app.facts",),
    "app.metrics.aggregation.trend": ("app.facts",),
    "app.people.groups.decoding": ("app.properties", "app.http.fields"),
    "app.metrics.facts.series": ("app.properties",),
    "app.metrics.facts.actor_filters": ("app.facts", "app.properties"),
    "app.metrics.facts.sessions": ("app.facts", "app.properties"),
    "app.metrics.facts.event_sets": ("app.facts", "app.properties"),
    "app.metrics.facts.matching": ("app.facts", "app.properties"),
    **dict.fromkeys(
        [f"app.questions.{name}" for name in ("entities", "scope", "queries", "reading", "echoes", "funnel", "trend")],
        (
            "app.common.errors",
            "app.facts",
            "app.common.timestamps",
            "app.properties",
            "app.questions",
            "app.http.fields",
        ),
    ),
}
# From what was asked to what is shown: a package may import those before it, and none beside or after it.
STAGES = (
    {"app.facts"},
    {"app.questions"},
    {"app.exposures"},
    {"app.results", "app.scorecards"},
    {"app.findings"},
    {"app.pages", "app.snapshots", "app.maintenance"},
)


def imports(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def package_of(name: str) -> str:
    return ".".join(name.split(".")[:2])


def layer(module: str) -> str:
    return module.rpartition(".")[2]


def offenders(is_free: Callable[[str], bool], is_refused: Callable[[str, str], bool]) -> list[str]:
    """Return "module imports name" for the imports that a rule refuses, in modules that it binds."""
    return [
        f"{module} imports {name}"
        for module in MODULES
        if not is_free(module)
        for name in imports(module)
        if is_refused(module, name)
    ]


def test_only_the_http_layer_knows_the_framework() -> None:
    assert not offenders(
        lambda module: (
            layer(module) in HTTP_MODULES or module in {"app.http.openapi", "app.http.middleware.request_log"}
        ),
        lambda _, name: within(name, "fastapi", "starlette"),
    )


def test_statements_are_written_in_repositories_only() -> None:
    # Errors of the database have to be told from others where they are answered; sessions are passed through.
    harmless = ("sqlalchemy.exc", "sqlalchemy.ext.asyncio.AsyncSession")
    assert not offenders(
        lambda module: layer(module) == "repository" or within(module, *SQL_PACKAGES),
        lambda _, name: within(name, "sqlalchemy") and not within(name, *harmless),
    )


def test_routers_leave_the_database_to_services() -> None:
    assert not offenders(
        lambda module: layer(module) != "router",
        lambda _, name: within(name, "app.db.database", "app.db.compiled_queries", "app.db.bulk", "sqlalchemy"),
    )


def test_nothing_below_the_routers_imports_them() -> None:
    assert not offenders(
        lambda module: module in {"app.main", "app.cli"} or layer(module) in {"router", "dependencies"},
        lambda _, name: ".router" in name or within(name, "app.dependencies", "app.main"),
    )


def test_data_flow_one_way_from_facts_to_findings() -> None:
    places = {package: place for place, packages in enumerate(STAGES) for package in packages}
    assert places.keys() <= MODULES.keys()

    assert not offenders(
        lambda module: package_of(module) not in places,
        lambda module, name: (
            package_of(name) != package_of(module) and places.get(package_of(name), -1) >= places[package_of(module)]
        ),
    )


def test_pure_modules_import_only_pure_ones() -> None:
    def binding(module: str) -> tuple[str, ...] | None:
        """Return what a pure module may import of ours; None for others."""
        package = next((package for package in PURE if within(module, package)), None)
        return (package, *PURE[package]) if package else None

    assert not offenders(
        lambda module: binding(module) is None,
        lambda module, name: (
            within(name, "app", "sqlalchemy", "fastapi", "starlette", "asyncpg")
            and not within(name, *(binding(module) or ()))
        ),
    )
