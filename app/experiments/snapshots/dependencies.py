"""Builds the snapshots of a project."""

from typing import Annotated

from fastapi import Depends

from app.accounts.auth.dependencies import ProjectDep
from app.experiments.snapshots.repository import SnapshotRepository
from app.experiments.snapshots.service import SnapshotService
from app.http.dependencies import SessionDep


async def get_snapshots(project: ProjectDep, session: SessionDep) -> SnapshotService:
    return SnapshotService(SnapshotRepository(session, project.id))


SnapshotsDep = Annotated[SnapshotService, Depends(get_snapshots)]
