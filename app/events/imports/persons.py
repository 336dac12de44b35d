"""Persons of an import, brought together on disk: a file names each distinct id, some of them several times."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from msgspec import Raw

from app.events.capture.decoding.events import MAX_DISTINCT_ID_CHARACTERS
from app.events.imports.records import PersonRecord

_SCHEMA: Final = """
CREATE TABLE id (distinct_id TEXT PRIMARY KEY, person TEXT, version INTEGER, is_deleted INTEGER) WITHOUT ROWID;
CREATE TABLE person (person TEXT PRIMARY KEY, version INTEGER, properties BLOB, created_at TEXT) WITHOUT ROWID;
"""
_ADD_ID: Final = """
INSERT INTO id VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET person = excluded.person, version = excluded.version,
is_deleted = excluded.is_deleted WHERE excluded.version >= id.version
"""
_ADD_PERSON: Final = """
INSERT INTO person VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version,
properties = excluded.properties, created_at = excluded.created_at WHERE excluded.version >= person.version
"""
_INDEX: Final = "CREATE INDEX IF NOT EXISTS of_person ON id (person, distinct_id) WHERE NOT is_deleted"
_READ: Final = """
SELECT person, properties, created_at, distinct_id FROM id JOIN person USING (person) WHERE NOT is_deleted
ORDER BY person, distinct_id
"""
_BATCH_IDS: Final = 1_000
_BATCH_BYTES: Final = 4 * 1024 * 1024


class StagedPersons:
    """Keeps the highest version of each distinct id and person, in a file that is gone when it is closed."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
        self.is_empty = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def add(self, records: Sequence[PersonRecord]) -> None:
        self.is_empty = self.is_empty and not records
        self._connection.execute("BEGIN")
        self._connection.executemany(
            _ADD_PERSON, [(one.person, one.version, bytes(one.properties), _text(one.created_at)) for one in records]
        )
        self._connection.executemany(
            _ADD_ID,
            [
                (distinct_id[:MAX_DISTINCT_ID_CHARACTERS], one.person, one.id_version, one.is_deleted)
                for one in records
                for distinct_id in one.distinct_ids
            ],
        )
        self._connection.execute("COMMIT")

    def batches(self) -> Iterator[list[PersonRecord]]:
        """Yield the persons, each with all distinct ids, a few at a time."""
        self._connection.execute(_INDEX)
        batch: list[PersonRecord] = []
        ids = size = 0
        with closing(self._connection.execute(_READ)) as rows:
            for person, properties, created_at, distinct_id in rows:
                if batch and batch[-1].person == person:
                    batch[-1].distinct_ids.append(distinct_id)
                else:
                    if ids >= _BATCH_IDS or size >= _BATCH_BYTES:
                        yield batch
                        batch, ids, size = [], 0, 0
                    batch.append(PersonRecord(person, [distinct_id], Raw(properties), created_at))
                    size += len(properties)
                ids += 1
        if batch:
            yield batch


def _text(value: object) -> str | None:
    return None if value is None else str(value)
