"""Every behavior test runs on SQLite and on PostgreSQL. Most share a database and have a project of their own in it.

``one_database`` runs a test on one of them, unless all has to be tested: others send PostgreSQL the same statements.
In a module that is marked so, ``each_database`` marks those that run on both.

``clickhouse`` runs a test on PostgreSQL with ClickHouse as well: under TEST_EVERYTHING, or ``clickhouse("always")``.

``own_database`` gives a test a new database.
"""

import asyncio
import contextlib
import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import hypothesis
import pytest
from fastapi import FastAPI
from starlette.datastructures import State

from app import main
from app.db import migrations
from app.db.clickhouse import ClickHouse
from app.db.database import Database
from app.settings import Settings
from tests.support.application import application as build_application
from tests.support.clickhouse import ClickHouseServer
from tests.support.compiled_once import share_compiled_statements
from tests.support.examples import CI, DEV
from tests.support.new_projects import ProjectStock, set_up_project
from tests.support.postgresql import PostgresServer
from tests.support.programs import EVERYTHING
from tests.support.service import Service
from tests.support.shared_database import separate_ids

# Examples that reach a database take as long as the machine is busy: time is measured in benchmarks, not here.
hypothesis.settings.register_profile("dev", deadline=None, max_examples=DEV)
# The check of a change gives one answer, however often it runs; `make test` looks for new examples each time.
hypothesis.settings.register_profile("ci", deadline=None, max_examples=CI, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get(EVERYTHING) else "dev")

share_compiled_statements()
# What is made while tests are collected stays: to look for garbage in it takes seconds of every worker.
gc.disable()
# It stays left out: hundreds of applications are opened and closed, and each would have it looked through again. The
# application is given another function than its own, which is what mypy objects to.
main.only_new_objects = contextlib.nullcontext  # type: ignore[attr-defined, assignment]

