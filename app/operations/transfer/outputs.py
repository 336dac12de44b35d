"""The files of an export: compressed lines of JSON, or Parquet."""

import gzip
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from msgspec import Raw

_LEVEL: Final = 5  # of compression: 6 takes half as long again for a hundredth less
_TEXTS: Final[Mapping[str, Sequence[str]]] = {
    "events": ("abacus", "uuid", "event", "distinct_id", "timestamp", "received_at", "properties"),
    "persons": ("abacus", "person_id", "properties", "created_at"),
}
PARQUET_PARTS: Final = frozenset(_TEXTS)


class _Row(msgspec.Struct):
    """A line of events or persons, whose properties stay JSON."""

    abacus: str
    properties: Raw
    uuid: str | None = None
    event: str | None = None
    distinct_id: str | None = None
    timestamp: str | None = None
    received_at: str | None = None
    person_id: str | None = None
    created_at: str | None = None
    distinct_ids: list[str] = []


_decode: Final = msgspec.json.Decoder(_Row).decode


class CompressedLines:
    """A file of lines."""

    def __init__(self, path: Path) -> None:
        self._file = gzip.open(path, "wb", compresslevel=_LEVEL)  # noqa: SIM115  # closed by ``__exit__``

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, lines: Sequence[bytes]) -> None:
        self._file.write(b"".join(line + b"\n" for line in lines))


class ParquetFile:
    """A file of rows, each page a row group. Properties are texts of JSON, as in exports of PostHog.

    Raises
    ------
    ImportError
        The optional library is missing.
    """

    def __init__(self, path: Path, part: str) -> None:
        self._arrow: Any = importlib.import_module("pyarrow")  # without types
        fields = [(name, self._arrow.string()) for name in _TEXTS[part]]
        if part == "persons":
            fields.append(("distinct_ids", self._arrow.list_(self._arrow.string())))
        self._schema = self._arrow.schema(fields)
        writer = importlib.import_module("pyarrow.parquet").ParquetWriter
        self._writer = writer(path, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, lines: Sequence[bytes]) -> None:
        rows = [_decode(line) for line in lines]
        columns = [[_plain(getattr(row, name)) for row in rows] for name in self._schema.names]
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))


def _plain(value: object) -> object:
    return str(value, "utf-8") if isinstance(value, Raw) else value
