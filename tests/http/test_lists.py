"""Lists end a page by the number and by the bytes of its items, and lead on from there."""

from dataclasses import replace
from typing import Any

import pytest

from app.common import limits
from app.common.page_sizes import fitting
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

LISTS = (
    "/experiments/",
    "/experiments/activity/",
    "/experiments/{experiment}/snapshots/",
    "/feature_flags/",
    "/feature_flags/activity/",
    "/actions/",
    "/cohorts/",
    "/events/",
    "/persons/",
    "/groups/?group_type_index=0",
)


@pytest.mark.parametrize(
    ("sizes", "count"), [([], 0), ([60, 40], 2), ([60, 41], 1), ([101, 1], 1), ([1] * 101, 100), ([0, 0], 2)]
)
def test_page_has_as_many_items_as_fit_and_at_least_one(sizes: list[int], count: int) -> None:
    assert fitting(sizes, 100) == count


async def test_every_list_shows_each_item_once_on_pages_that_end_by_bytes(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = 0
    for number in range(3):
        experiment = (await service.create_experiment(feature_flag_key=f"flag-{number}"))["id"]
        await service.post("/actions/", {"name": f"action {number}", "steps": [{"event": "$pageview"}]})
        await service.post("/cohorts/", {"name": f"cohort {number}", "is_static": True})
    for _ in range(3):
        await service.post(f"/experiments/{experiment}/snapshots/", {})
    described = [{"$group_type": "company", "$group_key": f"company {number}"} for number in range(3)]
    await service.capture(*[event("$groupidentify", f"person {at}", properties=it) for at, it in enumerate(described)])
    addresses = [address.format(experiment=experiment) for address in LISTS]
    whole = {address: await walk(service, address) for address in addresses}

    monkeypatch.setattr(limits, "PAGE_BYTES", replace(limits.PAGE_BYTES, value=1))
    single = {address: await walk(service, address) for address in addresses}

    for address in addresses:
        [everything] = whole[address]
        assert len(everything) >= 3, address
        assert single[address] == [[one] for one in everything], address


async def walk(service: Service, address: str) -> list[list[Any]]:
    """Return the items of each page, following the links."""
    pages = []
    following: str | None = address
    while following:
        page = await service.read(following)
        pages.append(page["results"])
        following = page["next"] and page["next"].removeprefix(f"http://abacus.test{service.project}")
    return pages


@pytest.mark.parametrize(("limit", "taken"), [(999, 999), (1_000, 1_000), (1_001, 1_000), (1_000_000, 1_000)])
async def test_limit_of_a_list_is_bounded(service: Service, limit: int, taken: int) -> None:
    page = await service.read("/experiments/", limit=limit, offset=5_000)

    assert page["previous"].endswith(f"?limit={taken}&offset={5_000 - taken}")