SERVER_OF_ALL = pytest.StashKey[PostgresServer]()
DATABASES = ("sqlite", "postgresql")
# The address of ClickHouse for databases that have it beside them.
CLICKHOUSE_OF: dict[str, str] = {}
DATABASE_FIXTURES = {"database_url", "postgresql", "sqlite_template"}
MEMORY_OF_DATABASES = 2**30  # bytes free; all tests leave a hundredth of it in the database that they share
STOCK = ProjectStock()
SLOW_MARKERS = ("clients", "browser", "exhaustive", "growth", "system")
# What a module has imported that starts processes or servers, and waits for them.
WAITING_IMPORTS = {
    "subprocess",
    "uvicorn",
    "Forked",
    "run_command",
    "Serving",
    "PostgresServer",
    "StdioServerParameters",
}
# What a module has imported that starts processes or prepares databases without these fixtures.
SLOW_IMPORTS = {"subprocess", "migrations", "PostgresServer", "sqlite3", "serving", "Forked"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Start one PostgreSQL for all workers."""
    if config.option.markexpr != "fast":
        config.stash[SERVER_OF_ALL] = PostgresServer.start()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    if SERVER_OF_ALL in node.config.stash:
        node.workerinput["postgresql"] = node.config.stash[SERVER_OF_ALL].url("postgres")


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVER_OF_ALL in config.stash:
        config.stash[SERVER_OF_ALL].stop()


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    spared, kept = list[pytest.Item](), list[pytest.Item]()
    for item in items:
        if is_fast(item):
            item.add_marker("fast")
        (spared if is_spared(item) and not os.environ.get(EVERYTHING) else kept).append(item)
    config.hook.pytest_deselected(items=spared)
    # The first worker takes them, and waits; the others have all other tests to fill the processors with.
    items[:] = sorted(kept, key=waits, reverse=True)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays to the end."""
    gc.freeze()
    gc.enable()


def waits(item: pytest.Item) -> bool:
    """Tell whether a test mostly waits for other processes: those it starts, or ClickHouse."""
    if not isinstance(item, pytest.Function):
        return False
    given = item.callspec.params.get("database_url") if hasattr(item, "callspec") else None
    return given == "clickhouse" or not WAITING_IMPORTS.isdisjoint(vars(item.module))


def is_fast(item: pytest.Item) -> bool:
    """Tell whether a test needs neither a database nor another process."""
    if not isinstance(item, pytest.Function) or any(item.get_closest_marker(name) for name in SLOW_MARKERS):
        return False
    return not DATABASE_FIXTURES.intersection(item.fixturenames) and not SLOW_IMPORTS.intersection(vars(item.module))


def is_spared(item: pytest.Item) -> bool:
    """Tell whether a test was asked to run on one database, and this is another, or where everything is tested only."""
    if item.get_closest_marker("everything") is not None:
        return True
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return False
    given = item.callspec.params.get("database_url")
    if given == "clickhouse":
        marker = item.get_closest_marker("clickhouse")
        return marker is not None and "always" not in marker.args
    marker = item.get_closest_marker("one_database") if item.get_closest_marker("each_database") is None else None
    wanted = marker.args[0] if marker is not None and marker.args else "sqlite"
    return marker is not None and given is not None and given != wanted


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database_url" not in metafunc.fixturenames or hasattr(metafunc.module, "database_url"):
        return
    if any("database_url" in str(marker.args[0]) for marker in metafunc.definition.iter_markers("parametrize")):
        return
    is_marked = metafunc.definition.get_closest_marker("clickhouse") is not None
    metafunc.parametrize("database_url", [*DATABASES, *(["clickhouse"] if is_marked else [])], indirect=True)


@pytest.fixture(scope="session")
def postgresql(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    workerinput = getattr(request.config, "workerinput", {})
    if "postgresql" in workerinput:
        yield PostgresServer(workerinput["postgresql"], None)
        return
    with PostgresServer.start() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgresServer) -> Iterator[str]:
    """A migrated database to make copies of."""
    name = f"template_{uuid4().hex}"
    run_apart(postgresql.create_database(name))
    in_a_thread(lambda: migrations.upgrade(settings_for(postgresql.url(name))))
    yield name
    run_apart(postgresql.drop_database(name))


@pytest.fixture(scope="session")
def sqlite_directory() -> Iterator[Path]:
    """A directory in memory, where there is enough: a commit waits 1 to 3 ms for a disk."""
    memory = Path("/dev/shm")  # noqa: S108  # for a directory with a name of its own
    has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_OF_DATABASES
    with tempfile.TemporaryDirectory(prefix="abacus-tests-", dir=memory if has_room else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def sqlite_template(sqlite_directory: Path) -> Path:
    path = sqlite_directory / "template.db"
    in_a_thread(lambda: migrations.upgrade(settings_for(f"sqlite:///{path}")))
    return path


@pytest.fixture(scope="session")
def shared_sqlite(sqlite_template: Path) -> str:
    url = f"sqlite:///{shutil.copy(sqlite_template, sqlite_template.with_name('shared.db'))}"
    in_a_thread(lambda: separate_ids(settings_for(url)))
    return url


@pytest.fixture(scope="session")
def shared_postgresql(postgresql: PostgresServer, postgresql_template: str) -> Iterator[str]:
    name = f"shared_{uuid4().hex}"
    run_apart(postgresql.create_database(name, template=postgresql_template))
    in_a_thread(lambda: separate_ids(settings_for(postgresql.url(name))))
    yield postgresql.url(name)
    run_apart(postgresql.drop_database(name))


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[ClickHouseServer]:
    server = ClickHouseServer.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_clickhouse(
    postgresql: PostgresServer, postgresql_template: str, clickhouse: ClickHouseServer
) -> Iterator[str]:
    with database_beside_clickhouse(postgresql, postgresql_template, clickhouse) as url:
        in_a_thread(lambda: separate_ids(settings_for(url)))
        yield url


@contextlib.contextmanager
def database_beside_clickhouse(
    postgresql: PostgresServer, template: str, clickhouse: ClickHouseServer
) -> Iterator[str]:
    """Create a database in PostgreSQL and one of the same name in ClickHouse, and yield the address of the first."""
    name = f"test_{uuid4().hex}"
    run_apart(postgresql.create_database(name, template=template))
    url = postgresql.url(name)
    CLICKHOUSE_OF[url] = clickhouse.url(name)
    in_a_thread(lambda: migrations.upgrade(settings_for(url)))
    yield url
    run_apart(postgresql.drop_database(name))
    run_apart(drop_from_clickhouse(settings_for(url)))


async def drop_from_clickhouse(settings: Settings) -> None:
    there = ClickHouse(settings)
    await there.execute(f"DROP DATABASE IF EXISTS `{there.database}`")
    await there.close()


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The database that tests share, or a copy of the template for a test that is marked ``own_database``."""
    if request.node.get_closest_marker("own_database") is None:
        yield request.getfixturevalue(f"shared_{request.param}")
        return
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        with tempfile.TemporaryDirectory(dir=template.parent) as directory:
            yield f"sqlite:///{shutil.copy(template, Path(directory, 'abacus.db'))}"
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    if request.param == "clickhouse":
        of_postgresql: str = request.getfixturevalue("postgresql_template")
        with database_beside_clickhouse(server, of_postgresql, request.getfixturevalue("clickhouse")) as url:
            yield url
        return
    name = f"test_{uuid4().hex}"
    run_apart(server.create_database(name, template=request.getfixturevalue("postgresql_template")))
    yield server.url(name)
    run_apart(server.drop_database(name))


def in_a_thread(work: Callable[[], None]) -> None:
    """Run what starts an event loop of its own: tests share one that must not be disturbed."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(work).result()


def run_apart(work: Coroutine[object, object, None]) -> None:
    in_a_thread(lambda: asyncio.run(work))


def settings_for(database_url: str) -> Settings:
    """Settings under which nothing happens by itself, and nobody is hurried: the machine may be busy."""
    return Settings(
        database_url=database_url,
        clickhouse_url=CLICKHOUSE_OF.get(database_url),
        refresh_interval=0,
        watchdog_seconds=0,
        database_statement_timeout=120,
        results_timeout=240,
        imports_directory=Path(tempfile.gettempdir(), f"abacus-imports-of-tests-{os.getpid()}"),
    )


@pytest.fixture(scope="session")
def built_application() -> FastAPI:
    """The application without a database: to prepare its routes takes longer than most tests do."""
    return build_application()


class OpenedApplications:
    """What the application holds open while it serves a database, for every database that tests share."""

    def __init__(self, application: FastAPI) -> None:
        self._application = application
        self._states: dict[str, State] = {}
        self._open = contextlib.AsyncExitStack()

    async def state(self, database_url: str) -> State:
        if database_url not in self._states:
            await self._open.enter_async_context(serving(self._application, database_url))
            self._states[database_url] = self._application.state
            STOCK.serve(self._application.state.database)
        return self._states[database_url]

    async def close(self) -> None:
        await self._open.aclose()


@contextlib.asynccontextmanager
async def serving(application: FastAPI, database_url: str) -> AsyncIterator[None]:
    application.state = State({"settings": settings_for(database_url), "rate_limiter": None})
    async with application.router.lifespan_context(application):
        yield


@pytest.fixture(scope="session")
async def opened_applications(built_application: FastAPI) -> AsyncIterator[OpenedApplications]:
    opened = OpenedApplications(built_application)
    yield opened
    await opened.close()


@pytest.fixture
async def application(
    request: pytest.FixtureRequest,
    built_application: FastAPI,
    database_url: str,
    opened_applications: OpenedApplications,
) -> AsyncIterator[FastAPI]:
    if request.node.get_closest_marker("own_database"):
        async with serving(built_application, database_url):
            yield built_application
        return
    opened = await opened_applications.state(database_url)
    built_application.state = State(dict(opened._state))  # what a test puts there goes with it
    yield built_application


@pytest.fixture
def database(application: FastAPI) -> Database:
    database: Database = application.state.database
    return database


@pytest.fixture
async def client(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client:
        yield client


@pytest.fixture
async def service(client: httpx.AsyncClient, database: Database) -> Service:
    """The API as the owner of a new project sees it."""
    return await new_service(client, database)


async def new_service(
    client: httpx.AsyncClient, database: Database, timezone: str = "UTC", *, beside: Service | None = None
) -> Service:
    """Set up a project: of a user and an organization of its own, or of those that another project has."""
    if beside is None and timezone == "UTC" and database in STOCK:
        project = await STOCK.take(database)
    else:
        email, organization = (beside.email, beside.organization) if beside else (None, None)
        project = await set_up_project(database, timezone, email=email, organization=organization)
    return Service(client, project.id, project.token, project.key, project.email, project.organization)
