"""The health of an experiment: an addition to the API of 2022."""

from fastapi import APIRouter
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.common.timestamps import write_moment
from app.db.models import utc_now
from app.experiments.dependencies import DetachedExperimentDep
from app.experiments.health.dependencies import HealthDep
from app.experiments.health.schemas import FindingRead, HealthRead
from app.http.routing import answer_other_methods

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments",
    tags=["Analysis"],
    dependencies=[require_scope("experiment", ANALYTICS)],
)


@router.get("/{experiment_id}/health/", summary="Check an experiment")
async def retrieve_health(experiment: DetachedExperimentDep, health: HealthDep) -> HealthRead:
    """Return what is wrong with an experiment, the figures that show it, and what to do about it.

    A sample ratio mismatch is found by a chi-square test of the exposed persons against the flag's split: p below
    0.001, from 100 persons on. Of an experiment that has not started, the definition is checked: it is `waiting`, or
    `unhealthy` if it cannot be launched like this.
    """
    report = await health.report(experiment)
    return HealthRead(
        status=report.status,
        checked_at=write_moment(utc_now()),
        findings=[FindingRead.model_validate(finding) for finding in report.findings],
    )


answer_other_methods(router, Depends(get_project))
