"""Persons, their distinct ids, the log of their merges, and what is left of erased ones."""

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


class ErasedPerson(Base):
    """An erased person: the number under which facts still count one, which leads to nothing else."""

    __tablename__ = "erased_person"
    __table_args__ = ({"sqlite_with_rowid": False},)

    person_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    has_events: Mapped[bool]  # events are still to be removed


class ErasedPersonAnswer(Base):
    """Whether an erased person passed a condition of a metric on the day of the erasure.

    The condition is known by its digest. Conditions on persons are evaluated when results are read, and by then the
    properties that they look at are gone.
    """

    __tablename__ = "erased_person_answer"
    __table_args__ = (
        Index("ix_erased_person_answer_project_id_digest", "project_id", "digest"),
        {"sqlite_with_rowid": False},
    )

    person_id: Mapped[int] = mapped_column(ForeignKey("erased_person.person_id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    passes: Mapped[bool]
