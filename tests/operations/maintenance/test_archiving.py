"""The background task copies the events of all projects to ClickHouse."""

import datetime as dt
import time

import httpx
import pytest
from sqlalchemy import func, select

from app.db.database import Database
from app.db.models import Event
from app.operations.maintenance.archiving import ArchiveScheduler
from app.telemetry.prometheus import ARCHIVED_UNTIL
from tests.conftest import new_service
from tests.support.service import Service, event

pytestmark = [
    pytest.mark.clickhouse("always"),
    pytest.mark.parametrize("database_url", ["clickhouse"], indirect=True),
    pytest.mark.own_database,
]


async def test_project_that_cannot_be_archived_does_not_keep_others_waiting(
    service: Service, client: httpx.AsyncClient, database: Database
) -> None:
    there, other = database.clickhouse, await new_service(client, database)
    assert there is not None
    scheduler, kept, at_once = ArchiveScheduler(database, 10), dt.timedelta(days=1), dt.timedelta(0)
    await service.capture(*[event("visit", f"ann {number}") for number in range(3)])
    began = time.time()
    await scheduler.run_once(there, kept)
    assert ARCHIVED_UNTIL._value.get() >= began
    await there.remove("event", f"project = {service.project_id}")  # as a restore of an old backup does
    await other.capture(*[event("visit", f"bob {number}") for number in range(4)])
    until = ARCHIVED_UNTIL._value.get()

    await scheduler.run_once(there, at_once)

    async with database.read() as session:
        counts = await session.execute(select(Event.project_id, func.count()).group_by(Event.project_id))
        assert dict(counts.all()) == {service.project_id: 3, other.project_id: 1}  # the last one of all stays
    assert ARCHIVED_UNTIL._value.get() == until
