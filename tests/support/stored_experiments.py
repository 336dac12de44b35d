"""What the database holds of flags, which the API under test does not show."""

from typing import Any

from sqlalchemy import select

from app.db.database import Database
from app.db.models import FeatureFlag
from tests.support.service import Service


async def flags(database: Database, service: Service) -> list[dict[str, Any]]:
    """Return all flags of a project, oldest first, as far as experiments decide what they are."""
    query = select(FeatureFlag).where(FeatureFlag.project_id == service.project_id).order_by(FeatureFlag.id)
    async with database.read() as session:
        rows = (await session.scalars(query)).all()
    names = ("id", "key", "name", "active", "deleted", "filters")
    return [{name: getattr(row, name) for name in names} for row in rows]


async def only_flag(database: Database, service: Service) -> dict[str, Any]:
    (flag,) = await flags(database, service)
    return flag
