"""Sizes of stored texts and documents, so that rows are read by bytes and not only by number."""

import functools
import operator
from collections.abc import Iterable
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, Text, cast
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import QueryableAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import BigInteger

from app.common.page_sizes import fitting

Sizable: TypeAlias = ColumnElement[Any] | QueryableAttribute[Any]


class octets(GenericFunction[int]):  # noqa: N801  # functions are written like this in queries
    """The bytes of a text or a document; 0 for null. Neither database reads the whole of a large one for it."""

    type = BigInteger()
    inherit_cache = True

    def __init__(self, column: Sizable) -> None:
        super().__init__(cast(column, Text))


@compiles(octets)
def _octet_length(element: octets, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  # the library's
    return f"coalesce(octet_length{compiler.process(element.clause_expr, **options)}, 0)"


@compiles(octets, "sqlite")
def _length_of_blob(element: octets, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  # the library's
    return f"coalesce(length(CAST({compiler.process(element.clause_expr, **options)} AS BLOB)), 0)"


async def fitting_limit(
    session: AsyncSession, query: Select[Any], columns: Iterable[Sizable], limit: int, offset: int = 0
) -> int:
    """Return how many rows of an ordered query, at most ``limit``, fit into a page by the bytes of some columns."""
    sizes = query.with_only_columns(size_of(columns), maintain_column_froms=True).limit(limit).offset(offset)
    found = (await session.scalars(sizes)).all()
    count = fitting(found)
    return limit if count == len(found) else count


def size_of(columns: Iterable[Sizable]) -> ColumnElement[int]:
    """Return the bytes of several columns together."""
    return functools.reduce(operator.add, map(octets, columns))
