"""Who takes part in an experiment, and what a person takes part in."""

import pytest

from tests.support.service import Json, Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]


async def exposed(service: Service) -> str:
    await service.capture(
        exposure("ann", "control", "2022-11-02T09:00:00Z"),
        exposure("bob", "test", "2022-11-03T09:00:00Z"),
        exposure("cem", "test", "2022-11-04T09:00:00Z"),
        exposure("cem", "control", "2022-11-05T09:00:00Z"),
        exposure("dot", "unknown"),
        exposure("eve", "test", "2022-12-24T09:00:00Z"),  # after the end
        event("$identify", "ann", properties={"$anon_distinct_id": "phone"}),
    )
    return f"/experiments/{(await service.create_experiment())['id']}"


async def listed(service: Service, path: str, **parameters: object) -> list[Json]:
    found: list[Json] = []
    address: str | None = f"{path}/participants/"
    while address:
        page = await service.read(address, **parameters)
        found += page["results"]
        address = page["next"] and page["next"].removeprefix(f"http://abacus.test{service.project}")
        parameters = {}
    return found


async def test_participants_are_those_that_exposures_count(service: Service) -> None:
    path = await exposed(service)
    persons = {one["distinct_ids"][0]: one["id"] for one in (await service.read("/persons/"))["results"]}

    everyone = await listed(service, path, limit=2)

    assert everyone == [
        {
            "person_id": persons[names[0]],
            "distinct_ids": names,
            "variant": variant,
            "first_exposure": f"2022-11-{day:02}T09:00:00Z",
            "variants_seen": seen,
        }
        for names, variant, day, seen in (
            (["ann", "phone"], "control", 2, ["control"]),
            (["bob"], "test", 3, ["test"]),
            (["cem"], "$multiple", 4, ["control", "test"]),
        )
    ]
    totals = (await service.read(f"{path}/exposures/"))["total_exposures"]
    for variant, count in totals.items():
        assert len(await listed(service, path, variant=variant)) == count == 1
    assert (await service.get(f"{path}/participants/", variant="blue")).json()["attr"] == "variant"


async def test_erased_participant_has_no_name(service: Service) -> None:
    path = await exposed(service)
    [ann] = (await service.read("/persons/", distinct_id="ann"))["results"]

    await service.delete(f"/persons/{ann['id']}/?delete_events=true")

    [erased] = await listed(service, path, variant="control")
    assert (erased["person_id"], erased["distinct_ids"]) == (None, [])


@pytest.mark.parametrize(("distinct_id", "variant"), [("phone", "control"), ("cem", "$multiple"), ("dot", None)])
async def test_experiments_of_a_person_are_listed(service: Service, distinct_id: str, variant: str | None) -> None:
    path = await exposed(service)
    await service.create_experiment(feature_flag_key="other", start_date=None, end_date=None)
    [person] = (await service.read("/persons/", distinct_id=distinct_id))["results"]

    found = (await service.read(f"/persons/{person['uuid']}/experiments/"))["results"]

    assert [(f"/experiments/{one['experiment_id']}", one["feature_flag_key"], one["variant"]) for one in found] == [
        (path, "checkout", variant) for _ in range(variant is not None)
    ]


async def test_experiment_whose_exposures_are_lost_does_not_hide_the_others_of_a_person(service: Service) -> None:
    await exposed(service)
    action = (await service.post("/actions/", {"name": "a", "steps": [{"event": "paid"}]})).json()
    config = {"kind": "ActionsNode", "id": action["id"]}
    await service.create_experiment(feature_flag_key="lost", exposure_criteria={"exposure_config": config})
    await service.delete(f"/actions/{action['id']}/")
    [person] = (await service.read("/persons/", distinct_id="bob"))["results"]

    found = await service.read(f"/persons/{person['id']}/experiments/")

    assert [one["feature_flag_key"] for one in found["results"]] == ["checkout"]
