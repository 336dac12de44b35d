"""Builds the holdouts of a project."""

from typing import Annotated

from fastapi import Depends, Path
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep
from app.db.models import Holdout
from app.experiments.holdouts.repository import HoldoutRepository
from app.experiments.holdouts.service import HoldoutService
from app.flags.dependencies import build_flags
from app.http.dependencies import SessionDep

HoldoutId = Annotated[str, Path(description="A holdout's id.", examples=["1"])]


def build_holdouts(session: AsyncSession, project_id: int) -> HoldoutService:
    return HoldoutService(HoldoutRepository(session, project_id), build_flags(session, project_id))


async def get_holdouts(project: ProjectDep, session: SessionDep) -> HoldoutService:
    return build_holdouts(session, project.id)


async def get_holdout(holdout_id: HoldoutId, holdouts: "HoldoutsDep") -> Holdout:
    return await holdouts.get(holdout_id)


async def get_locked_holdout(holdout_id: HoldoutId, holdouts: "HoldoutsDep") -> Holdout:
    """The holdout, locked against other writers until the request ends."""
    return await holdouts.get(holdout_id, for_update=True)


HoldoutsDep = Annotated[HoldoutService, Depends(get_holdouts)]
HoldoutDep = Annotated[Holdout, Depends(get_holdout)]
LockedHoldoutDep = Annotated[Holdout, Depends(get_locked_holdout)]
