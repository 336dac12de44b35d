"""Kept answers in the database."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import IdempotentAnswer
from app.db.upserts import insert_if_absent


@dataclass(frozen=True)
class KeptTotal:
    """How much is kept of a caller, and since when the oldest of it."""

    answers: int
    bytes: int
    oldest: dt.datetime | None


class AnswerRepository:
    """Bound to one project and one user when built, so no query can forget them."""

    def __init__(self, session: AsyncSession, project_id: int, user_id: int) -> None:
        self._session = session
        self._project_id = project_id
        self._user_id = user_id
        self._is_own = (IdempotentAnswer.project_id == project_id) & (IdempotentAnswer.user_id == user_id)

    async def forget_before(self, moment: dt.datetime) -> None:
        query = delete(IdempotentAnswer).where(self._is_own, IdempotentAnswer.created_at < moment)
        await self._session.execute(query.execution_options(synchronize_session=False))

    async def total(self) -> KeptTotal:
        size = func.coalesce(func.sum(func.length(IdempotentAnswer.body)), 0)
        query = select(func.count(), size, func.min(IdempotentAnswer.created_at)).where(self._is_own)
        count, kept, oldest = (await self._session.execute(query)).one()
        return KeptTotal(int(count), int(kept), oldest)

    async def add(self, key: str, request_digest: str, now: dt.datetime) -> None:
        """Add a key that is not there; one that another transaction is adding is waited for."""
        own = {"project_id": self._project_id, "user_id": self._user_id, "key": key}
        row = {**own, "request_digest": request_digest, "status": 0, "body": b"", "created_at": now}
        await insert_if_absent(self._session, IdempotentAnswer, [row])

    async def find(self, key: str) -> IdempotentAnswer | None:
        return await self._session.scalar(select(IdempotentAnswer).where(self._is_own, IdempotentAnswer.key == key))

    async def keep(self, key: str, status: int, body: bytes, tag: str | None) -> None:
        query = update(IdempotentAnswer).where(self._is_own, IdempotentAnswer.key == key)
        await self._session.execute(
            query.values(status=status, body=body, tag=tag).execution_options(synchronize_session=False)
        )


async def forget_answers_before(session: AsyncSession, moment: dt.datetime) -> None:
    """Forget the answers to all callers from before a time."""
    query = delete(IdempotentAnswer).where(IdempotentAnswer.created_at < moment)
    await session.execute(query.execution_options(synchronize_session=False))
