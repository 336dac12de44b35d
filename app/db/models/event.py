"""Events: the append-only source of all results."""

from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import NEVER_REUSED, Base, BigPrimaryKey


class Event(Base):
    """One received event.

    Times are microseconds since 1970 UTC, which numpy reads without conversion. The properties are the JSON text as it
    was received. There is no foreign key: the id of a merged person stays here, and checks would slow down inserts.
    Person 0 stands for a visitor who is not told apart from others: such an event is stored, and not counted.
    """

    __tablename__ = "event"
    __table_args__ = (
        UniqueConstraint("project_id", "uuid"),
        # It covers what facts take of events whose properties are not read: the table is seven times as wide.
        Index(
            "ix_event_project_id_name_sequence_person_id_time", "project_id", "name", "sequence", "person_id", "time"
        ),
        Index("ix_event_project_id_time_sequence", "project_id", "time", "sequence"),
        NEVER_REUSED,
    )

    sequence: Mapped[BigPrimaryKey]
    project_id: Mapped[int] = mapped_column(Integer)
    uuid: Mapped[UUID] = mapped_column(Uuid)
    name: Mapped[str] = mapped_column(String(200))
    distinct_id: Mapped[str] = mapped_column(String(200))
    person_id: Mapped[int] = mapped_column(BigInteger)
    time: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[int] = mapped_column(BigInteger)
    properties: Mapped[str] = mapped_column(Text)


class UnreadTimestamp(Base):
    """How many events of a name stated a time that could not be read, and were stored at the time of arrival."""

    __tablename__ = "unread_timestamp"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    hour: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # of arrival, since 1970 UTC
    events: Mapped[int] = mapped_column(BigInteger)


class EventArchive(Base):
    """How far the events of a project are in ClickHouse, by sequence number.

    Up to ``archived_until`` they are there as well, and up to ``released_until`` there only. ``sending_until`` is the
    end of a batch, which is committed before the first attempt: where it is ahead, and no process copies, an attempt
    was interrupted.
    """

    __tablename__ = "event_archive"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    archived_until: Mapped[int] = mapped_column(BigInteger, default=0)
    sending_until: Mapped[int] = mapped_column(BigInteger, default=0)
    released_until: Mapped[int] = mapped_column(BigInteger, default=0)
    # In microseconds; 0 for never. What an interrupted attempt has sent may arrive for some minutes.
    interrupted_at: Mapped[int] = mapped_column(BigInteger, default=0)
