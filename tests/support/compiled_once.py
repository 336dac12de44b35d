"""Engines of one process share the statements that they have compiled, which otherwise each compiles for itself.

Hundreds of tests have engines of their own, and complex statements take milliseconds to compile.
"""

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.util import LRUCache

_CAPACITY = 5_000


def share_compiled_statements() -> None:
    """Let all engines of a kind of database have one cache, in which their dialects count as equal."""
    for kind in (PGDialect_asyncpg, SQLiteDialect_aiosqlite):
        _share(kind)


def _share(kind: type[Any]) -> None:
    compiled: LRUCache[Any, Any] = LRUCache(_CAPACITY)

    def engine_created(engine: Engine) -> None:
        engine._compiled_cache = compiled

    def equals(one: object, other: object) -> bool:
        return type(one) is type(other)

    def hashed(one: object) -> int:
        return hash(type(one))

    kind.engine_created = staticmethod(engine_created)
    kind.__eq__ = equals  # type: ignore[assignment]  # of a class that is given
    kind.__hash__ = hashed  # type: ignore[assignment]
