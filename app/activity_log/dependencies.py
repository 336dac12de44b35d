"""Builds the activity log of a project."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep
from app.activity_log.repository import ActivityRepository
from app.activity_log.service import ActivityLog
from app.http.dependencies import SessionDep


async def get_activity_log(project: ProjectDep, session: SessionDep) -> ActivityLog:
    return build_activity_log(session, project.id)


def build_activity_log(session: AsyncSession, project_id: int) -> ActivityLog:
    return ActivityLog(ActivityRepository(session, project_id))


ActivityLogDep = Annotated[ActivityLog, Depends(get_activity_log)]
