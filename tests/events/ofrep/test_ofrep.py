"""Providers of OpenFeature get what SDKs get, in the shapes of OFREP."""

from typing import Any

import httpx
import pytest

from app.events.ofrep.exposures import Exposure, RecentExposures
from tests.support.service import Json, Service

pytestmark = pytest.mark.one_database

ALL = "/ofrep/v1/evaluate/flags"
VARIANTS = [{"key": "control", "rollout_percentage": 50}, {"key": "test", "rollout_percentage": 50}]
DUTCH = [{"key": "country", "value": ["NL"], "operator": "exact", "type": "person"}]


async def ask(service: Service, path: str = ALL, context: Json = None, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {service.token}", **options.pop("headers", {})}
    body = options.pop("json", {"context": {"targetingKey": "ann"} if context is None else context})
    return await service.client.post(path, json=body, headers=headers, **options)


async def flag(
    service: Service, key: str, groups: list[Json], variants: list[Json] | None = None, **fields: Any
) -> Json:
    filters: Json = {"groups": groups, **fields.pop("filters", {})}
    if variants:
        filters["multivariate"] = {"variants": variants}
    response = await service.post("/feature_flags/", {"key": key, "filters": filters, **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def make_flags(service: Service) -> dict[str, int]:
    everyone: list[Json] = [{"properties": [], "rollout_percentage": 100}]
    made = [
        await flag(service, "static", everyone),
        await flag(service, "split", everyone, VARIANTS, filters={"payloads": {"test": '{"color":"green"}'}}),
        await flag(service, "dutch", [{"properties": DUTCH, "rollout_percentage": 100}]),
        await flag(service, "dutch-split", [{"properties": DUTCH, "rollout_percentage": 100}], VARIANTS),
        await flag(service, "share", [{"properties": [], "rollout_percentage": 0}]),
        await flag(service, "off", everyone, active=False),
    ]
    return {one["key"]: one["id"] for one in made}


async def test_flags_have_the_values_that_sdks_get_and_say_why(service: Service) -> None:
    ids = await make_flags(service)
    sdk = await service.client.post("/flags/", json={"token": service.token, "distinct_id": "ann"})
    variant = sdk.json()["flags"]["split"]["variant"]

    answered = {one["key"]: one for one in (await ask(service)).json()["flags"]}
    dutch = {
        one["key"]: one
        for one in (await ask(service, context={"targetingKey": "ann", "country": "NL"})).json()["flags"]
    }

    def shown(one: Json) -> tuple[object, str, str]:
        return one.get("value", "none"), one["reason"], one["variant"]

    assert {key: shown(one) for key, one in answered.items()} == {
        "static": (True, "STATIC", "on"),
        "split": (variant, "SPLIT", variant),
        "dutch": (False, "DEFAULT", "off"),
        "dutch-split": ("none", "DEFAULT", "off"),
        "share": (False, "SPLIT", "off"),
        "off": ("none", "DISABLED", "off"),
    }
    assert shown(dutch["dutch"]) == (True, "TARGETING_MATCH", "on")
    assert shown(dutch["dutch-split"])[1] == "SPLIT"
    assert {key: one["metadata"]["flag_id"] for key, one in answered.items()} == ids
    payloads = {one["metadata"].get("payload") for one in answered.values()}
    assert payloads == ({None, '{"color":"green"}'} if variant == "test" else {None})
    for key, one in answered.items():
        assert (await ask(service, f"{ALL}/{key}")).json() == one


async def test_bulk_answer_is_304_until_something_differs(service: Service) -> None:
    made = await make_flags(service)
    first = await ask(service)
    known = {"If-None-Match": first.headers["etag"]}

    again = await ask(service, headers=known)
    await service.patch(f"/feature_flags/{made['static']}/", {"active": False})
    changed = await ask(service, headers={**known, "Origin": "https://shop.example"})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (changed.status_code, changed.headers["etag"] != first.headers["etag"]) == (200, True)
    assert "ETag" in changed.headers["access-control-expose-headers"]


async def test_group_flags_take_groups_from_the_context(service: Service) -> None:
    await service.capture(
        {
            "event": "$groupidentify",
            "distinct_id": "ann",
            "properties": {"$group_type": "company", "$group_key": "acme"},
        }
    )
    everyone: list[Json] = [{"properties": [], "rollout_percentage": 100}]
    await flag(service, "for-companies", everyone, filters={"aggregation_group_type_index": 0})

    alone = (await ask(service, f"{ALL}/for-companies")).json()
    inside = await ask(service, f"{ALL}/for-companies", {"targetingKey": "ann", "$groups": {"company": "acme"}})

    assert (alone["value"], inside.json()["value"]) == (False, True)


REFUSED: list[tuple[object, str]] = [
    ({}, "TARGETING_KEY_MISSING"),
    ({"context": {}}, "TARGETING_KEY_MISSING"),
    ({"context": {"targetingKey": ""}}, "TARGETING_KEY_MISSING"),
    ({"context": {"targetingKey": None}}, "TARGETING_KEY_MISSING"),
    ({"context": {"targetingKey": 7}}, "INVALID_CONTEXT"),
    ({"context": {"targetingKey": "x" * 20_000}}, "INVALID_CONTEXT"),
    ({"context": []}, "INVALID_CONTEXT"),
    ({"context": {"targetingKey": "ann", "$groups": ["acme"]}}, "INVALID_CONTEXT"),
    ({"context": {"targetingKey": "ann", "$group_properties": {"company": 1}}}, "INVALID_CONTEXT"),
    ([], "PARSE_ERROR"),
    (None, "PARSE_ERROR"),
]


async def test_context_that_is_not_understood_is_refused_in_words(service: Service) -> None:
    for body, code in REFUSED:
        for path, named in ((ALL, {}), (f"{ALL}/checkout", {"key": "checkout"})):
            response = await ask(service, path, json=body)

            assert (response.status_code, response.json()) == (
                400,
                {**named, "errorCode": code, "errorDetails": response.json()["errorDetails"]},
            ), body

    headers = {"X-API-Key": service.token}
    for text in (b"", b"{", b"\xff", b'{"context": {"targetingKey": "\\ud800"}}', b"[" * 100_000):
        response = await service.client.post(ALL, content=text, headers=headers)
        assert (response.status_code, response.json()["errorCode"] in {"PARSE_ERROR", "INVALID_CONTEXT"}) == (400, True)


async def test_unknown_flag_and_unknown_token_are_told_apart(service: Service) -> None:
    unknown = await ask(service, f"{ALL}/nothing")
    missing = await service.client.post(ALL, json={"context": {"targetingKey": "ann"}})
    wrong = await ask(service, headers={"Authorization": "Bearer phc_wrong"})
    personal = await ask(service, headers={"Authorization": f"Bearer {service.key}"})

    assert (unknown.status_code, unknown.json()["errorCode"], unknown.json()["key"]) == (
        404,
        "FLAG_NOT_FOUND",
        "nothing",
    )
    assert [one.status_code for one in (missing, wrong, personal)] == [401, 401, 401]


@pytest.mark.parametrize("header", [True, False])
async def test_exposure_is_stored_once_where_it_is_asked_for(service: Service, *, header: bool) -> None:
    await make_flags(service)
    options: Json = {"headers": {"X-Abacus-Track": "true"}} if header else {"params": {"track": "true"}}
    context = {"targetingKey": "ann", "$groups": {"company": "acme"}}

    untracked = await ask(service, f"{ALL}/static")
    for _ in range(2):
        answered = await ask(service, f"{ALL}/split", context, **options)
        await ask(service, f"{ALL}/off", **options)

    assert untracked.status_code == 200
    [exposure] = (await service.read("/events/"))["results"]
    assert (exposure["event"], exposure["distinct_id"]) == ("$feature_flag_called", "ann")
    properties = exposure["properties"]
    assert properties["$feature_flag"] == "split"
    assert properties["$feature_flag_response"] == answered.json()["value"]
    assert properties["$groups"] == {"company": "acme"}
    refused = await ask(service, ALL, **options)
    assert (refused.status_code, refused.json()["errorCode"]) == (400, "GENERAL")
    unclear = await ask(service, f"{ALL}/split", params={"track": "perhaps"})
    assert (unclear.status_code, unclear.json()["errorDetails"]) == (400, "`track` is true or false.")


async def test_each_group_of_a_person_is_exposed(service: Service) -> None:
    await make_flags(service)
    company = {"$group_type": "company", "$group_key": "acme"}
    await service.capture({"event": "$groupidentify", "distinct_id": "ann", "properties": company})
    for name in ("acme", "initech", "initech"):
        context = {"targetingKey": "ann", "$groups": {"company": name}}
        await ask(service, f"{ALL}/static", context, params={"track": "true"})

    exposures = (await service.read("/events/", event="$feature_flag_called"))["results"]
    exposed = [one["properties"]["$groups"]["company"] for one in exposures]
    assert sorted(exposed) == ["acme", "initech"]


def test_recent_exposures_are_bounded() -> None:
    recent = RecentExposures(most=2)
    exposures: list[Exposure] = [(1, f"ann-{number}", "checkout", True, frozenset()) for number in range(3)]
    for exposure in exposures:
        recent.add(exposure)

    assert [recent.holds(exposure) for exposure in exposures] == [False, True, True]
