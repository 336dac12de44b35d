"""Slices of long work take turns, and leave turns of the loop to others."""

import asyncio
import time

from app.common.time_slices import TimeSlices


def _compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_at_each_turn_of_the_loop_one_slice_runs_however_many_wait() -> None:
    turns, ran_at = 0, []

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def work() -> None:
        slices = TimeSlices()
        for _ in range(5):
            await slices.pause()
            ran_at.append(turns)

    counter = asyncio.create_task(count())
    await asyncio.gather(*(work() for _ in range(20)))
    counter.cancel()

    assert len(ran_at) == len(set(ran_at)) == 100


async def test_slices_are_granted_in_the_order_of_asking() -> None:
    order = []

    async def work(name: str) -> None:
        slices = TimeSlices()
        for _ in range(3):
            await slices.pause()
            order.append(name)

    await asyncio.gather(work("a"), work("b"), work("c"))

    assert "".join(order) == "abcabcabc"


async def test_task_that_is_cancelled_while_it_waits_keeps_nobody_waiting() -> None:
    waiting = [asyncio.create_task(TimeSlices().pause()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()

    await waiting[2]
    await TimeSlices().pause()


async def test_long_work_rests_for_as_long_as_a_slice_that_could_not_be_cut() -> None:
    slices = TimeSlices(rests=True)
    for _ in range(3):
        _compute(0.02)
        ended, turns = time.perf_counter(), 0
        paused = asyncio.create_task(slices.pause())
        while not paused.done():
            turns += 1
            await asyncio.sleep(0)

        assert time.perf_counter() - ended >= 0.02  # a timer ends no earlier than it says
        assert turns > 5
