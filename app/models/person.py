"""Persons, the distinct ids they are known by, and what merging made of them."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigKey, BigPrimaryKey, JsonColumn


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
    """A person that was merged away, and the living person that took its place.

    Flat: when the survivor is merged in turn, its rows are pointed to the new survivor.
    """

    __tablename__ = "person_merge"
    __table_args__ = (Index("ix_person_merge_project_id", "project_id"),)

    merged_id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
