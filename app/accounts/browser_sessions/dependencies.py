"""Builds the sessions of browsers."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.browser_sessions.repository import BrowserSessionRepository
from app.accounts.browser_sessions.service import BrowserSessionService


def build_browser_sessions(session: AsyncSession) -> BrowserSessionService:
    return BrowserSessionService(BrowserSessionRepository(session))
