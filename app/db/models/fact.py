"""Series, their variant values, their facts, and the counts of those."""

import datetime as dt

from sqlalchemy import (
    BigInteger,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import DIALECT, NEVER_REUSED, Base, BigPrimaryKey, PrimaryKey, utc_now


class Series(Base):
    """A set of events that a metric counts; equal definitions of a project share one series."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("project_id", "digest"), NEVER_REUSED)

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    digest: Mapped[str] = mapped_column(String(64))
    definition: Mapped[str] = mapped_column(Text)
    watermark: Mapped[int] = mapped_column(BigInteger, default=0)  # sequence of the last event that was processed
    # Facts of later events are all in the index by sequence.
    bulk_until: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    # Events before this time had been removed when the series was created: it cannot count earlier times.
    events_since: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    # When an insight asked for it last: one that no metric uses is removed a day later.
    asked_at: Mapped[dt.datetime | None] = mapped_column(default=None)
    is_in_clickhouse: Mapped[bool] = mapped_column(default=False, server_default=false())
    # ClickHouse knows no transactions. The last event of facts that are being inserted there: where it is beyond the
    # watermark and no process inserts, an attempt was interrupted. From then on facts may be stored twice; 0 for never.
    inserting_until: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    may_repeat_since: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")


class SeriesVariant(Base):
    """A value of the variant property in a series; facts hold its code. Code 0 means no value and has no row."""

    __tablename__ = "series_variant"
    __table_args__ = (UniqueConstraint("series_id", "value"),)

    series_id: Mapped[int] = mapped_column(ForeignKey("series.id", ondelete="CASCADE"), primary_key=True)
    code: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    value: Mapped[str] = mapped_column(Text)


class Fact(Base):
    """One event that matches a series. Its columns have a fixed width, so that they can be read in bulk.

    By person: a new fact of a person requires all facts of that person, for all steps of a funnel. By sequence: what is
    new. SQLite has the latter as primary key.

    PostgreSQL has no primary key here, because an index in another order than that of the rows is most of what storing
    costs, and rows have one order. Facts that are stored in bulk come in the order of persons and are in the index by
    person only: ``is_appended`` is null. Those that are added to them, some at a time, are in both. It is the
    watermark, under the lock of its row, that keeps an event from becoming two facts.

    The table was called ``fact`` as long as there was a value in every row: versions that read it so do not find it.
    """

    __tablename__ = "series_fact"
    __table_args__ = (
        Index("ix_fact_person_id_series_id", "person_id", "series_id", info={DIALECT: "sqlite"}),
        Index("ix_fact_series_id_person_id", "series_id", "person_id", info={DIALECT: "postgresql"}),
        Index(
            "uq_fact_series_id_sequence",
            "series_id",
            "sequence",
            unique=True,
            postgresql_where=text("is_appended"),
            info={DIALECT: "postgresql"},
        ),
        {"sqlite_with_rowid": False},
    )

    # Without gaps between columns, in PostgreSQL.
    series_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    variant: Mapped[int] = mapped_column(Integer)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    # In a series whose actors are not persons, the number of the actor.
    person_id: Mapped[int] = mapped_column(BigInteger)
    time: Mapped[int] = mapped_column(BigInteger)
    # Null, or ``NO_NUMBER``, where a fact has no number. A null takes no bytes in PostgreSQL.
    value: Mapped[float | None] = mapped_column(Double)
    is_appended: Mapped[bool | None] = mapped_column(server_default=true())


class ActorKey(Base):
    """The number of an actor that is not a person, because facts hold only numbers.

    ``property`` is the event property that names the actor (``$group_0``, ``$session_id``), ``key`` the text it had.
    The empty text is actor 0 and has no row.
    """

    __tablename__ = "actor_key"
    __table_args__ = (UniqueConstraint("project_id", "property", "key"), NEVER_REUSED)

    id: Mapped[BigPrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    property: Mapped[str] = mapped_column(String(400))
    key: Mapped[str] = mapped_column(String(400))


class ClickHouseMigration(Base):
    """A numbered step of the schema in ClickHouse that was run."""

    __tablename__ = "clickhouse_migration"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    applied_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class Count(Base):
    """The stored count of a metric, to which new facts are added.

    ``body`` counts the facts of events up to ``watermark``, under the merges of persons up to
    ``merge_mark``, that happened before the moment ``until``.
    """

    __tablename__ = "count"
    __table_args__ = (UniqueConstraint("project_id", "digest"), NEVER_REUSED)

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    digest: Mapped[str] = mapped_column(String(64))
    watermark: Mapped[int] = mapped_column(BigInteger)
    merge_mark: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[int] = mapped_column(BigInteger)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    updated_at: Mapped[dt.datetime] = mapped_column(default=utc_now, onupdate=utc_now)
