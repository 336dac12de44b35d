"""Lets one statement after the other fail, to ClickHouse alone or to both stores."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from app.db.clickhouse import ClickHouse, ClickHouseUnavailable
from app.db.database import Database

CLICKHOUSE_CALLS = ("execute", "columns", "rows", "_insert")  # each makes one statement


class Striking:
    """Lets the n-th statement fail: before it does anything, or, one to ClickHouse, after it has done all.

    With a database, each of PostgreSQL's statements counts too, among them each COMMIT.
    """

    def __init__(
        self,
        there: ClickHouse,
        monkeypatch: pytest.MonkeyPatch,
        *,
        is_done_first: bool,
        database: Database | None = None,
    ) -> None:
        self._is_done_first = is_done_first
        self._place: int | None = None
        self._count = 0
        for name in CLICKHOUSE_CALLS:
            monkeypatch.setattr(there, name, self._wrap(getattr(there, name)))
        engines = [database.engine, database.reading_engine] if database else []
        self._hooks = [(one.sync_engine, name) for one in engines for name in ("before_cursor_execute", "commit")]

    @contextlib.contextmanager
    def at(self, place: int) -> Iterator[None]:
        """Strike the statement at a place, counted from zero, until the block ends."""
        self._place, self._count = place, 0
        for engine, name in self._hooks:
            event.listen(engine, name, self._before)
        try:
            yield
        finally:
            self._place = None
            for engine, name in self._hooks:
                event.remove(engine, name, self._before)

    def _wrap(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def attempt(*arguments: Any, **options: Any) -> Any:
            fails = self._is_next()
            if fails and not self._is_done_first:
                raise ClickHouseUnavailable("away")
            answer = await call(*arguments, **options)
            if fails:
                raise ClickHouseUnavailable("away before it could say so")
            return answer

        return attempt

    def _is_next(self) -> bool:
        self._count += 1
        return self._count - 1 == self._place

    def _before(self, *_: Any) -> None:
        if self._is_next():
            raise ConnectionError("away")
