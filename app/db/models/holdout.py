"""Holdouts: persons whom several experiments keep out."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.models.account import User
from app.db.models.base import NEVER_REUSED, Base, JsonColumn, PrimaryKey, utc_now


class Holdout(Base):
    __tablename__ = "experiment_holdout"
    __table_args__ = (
        Index("ix_experiment_holdout_project_id_created_at_id", "project_id", "created_at", "id"),
        NEVER_REUSED,
    )

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(400))
    description: Mapped[str | None] = mapped_column(Text)
    filters: Mapped[list[Any]] = mapped_column(JsonColumn)  # one object: the percentage of persons, and their variant
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[dt.datetime] = mapped_column(default=utc_now)

    created_by: Mapped[User | None] = relationship(lazy="raise")
