"""The background that forms verdicts, for one project."""

import datetime as dt
from collections.abc import AsyncGenerator

from app.accounts.projects.repository import AccountRepository
from app.db.database import Database
from app.db.models import utc_now
from app.experiments.verdicts.dependencies import build_verdicts
from app.metrics.facts.materializer import Materializer
from tests.support.service import Service


async def form_verdicts(
    database: Database, service: Service, now: dt.datetime | None = None, materializer: Materializer | None = None
) -> int:
    """Let the background form the verdicts that are due; return on how many experiments."""
    return sum([1 async for _ in await verdict_steps(database, service, now or utc_now(), materializer)])


async def verdict_steps(
    database: Database, service: Service, now: dt.datetime, materializer: Materializer | None = None
) -> AsyncGenerator[None]:
    async with database.read() as session:
        projects = await AccountRepository(session).projects()
    [project] = [one for one in projects if one.id == service.project_id]
    return build_verdicts(database, materializer or Materializer(database), project).steps(now)
