"""Recorded requests of clients for flags, at every path and in every version of the response."""

from typing import Any

import pytest
from posthog.feature_flags import get_matching_variant

from app.db.database import Database
from tests.flags.evaluation.asking import EVERYBODY, HALVES
from tests.support.recorded import FLAGS_REQUESTS, under_recorded_token
from tests.support.service import Json, Service

pytestmark = [pytest.mark.one_database, pytest.mark.own_database]

KEYS = ["checkout-experiment", "beta-feature"]


@pytest.mark.parametrize("address", ["/flags", "/flags/", "/decide", "/decide/"])
async def test_every_client_gets_the_variant_that_sdks_compute(
    service: Service, database: Database, address: str
) -> None:
    shop = await under_recorded_token(service, database)
    for key in KEYS:
        filters = {**EVERYBODY, "multivariate": HALVES}
        assert (await shop.post("/feature_flags/", {"key": key, "filters": filters})).status_code == 201

    for request in FLAGS_REQUESTS:
        asked = request.document
        assert isinstance(asked, dict)
        keys = asked.get("flag_keys_to_evaluate", KEYS)
        expected = {key: variant_of_half(key, asked["distinct_id"]) for key in keys}
        for version in ("", "1", "2", "3", "4", request.query.partition("v=")[2].partition("&")[0]):
            query = f"v={version}" if version else ""
            response = await request.replay(shop.client, address, query)
            assert response.status_code == 200, response.text
            assert response.headers["Access-Control-Allow-Origin"] == "http://shop.test"
            flags = flags_in(response.json())
            assert flags == (sorted(expected) if isinstance(flags, list) else expected), (request, version)


def variant_of_half(key: str, distinct_id: str) -> object:
    flag = {"key": key, "filters": {"multivariate": HALVES}}
    return get_matching_variant(flag, distinct_id)  # type: ignore[no-untyped-call]  # the SDK has no types for it


def flags_in(answer: Json) -> Any:
    """Return the variants in an answer; the first version only lists flags that are on."""
    if "flags" in answer:
        return {key: flag["variant"] for key, flag in answer["flags"].items()}
    flags = answer["featureFlags"]
    return sorted(flags) if isinstance(flags, list) else flags
