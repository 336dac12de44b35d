"""Bodies of imports."""

import json
from typing import Any, Self

from pydantic import Field

from app.db.models import FileImport
from app.http.fields import UtcDatetime
from app.http.schemas import ResponseBody
from app.operations.imports.repository import Status


class ImportedFileRead(ResponseBody):
    """What became of the lines of a file."""

    name: str = Field(description="As it was uploaded.", examples=["events.ndjson.gz"])
    sha256: str | None = Field(description="By which the file is known when it comes again.")
    bytes: int
    offset: int = Field(description="Where the next line begins, in the decompressed file.")
    lines: int
    imported: int = Field(description="Events, or persons, that are new.")
    duplicates: int = Field(description="Events that were stored before.")
    skipped: int = Field(description="Lines that have nothing to store, such as the start of a session.")
    refused: int = Field(description="Lines that cannot be read: `refused/` returns them with the reasons.")


class ImportRead(ResponseBody):
    """An import of an uploaded file."""

    id: int
    status: Status
    detail: str = Field(description="Why the import failed.")
    files: list[ImportedFileRead] = Field(description="Empty until the import has begun.")
    first_timestamp: UtcDatetime | None = Field(description="Time of the earliest event.")
    last_timestamp: UtcDatetime | None = Field(description="Time of the latest event.")
    events_per_second: int | None = Field(description="Lines in a second, since the import began or was resumed.")
    eta: UtcDatetime | None = Field(description="When the import will be finished, at this rate.")
    created_at: UtcDatetime
    updated_at: UtcDatetime

    @classmethod
    def of(cls, one: FileImport) -> Self:
        return cls.model_validate(_values(one))


class CountedEvents(ResponseBody):
    """Events of a name on a day in UTC, new and known ones, to hold against the source."""

    event: str
    day: str
    events: int


class ImportWithEvents(ImportRead):
    """An import, with its events by name and day."""

    events: list[CountedEvents] = Field(description="At most 5,000; what is beyond them is counted as `(others)`.")


def _values(one: FileImport) -> dict[str, Any]:
    unknown = dict.fromkeys(("first_timestamp", "last_timestamp", "events_per_second", "eta"))
    told = {"files": [], "events": [], **unknown, **json.loads(one.progress)}
    if one.status != "running":
        told["eta"] = None
    own = {name: getattr(one, name) for name in ("id", "status", "detail", "created_at", "updated_at")}
    return {**told, **own}
