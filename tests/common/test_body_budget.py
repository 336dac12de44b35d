"""Bodies that arrive at once are never together larger than there is room, and none waits for ever."""

import asyncio
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.body_budget import BodyBudget, TooManyBodies

ROOM = 100
MOST_WAITING = 8
SIZES = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=6), min_size=1, max_size=8)


def budget_of(patience: float = 60, longest_wait: float = 60) -> BodyBudget:
    return BodyBudget(ROOM, patience, longest_wait=longest_wait, most_waiting=MOST_WAITING)


@given(SIZES)
def test_bodies_that_arrive_at_once_are_bounded_and_all_are_finished(bodies: list[list[int]]) -> None:
    async def run() -> None:
        budget, held, most, finished = budget_of(), 0, 0, 0

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
    budget = budget_of(patience=0)
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
    budget = budget_of()
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


async def test_only_some_bodies_may_wait() -> None:
    """The clients of those that wait may be gone, and others come for them: their number is not that of connections."""
    budget = budget_of()
    first, *others = (budget.begin(lambda: None) for _ in range(MOST_WAITING + 2))
    await first.take(ROOM)
    waiting = [asyncio.create_task(one.take(1)) for one in others[:-1]]
    await asyncio.sleep(0)

    with pytest.raises(TooManyBodies):
        await others[-1].take(1)
    await first.take(1)  # which others wait for
    first.end()
    await asyncio.gather(*waiting)


async def test_body_waits_for_those_that_do_not_move_only_so_long_and_then_holds_nothing() -> None:
    budget = budget_of(longest_wait=0.01)
    first, second, third = (budget.begin(lambda: None) for _ in range(3))
    await first.take(ROOM - 1)
    await second.take(1)

    with pytest.raises(TooManyBodies):
        await second.take(1)
    second.end()
    await third.take(1)


async def test_body_that_had_to_wait_has_its_own_time_to_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would otherwise be given up, as too slow, as soon as it may go on."""
    loop, passed = asyncio.get_running_loop(), 0.0
    started = loop.time()
    monkeypatch.setattr(loop, "time", lambda: started + passed)
    given_up: list[str] = []
    budget = budget_of(patience=10, longest_wait=1_000)
    first, honest, other = (budget.begin(partial(given_up.append, name)) for name in "abc")
    await first.take(ROOM)
    waiting = asyncio.create_task(honest.take(ROOM))
    await asyncio.sleep(0)
    passed += 11
    first.end()
    await waiting

    behind = asyncio.create_task(other.take(ROOM))
    await asyncio.sleep(0)
    assert given_up == []
    passed += 11
    honest.end()
    await behind
