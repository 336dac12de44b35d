"""Experiments."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.models.account import User
from app.db.models.base import Base, JsonColumn, PrimaryKey, utc_now
from app.db.models.feature_flag import FeatureFlag


class Experiment(Base):
    __tablename__ = "experiment"
    __table_args__ = (Index("ix_experiment_project_id_created_at_id", "project_id", "created_at", "id"),)

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(400))
    description: Mapped[str | None] = mapped_column(String(400))
    start_date: Mapped[dt.datetime | None]
    end_date: Mapped[dt.datetime | None]
    feature_flag_id: Mapped[int] = mapped_column(ForeignKey("feature_flag.id"), index=True)
    # The three documents are stored as they were sent: clients keep keys of their own in them.
    parameters: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    secondary_metrics: Mapped[Any] = mapped_column(JsonColumn, nullable=True)
    filters: Mapped[dict[str, Any]] = mapped_column(JsonColumn)
    stats_config: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    decision_criteria: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    archived: Mapped[bool] = mapped_column(default=False)
    conclusion: Mapped[str | None] = mapped_column(String(32))
    conclusion_comment: Mapped[str | None] = mapped_column(Text)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[dt.datetime] = mapped_column(default=utc_now)

    feature_flag: Mapped[FeatureFlag] = relationship(lazy="raise")
    created_by: Mapped[User | None] = relationship(lazy="raise")
