"""Snapshots: the results of an experiment at one time. Rows are never changed."""

import datetime as dt

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.models.account import User
from app.db.models.base import NEVER_REUSED, Base, PrimaryKey, utc_now


class Snapshot(Base):
    __tablename__ = "snapshot"
    __table_args__ = (
        Index("ix_snapshot_project_id_experiment_id_id", "project_id", "experiment_id", "id"),
        NEVER_REUSED,
    )

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"), index=True)
    trigger: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(Text)  # the JSON text that the API returns, unchanged
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)

    created_by: Mapped[User | None] = relationship(lazy="raise")
