"""Identifiers that persons keep for their flags."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base


class HashKeyOverride(Base):
    """What a flag hashes for a person instead of his distinct id, so that he keeps his variant when he logs in.

    The flag is named by its key, which is hashed too: a new flag of an old key goes on where the old one ended.
    """

    __tablename__ = "feature_flag_hash_key_override"
    __table_args__ = ({"sqlite_with_rowid": False},)

    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), primary_key=True)
    feature_flag_key: Mapped[str] = mapped_column(String(400), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    hash_key: Mapped[str] = mapped_column(String(400))
