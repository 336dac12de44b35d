"""The layers: which folder may import which. An import that breaks a rule is named."""

import ast
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "app").rglob("*.py"))
}
# From the bottom to the top: an entry of `app/` may import those of the lines before its own, and of its own line none
# but itself. An entry that is not on the list fails.
LAYERS = (
    ("common",),
    ("telemetry",),
    ("settings",),
    ("statistics", "properties"),
    ("db",),
    ("http",),
    ("sdk",),
    ("accounts",),
    ("analysis", "activity_log"),
    ("people",),
    ("flags",),
    ("events",),
    ("metrics",),
    ("insights",),
    ("experiments",),
    ("pages",),
    ("operations",),
    ("main", "cli"),
)
RANKS = {entry: rank for rank, entries in enumerate(LAYERS) for entry in entries}
# Modules that meet HTTP requests, and modules that connect services: they may reach up inside their own folder, because
# no service imports them.
ROUTERS = ("router", "activity_router", "page_router", "prometheus_endpoint", "probes")
WIRING = ("dependencies", "wiring")
KNOWS_THE_FRAMEWORK = ("app.main", "app.http", "app.sdk.requests", "app.accounts.auth.credentials", "app.pages")
KNOWS_SQL = ("app.db", "app.settings")
REPOSITORIES = ("repository", "actor_keys", "stored_series", "series_facts", "direct_facts", "direct_filters")
# Numbers by the thousand are handled here; routers, schemas and everything else see finished figures.
KNOWS_ARRAYS = (
    *("app.statistics", "app.metrics", "app.insights", "app.people", "app.db.bulk", "app.db.clickhouse"),
    *("app.experiments", "app.pages"),
)
# Computations: they know neither HTTP nor SQL, and nothing of the services around them.
PURE = (
    "app.common",
    "app.statistics",
    "app.properties",
    "app.sdk.bounded_structs",
    "app.sdk.payloads",
    "app.sdk.lz_string",
    "app.accounts.auth.api_keys",
    "app.accounts.auth.rate_limits",
    "app.accounts.auth.scopes",
    "app.activity_log.changes",
    "app.people.properties",
    "app.people.persons.identity",
    "app.people.persons.origin",
    "app.people.cookieless.visitors",
    "app.people.cohorts.criteria",
    "app.people.cohorts.matching",
    "app.people.groups.decoding",
    "app.flags.filters",
    "app.flags.holdouts",
    "app.flags.options",
    "app.flags.payloads",
    "app.flags.evaluation.rules",
    "app.flags.evaluation.conditions",
    "app.flags.evaluation.flag_references",
    "app.flags.evaluation.hashing",
    "app.flags.evaluation.event_flags",
    "app.flags.evaluation.decoding",
    "app.flags.evaluation.responses",
    "app.flags.local_evaluation.cohorts",
    "app.flags.local_evaluation.documents",
    "app.flags.local_evaluation.evaluators",
    "app.flags.remote_config.documents",
    "app.flags.remote_config.scripts",
    "app.events.uuids",
    "app.events.capture.decoding",
    "app.events.imports.batches",
    "app.events.imports.formats",
    "app.events.imports.lines",
    "app.events.imports.records",
    "app.events.actions.matching",
    "app.events.ofrep.decoding",
    "app.events.ofrep.exposures",
    "app.events.ofrep.responses",
    "app.metrics.aggregation",
    "app.metrics.counting.fact_query",
    "app.metrics.facts.actor_filters",
    "app.metrics.facts.columns",
    "app.metrics.facts.series",
    "app.metrics.facts.sessions",
    "app.metrics.facts.event_sets",
    "app.metrics.facts.matching",
    "app.metrics.queries.applied_filters",
    "app.metrics.queries.entities",
    "app.metrics.queries.funnel",
    "app.metrics.queries.metric_limits",
    "app.metrics.queries.models",
    "app.metrics.queries.parsing",
    "app.metrics.queries.scope",
    "app.metrics.queries.trend",
    "app.experiments.lifecycle",
    "app.experiments.webhooks.addresses",
    "app.experiments.webhooks.events",
    "app.experiments.webhooks.signing",
    "app.pages.formatting",
)


