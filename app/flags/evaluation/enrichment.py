"""Adds flags to events that browsers sent before they had received their flags."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from app.common.time_slices import TimeSlices
from app.flags.evaluation.active_flags import ActiveFlags
from app.flags.evaluation.event_flags import lacks_flags, may_lack_flags, with_flags
from app.flags.evaluation.rules import enabled_values
from app.flags.evaluation.service import EvaluationService


class SentEvent(Protocol):
    """The fields of an event that enrichment reads; ``properties`` is JSON text."""

    @property
    def distinct_id(self) -> str: ...
    @property
    def properties(self) -> str: ...


class EnrichmentService:
    """Must be called before the transaction that stores the events: it opens connections of its own."""

    def __init__(self, active_flags: ActiveFlags, evaluation: EvaluationService) -> None:
        self._active_flags = active_flags
        self._evaluation = evaluation

    async def knows(self, token: str) -> bool:
        """Whether a project has the token, which enrichment will ask for anyway."""
        return await self._active_flags.find(token) is not None

    async def find_project_id(self, token: str) -> int | None:
        """Return the id of the project that has the token."""
        project = await self._active_flags.find(token)
        return None if project is None else project.project_id

    async def enrich(self, token: str, events: Sequence[SentEvent]) -> Sequence[str]:
        """Return the properties of all events, as JSON text, with flags added where they are missing.

        They are returned unchanged for an unknown project, and for one without active flags.
        """
        may_lack = any(may_lack_flags(event.properties) for event in events)
        project = await self._active_flags.find(token) if may_lack else None
        if project is None or not project.active.flags:
            return [event.properties for event in events]
        slices = TimeSlices()
        lacking = []
        for event in events:
            lacking.append(lacks_flags(event.properties))
            if slices.are_over():
                await slices.pause()
        if not any(lacking):
            return [event.properties for event in events]
        distinct_ids = dict.fromkeys(event.distinct_id for event, lacks in zip(events, lacking, strict=True) if lacks)
        values: dict[str, Mapping[str, bool | str]] = {}
        async for distinct_id, evaluation in self._evaluation.evaluate_stored(project, list(distinct_ids)):
            values[distinct_id] = enabled_values(evaluation.results)
        enriched = []
        for event, lacks in zip(events, lacking, strict=True):
            enriched.append(with_flags(event.properties, values[event.distinct_id]) if lacks else event.properties)
            if slices.are_over():
                await slices.pause()
        return enriched
