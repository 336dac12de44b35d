"""Builds the rules of experiments on flags that existed before."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep
from app.experiments.existing_flags.repository import FlagUseRepository
from app.experiments.existing_flags.service import ExistingFlags
from app.flags.dependencies import build_flags
from app.http.dependencies import SessionDep


def build_existing_flags(session: AsyncSession, project_id: int) -> ExistingFlags:
    return ExistingFlags(FlagUseRepository(session, project_id), build_flags(session, project_id))


async def get_existing_flags(project: ProjectDep, session: SessionDep) -> ExistingFlags:
    return build_existing_flags(session, project.id)


ExistingFlagsDep = Annotated[ExistingFlags, Depends(get_existing_flags)]
