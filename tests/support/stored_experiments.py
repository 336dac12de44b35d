"""What the database holds of flags, which the API under test does not show."""

from typing import Any

from sqlalchemy import select

from app.db.database import Database
from app.db.models import FeatureFlag


async def flags(database: Database) -> list[dict[str, Any]]:
    """Return all flags, oldest first, as far as experiments decide what they are."""
    async with database.read() as session:
        rows = (await session.scalars(select(FeatureFlag).order_by(FeatureFlag.id))).all()
    names = ("id", "key", "name", "active", "deleted", "filters")
    return [{name: getattr(row, name) for name in names} for row in rows]


async def only_flag(database: Database) -> dict[str, Any]:
    (flag,) = await flags(database)
    return flag
