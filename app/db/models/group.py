"""Groups, such as companies or teams, and the group types of a project."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import NEVER_REUSED, Base, BigPrimaryKey, JsonColumn, PrimaryKey, utc_now


class GroupType(Base):
    """A type of groups. ``type_index`` numbers the types in the order of their first event, 0 to 4."""

    __tablename__ = "group_type"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        UniqueConstraint("project_id", "type_index"),
        NEVER_REUSED,
    )

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    type_index: Mapped[int]
    name: Mapped[str] = mapped_column(String(400))


class Group(Base):
    """A group and its properties."""

    __tablename__ = "group"
    __table_args__ = (UniqueConstraint("project_id", "type_index", "key"), NEVER_REUSED)

    id: Mapped[BigPrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    type_index: Mapped[int]
    key: Mapped[str] = mapped_column(String(400))
    properties: Mapped[dict[str, Any]] = mapped_column(JsonColumn)  # arbitrary JSON of clients
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
