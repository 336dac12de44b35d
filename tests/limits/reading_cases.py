"""What one answer, and one step of counting, may hold."""

import datetime as dt
import tracemalloc
from urllib.parse import urlsplit

import httpx

from app.common import limits
from app.common.limits import MIB
from tests.limits.capture_cases import with_size
from tests.limits.cases import NAMES, World, assert_refused, assert_taken, holds
from tests.support.inputs import documents as docs
from tests.support.inputs.capture import as_json, event, payload
from tests.support.inputs.model import JsonDict
from tests.support.service import Json

END = dt.datetime(2022, 11, 15, tzinfo=dt.UTC)


async def hourly(world: World, hours: int, read: str, **entity: str) -> httpx.Response:
    """Read something of an experiment that ran for this number of hours."""
    filters = docs.trend(interval="hour")
    filters["events"] = [{**filters["events"][0], **entity}]
    start = END - dt.timedelta(hours=hours)
    body = docs.experiment(f"hours-{hours}", start_date=start.isoformat(), end_date=END.isoformat(), filters=filters)
    made = await world.service.post("/experiments/", body)
    assert_taken(made)
    sent = [
        {**event("step 0", variant, {f"$feature/hours-{hours}": variant, "a": 1}), "timestamp": "2022-11-02T10:00:00Z"}
        for variant in ("control", "test")
    ]
    await world.service.capture(*sent)
    return await world.service.get(f"/experiments/{made.json()['id']}/{read}")


@holds("BUCKETS")
async def buckets(world: World) -> None:
    """Go as near as a day: the first and the last hour may or may not count."""
    below, above = limits.BUCKETS.value - 24, limits.BUCKETS.value + 24
    assert_taken(await hourly(world, below, "exposures/?interval=hour"))
    assert_refused(await hourly(world, above, "exposures/?interval=hour"), limits.BUCKETS)
    longer = await hourly(world, above + 24, "results/")
    assert_taken(longer)
    assert len(longer.json()["insight"][0]["days"]) <= limits.BUCKETS.value


@holds("COUNTED_BUCKETS")
async def counted_buckets(world: World) -> None:
    limit = NAMES["COUNTED_BUCKETS"]
    for hours, is_taken in ((limit.value - 24, True), (limit.value + 24, False)):
        answer = await hourly(world, hours, "results/", math="avg", math_property="a")
        assert_taken(answer) if is_taken else assert_refused(answer, limit)


@holds("PAGE_ITEMS")
async def page_items(world: World) -> None:
    size = limits.PAGE_ITEMS.value
    await world.service.capture(*[event("visit", f"p{number}") for number in range(size + 1)])
    group = {"$group_type": "company", "$group_set": {"a": 1}}
    await world.service.capture(
        *[event("$groupidentify", "p0", {**group, "$group_key": f"g{number}"}) for number in range(size + 1)]
    )
    for path in ("/events/?event=visit", "/persons/?", "/groups/?group_type_index=0"):
        for asked in (size, size + 1, 10**9):
            page = await world.service.read(f"{path}&limit={asked}")
            assert (len(page["results"]), page["next"] is not None) == (size, True), (path, asked)
            [last] = (await following(world, page))["results"]
            assert last not in page["results"]


async def following(world: World, page: Json) -> Json:
    parts = urlsplit(page["next"])
    answer = await world.service.client.get(
        f"{parts.path}?{parts.query}", headers={"Authorization": f"Bearer {world.service.key}"}
    )
    assert answer.status_code == 200, answer.text[:300]
    return answer.json()


async def pages_of(world: World, path: str) -> list[tuple[int, list[Json]]]:
    """Return the size and the items of each page, to the last one."""
    pages = []
    answer = await world.service.get(path)
    while True:
        page = answer.json()
        pages.append((len(answer.content), page["results"]))
        if page["next"] is None:
            return pages
        parts = urlsplit(page["next"])
        headers = {"Authorization": f"Bearer {world.service.key}"}
        answer = await world.service.client.get(f"{parts.path}?{parts.query}", headers=headers)


async def store(world: World, events: list[JsonDict]) -> None:
    for sent in events:
        assert_taken(await world.send(as_json("/batch/", payload([sent], world.service.token))))


@holds("PAGE_BYTES")
async def page_bytes(world: World) -> None:
    """List large events, small events of a large person, and large persons."""
    room = limits.PAGE_BYTES.value
    large, count = limits.EVENT_BYTES.value, 12
    await store(world, [with_size(event("large", f"p{number}"), "note", large) for number in range(count)])
    profile = {"$set": {"note": "x" * (limits.PERSON_PROPERTY_BYTES.value - 2_000)}}
    await store(world, [event("set", f"q{number}", profile) for number in range(20)])
    await world.service.capture(*[event("small", "q0")] * 50)
    expected = {"/events/?event=large&limit=100": 12, "/events/?event=small&limit=100": 50, "/persons/?limit=100": 32}
    for path, number in expected.items():
        pages = await pages_of(world, path)

        assert len(pages) > 1, path
        assert max(size for size, _ in pages) <= room + large, path
        assert all(items for _, items in pages), path
        assert sum(len(items) for _, items in pages) == number, path
        ids = [item["id"] for _, items in pages for item in items]
        assert len(set(ids)) == len(ids), path


@holds("ROWS_BYTES")
async def rows_bytes(world: World) -> None:
    """Make facts of twice as much as may be read at a time."""
    count = 2 * limits.ROWS_BYTES.value // MIB
    sent = [
        event("step 0", f"p{number}", {"$feature/large": ("control", "test")[number % 2]}) for number in range(count)
    ]
    await store(world, [{**with_size(one, "note", MIB - 1_000), "timestamp": None} for one in sent])
    body = docs.experiment("large", start_date="2024-01-01T00:00:00Z", end_date=None)
    made = await world.service.post("/experiments/", body)
    assert_taken(made)

    tracemalloc.start()
    try:
        answer = await world.service.get(f"/experiments/{made.json()['id']}/results/")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert_taken(answer)
    assert answer.json()["insight"][0]["count"] > 0
    # While facts are made of some events, the next ones are read.
    assert peak < 2.5 * limits.ROWS_BYTES.value, f"{peak / MIB:.0f} MiB"


@holds("BREAKDOWN_VALUES")
async def breakdown_values(world: World) -> None:
    limit = limits.BREAKDOWN_VALUES
    made = (await world.service.post("/experiments/", docs.experiment("values", start_date=END.isoformat()))).json()
    for values, is_taken in ((limit.value, True), (limit.value + 1, False)):
        path = f"/experiments/{made['id']}/analysis/?breakdown=device&limit={values}"
        answer = await world.service.get(path)
        assert_taken(answer) if is_taken else assert_refused(answer, limit)
