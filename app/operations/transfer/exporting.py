"""`abacus export`: writes what a project holds as compressed lines of JSON, in pages, so that memory stays bounded."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Raw
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.errors import AppError
from app.common.timestamps import from_microseconds, write_moment
from app.db.database import Database
from app.db.models import Experiment, FeatureFlag, Project
from app.events.history import EventHistory
from app.events.repository import EventQueries, StoredEvent
from app.experiments.documents import STORED_AS_SENT
from app.experiments.repository import ExperimentRepository
from app.experiments.results.service import ResultsService
from app.operations.transfer.definitions import DefinitionServices, stored_definitions
from app.operations.transfer.outputs import PARQUET_PARTS, CompressedLines, ParquetFile
from app.people.directory.repository import DirectoryRepository
from app.people.persons.repository import PersonRepository


class ExportPart(StrEnum):
    """What is written into a file of its own."""

    experiments = "experiments"
    persons = "persons"
    events = "events"
    results = "results"


EXPERIMENT_FIELDS: Final = (*STORED_AS_SENT, "scheduling_config", "holdout_id")
FLAG_FIELDS: Final = ("key", "name", "filters", "active", "deleted", "ensure_experience_continuity")
BuildDefinitions: TypeAlias = Callable[[AsyncSession, int], DefinitionServices]
_EVENTS_AT_A_TIME: Final = 10_000
_PERSONS_AT_A_TIME: Final = 128
_encode: Final = msgspec.json.encode


async def export_project(
    export: "ProjectExport",
    folder: Path,
    parts: Sequence[str],
    report: Callable[[str, int], None],
    *,
    is_parquet: bool = False,
) -> Mapping[str, int]:
    """Write the parts into files of their names; return how many lines each has.

    With ``is_parquet`` events and persons are Parquet. A file gets its name when it is complete. Events and what comes
    after them are those of the moment at which their part begins.
    """
    written = {}
    for part in parts:
        writes_rows = is_parquet and part in PARQUET_PARTS
        target = folder / (f"{part}.parquet" if writes_rows else f"{part}.ndjson.gz")
        unfinished = target.with_suffix(".part")
        count = 0
        with ParquetFile(unfinished, part) if writes_rows else CompressedLines(unfinished) as output:
            async for lines in export.part(part):
                await asyncio.to_thread(output.write, lines)
                count += len(lines)
                report(part, count)
        unfinished.replace(target)
        written[part] = count
    return written


class ProjectExport:
    """The lines of what a project holds, in pages."""

    def __init__(
        self, database: Database, project: Project, results: ResultsService, definitions: BuildDefinitions
    ) -> None:
        self._database = database
        self._definitions = definitions
        self._counted = results
        self._project = project

    def part(self, name: str) -> AsyncIterator[list[bytes]]:
        """Return the lines of a part, in pages."""
        parts = {
            "experiments": self._experiments,
            "persons": self._persons,
            "events": self._events,
            "results": self._results,
        }
        return parts[name]()

    async def _events(self) -> AsyncIterator[list[bytes]]:
        last = 0
        high_water_mark = await EventQueries(self._database, self._project.id).high_water_mark()
        events = EventHistory(self._database, self._project.id)
        while True:
            page = await events.stored_after(last, high_water_mark, _EVENTS_AT_A_TIME)
            if not page:
                return
            last = page[-1].sequence
            yield await asyncio.to_thread(_event_lines, page)

    async def _persons(self) -> AsyncIterator[list[bytes]]:
        last = 0
        while True:
            async with self._database.read() as session:
                page = await DirectoryRepository(session, self._project.id).stored_after(last, _PERSONS_AT_A_TIME)
                ids = await PersonRepository(session, self._project.id).distinct_ids([person[0] for person in page])
            if not page:
                return
            last = page[-1][0]
            yield [
                _encode(
                    {
                        "abacus": "person",
                        "person_id": str(uuid),
                        "distinct_ids": ids[person_id],
                        "properties": _one_line(properties),
                        "created_at": write_moment(created_at),
                    }
                )
                for person_id, uuid, properties, created_at in page
                if ids[person_id]
            ]

    async def _experiments(self) -> AsyncIterator[list[bytes]]:
        """Return the experiments after all that they refer to."""
        async with self._database.read() as session:
            async for definition in stored_definitions(self._definitions(session, self._project.id)):
                yield [_encode(definition)]
        yield [
            _encode(
                {
                    "abacus": "experiment",
                    "experiment": _fields(experiment, EXPERIMENT_FIELDS),
                    "feature_flag": _fields(experiment.feature_flag, FLAG_FIELDS),
                }
            )
            for experiment in await self._all_experiments()
        ]

    async def _results(self) -> AsyncIterator[list[bytes]]:
        for experiment in await self._all_experiments():
            told: dict[str, JsonValue]
            try:
                told = {"results": (await self._counted.results(experiment)).model_dump(mode="json")}
            except AppError as refusal:  # a draft has none
                told = {"results": None, "detail": refusal.detail}
            line = {"abacus": "result", "name": experiment.name, "feature_flag_key": experiment.feature_flag.key}
            yield [_encode({**line, **told})]

    async def _all_experiments(self) -> Sequence[Experiment]:
        async with self._database.read() as session:
            return await ExperimentRepository(session, self._project.id).all()


def _fields(row: Experiment | FeatureFlag, names: Sequence[str]) -> dict[str, object]:
    return {name: getattr(row, name) for name in names}


def _event_lines(events: Sequence[StoredEvent]) -> list[bytes]:
    return [_event_line(event) for event in events]


def _event_line(event: StoredEvent) -> bytes:
    uuid = event.uuid if isinstance(event.uuid, UUID) else UUID(event.uuid)
    return _encode(
        {
            "abacus": "event",
            "uuid": str(uuid),
            "event": event.name,
            "distinct_id": event.distinct_id,
            "timestamp": from_microseconds(event.time).isoformat(),
            "received_at": from_microseconds(event.received_at).isoformat(),
            "properties": _one_line(event.properties),
        }
    )


def _one_line(document: str) -> Raw:
    """Return JSON without the line breaks that clients write between its members."""
    return Raw(document.replace("\n", " ").replace("\r", " ").encode())
