"""Share links in the database."""

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from app.db.models import Project, ShareLink


class ShareLinkRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def add(self, link: ShareLink) -> None:
        link.project_id = self._project_id
        self._session.add(link)
        await self._session.flush()

    async def of_experiment(self, experiment_id: int, now: dt.datetime) -> Sequence[ShareLink]:
        """Return the links that have not expired, with their makers, newest first."""
        found = await self._session.scalars(
            select(ShareLink)
            .where(
                ShareLink.project_id == self._project_id,
                ShareLink.experiment_id == experiment_id,
                ShareLink.expires_at > now,
            )
            .options(joinedload(ShareLink.created_by))
            .order_by(ShareLink.id.desc())
        )
        return found.all()

    async def count(self, experiment_id: int) -> int:
        of_experiment = select(func.count()).where(
            ShareLink.project_id == self._project_id, ShareLink.experiment_id == experiment_id
        )
        return await self._session.scalar(of_experiment) or 0

    async def delete(self, experiment_id: int, link_id: int) -> bool:
        """Remove a link; return whether there was one."""
        removed = await self._session.scalar(
            delete(ShareLink)
            .where(
                ShareLink.project_id == self._project_id,
                ShareLink.experiment_id == experiment_id,
                ShareLink.id == link_id,
            )
            .returning(ShareLink.id)
        )
        return removed is not None

    async def delete_expired(self, now: dt.datetime) -> None:
        await self._session.execute(
            delete(ShareLink).where(ShareLink.project_id == self._project_id, ShareLink.expires_at <= now)
        )


class SharedExperimentRepository:
    """Finds what a link shows. It knows no project: the token of the link is all that its reader has."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, digest: str, now: dt.datetime) -> tuple[ShareLink, Project] | None:
        found = await self._session.execute(
            select(ShareLink, Project)
            .join(Project, Project.id == ShareLink.project_id)
            .where(ShareLink.digest == digest, ShareLink.expires_at > now)
        )
        row = found.one_or_none()
        return None if row is None else (row[0], row[1])
