"""Experiments, and the feature flags that decide who sees which variant.

One file, because each knows the other: a flag lists its experiments.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, ClassVar

from sqlalchemy import ForeignKey, Index, String, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.models.account import User
from app.db.models.base import NEVER_REUSED, Base, JsonColumn, PrimaryKey, utc_now
from app.db.models.saved_metric import SavedMetric


class FeatureFlag(Base):
    __tablename__ = "feature_flag"
    __table_args__ = (
        # Keys are unique among undeleted flags: a soft-deleted flag keeps its row and frees its key.
        Index(
            "uq_feature_flag_project_id_key_living",
            "project_id",
            "key",
            unique=True,
            sqlite_where=text("NOT deleted"),
            postgresql_where=text("NOT deleted"),
        ),
        NEVER_REUSED,
    )

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(400))
    name: Mapped[str] = mapped_column(Text, default="")
    filters: Mapped[dict[str, Any]] = mapped_column(JsonColumn)  # the conditions and variants of the flag
    active: Mapped[bool] = mapped_column(default=True)
    deleted: Mapped[bool] = mapped_column(default=False)
    ensure_experience_continuity: Mapped[bool] = mapped_column(default=False)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)

    created_by: Mapped[User | None] = relationship(lazy="raise")
    experiments: Mapped[list["Experiment"]] = relationship(lazy="raise", viewonly=True, order_by="Experiment.id")


class Experiment(Base):
    __tablename__ = "experiment"
    __table_args__ = (Index("ix_experiment_project_id_created_at_id", "project_id", "created_at", "id"), NEVER_REUSED)

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(400))
    description: Mapped[str | None] = mapped_column(String(400))
    start_date: Mapped[dt.datetime | None]
    end_date: Mapped[dt.datetime | None]
    feature_flag_id: Mapped[int] = mapped_column(ForeignKey("feature_flag.id"), index=True)
    # These documents are stored as they were sent, because clients keep keys of their own in them.
    parameters: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    secondary_metrics: Mapped[Any] = mapped_column(JsonColumn, nullable=True)
    filters: Mapped[dict[str, Any]] = mapped_column(JsonColumn)
    stats_config: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    decision_criteria: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    metrics: Mapped[list[Any] | None] = mapped_column(JsonColumn)
    metrics_secondary: Mapped[list[Any] | None] = mapped_column(JsonColumn)
    exposure_criteria: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    saved_metrics_ids: Mapped[list[dict[str, Any]] | None] = mapped_column(JsonColumn)
    only_count_matured_users: Mapped[bool] = mapped_column(default=False, server_default=false())
    # What is to happen by itself, and what has; see ``app.experiments.automation``.
    scheduling_config: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    circuit_breakers: Mapped[list[Any] | None] = mapped_column(JsonColumn)
    automatic_actions: Mapped[list[Any] | None] = mapped_column(JsonColumn)
    # How the flag's filters were before they were frozen to the exposed persons, or held at the baseline.
    exposure_freeze: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    baseline_hold: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    holdout_id: Mapped[int | None] = mapped_column(ForeignKey("experiment_holdout.id"), index=True)
    # Whether the flag existed before the experiment, which then never changes it by itself.
    uses_existing_flag: Mapped[bool] = mapped_column(default=False, server_default=false())
    archived: Mapped[bool] = mapped_column(default=False)
    conclusion: Mapped[str | None] = mapped_column(String(32))
    conclusion_comment: Mapped[str | None] = mapped_column(Text)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[dt.datetime] = mapped_column(default=utc_now)

    feature_flag: Mapped[FeatureFlag] = relationship(lazy="raise")
    created_by: Mapped[User | None] = relationship(lazy="raise")

    # The metrics that ``saved_metrics_ids`` name, as they were when the experiment was loaded to be counted.
    saved_metrics: ClassVar[Sequence[SavedMetric]] = ()
