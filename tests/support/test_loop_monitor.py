"""The monitor of the event loop sees what holds it, and nothing else."""

import asyncio
import json
import time
from collections.abc import Callable

import pytest

from tests.support.loop_monitor import monitor

SECONDS = 0.05
MANY_LISTS = "[" + "[],[]," * 200_000 + "[]]"


def compute(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def decode_in_a_thread() -> None:
    await asyncio.to_thread(json.loads, MANY_LISTS)


def longest_decoding() -> float:
    started = time.thread_time()
    json.loads(MANY_LISTS)
    return time.thread_time() - started


async def test_monitor_sees_computing_before_and_after_the_first_turn() -> None:
    for turns in (0, 3):
        with monitor() as held:
            for _ in range(turns):
                await asyncio.sleep(0)
            compute(SECONDS)
            await asyncio.sleep(0)

        assert SECONDS * 1000 <= held.longest_ms < SECONDS * 1000 * 2


async def test_monitor_sees_callbacks_of_other_tasks() -> None:
    with monitor() as held:
        other = asyncio.create_task(asyncio.sleep(0))
        asyncio.get_running_loop().call_soon(compute, SECONDS)
        await other
        await asyncio.sleep(0)

    assert held.longest_ms >= SECONDS * 1000


async def test_monitor_sees_a_thread_that_holds_the_interpreter() -> None:
    decoding = min(longest_decoding() for _ in range(3))

    with monitor() as held:
        await decode_in_a_thread()

    assert held.longest_ms > decoding * 1000 / 10  # the loop may get turns in between


@pytest.mark.parametrize("sleep", [time.sleep, None])
async def test_monitor_does_not_see_sleeping(sleep: Callable[[float], None] | None) -> None:
    with monitor() as held:
        if sleep is None:
            await asyncio.sleep(SECONDS)
        else:
            sleep(SECONDS)

    assert held.longest_ms < SECONDS * 1000 / 2


async def test_monitor_sees_only_the_longest_of_several_slices() -> None:
    with monitor() as held:
        for _ in range(20):
            compute(0.005)
            await asyncio.sleep(0)

    assert 5 <= held.longest_ms < 25
