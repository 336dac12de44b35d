"""The secrets of visitors without cookies, one for each day."""

from sqlalchemy import Integer, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base


class CookielessSalt(Base):
    """What identifiers of a day are hashed with. It is removed soon after: then no identifier can be traced back."""

    __tablename__ = "cookieless_salt"

    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # since 1970
    salt: Mapped[bytes] = mapped_column(LargeBinary)
