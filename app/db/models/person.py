"""Persons, their distinct ids, and the log of their merges."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, Uuid, true
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import NEVER_REUSED, Base, BigPrimaryKey, JsonColumn


class Person(Base):
    """A person. Without a profile it only ties events together, until one comes that may write a profile."""

    __tablename__ = "person"
    # Ids are never reused: facts of a merged person keep their id, which ``person_merge`` resolves.
    __table_args__ = (Index("ix_person_project_id_id", "project_id", "id"), NEVER_REUSED)

    id: Mapped[BigPrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    uuid: Mapped[UUID] = mapped_column(Uuid)
    properties: Mapped[dict[str, Any]] = mapped_column(JsonColumn)  # arbitrary JSON of clients
    is_identified: Mapped[bool]
    created_at: Mapped[dt.datetime]
    has_profile: Mapped[bool] = mapped_column(default=True, server_default=true())


class PersonDistinctId(Base):
    __tablename__ = "person_distinct_id"
    __table_args__ = (UniqueConstraint("project_id", "distinct_id"), NEVER_REUSED)

    id: Mapped[BigPrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    distinct_id: Mapped[str] = mapped_column(String(200))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)


class PersonMerge(Base):
    """One entry of the merge log: a person that was merged, and the person it was merged into.

    Entries are never changed. Following all of them resolves a person as of now; following those before an entry, as of
    then. The transactions of a project write them one after another, so a reader of an entry sees all earlier ones.
    There is no foreign key, because the person it was merged into may be merged in turn.
    """

    __tablename__ = "person_merge"
    __table_args__ = (
        Index("ix_person_merge_project_id_sequence", "project_id", "sequence"),
        NEVER_REUSED,
    )

    sequence: Mapped[BigPrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    merged_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    person_id: Mapped[int] = mapped_column(BigInteger, index=True)
