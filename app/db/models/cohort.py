"""Cohorts: named sets of persons, by list or by criteria."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.models.account import User
from app.db.models.base import NEVER_REUSED, Base, JsonColumn, PrimaryKey, utc_now


class Cohort(Base):
    __tablename__ = "cohort"
    __table_args__ = (Index("ix_cohort_project_id_created_at_id", "project_id", "created_at", "id"), NEVER_REUSED)

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(400))
    description: Mapped[str] = mapped_column(String(1000), default="")
    is_static: Mapped[bool] = mapped_column(default=False)
    # The criteria in the older and the newer form, as they were sent. If both are given, the newer one counts.
    groups: Mapped[list[Any]] = mapped_column(JsonColumn)
    filters: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    deleted: Mapped[bool] = mapped_column(default=False)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)

    created_by: Mapped[User | None] = relationship(lazy="raise")


class CohortDistinctId(Base):
    """A distinct id on the list of a static cohort.

    It is not a person id, so that merges need no change here, and a person can be listed before their first event.
    """

    __tablename__ = "cohort_distinct_id"
    __table_args__ = ({"sqlite_with_rowid": False},)

    cohort_id: Mapped[int] = mapped_column(ForeignKey("cohort.id", ondelete="CASCADE"), primary_key=True)
    distinct_id: Mapped[str] = mapped_column(String(200), primary_key=True)
