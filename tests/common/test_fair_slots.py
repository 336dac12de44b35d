"""Slots are shared between owners."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.common.fair_slots import FairSlots


async def test_one_owner_leaves_a_slot_for_others() -> None:
    slots = FairSlots(3)
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(slots.slot("heavy"))
        third = asyncio.create_task(held.enter_async_context(slots.slot("heavy")))
        await asyncio.sleep(0)

        async with slots.slot("light"):
            assert not third.done()
        third.cancel()


async def test_spare_slots_are_those_that_no_owner_needs() -> None:
    slots = FairSlots(4)
    async with slots.slot("a"):
        with slots.spare_slots("a", 9) as first, slots.spare_slots("a", 9) as second:
            assert (first, second) == (2, 0)  # one is left for others
            async with slots.slot("b"):
                waiting = asyncio.create_task(slots.slot("c").__aenter__())
                await asyncio.sleep(0)
                with slots.spare_slots("b", 9) as third:
                    assert (third, waiting.done()) == (0, False)
        await waiting

    assert slots.free == 3


async def test_owners_get_slots_in_turn() -> None:
    slots, order = FairSlots(1), []

    async def work(owner: str) -> None:
        async with slots.slot(owner):
            order.append(owner)
            await asyncio.sleep(0)

    await asyncio.gather(*map(work, "aaaab"))

    assert "".join(order) == "aabaa"


async def test_cancelled_waiter_takes_no_slot() -> None:
    slots = FairSlots(1)
    async with slots.slot("a"):
        waiting = [asyncio.create_task(slots.slot("b").__aenter__()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
    waiting[1].cancel()  # it was granted the slot just now
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]

    async with asyncio.timeout(1), slots.slot("c"):
        pass
