"""The step of the upkeep that lets experiments do what they planned, with a clock of the test's own."""

import datetime as dt

from app.accounts.projects.repository import AccountRepository
from app.db.database import Database
from app.experiments.phases.dependencies import build_upkeep
from app.experiments.phases.upkeep import PhaseUpkeep
from app.metrics.facts.materializer import Materializer
from tests.support.service import Service

NOON = dt.datetime(2198, 6, 1, 12, tzinfo=dt.UTC)


def after(hours: float) -> dt.datetime:
    return NOON + dt.timedelta(hours=hours)


def written(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def upkeep_of(service: Service, database: Database) -> PhaseUpkeep:
    async with database.read() as session:
        projects = await AccountRepository(session).projects()
    [project] = [one for one in projects if one.id == service.project_id]
    return build_upkeep(database, Materializer(database), project)
