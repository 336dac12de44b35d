"""Bodies that arrive at once are never together larger than there is room, and none waits for ever."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from app.common.body_budget import BodyBudget

ROOM = 100
SIZES = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=6), min_size=1, max_size=8)


@given(SIZES)
def test_bodies_that_arrive_at_once_are_bounded_and_all_are_finished(bodies: list[list[int]]) -> None:
    async def run() -> None:
        budget, held, most, finished = BodyBudget(ROOM, patience=60), 0, 0, 0

        async def receive(pieces: list[int]) -> None:
            nonlocal held, most, finished
            body = budget.begin(lambda: None)
            for size in pieces:
                await body.take(size)
                held += size
                most = max(most, held)
                await asyncio.sleep(0)
            body.complete()
            await asyncio.sleep(0)
            held -= sum(pieces)
            body.end()
            finished += 1

        await asyncio.gather(*map(receive, bodies))
        assert finished == len(bodies)
        assert most <= ROOM + max(map(sum, bodies))

    asyncio.run(run())


async def test_body_that_stalls_gives_way_once_others_wait() -> None:
    given_up: list[str] = []
    budget = BodyBudget(ROOM, patience=0)
    stalled = budget.begin(lambda: given_up.append("stalled"))
    await stalled.take(ROOM)
    assert given_up == []

    other = budget.begin(lambda: given_up.append("other"))
    waiting = asyncio.create_task(other.take(1))
    await asyncio.sleep(0)
    assert given_up == ["stalled"]

    stalled.end()
    await waiting
    other.end()


async def test_body_that_is_cancelled_while_it_waits_holds_nothing() -> None:
    budget = BodyBudget(ROOM, patience=60)
    first, second, third = (budget.begin(lambda: None) for _ in range(3))
    await first.take(ROOM)
    waiting = asyncio.create_task(second.take(ROOM))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    second.end()

    behind = asyncio.create_task(third.take(ROOM))
    await asyncio.sleep(0)
    first.end()
    await asyncio.wait_for(behind, 1)
