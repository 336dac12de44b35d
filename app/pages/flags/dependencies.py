"""Authenticates the visitors of flags, and loads a flag with its experiments."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request

from app.common.errors import NotFound
from app.db.models import Experiment, FeatureFlag
from app.experiments.current_state import current_status
from app.experiments.repository import ExperimentRepository
from app.flags.dependencies import build_flags
from app.http.dependencies import get_database
from app.pages.dependencies import visit_with_scope
from app.pages.visits import Visit

FlagVisitDep = Annotated[Visit, Depends(visit_with_scope("feature_flag", "GET"))]
ChangingFlagVisitDep = Annotated[Visit, Depends(visit_with_scope("feature_flag", "POST"))]


async def load_flag(request: Request, visit: Visit, flag_id: str) -> tuple[FeatureFlag, list[Experiment]]:
    """Return a flag that is not deleted, and its experiments."""
    async with get_database(request).read() as session:
        flag = await build_flags(session, visit.project.id).get(flag_id)
        if flag.deleted:
            raise NotFound
        found = await ExperimentRepository(session, visit.project.id).with_ids([one.id for one in flag.experiments])
    return flag, list(found)


def is_running(experiments: Sequence[Experiment]) -> bool:
    return any(current_status(one) in {"running", "exposure_frozen"} for one in experiments)


def has_begun(experiments: Sequence[Experiment]) -> bool:
    """Whether one of them assigns variants, or did and may do so again: other variants would not be compared."""
    return is_running(experiments) or any(current_status(one) == "paused" for one in experiments)
