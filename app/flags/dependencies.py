"""Builds the flags of a project."""

from collections.abc import Callable
from typing import Annotated, TypeAlias

from fastapi import Depends, Path, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep
from app.activity_log.dependencies import build_activity_log
from app.db.models import FeatureFlag
from app.flags.repository import FlagRepository
from app.flags.service import FlagService, TellFollowed, tell_nobody
from app.http.dependencies import SessionDep
from app.http.fields import PathId
from app.people.cohorts.dependencies import build_cohorts

FeatureFlagId = Annotated[PathId, Path(description="A feature flag's id.")]

BuildFlags: TypeAlias = Callable[[AsyncSession, int], FlagService]  # of a project's id


async def get_flags(request: Request, project: ProjectDep, session: SessionDep) -> FlagService:
    """The flags, whose changes are told to whom experiments know, and flags do not."""
    build: BuildFlags = request.app.state.build_flags
    return build(session, project.id)


async def get_flag(feature_flag_id: FeatureFlagId, flags: "FlagsDep") -> FeatureFlag:
    return await flags.get(feature_flag_id)


async def get_locked_flag(feature_flag_id: FeatureFlagId, flags: "FlagsDep") -> FeatureFlag:
    """The flag, locked against other writers until the request ends."""
    return await flags.get(feature_flag_id, for_update=True)


def build_flags(session: AsyncSession, project_id: int, tell_followed: TellFollowed = tell_nobody) -> FlagService:
    return FlagService(
        FlagRepository(session, project_id),
        build_cohorts(session, project_id),
        build_activity_log(session, project_id),
        tell_followed,
    )


FlagsDep = Annotated[FlagService, Depends(get_flags)]
LockedFlagDep = Annotated[FeatureFlag, Depends(get_locked_flag)]
