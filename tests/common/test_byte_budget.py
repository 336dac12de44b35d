"""What requests hold of a budget together is never more than there is."""

import asyncio

from app.common.byte_budget import ByteBudget


async def test_bytes_in_flight_are_bounded_and_nobody_is_left_waiting() -> None:
    budget, held, most, done = ByteBudget(100), 0, 0, 0

    async def request(size: int) -> None:
        nonlocal held, most, done
        async with budget.hold(size) as part:
            held += part.size
            most = max(most, held)
            await asyncio.sleep(0)
            held -= part.size // 2
            part.shrink(part.size - part.size // 2)
            await asyncio.sleep(0)
            held -= part.size
        done += 1

    await asyncio.gather(*(request(size) for size in (60, 60, 40, 1, 500, 7, 100, 33)))

    assert (most, held, done) == (100, 0, 8)


async def test_small_request_does_not_pass_by_a_large_one_that_waits() -> None:
    budget, order = ByteBudget(10), []

    async def request(size: int) -> None:
        async with budget.hold(size):
            order.append(size)
            await asyncio.sleep(0)

    await asyncio.gather(*(request(size) for size in (6, 8, 1, 2)))

    assert order == [6, 8, 1, 2]


async def test_request_that_is_cancelled_while_it_waits_holds_nothing() -> None:
    budget = ByteBudget(10)
    async with budget.hold(6):
        waiting = asyncio.create_task(budget.hold(8).__aenter__())
        behind = asyncio.create_task(budget.hold(4).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

        assert (await behind).size == 4
