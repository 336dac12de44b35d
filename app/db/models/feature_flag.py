"""Feature flags: they decide who sees which variant."""

import datetime as dt
from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.models.account import User
from app.db.models.base import Base, JsonColumn, PrimaryKey, utc_now

if TYPE_CHECKING:
    from app.db.models.experiment import Experiment


class FeatureFlag(Base):
    __tablename__ = "feature_flag"
    __table_args__ = (
        # A key is taken only by a living flag: after a soft deletion it is free again, and the old row stays.
        Index(
            "uq_feature_flag_project_id_key_living",
            "project_id",
            "key",
            unique=True,
            sqlite_where=text("NOT deleted"),
            postgresql_where=text("NOT deleted"),
        ),
    )

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(400))
    name: Mapped[str] = mapped_column(Text, default="")
    filters: Mapped[dict[str, Any]] = mapped_column(JsonColumn)  # JSON of the flag's conditions and variants
    active: Mapped[bool] = mapped_column(default=True)
    deleted: Mapped[bool] = mapped_column(default=False)
    ensure_experience_continuity: Mapped[bool] = mapped_column(default=False)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)

    created_by: Mapped[User | None] = relationship(lazy="raise")
    experiments: Mapped[list["Experiment"]] = relationship(lazy="raise", viewonly=True, order_by="Experiment.id")
