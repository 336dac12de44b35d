"""The base of all tables: names of constraints, and column types that differ between databases."""

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, MetaData
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import TypeDecorator

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[dt.datetime]):
    """An aware datetime in UTC; SQLite, which has no such type, stores it without the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a stored moment needs a time zone, got {value!r}")
        utc = value.astimezone(dt.UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def result_processor(
        self,
        dialect: Dialect,
        coltype: object,  # noqa: ARG002  # required by the interface
    ) -> Callable[[str | None], dt.datetime | None] | None:
        return _read_utc if dialect.name == "sqlite" else None  # asyncpg returns aware datetimes


def _read_utc(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(f"{text}+00:00")


# A generated key: SQLite numbers rows only in a column of the exact type INTEGER.
BigKey = BigInteger().with_variant(Integer(), "sqlite")
JsonColumn = JSON(none_as_null=True)

PrimaryKey = Annotated[int, mapped_column(Integer, primary_key=True)]
BigPrimaryKey = Annotated[int, mapped_column(BigKey, primary_key=True)]
# For the ``__table_args__`` of a generated key: without it SQLite uses the key of a deleted last row again.
NEVER_REUSED: Final = {"sqlite_autoincrement": True}
# In the ``info`` of an index that only one kind of database has.
DIALECT: Final = "dialect"


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {dt.datetime: UtcDateTime}  # the mapping's type in SQLAlchemy
