"""Webhooks: the receivers of a project, what is to be delivered to them, and what they know of experiments."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, SmallInteger, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.models.account import User
from app.db.models.base import NEVER_REUSED, Base, BigPrimaryKey, JsonColumn, PrimaryKey, utc_now


class Webhook(Base):
    __tablename__ = "webhook"
    __table_args__ = (Index("ix_webhook_project_id_created_at_id", "project_id", "created_at", "id"), NEVER_REUSED)

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(JsonColumn)
    secret: Mapped[str] = mapped_column(String(200))  # as it is: signatures are made with it
    active: Mapped[bool] = mapped_column(default=True)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[dt.datetime] = mapped_column(default=utc_now)

    created_by: Mapped[User | None] = relationship(lazy="raise")


class WebhookDelivery(Base):
    """One event for one receiver: added in the transaction of the change that it tells of."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index("ix_webhook_delivery_webhook_id_id", "webhook_id", "id"),
        Index(
            "ix_webhook_delivery_next_attempt_at",
            "next_attempt_at",
            postgresql_where=text("next_attempt_at IS NOT NULL"),
            sqlite_where=text("next_attempt_at IS NOT NULL"),
        ),
        NEVER_REUSED,
    )

    id: Mapped[BigPrimaryKey]
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhook.id", ondelete="CASCADE"))
    event_id: Mapped[UUID]  # the same at every attempt
    event: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    next_attempt_at: Mapped[dt.datetime | None]  # null: it was delivered, or given up
    delivered_at: Mapped[dt.datetime | None]
    last_attempt_at: Mapped[dt.datetime | None]
    response_status: Mapped[int | None] = mapped_column(SmallInteger)
    error: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class ExperimentNotice(Base):
    """What receivers were told of an experiment last, so that they are told of changes only."""

    __tablename__ = "experiment_notice"

    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True)
    status: Mapped[str] = mapped_column(String(32))
    evidence: Mapped[dict[str, Any]] = mapped_column(JsonColumn)  # warnings, significant differences, recommendation
    checked_at: Mapped[dt.datetime | None]
