"""Sizes of stored texts and documents, so that rows are read by bytes and not only by number."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, Text, cast
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import QueryableAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import BigInteger

from app.common import limits


class octets(GenericFunction[int]):  # noqa: N801  # functions are written like this in queries
    """The bytes of a text or a document; 0 for null. Neither database reads the whole of a large one for it."""

    type = BigInteger()
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any] | QueryableAttribute[Any]) -> None:
        super().__init__(cast(column, Text))


@compiles(octets)
def _octet_length(element: octets, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  # the library's
    return f"coalesce(octet_length{compiler.process(element.clause_expr, **options)}, 0)"


@compiles(octets, "sqlite")
def _length_of_blob(element: octets, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  # the library's
    return f"coalesce(length(CAST({compiler.process(element.clause_expr, **options)} AS BLOB)), 0)"


def fitting(sizes: Iterable[int], limit: int = limits.PAGE_BYTES.value) -> int:
    """Return how many of the items, from the first on, have at most ``limit`` bytes together; at least one, if any."""
    sizes = list(sizes)
    return max(sum(total <= limit for total in accumulate(sizes)), min(len(sizes), 1))
