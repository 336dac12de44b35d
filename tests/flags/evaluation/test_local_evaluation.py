"""The server and an SDK that fetched its definitions evaluate the same flags to the same values."""

from typing import Any

import pytest
from posthog.client import Client

from tests.flags.evaluation.asking import HALVES, create_flag, values
from tests.support.service import Service

pytestmark = pytest.mark.one_database

PEOPLE = 100
COUNTRIES = ("nl", "de", "fr")


def condition(key: str, operator: str, value: object) -> dict[str, Any]:
    return {"key": key, "operator": operator, "value": value, "type": "person"}


FLAGS: dict[str, dict[str, Any]] = {
    "beta-feature": {"groups": [{"properties": [], "rollout_percentage": 50}]},
    "checkout-experiment": {"groups": [{"properties": []}], "multivariate": HALVES},
    "some": {
        "groups": [{"properties": [], "rollout_percentage": 80}],
        "multivariate": {
            "variants": [
                {"key": "control", "rollout_percentage": 34},
                {"key": "test_1", "rollout_percentage": 33},
                {"key": "test_2", "rollout_percentage": 33},
            ]
        },
        "payloads": {"test_1": '{"color": "green"}'},
    },
    "dutch-and-old": {
        "groups": [{"properties": [condition("country", "exact", ["nl", "be"]), condition("age", "gt", 50)]}]
    },
    "fractions": {"groups": [{"properties": [], "rollout_percentage": 12.5}, {"rollout_percentage": 33.3}]},
    "chosen": {
        "groups": [
            {"properties": [], "rollout_percentage": 70},
            {"properties": [condition("country", "is_not", "nl")], "variant": "control"},
            {"properties": [condition("country", "icontains", "L")], "variant": "test", "rollout_percentage": 40},
        ],
        "multivariate": HALVES,
    },
    "text": {"groups": [{"properties": [condition("country", "regex", "^(nl|fr)$")], "rollout_percentage": 60}]},
    "no-one": {"groups": []},
    "off": {"groups": [{}]},
}


async def test_hundred_people_get_the_same_flags_from_the_server_and_from_the_sdk(service: Service) -> None:
    for key, filters in FLAGS.items():
        await create_flag(service, key, filters=filters, active=key != "off")
    response = await service.client.get(
        f"/flags/definitions?token={service.token}&send_cohorts", headers={"Authorization": f"Bearer {service.key}"}
    )
    assert response.status_code == 200
    client = Client(service.token, host="http://127.0.0.1:9", send=False, sync_mode=True)  # no server listens there
    client.feature_flags = response.json()["flags"]
    client.group_type_mapping = response.json()["group_type_mapping"]
    client.cohorts = response.json()["cohorts"]

    for number in range(PEOPLE):
        person = {"country": COUNTRIES[number % 3], "age": number}
        answered = await values(service, f"person-{number}", person_properties=person)
        found = client.get_all_flags(f"person-{number}", person_properties=person, only_evaluate_locally=True)
        assert found == {**answered, "off": False}
