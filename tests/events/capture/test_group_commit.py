"""Small requests share commits, but not errors."""

import asyncio
import datetime as dt
import json
from collections.abc import Sequence

import pytest

from app.common.errors import Unavailable
from app.events.capture.decoding.events import CapturedEvent
from app.events.capture.decoding.requests import decode_batch
from app.events.capture.group_commit import MAX_GROUP_SIZE, MAX_WAITING_SIZE, GroupCommit, size_of

UNKNOWN = "unknown"
NOW = dt.datetime(2022, 11, 2, 12, tzinfo=dt.UTC)


def events(*names: str) -> Sequence[CapturedEvent]:
    return list(
        decode_batch(json.dumps([{"event": name, "distinct_id": "ann"} for name in names]).encode(), NOW).events
    )


class Ledger:
    """Stands for the database: keeps what is written when it is let, and refuses groups with an event "bad"."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.open = asyncio.Event()

    async def write(self, token: str, captured: Sequence[CapturedEvent]) -> None:
        await self.open.wait()
        names = [event.name for event in captured]
        if "bad" in names:
            raise ValueError("bad")
        if token == UNKNOWN:
            raise Unavailable
        self.groups.append(names)


def group_commit(ledger: Ledger) -> GroupCommit:
    return GroupCommit(ledger.write, lambda error: isinstance(error, Unavailable))


async def outcomes(*requests: asyncio.Task[None]) -> list[str]:
    results = await asyncio.gather(*requests, return_exceptions=True)
    return [type(result).__name__ for result in results]


async def test_events_that_arrive_during_a_write_are_written_together_in_order() -> None:
    ledger = Ledger()
    group = group_commit(ledger)
    first = asyncio.create_task(group.add("t", events("a", "b")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(group.add("t", events(f"{number}", "x"))) for number in range(3)]
    await asyncio.sleep(0)
    assert not first.done()
    ledger.open.set()

    await asyncio.gather(first, *others)

    assert ledger.groups == [["a", "b"], ["0", "x", "1", "x", "2", "x"]]


async def test_member_that_fails_does_not_fail_the_others() -> None:
    ledger = Ledger()
    group = group_commit(ledger)
    requests = [asyncio.create_task(group.add("t", events(name))) for name in ("a", "bad", "c")]
    requests.append(asyncio.create_task(group.add(UNKNOWN, events("d"))))
    ledger.open.set()

    assert await outcomes(*requests) == ["NoneType", "ValueError", "NoneType", "Unavailable"]
    assert ledger.groups == [["a"], ["c"]]


async def test_batch_wide_error_fails_all_requests_at_once() -> None:
    ledger = Ledger()
    group = group_commit(ledger)
    requests = [asyncio.create_task(group.add(UNKNOWN, events("a"))) for _ in range(3)]
    ledger.open.set()

    assert await outcomes(*requests) == ["Unavailable"] * 3


async def test_group_has_an_end() -> None:
    ledger = Ledger()
    group = group_commit(ledger)
    batch = events(*["x"] * 90)
    count = 3 * MAX_GROUP_SIZE // size_of(batch)
    requests = [asyncio.create_task(group.add("t", batch)) for _ in range(count)]
    ledger.open.set()
    await asyncio.gather(*requests)

    assert sum(map(len, ledger.groups)) == count * 90
    assert max(map(len, ledger.groups)) <= MAX_GROUP_SIZE // size_of(batch) * 90


async def test_number_of_waiting_events_is_bounded() -> None:
    ledger = Ledger()
    group = group_commit(ledger)
    batch = events(*["x"] * 80)
    waiting = [asyncio.create_task(group.add("t", batch)) for _ in range(MAX_WAITING_SIZE // size_of(batch))]
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await group.add("t", batch)
    ledger.open.set()
    await asyncio.gather(*waiting)
    await group.add("t", batch)


async def test_closing_waits_for_what_was_accepted() -> None:
    ledger = Ledger()
    group = group_commit(ledger)
    requests = [asyncio.create_task(group.add("t", events("a"))) for _ in range(3)]
    await asyncio.sleep(0)
    given_up = asyncio.create_task(group.add("t", events("b")))
    await asyncio.sleep(0)
    given_up.cancel()
    closing = asyncio.create_task(group.close())
    await asyncio.sleep(0)
    assert not closing.done()
    ledger.open.set()

    await closing

    assert all(request.done() for request in requests)
    assert sum(names.count("a") for names in ledger.groups) == 3


async def test_cancelling_close_does_not_cancel_writes() -> None:
    ledger = Ledger()
    group = group_commit(ledger)
    request = asyncio.create_task(group.add("token", events("first")))
    await asyncio.sleep(0)
    closing = asyncio.create_task(group.close())
    await asyncio.sleep(0)

    closing.cancel()

    assert await outcomes(closing) == ["CancelledError"]
    ledger.open.set()
    await request
    assert ledger.groups == [["first"]]
