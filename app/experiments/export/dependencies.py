"""Builds the exports of a project."""

from typing import Annotated

from fastapi import Depends

from app.experiments.export.service import ExportService
from app.experiments.exposures.dependencies import ExposuresDep
from app.experiments.participants.dependencies import ParticipantsDep
from app.experiments.scorecard.dependencies import ScorecardsDep


async def get_exports(
    scorecards: ScorecardsDep, exposures: ExposuresDep, participants: ParticipantsDep
) -> ExportService:
    return ExportService(scorecards, exposures, participants)


ExportsDep = Annotated[ExportService, Depends(get_exports)]
