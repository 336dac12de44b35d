"""Builds the share links of a project."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.experiments.share_links.repository import ShareLinkRepository
from app.experiments.share_links.service import ShareLinkService


def build_share_links(session: AsyncSession, project_id: int) -> ShareLinkService:
    return ShareLinkService(ShareLinkRepository(session, project_id))
