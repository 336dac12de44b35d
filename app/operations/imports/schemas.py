"""Bodies of imports."""

from collections.abc import Callable
from typing import Any, Self

import msgspec
from pydantic import Field

from app.db.models import FileImport
from app.http.fields import OptionalUtcDatetime, UtcDatetime
from app.http.schemas import ResponseBody
from app.operations.imports.repository import Status


class ImportedFileRead(ResponseBody):
    """What became of the lines of a file."""

    name: str = Field(description="As it was uploaded.", examples=["events.ndjson.gz"])
    sha256: str | None = Field(
        description="By which the file is known when it comes again.",
        examples=["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    )
    bytes: int = Field(examples=[4_718_592])
    offset: int = Field(description="Where the next line begins, in the decompressed file.", examples=[31_457_280])
    lines: int = Field(examples=[52_430])
    imported: int = Field(description="Events, or persons, that are new.", examples=[52_028])
    duplicates: int = Field(description="Events that were stored before.", examples=[400])
    skipped: int = Field(description="Lines that have nothing to store, such as the start of a session.", examples=[0])
    refused: int = Field(
        description="Lines that cannot be read: `refused/` returns them with the reasons.", examples=[2]
    )


class ImportRead(ResponseBody):
    """An import of an uploaded file."""

    id: int = Field(examples=[1])
    status: Status = Field(examples=["running"])
    detail: str = Field(description="Why the import failed.", examples=[""])
    files: list[ImportedFileRead] = Field(description="Empty until the import has begun.")
    first_timestamp: OptionalUtcDatetime = Field(description="Time of the earliest event.")
    last_timestamp: OptionalUtcDatetime = Field(description="Time of the latest event.")
    events_per_second: int | None = Field(
        description="Lines in a second, since the import began or was resumed.", examples=[9_000]
    )
    eta: OptionalUtcDatetime = Field(description="When the import will be finished, at this rate.")
    created_at: UtcDatetime
    updated_at: UtcDatetime

    @classmethod
    def of(cls, one: FileImport) -> Self:
        return cls.model_validate(_values(one, _decode_progress))


class CountedEvents(ResponseBody):
    """Events of a name on a day in UTC, new and known ones, to hold against the source."""

    event: str = Field(examples=["$pageview"])
    day: str = Field(examples=["2022-11-02"])
    events: int = Field(examples=[1_204])


class ImportWithEvents(ImportRead):
    """An import, with its events by name and day."""

    events: list[CountedEvents] = Field(description="At most 5,000; what is beyond them is counted as `(others)`.")

    @classmethod
    def of(cls, one: FileImport) -> Self:
        return cls.model_validate(_values(one, _decode_progress_with_events))


class _Progress(msgspec.Struct):
    """What is stored of the progress. Its events, which are many, are passed over."""

    files: list[dict[str, Any]] = []
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    events_per_second: int | None = None
    eta: str | None = None


class _ProgressWithEvents(_Progress):
    events: list[dict[str, Any]] = []


_decode_progress = msgspec.json.Decoder(_Progress).decode
_decode_progress_with_events = msgspec.json.Decoder(_ProgressWithEvents).decode


def _values(one: FileImport, decode: Callable[[str], _Progress]) -> dict[str, Any]:
    told = msgspec.structs.asdict(decode(one.progress))
    if one.status != "running":
        told["eta"] = None
    own = {name: getattr(one, name) for name in ("id", "status", "detail", "created_at", "updated_at")}
    return {**told, **own}
