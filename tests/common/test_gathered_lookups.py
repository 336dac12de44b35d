"""Lookups that come at the same time share a query, and each finds what was stored before it came."""

import asyncio
from collections.abc import Sequence

from app.common.gathered_lookups import GatheredLookups


async def test_callers_during_a_query_share_the_next_one_and_see_what_was_stored_before() -> None:
    stored, asked = {"ann": 1}, list[tuple[int, list[str]]]()
    is_open = asyncio.Event()

    async def look_up(owner: int, keys: Sequence[str]) -> dict[str, int]:
        asked.append((owner, sorted(keys)))
        found = {key: stored[key] for key in keys if key in stored}
        await is_open.wait()
        return found

    lookups = GatheredLookups(look_up)
    first = asyncio.create_task(lookups.find(1, ["ann", "bob"]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stored["bob"] = 2
    later = [asyncio.create_task(lookups.find(1, keys)) for keys in (["bob"], ["ann", "eve"])]
    other = asyncio.create_task(lookups.find(2, ["ann"]))
    await asyncio.sleep(0)
    is_open.set()

    assert await first == {"ann": 1}
    assert [await one for one in later] == [{"bob": 2}, {"ann": 1}]
    assert await other == {"ann": 1}
    assert sorted(asked) == [(1, ["ann", "bob"]), (1, ["ann", "bob", "eve"]), (2, ["ann"])]


async def test_error_reaches_all_callers_and_not_later_ones() -> None:
    failing = True

    async def look_up(_owner: int, keys: Sequence[str]) -> dict[str, str]:
        await asyncio.sleep(0)
        if failing:
            raise OSError("gone")
        return dict(zip(keys, keys, strict=True))

    lookups = GatheredLookups(look_up)
    found = await asyncio.gather(*(lookups.find(1, [key]) for key in "abc"), return_exceptions=True)
    failing = False

    assert [type(one) for one in found] == [OSError] * 3
    assert await lookups.find(1, ["a"]) == {"a": "a"}
