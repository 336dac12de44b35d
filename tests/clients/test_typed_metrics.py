"""Current SDKs of servers, as they come: a flag is evaluated, a purchase is captured, and typed metrics count both."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.clients.clients import SPENDING_CLIENTS, Visits
from tests.clients.test_clients import FLAGS, SEEN, THIRDS, USERS, until_told, variants
from tests.support.service import Service

pytestmark = pytest.mark.clients

PURCHASE = {"kind": "EventsNode", "event": "purchase"}
FUNNEL = {"metric_type": "funnel", "series": [PURCHASE]}
REVENUE = {"metric_type": "mean", "source": {**PURCHASE, "math": "sum", "math_property": "amount"}}
CHECKOUT = FLAGS[0]


@pytest.mark.parametrize("client", SPENDING_CLIENTS)
async def test_purchases_count_for_the_variant_of_the_evaluated_flag(
    shop: Service, tmp_path: Path, client: str
) -> None:
    """The funnel of 2022 has nothing to count: no event names its variant."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
    experiment = await shop.create_experiment(
        feature_flag_key=CHECKOUT,
        filters={},
        metrics=[FUNNEL, REVENUE],
        parameters={"feature_flag_variants": variants(THIRDS)["variants"]},
        start_date=started,
        end_date=None,
    )
    visits = Visits(str(shop.client.base_url), shop.token, USERS, [CHECKOUT], tmp_path)

    seen = await asyncio.to_thread(SPENDING_CLIENTS[client], visits)
    events = await until_told(shop, {"purchase": 5, "$feature_flag_called": 10})

    assert seen == {user: {CHECKOUT: values[CHECKOUT]} for user, values in SEEN.items()}
    bought = [one["properties"] for one in events if one["event"] == "purchase"]
    assert not any(f"$feature/{CHECKOUT}" in properties for properties in bought)
    funnel, revenue = (await shop.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]
    assert funnel["step_counts"] == {"control": [3, 1], "test_1": [1, 0], "test_2": [6, 4]}
    assert {one["key"]: (one["number_of_samples"], one["sum"]) for one in revenue["counts"]} == {
        "control": (3, 3),
        "test_1": (1, 0),
        "test_2": (6, 1 + 5 + 7 + 9),
    }
