"""Loads what the forms of a project offer."""

from collections.abc import Sequence
from typing import Final

from fastapi import Request

from app.events.definitions.names import EVENT
from app.events.definitions.service import DefinitionService
from app.experiments.holdouts.dependencies import build_holdouts
from app.experiments.saved_metrics.dependencies import build_saved_metrics
from app.http.dependencies import get_database
from app.pages.editing.choices import Choices
from app.pages.visits import Visit

_MAX_NAMES: Final = 300
_MAX_OFFERED: Final = 100  # of shared metrics, and of holdouts


async def load_choices(request: Request, visit: Visit) -> Choices:
    async with get_database(request).read() as session:
        _, saved = await build_saved_metrics(session, visit.project.id).page(_MAX_OFFERED, 0)
        _, holdouts = await build_holdouts(session, visit.project.id).page(_MAX_OFFERED, 0)
    return Choices(
        properties=await load_property_names(request, visit, EVENT),
        saved=saved,
        holdouts=holdouts,
    )


async def load_property_names(request: Request, visit: Visit, subject: str) -> Sequence[str]:
    """Return names of properties of events, of persons, or of a type of groups."""
    shared = request.app.state.materializer.shared
    definitions = DefinitionService(get_database(request), visit.project.id, shared)
    return await definitions.property_names(subject, _MAX_NAMES)
