"""Release conditions on the values of other flags."""

from typing import Any

import pytest
from posthog.client import Client
from posthog.version import VERSION
from sqlalchemy import update

from app.db.database import Database
from app.db.models import FeatureFlag
from tests.flags.evaluation.asking import COUNTRY, HALVES, create_flag, values
from tests.support.service import Service

pytestmark = pytest.mark.one_database


def on(flag: Any, value: object, **members: object) -> dict[str, Any]:
    condition = {"key": str(flag["id"]), "type": "flag", "operator": "flag_evaluates_to", "value": value, **members}
    return {"groups": [{"properties": [condition]}]}


async def test_flag_depends_on_the_value_of_another(service: Service) -> None:
    country = await create_flag(service, "country", filters={"groups": [{"properties": [COUNTRY]}]})
    split = await create_flag(service, "split", filters={"groups": [{}], "multivariate": HALVES})
    off = await create_flag(service, "off", active=False)
    await create_flag(service, "in-country", filters=on(country, value=True))
    await create_flag(service, "abroad", filters=on(country, value=False))
    await create_flag(service, "any-variant", filters=on(split, value=True))
    await create_flag(service, "control-only", filters=on(split, "control"))
    await create_flag(service, "while-off", filters=on(off, value=False))

    found = await values(service, person_properties={"country": "NL"})
    requested = await values(service, person_properties={"country": "DE"}, flag_keys_to_evaluate=["abroad"])

    assert (found["in-country"], found["abroad"], found["any-variant"], found["while-off"]) == (True, False, True, True)
    assert found["control-only"] is (found["split"] == "control")
    assert requested == {"abroad": True}


async def test_sdk_agrees_on_dependent_flags(service: Service) -> None:
    first = await create_flag(service, "first", filters={"groups": [{"properties": [COUNTRY]}]})
    second = await create_flag(service, "second", filters=on(first, value=True))
    await create_flag(service, "third", filters=on(second, value=False))
    headers = {"Authorization": f"Bearer {service.key}", "User-Agent": f"posthog-python/{VERSION}"}
    definitions = await service.client.get(f"/flags/definitions?token={service.token}&send_cohorts", headers=headers)
    client = Client(service.token, host="http://127.0.0.1:9", send=False, sync_mode=True)  # no server listens there
    client.feature_flags = definitions.json()["flags"]

    for country in ("NL", "DE"):
        person = {"country": country}
        found = client.get_all_flags("example_id", person_properties=person, only_evaluate_locally=True)
        assert found == await values(service, person_properties=person)
        assert found == {"first": country == "NL", "second": country == "NL", "third": country == "DE"}


@pytest.mark.parametrize(
    ("members", "code", "detail"),
    [
        ({"key": "999999"}, "flag_does_not_exist", "Feature flag with id 999999 does not exist"),
        ({"key": "by-name"}, "invalid_input", "The key of a condition on a flag is the flag's id, got 'by-name'"),
        ({"value": 5}, "invalid_input", "takes true, false or the key of a variant, got 5"),
        ({"value": None}, "invalid_input", "needs a value, got null"),
        ({"operator": "exact"}, "invalid_input", "the operator \"exact\" is not available for the type 'flag'"),
        ({"negation": True}, "invalid_input", "a condition on a flag cannot be negated"),
    ],
)
async def test_dependency_that_is_not_understood_is_refused(
    service: Service, members: dict[str, object], code: str, detail: str
) -> None:
    other = await create_flag(service, "other")

    refused = await service.post("/feature_flags/", {"key": "f", "filters": on(other, **{"value": True, **members})})

    assert (refused.status_code, refused.json()["code"], refused.json()["attr"]) == (400, code, "filters")
    assert detail in refused.json()["detail"]


async def test_flags_do_not_depend_on_themselves_and_stay_while_others_need_them(service: Service) -> None:
    first = await create_flag(service, "first")
    second = await create_flag(service, "second", filters=on(first, value=True))

    circle = await service.patch(f"/feature_flags/{first['id']}/", {"filters": on(second, value=True)})
    deleted = await service.patch(f"/feature_flags/{first['id']}/", {"deleted": True})

    assert (circle.status_code, circle.json()["attr"]) == (400, "filters")
    assert (deleted.status_code, deleted.json()["code"]) == (400, "flag_in_use")


async def test_experiment_stays_while_others_need_its_flag(service: Service) -> None:
    experiment = await service.create_experiment()
    needed = {"id": experiment["feature_flag"]}
    other = await create_flag(service, "other", filters=on(needed, value="test"))
    path = f"/experiments/{experiment['id']}/"

    refused = await service.delete(path)
    await service.patch(f"/feature_flags/{other['id']}/", {"deleted": True})
    deleted = await service.delete(path)

    assert (refused.status_code, refused.json()["code"]) == (400, "flag_in_use")
    assert deleted.status_code == 204


@pytest.mark.parametrize("value", [True, False])
async def test_no_condition_on_a_lost_flag_or_a_circle_holds(
    service: Service, database: Database, *, value: bool
) -> None:
    first = await create_flag(service, "first")
    second = await create_flag(service, "second", filters=on(first, value=value))
    circle = await create_flag(service, "circle")
    async with database.write() as session:
        await session.execute(update(FeatureFlag).where(FeatureFlag.id == first["id"]).values(deleted=True))
        filters = on(circle, value=value)
        await session.execute(update(FeatureFlag).where(FeatureFlag.id == circle["id"]).values(filters=filters))

    found = await values(service)

    assert {key: found[key] for key in ("second", "circle")} == {"second": False, "circle": False}
    assert second["id"] != circle["id"]


async def test_other_filters_do_not_depend_on_flags(service: Service) -> None:
    flag = await create_flag(service, "first")
    [group] = on(flag, value=True)["groups"]

    refused = await service.post("/cohorts/", {"name": "c", "filters": {"properties": group["properties"]}})

    assert refused.status_code == 400
    assert "can only be used in release conditions of flags" in refused.json()["detail"]
