"""Hash key overrides: identifiers that persons keep for their flags."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base


class HashKeyOverride(Base):
    """The identifier a flag hashes in place of the distinct id, so that a person keeps their variant after logging in.

    The flag is identified by its key, which is hashed too: a new flag with an old key uses the same overrides.
    """

    __tablename__ = "feature_flag_hash_key_override"
    __table_args__ = ({"sqlite_with_rowid": False},)

    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), primary_key=True)
    feature_flag_key: Mapped[str] = mapped_column(String(400), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    hash_key: Mapped[str] = mapped_column(String(400))
