"""What a project exports is the same project when another one imports it: events, persons, experiments, results."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from app.db.database import Database
from app.db.models import Project
from app.events.imports.run import ImportOptions
from app.operations.transfer.exporting import ExportPart, export_project
from app.operations.transfer.importing import import_files
from app.operations.transfer.wiring import experiment_services, results_of
from tests.conftest import new_service
from tests.support.service import TREND, Service, event, exposure

Json = Any
PARTS = [part.value for part in ExportPart]
STEPS = ((0, "$pageview"), (1, "purchase"))
CONDITIONS = [{"key": "plan", "value": "pro", "type": "person", "operator": "exact"}]


@pytest.fixture
async def other(client: httpx.AsyncClient, database: Database) -> Service:
    return await new_service(client, database)


async def export(database: Database, service: Service, folder: Path, parts: list[str]) -> dict[str, list[Json]]:
    async with database.read() as session:
        project = await session.get_one(Project, service.project_id)
    await export_project(database, project, results_of(database, project), folder, parts, lambda _part, _lines: None)
    return {part: [json.loads(line) for line in gzip.open(folder / f"{part}.ndjson.gz")] for part in parts}


async def bring_in(database: Database, service: Service, folder: Path, parts: list[str]) -> bool:
    async with database.read() as session:
        project = await session.get_one(Project, service.project_id)
    names = [str(folder / f"{part}.ndjson.gz") for part in parts]
    return await import_files(database, project, names, ImportOptions(), experiment_services, Console(quiet=True))


async def fill(service: Service) -> None:
    """Send events with merges, properties of persons, groups, late and repeated events."""
    draw = random.Random(5)
    events = []
    for number in range(120):
        person, variant = f"person-{number}", draw.choice(["control", "test"])
        events.append(exposure(person, variant, f"2022-11-02T09:{number % 60:02}:00.123456Z"))
        plan = {"$set": {"plan": draw.choice(["pro", "free"])}, "$groups": {"company": f"company-{number % 5}"}}
        for name in ("$pageview", "purchase"):
            if draw.random() < 0.6:
                amount = {"amount": draw.randrange(100) / 8}
                time = f"2022-11-0{draw.randrange(2, 9)}T10:{number % 60:02}:00Z"
                events.append(event(name, person, time, variant=variant, properties={**plan, **amount}))
        if number % 7 == 0:
            anonymous = f"anonymous-{number}"
            events.append(event("$pageview", anonymous, "2022-11-02T09:00:00Z", variant=variant))
            events.append(event("$identify", person, properties={"$anon_distinct_id": anonymous}))
    company = {"$group_type": "company", "$group_key": "company-1", "$group_set": {"size": 3}}
    await service.capture(*events, event("$groupidentify", "person-1", properties=company))


async def results(service: Service) -> dict[str, Json]:
    found = {}
    for experiment in (await service.read("/experiments/", limit=100))["results"]:
        response = await service.get(f"/experiments/{experiment['id']}/results/")
        exposures = await service.read(f"/experiments/{experiment['id']}/exposures/")
        found[experiment["name"]] = response.json(), exposures
    return found


async def test_results_are_the_same_to_the_digit(
    database: Database, service: Service, other: Service, tmp_path: Path
) -> None:
    await fill(service)
    split = [{"key": "control", "rollout_percentage": 30}, {"key": "test", "rollout_percentage": 70}]
    await service.create_experiment(name="Funnel", parameters={"feature_flag_variants": split})
    steps = [{"id": name, "type": "events", "order": order, "properties": CONDITIONS} for order, name in STEPS]
    of_pros = {"insight": "FUNNELS", "events": steps}
    await service.create_experiment(name="Pros", feature_flag_key="pros", filters=of_pros)
    await service.create_experiment(name="Trend", feature_flag_key="trend", filters=TREND, conclusion="won")

    lines = await export(database, service, tmp_path, PARTS)
    assert await bring_in(database, other, tmp_path, PARTS)

    own, theirs = await results(service), await results(other)
    assert set(own) == {"Funnel", "Pros", "Trend"}
    assert own["Funnel"][0]["probability"]
    assert own == theirs
    exported = {line["name"]: line["results"] or line["detail"] for line in lines["results"]}
    assert exported["Funnel"].items() <= own["Funnel"][0].items()


async def test_an_export_of_the_import_is_the_export(
    database: Database, service: Service, other: Service, tmp_path: Path
) -> None:
    await fill(service)
    await service.create_experiment(name="Funnel")
    parts = ["experiments", "persons", "events"]
    (tmp_path / "own").mkdir()
    (tmp_path / "theirs").mkdir()

    own = await export(database, service, tmp_path / "own", parts)
    assert await bring_in(database, other, tmp_path / "own", parts)
    assert await bring_in(database, other, tmp_path / "own", parts)  # again, which changes nothing
    theirs = await export(database, other, tmp_path / "theirs", parts)

    assert len(own["events"]) > 200
    assert [_with_groups_once(line) for line in theirs["events"]] == [_with_groups_once(line) for line in own["events"]]
    assert theirs["experiments"] == own["experiments"]

    def known(persons: list[Json]) -> list[Json]:
        kept = ({**one, "person_id": None, "distinct_ids": sorted(one["distinct_ids"])} for one in persons)
        return sorted(kept, key=lambda one: one["distinct_ids"])

    assert known(theirs["persons"]) == known(own["persons"])


def _with_groups_once(line: Json) -> Json:
    return {**line, "properties": dict(sorted(line["properties"].items()))}


async def test_experiments_that_refer_to_what_has_other_ids_are_refused(
    database: Database, service: Service, other: Service, tmp_path: Path
) -> None:
    action = await service.post("/actions/", {"name": "Bought", "steps": [{"event": "purchase"}]})
    filters = {"insight": "TRENDS", "actions": [{"id": action.json()["id"], "type": "actions", "order": 0}]}
    await service.create_experiment(name="Of an action", filters=filters)
    await service.create_experiment(name="Of an event", feature_flag_key="of-an-event")

    await export(database, service, tmp_path, ["experiments"])
    assert not await bring_in(database, other, tmp_path, ["experiments"])

    assert [one["name"] for one in (await other.read("/experiments/"))["results"]] == ["Of an event"]
    [refused] = (tmp_path / "experiments.ndjson.gz.refused.ndjson").read_text().splitlines()
    assert "refers to actions" in json.loads(refused)["reason"]
