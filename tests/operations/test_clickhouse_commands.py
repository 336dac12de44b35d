"""``abacus clickhouse``: facts move in and out."""

import pytest
from sqlalchemy import func, select

from app.db.database import Database
from app.db.models import Fact
from app.metrics.facts.materializer import Materializer
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.properties.filters import parse_filter
from tests.conftest import CLICKHOUSE_OF
from tests.support.command_line import run_command
from tests.support.service import Service, event

VISITS = SeriesDefinition((EventSource("visit", parse_filter(None)),), "$feature/checkout")


@pytest.mark.own_database
@pytest.mark.clickhouse("always")
@pytest.mark.parametrize("database_url", ["clickhouse"], indirect=True)
async def test_commands_move_facts_out_and_in(service: Service, database: Database, database_url: str) -> None:
    await service.capture(event("visit", "ann"), event("visit", "bob"))
    await Materializer(database).catch_up(service.project_id, [VISITS])
    environment = {"ABACUS_DATABASE_URL": database_url, "ABACUS_CLICKHOUSE_URL": CLICKHOUSE_OF[database_url]}

    async def facts_in_postgresql() -> int:
        async with database.read() as session:
            return await session.scalar(select(func.count()).select_from(Fact)) or 0

    for command, expected in (("move-out", 2), ("backfill", 0), ("migrate", 0)):
        status, printed, errors = run_command(["clickhouse", command], environment)
        assert (status or 0, errors) == (0, "")
        assert "1 series were moved" in printed or command == "migrate"
        assert await facts_in_postgresql() == expected


def test_commands_need_an_address(tmp_path: object) -> None:
    status, _, errors = run_command(
        ["clickhouse", "backfill"], {"ABACUS_DATABASE_URL": f"sqlite:///{tmp_path}/abacus.db"}
    )

    assert (status, errors) == (1, "abacus: set ABACUS_CLICKHOUSE_URL first\n")
