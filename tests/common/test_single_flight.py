"""Work that is shared: once for all who asked before it began."""

import asyncio

import pytest

from app.common.single_flight import SingleFlight


class Piece:
    """Work that waits to be let go, and returns how often it was begun."""

    def __init__(self) -> None:
        self.count = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.count += 1
        number = self.count
        self.begun.set()
        await self.go.wait()
        return number


async def test_who_asks_while_work_is_under_way_shares_the_next_one() -> None:
    shared, piece = SingleFlight(), Piece()
    first = asyncio.create_task(shared.result("key", piece))
    await piece.begun.wait()
    others = [asyncio.create_task(shared.result("key", piece)) for _ in range(3)]
    await asyncio.sleep(0)
    piece.go.set()

    assert await asyncio.gather(first, *others) == [1, 2, 2, 2]


async def test_work_of_different_keys_does_not_wait_for_each_other() -> None:
    shared, slow, quick = SingleFlight(), Piece(), Piece()
    waiting = asyncio.create_task(shared.result("slow", slow))
    quick.go.set()

    assert await shared.result("quick", quick) == 1
    slow.go.set()
    await waiting


async def test_work_goes_on_for_others_when_who_asked_first_has_gone() -> None:
    shared, piece = SingleFlight(), Piece()
    first, second = (asyncio.create_task(shared.result("key", piece)) for _ in range(2))
    await piece.begun.wait()
    first.cancel()
    piece.go.set()

    assert await second == 1


async def test_what_goes_wrong_is_told_to_all_and_tried_anew() -> None:
    shared = SingleFlight()

    async def fail() -> None:
        raise ValueError("no")

    outcomes = await asyncio.gather(*(shared.result("key", fail) for _ in range(2)), return_exceptions=True)

    assert [str(one) for one in outcomes] == ["no", "no"]
    piece = Piece()
    piece.go.set()
    assert await shared.result("key", piece) == 1


async def test_closing_stops_what_is_under_way() -> None:
    shared, piece = SingleFlight(), Piece()
    waiting = asyncio.create_task(shared.result("key", piece))
    await piece.begun.wait()
    await shared.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting
