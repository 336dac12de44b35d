"""``abacus doctor``: each failed check has a remedy."""

from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import delete, text
from starlette.types import ASGIApp, Receive, Scope, Send

from app.db import clickhouse_schema
from app.db.database import Database
from app.db.models import ClickHouseMigration, EventArchive, Organization, Project
from app.operations.doctor import service
from app.operations.doctor.service import Doctor, Finding
from app.settings import Settings

pytestmark = [pytest.mark.one_database, pytest.mark.own_database]

ADDRESS = "http://abacus.test"


async def examine(settings: Settings, application: ASGIApp, url: str | None = ADDRESS) -> dict[str, Finding]:
    database = Database(settings)
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport) as client:
        found = [finding async for finding in Doctor(settings, database, client, url).examine()]
    await database.close()
    return {finding.subject: finding for finding in found}


def faults(found: dict[str, Finding]) -> set[str]:
    return {subject for subject, finding in found.items() if finding.remedy}


@pytest.fixture
def settings(application: FastAPI) -> Settings:
    settings: Settings = application.state.settings
    return settings


@pytest.mark.each_database
async def test_checks_of_a_working_deployment_pass_except_durability_of_tests(
    application: FastAPI, settings: Settings
) -> None:
    found = await examine(settings, application)

    assert faults(found) == (set() if settings.uses_sqlite else {"durability"})
    assert found.keys() >= {"database", "schema", "address", "prefix", "large bodies"}
    if not settings.uses_sqlite:
        assert "fsync" in found["durability"].detail


@pytest.mark.each_database
async def test_unreachable_database_is_reported_without_its_password(application: FastAPI) -> None:
    away = Settings(database_url="postgresql://ann:hunter2@127.0.0.1:9/abacus")

    found = await examine(away, application)

    assert "database" in faults(found)
    assert "schema" not in found
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(("revision", "is_fault"), [("0001", True), ("from_the_future", False), (None, True)])
async def test_old_schema_fails_and_a_newer_one_passes(
    application: FastAPI, settings: Settings, database: Database, revision: str | None, is_fault: bool
) -> None:
    async with database.write() as session:
        if revision is None:
            await session.execute(text("DROP TABLE alembic_version"))
        else:
            await session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})

    finding = (await examine(settings, application))["schema"]

    assert bool(finding.remedy) == is_fault
    assert ("abacus migrate" in finding.remedy) == is_fault


async def test_schema_that_a_newer_version_has_changed_fails(
    application: FastAPI, settings: Settings, database: Database
) -> None:
    async with database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))
        await session.execute(text("ALTER TABLE series_fact RENAME TO other"))

    finding = (await examine(settings, application))["schema"]

    assert "no table series_fact" in finding.detail
    assert finding.remedy == "Start the newer version."


async def test_clock_skew_fails(application: FastAPI, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_CLOCK_SKEW_SECONDS", -1.0)

    assert ("clock" in faults(await examine(settings, application))) == (not settings.uses_sqlite)


async def test_unknown_prefix_fails(application: FastAPI, settings: Settings) -> None:
    async def stripping(scope: Scope, receive: Receive, send: Send) -> None:  # a proxy in three lines
        await application({**scope, "path": scope["path"].removeprefix("/abacus")}, receive, send)

    found = await examine(settings, stripping, f"{ADDRESS}/abacus/")

    assert "prefix" in faults(found)
    assert f"ABACUS_PUBLIC_URL={ADDRESS}/abacus" in found["prefix"].remedy


@pytest.mark.each_database
async def test_doctor_recognizes_another_service_at_the_address(settings: Settings) -> None:
    found = await examine(settings, FastAPI())

    assert "but not by Abacus" in found["address"].detail
    assert "address" in faults(found)


async def test_proxy_that_refuses_large_bodies_fails(application: FastAPI, settings: Settings) -> None:
    async def limiting(scope: Scope, receive: Receive, send: Send) -> None:  # what nginx does by default
        length = int(dict(scope["headers"]).get(b"content-length", b"0"))
        if length > 1024**2:
            await send({"type": "http.response.start", "status": 413, "headers": [(b"content-type", b"text/html")]})
            await send({"type": "http.response.body", "body": b"<html>413</html>"})
            return
        await application(scope, receive, send)

    found = await examine(settings, limiting)

    assert "large bodies" in faults(found)
    assert "client_max_body_size" in found["large bodies"].remedy


async def test_unreachable_address_fails(settings: Settings) -> None:
    database = Database(settings)
    async with httpx.AsyncClient() as client:
        found = [one async for one in Doctor(settings, database, client, "http://127.0.0.1:9").examine()]
    await database.close()

    assert found[-1].subject == "address"
    assert found[-1].remedy


@pytest.mark.clickhouse("always")
@pytest.mark.parametrize("database_url", ["clickhouse"], indirect=True)
async def test_clickhouse_without_tables_fails(application: FastAPI, settings: Settings, database: Database) -> None:
    assert (await examine(settings, application))["clickhouse"].remedy == ""

    async with database.write() as session:
        await session.execute(delete(ClickHouseMigration))
    assert (await examine(settings, application))["clickhouse"].remedy == "Run `abacus migrate`."

    assert await clickhouse_schema.migrate(database) == len(clickhouse_schema.STEPS)  # though the tables are there
    assert await clickhouse_schema.migrate(database) == 0
    away = settings.model_copy(update={"clickhouse_url": "http://127.0.0.1:1/abacus"})
    assert "ABACUS_CLICKHOUSE_URL" in (await examine(away, application))["clickhouse"].remedy


@pytest.mark.clickhouse("always")
@pytest.mark.parametrize("database_url", ["clickhouse"], indirect=True)
async def test_settings_that_lack_clickhouse_beside_processes_that_have_it_fail(
    application: FastAPI, settings: Settings, database: Database
) -> None:
    lacking = settings.model_copy(update={"clickhouse_url": None})
    assert "clickhouse" not in await examine(lacking, application)

    async with database.write() as session:
        organization = Organization(name="Example")
        session.add(organization)
        await session.flush()
        project = Project(organization_id=organization.id, name="Shop", timezone="UTC", api_token=uuid4().hex)
        session.add(project)
        await session.flush()
        session.add(EventArchive(project_id=project.id, sending_until=1))

    assert "ABACUS_CLICKHOUSE_URL" in (await examine(lacking, application))["clickhouse"].remedy
