"""Builds the evaluation of flags, one instance for the process."""

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.database import Database
from app.flags.evaluation.active_flags import ActiveFlags
from app.flags.evaluation.enrichment import EnrichmentService
from app.flags.evaluation.project_sources import ProjectCohorts, ProjectGroups
from app.flags.evaluation.service import EvaluationService
from app.flags.evaluation.sources import Cohorts, Groups
from app.people.cohorts.dependencies import build_cohorts
from app.people.groups.repository import GroupRepository


def evaluation_of(request: Request) -> EvaluationService:
    """Return the instance of the process. Endpoints call this: a FastAPI dependency costs more than the evaluation."""
    evaluation: EvaluationService = request.app.state.evaluation
    return evaluation


def evaluated_groups(session: AsyncSession, project_id: int) -> Groups:
    return ProjectGroups(GroupRepository(session, project_id))


def evaluated_cohorts(session: AsyncSession, project_id: int) -> Cohorts:
    return ProjectCohorts(build_cohorts(session, project_id))


def build_evaluation(database: Database) -> tuple[EvaluationService, EnrichmentService]:
    """Build the services that evaluate flags for clients and for events without flags, one of each for the process."""
    active_flags = ActiveFlags(database, evaluated_groups)
    evaluation = EvaluationService(database, active_flags, evaluated_groups, evaluated_cohorts)
    return evaluation, EnrichmentService(active_flags, evaluation)
