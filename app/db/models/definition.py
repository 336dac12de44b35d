"""What a project's events are called and which properties they have: derived from the events, for forms and search."""

import datetime as dt
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base, utc_now


class DefinitionProgress(Base):
    """The sequence number of the last event whose names are among the definitions."""

    __tablename__ = "definition_progress"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    watermark: Mapped[int] = mapped_column(BigInteger)


class EventDefinition(Base):
    """A name of events. Nothing refers to the id, which clients know it by."""

    __tablename__ = "event_definition"
    __table_args__ = (Index("ix_event_definition_project_id_id", "project_id", "id"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid, default=uuid4)
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    last_seen_at: Mapped[dt.datetime]


class EventVolume(Base):
    """How many events of a name happened on a day."""

    __tablename__ = "event_volume"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # since 1970 UTC
    events: Mapped[int] = mapped_column(BigInteger)


class PropertyDefinition(Base):
    """A property of events, of persons, or of groups of a type (``group_0``)."""

    __tablename__ = "property_definition"
    __table_args__ = (Index("ix_property_definition_project_id_id", "project_id", "id"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    subject: Mapped[str] = mapped_column(String(10), primary_key=True)
    name: Mapped[str] = mapped_column(String(400), primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid, default=uuid4)
    property_type: Mapped[str | None] = mapped_column(String(10))


class EventProperty(Base):
    """A property that events of a name have."""

    __tablename__ = "event_property"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    event: Mapped[str] = mapped_column(String(200), primary_key=True)
    property: Mapped[str] = mapped_column(String(400), primary_key=True)