@cache
def imports(module: str) -> Sequence[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += (f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imported_modules(module: str) -> Iterator[str]:
    """Return the modules of ours that a module imports, or imports a name of."""
    for name in imports(module):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]  # noqa: PLW2901  # a name of a module is cut to the module
        if name not in {"", "app", module}:
            yield name


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def entry_of(module: str) -> str:
    """Return the folder or file of `app/` that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def last_part(module: str) -> str:
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


def folder_graph() -> Mapping[str, set[str]]:
    graph: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        entry = entry_of(module)
        graph[entry] |= {entry_of(name) for name in imported_modules(module)} - {entry, ""}
    del graph[""]
    return graph


def find_cycle(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


def test_every_folder_and_file_has_a_layer() -> None:
    assert {entry_of(module) for module in MODULES} - {""} == RANKS.keys()


def test_imports_go_down_the_layers(capsys: pytest.CaptureFixture[str]) -> None:
    graph = folder_graph()
    lines = [
        f"{entry:12} -> {', '.join(sorted(graph[entry], key=RANKS.__getitem__)) or '-'}"
        for entries in LAYERS
        for entry in entries
    ]
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))

    assert not offenders(
        lambda module: module == "app",
        lambda module, name: (
            within(name, "app")
            and entry_of(name) in RANKS
            and entry_of(name) != entry_of(module)
            and RANKS[entry_of(name)] >= RANKS[entry_of(module)]
        ),
    )


def test_imports_have_no_circle() -> None:
    assert find_cycle(folder_graph()) == []
    assert find_cycle({module: set(imported_modules(module)) for module in MODULES}) == []


def test_parts_of_a_folder_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        if last_part(module) in (*ROUTERS, *WIRING):
            continue
        part = ".".join(module.split(".")[:3])
        graph[part] |= {
            ".".join(name.split(".")[:3]) for name in imported_modules(module) if entry_of(name) == entry_of(module)
        } - {part}

    assert find_cycle(graph) == []


def test_only_the_http_layer_knows_the_framework() -> None:
    assert not offenders(
        lambda module: last_part(module) in (*ROUTERS, *WIRING) or within(module, *KNOWS_THE_FRAMEWORK),
        lambda _, name: within(name, "fastapi", "starlette"),
    )


def test_statements_are_written_in_repositories_only() -> None:
    # Errors of the database have to be told from others where they are answered; sessions are passed through.
    harmless = ("sqlalchemy.exc", "sqlalchemy.ext.asyncio.AsyncSession")
    assert not offenders(
        lambda module: last_part(module) in REPOSITORIES or within(module, *KNOWS_SQL),
        lambda _, name: within(name, "sqlalchemy") and not within(name, *harmless),
    )


def test_arrays_stay_where_they_are_computed() -> None:
    assert not offenders(
        lambda module: within(module, *KNOWS_ARRAYS) and last_part(module) not in (*ROUTERS, *WIRING, "schemas"),
        lambda _, name: within(name, "numpy"),
    )


def test_routers_leave_the_database_to_services() -> None:
    assert not offenders(
        lambda module: not last_part(module).endswith("router"),
        lambda _, name: within(name, "app.db", "sqlalchemy") and not within(name, "app.db.models"),
    )


def test_services_do_not_import_routers_or_wiring() -> None:
    assert not offenders(
        lambda module: last_part(module) in (*ROUTERS, "dependencies", "wiring", "main", "cli", "routing"),
        lambda _, name: (
            within(name, "app") and any(part in (*ROUTERS, "dependencies", "wiring") for part in name.split("."))
        ),
    )


def test_pure_modules_import_only_pure_ones() -> None:
    assert all(any(within(module, pure) for module in MODULES) for pure in PURE)
    assert not offenders(
        lambda module: not within(module, *PURE),
        lambda _, name: (
            within(name, "app", "sqlalchemy", "fastapi", "starlette", "asyncpg") and not within(name, *PURE)
        ),
    )
