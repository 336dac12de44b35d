"""Pieces of work that several workers do."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.common.pieces import work_off


async def test_other_workers_go_on_when_a_piece_fails() -> None:
    done: list[int] = []

    def piece(number: int) -> Callable[[], Awaitable[None]]:
        async def do() -> None:
            await asyncio.sleep(0)
            if number == 1:
                raise ValueError(number)
            done.append(number)

        return do

    with pytest.raises(ValueError, match="1"):
        await work_off(map(piece, range(5)), 2)

    assert done == [0, 2, 3, 4]
    with pytest.raises(ValueError, match="1"):
        await work_off(map(piece, range(5)), 1)

    assert done == [0, 2, 3, 4, 0]
