"""Single flight: concurrent calls for the same work share one run."""

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


async def test_callers_during_a_run_share_the_next_run() -> None:
    shared, piece = SingleFlight(), Piece()
    first = asyncio.create_task(shared.result("key", piece))
    await piece.begun.wait()
    others = [asyncio.create_task(shared.result("key", piece)) for _ in range(3)]
    await asyncio.sleep(0)
    piece.go.set()

    assert await asyncio.gather(first, *others) == [1, 2, 2, 2]


async def test_runs_of_different_keys_are_concurrent() -> None:
    shared, slow, quick = SingleFlight(), Piece(), Piece()
    waiting = asyncio.create_task(shared.result("slow", slow))
    quick.go.set()

    assert await shared.result("quick", quick) == 1
    slow.go.set()
    await waiting


async def test_run_continues_when_its_first_caller_is_cancelled() -> None:
    shared, piece = SingleFlight(), Piece()
    first, second = (asyncio.create_task(shared.result("key", piece)) for _ in range(2))
    await piece.begun.wait()
    first.cancel()
    piece.go.set()

    assert await second == 1


async def test_error_is_raised_to_all_callers_and_the_next_run_starts_over() -> None:
    shared = SingleFlight()

    async def fail() -> None:
        raise ValueError("no")

    outcomes = await asyncio.gather(*(shared.result("key", fail) for _ in range(2)), return_exceptions=True)

    assert [str(one) for one in outcomes] == ["no", "no"]
    piece = Piece()
    piece.go.set()
    assert await shared.result("key", piece) == 1


async def test_closing_cancels_runs() -> None:
    shared, piece = SingleFlight(), Piece()
    waiting = asyncio.create_task(shared.result("key", piece))
    await piece.begun.wait()
    await shared.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting
