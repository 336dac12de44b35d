"""Organizations, their projects, users and personal API keys."""

import datetime as dt
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, String, Text, UniqueConstraint, Uuid, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.models.base import NEVER_REUSED, Base, JsonColumn, PrimaryKey, utc_now


class Organization(Base):
    __tablename__ = "organization"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[PrimaryKey]
    uuid: Mapped[UUID] = mapped_column(Uuid, default=uuid4)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class Project(Base):
    __tablename__ = "project"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[PrimaryKey]
    uuid: Mapped[UUID] = mapped_column(Uuid, default=uuid4)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organization.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    timezone: Mapped[str] = mapped_column(String(64))
    api_token: Mapped[str] = mapped_column(String(64), unique=True)
    # Conditions, as clients wrote them, that exclude test accounts from metrics that ask for it.
    test_account_filters: Mapped[list[Any]] = mapped_column(JsonColumn, default=list, server_default="[]")
    anonymize_ips: Mapped[bool] = mapped_column(default=False, server_default=false())
    # What tells the variant of events in experiments whose parameters do not say it.
    default_attribution: Mapped[str] = mapped_column(String(16), default="events", server_default="events")
    # How metrics are adjusted by what persons did before in experiments whose ``stats_config`` does not say it.
    default_cuped: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    # Events before this time, in microseconds as in the table of events, have been removed.
    events_since: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[dt.datetime] = mapped_column(default=utc_now, onupdate=utc_now)

    organization: Mapped[Organization] = relationship(lazy="raise")


class User(Base):
    __tablename__ = "user"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[PrimaryKey]
    uuid: Mapped[UUID] = mapped_column(Uuid, default=uuid4)
    distinct_id: Mapped[str] = mapped_column(String(64), default=lambda: uuid4().hex)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    first_name: Mapped[str] = mapped_column(String(150), default="")
    is_active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class OrganizationMembership(Base):
    __tablename__ = "organization_membership"
    __table_args__ = (UniqueConstraint("organization_id", "user_id"), NEVER_REUSED)

    id: Mapped[PrimaryKey]
    organization_id: Mapped[int] = mapped_column(ForeignKey("organization.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    joined_at: Mapped[dt.datetime] = mapped_column(default=utc_now)

    organization: Mapped[Organization] = relationship(lazy="raise")
    user: Mapped[User] = relationship(lazy="raise")


class PersonalApiKey(Base):
    """A personal API key of a user. Its value is shown once; only its digest is stored."""

    __tablename__ = "personal_api_key"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[PrimaryKey]
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    label: Mapped[str] = mapped_column(Text)
    mask: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JsonColumn, default=lambda: ["*"], server_default='["*"]')
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    last_used_at: Mapped[dt.datetime | None]

    user: Mapped[User] = relationship(lazy="raise")


class BrowserSession(Base):
    """A person who is signed in on the pages. The cookie holds a token, of which only the digest is stored.

    A session that began with a personal API key ends with it, and may do what the key may; one that began with a
    sign-in link has no key, and may do everything.
    """

    __tablename__ = "browser_session"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[PrimaryKey]
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    key_id: Mapped[int | None] = mapped_column(ForeignKey("personal_api_key.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    browser: Mapped[str] = mapped_column(String(200))  # what it says of itself
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    last_used_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)

    key: Mapped[PersonalApiKey | None] = relationship(lazy="raise")


class SignInLink(Base):
    """A link that signs a user in once. Only the digest of its token is stored."""

    __tablename__ = "sign_in_link"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[PrimaryKey]
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[dt.datetime]
