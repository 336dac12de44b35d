"""Every behavior test runs twice: on a fresh SQLite file and on a fresh PostgreSQL database."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import hypothesis
import pytest
from fastapi import FastAPI

from app.accounts.projects.service import AccountService
from app.db import migrations
from app.db.database import Database
from app.main import create_app
from app.settings import Settings
from tests.support.postgresql import PostgresServer
from tests.support.service import Service

TEMPLATE = "abacus_template"

# Examples that reach a database take as long as the machine is busy: time is measured in benchmarks, not here.
hypothesis.settings.register_profile("abacus", deadline=None, max_examples=50)
hypothesis.settings.load_profile("abacus")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    with PostgresServer.start() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgresServer) -> str:
    """A migrated database that each test gets a copy of."""
    run_apart(postgresql.create_database(TEMPLATE))
    in_a_thread(lambda: migrations.upgrade(settings_for(postgresql.url(TEMPLATE))))
    return TEMPLATE


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "abacus.db"
    in_a_thread(lambda: migrations.upgrade(settings_for(f"sqlite:///{path}")))
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        path = tmp_path / "abacus.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
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
    return Settings(database_url=database_url, refresh_interval=0, database_statement_timeout=120, results_timeout=240)


@pytest.fixture(scope="session")
def built_application() -> FastAPI:
    """The application without a database: to prepare its routes takes longer than most tests do."""
    return create_app(Settings(refresh_interval=0))


@pytest.fixture
async def application(built_application: FastAPI, database_url: str) -> AsyncIterator[FastAPI]:
    built_application.state.settings = settings_for(database_url)
    async with built_application.router.lifespan_context(built_application):
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


async def new_service(client: httpx.AsyncClient, database: Database, timezone: str = "UTC") -> Service:
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name="Web shop", email="ann@example.com", organization_name="Example", timezone=timezone
        )
    return Service(client, made.project.id, made.project.api_token, made.personal_api_key)
