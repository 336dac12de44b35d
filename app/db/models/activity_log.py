"""The activity log: who changed what and when. Rows are never changed."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.models.account import User
from app.db.models.base import NEVER_REUSED, Base, BigKey, BigPrimaryKey, JsonColumn, utc_now


class ActivityEntry(Base):
    """One activity. It has no foreign key to the item, so that a deleted item keeps its history."""

    __tablename__ = "activity_entry"
    __table_args__ = (
        Index("ix_activity_entry_project_id_scope_item_id_id", "project_id", "scope", "item_id", "id"),
        NEVER_REUSED,
    )

    id: Mapped[BigPrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    scope: Mapped[str] = mapped_column(String(32))
    item_id: Mapped[int] = mapped_column(BigKey)
    activity: Mapped[str] = mapped_column(String(32))
    detail: Mapped[dict[str, Any]] = mapped_column(
        JsonColumn
    )  # the name of the item and the changes, as the API shows them
    user_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)

    user: Mapped[User | None] = relationship(lazy="raise")
