"""Imports of history: how far each file was read, and which distinct id stands for a person of the source."""

import datetime as dt

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import NEVER_REUSED, Base, PrimaryKey, utc_now


class ImportedFile(Base):
    """A file, known by its content, and how far it was imported: changed in the transaction that stores its events.

    Times are microseconds since 1970 UTC. ``position`` is the offset of the next line in the decompressed file.
    """

    __tablename__ = "imported_file"
    __table_args__ = (UniqueConstraint("project_id", "sha256"), NEVER_REUSED)

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    sha256: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(400))
    position: Mapped[int] = mapped_column(BigInteger, default=0)
    counts: Mapped[str] = mapped_column(Text, default="{}")  # JSON: lines by what became of them, and by event and day
    is_complete: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[dt.datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class FileImport(Base):
    """An uploaded file that is imported in the background, or was. ``progress`` is JSON, as the API shows it.

    The file is in the directory of uploads under ``stored_as`` while it is needed, and its refused lines beside it.
    """

    __tablename__ = "file_import"
    __table_args__ = (Index("ix_file_import_project_id_id", "project_id", "id"), NEVER_REUSED)

    id: Mapped[PrimaryKey]
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(400))
    stored_as: Mapped[str] = mapped_column(String(36))
    source: Mapped[str] = mapped_column(String(20))
    time_offset: Mapped[int] = mapped_column(default=0)
    status: Mapped[str] = mapped_column(String(20))
    detail: Mapped[str] = mapped_column(Text, default="")
    progress: Mapped[str] = mapped_column(Text, default="{}")
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[dt.datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class ImportedPerson(Base):
    """The distinct id by which a person of another system was first met: later ones are joined with it."""

    __tablename__ = "imported_person"
    __table_args__ = (
        Index("ix_imported_person_project_id_distinct_id", "project_id", "distinct_id"),
        {"sqlite_with_rowid": False},
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    source_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    distinct_id: Mapped[str] = mapped_column(String(200))
