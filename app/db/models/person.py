"""Persons, the distinct ids they are known by, and the log of their merges."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base, BigPrimaryKey, JsonColumn


class Person(Base):
    __tablename__ = "person"
    # An id is never given out twice: facts of a merged person keep its id and follow ``person_merge``.
    __table_args__ = (Index("ix_person_project_id_id", "project_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[BigPrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    uuid: Mapped[UUID] = mapped_column(Uuid)
    properties: Mapped[dict[str, Any]] = mapped_column(JsonColumn)  # whatever clients set
    is_identified: Mapped[bool]
    created_at: Mapped[dt.datetime]


class PersonDistinctId(Base):
    __tablename__ = "person_distinct_id"
    __table_args__ = (UniqueConstraint("project_id", "distinct_id"), {"sqlite_autoincrement": True})

    id: Mapped[BigPrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    distinct_id: Mapped[str] = mapped_column(String(200))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)


class PersonMerge(Base):
    """One line of the log of merges: a person that was merged away, and the person it became part of then.

    Lines are never changed. Who a person is today is found by following them; who he was before a certain line, by
    following the lines before it. A project's lines are written one transaction after the other, so whoever sees a line
    sees all earlier ones. There is no foreign key: the person it became part of may be merged away in turn.
    """

    __tablename__ = "person_merge"
    __table_args__ = (
        Index("ix_person_merge_project_id_sequence", "project_id", "sequence"),
        {"sqlite_autoincrement": True},
    )

    sequence: Mapped[BigPrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    merged_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    person_id: Mapped[int] = mapped_column(BigInteger, index=True)
