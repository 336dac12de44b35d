"""What a project exports is the same project when another one imports it: events, persons, experiments, results."""

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from app.db.database import Database
from app.db.models import Project
from app.events.imports.run import ImportOptions
from app.operations.transfer.definitions import FIELDS
from app.operations.transfer.exporting import ExportPart, export_project
from app.operations.transfer.importing import import_files
from app.operations.transfer.wiring import experiment_services, export_of
from tests.conftest import new_service
from tests.support.service import TREND, Service, event, exposure

pytestmark = pytest.mark.one_database

Json = Any
PARTS = [part.value for part in ExportPart]
STEPS = ((0, "$pageview"), (1, "purchase"))
CONDITIONS = [{"key": "plan", "value": "pro", "type": "person", "operator": "exact"}]


@pytest.fixture
async def other(client: httpx.AsyncClient, database: Database) -> Service:
    return await new_service(client, database)


async def export(database: Database, service: Service, folder: Path, parts: list[str]) -> dict[str, list[Json]]:
    await write(database, service, folder, parts)
    return {part: [json.loads(line) for line in gzip.open(folder / f"{part}.ndjson.gz")] for part in parts}


async def write(
    database: Database, service: Service, folder: Path, parts: list[str], *, is_parquet: bool = False
) -> None:
    async with database.read() as session:
        project = await session.get_one(Project, service.project_id)
    exported = export_of(database, project)
    await export_project(exported, folder, parts, lambda _part, _lines: None, is_parquet=is_parquet)


async def bring_in(database: Database, service: Service, folder: Path, parts: list[str]) -> bool:
    async with database.read() as session:
        project = await session.get_one(Project, service.project_id)
    kept = [name for name in os.listdir(folder) if "refused" not in name]
    names = [str(folder / name) for part in parts for name in kept if name.startswith(part)]
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


async def test_parquet_holds_the_same_events_and_persons(
    database: Database, service: Service, other: Service, tmp_path: Path
) -> None:
    await fill(service)
    parts = ["persons", "events"]
    for name in ("own", "rows", "theirs"):
        (tmp_path / name).mkdir()
    own = await export(database, service, tmp_path / "own", parts)

    await write(database, service, tmp_path / "rows", parts, is_parquet=True)
    assert await bring_in(database, other, tmp_path / "rows", parts)

    theirs = await export(database, other, tmp_path / "theirs", parts)
    assert [_with_groups_once(line) for line in theirs["events"]] == [_with_groups_once(line) for line in own["events"]]
    assert len(theirs["persons"]) == len(own["persons"])


CONDITION = {"key": "plan", "value": "pro", "type": "person", "operator": "exact"}


@pytest.mark.each_database
async def test_what_experiments_refer_to_goes_along_and_has_other_numbers(
    database: Database, service: Service, other: Service, tmp_path: Path
) -> None:
    async def make(path: str, **body: Json) -> int:
        response = await service.post(path, body)
        assert response.status_code == 201, response.text
        return int(response.json()["id"])

    pros = await make("/cohorts/", name="Pros", filters=of_type_or(CONDITION))
    nested = {"key": "id", "value": pros, "type": "cohort"}
    await make("/cohorts/", name="Others", filters=of_type_or({**nested, "negation": True}))
    listed = await make("/cohorts/", name="Listed", is_static=True, distinct_ids=[f"person-{n}" for n in range(60)])
    bought = await make("/actions/", name="Bought", steps=[{"event": "purchase", "properties": [nested]}])
    source = {"kind": "ActionsNode", "id": bought}
    revenue = await make("/experiment_saved_metrics/", name="R", query={"metric_type": "mean", "source": source})
    holdout = await make("/experiment_holdouts/", name="H", filters=[{"rollout_percentage": 10}])
    on_list = {"key": "id", "value": listed, "type": "cohort"}
    filters = {
        "insight": "TRENDS",
        "actions": [{"id": bought, "type": "actions", "order": 0, "properties": [on_list]}],
        "properties": [nested],
    }
    await service.create_experiment(
        name="All",
        filters=filters,
        saved_metrics_ids=[{"id": revenue, "metadata": {"type": "secondary"}}],
        holdout_id=holdout,
        end_date=None,
        scheduling_config={"end_at": "2099-01-01T00:00:00Z"},
    )
    await fill(service)

    parts = ["experiments", "persons", "events"]
    exported = await export(database, service, tmp_path, parts)
    assert await bring_in(database, other, tmp_path, parts)
    assert await bring_in(database, other, tmp_path, parts)  # again, which changes nothing

    (tmp_path / "theirs").mkdir()
    theirs = await export(database, other, tmp_path / "theirs", ["experiments"])
    assert as_named(theirs["experiments"]) == as_named(exported["experiments"])
    [own], [same] = (await results(service)).values(), (await results(other)).values()
    for name in ("variants", "probability", "credible_intervals", "p_value"):  # filters are shown with the numbers
        assert own[0][name] == same[0][name]
    assert own[0]["insight"][0]["count"]


def of_type_or(condition: Json) -> Json:
    return {"properties": {"type": "OR", "values": [{"type": "AND", "values": [condition]}]}}


def as_named(lines: list[Json]) -> Json:
    """Return the lines of an export with names instead of numbers."""
    names = {(line["abacus"], line["id"]): line[line["abacus"]]["name"] for line in lines if line["abacus"] in FIELDS}
    kinds = {"cohort": "cohort", "actions": "action"}

    def named(document: Json) -> Json:
        if isinstance(document, list):
            return [named(item) for item in document]
        if not isinstance(document, dict):
            return document
        changed = {key: named(value) for key, value in document.items() if key != "fingerprint"}
        if document.get("type") == "cohort":
            changed["value"] = names["cohort", document["value"]]
        if document.get("type") in kinds or document.get("kind") == "ActionsNode":
            changed["id"] = names.get(("action", document.get("id")))
        if "saved_metrics_ids" in document:
            changed["saved_metrics_ids"] = [names["saved_metric", one["id"]] for one in document["saved_metrics_ids"]]
            changed["holdout_id"] = names["holdout", document["holdout_id"]]
        if "exclusion_percentage" in document:
            changed["id"] = names["holdout", document["id"]]
        if str(document.get("variant", "")).startswith("holdout-"):
            changed["variant"] = None
        if document.get("abacus") in {*FIELDS, "cohort_members"}:
            kind = document["abacus"].removesuffix("_members")
            changed["id"] = names[kind, document["id"]]
        return changed

    return sorted(json.dumps(named(line), sort_keys=True) for line in lines)


async def test_a_reference_to_what_is_gone_is_refused_by_name(
    database: Database, service: Service, other: Service, tmp_path: Path
) -> None:
    action = (await service.post("/actions/", {"name": "Bought", "steps": [{"event": "purchase"}]})).json()
    filters = {"insight": "TRENDS", "actions": [{"id": action["id"], "type": "actions", "order": 0}]}
    await service.create_experiment(name="Of an action", filters=filters)
    await service.create_experiment(name="Of an event", feature_flag_key="of-an-event")
    assert (await service.delete(f"/actions/{action['id']}/")).status_code < 300

    await export(database, service, tmp_path, ["experiments"])
    assert not await bring_in(database, other, tmp_path, ["experiments"])

    assert [one["name"] for one in (await other.read("/experiments/"))["results"]] == ["Of an event"]
    [refused] = (tmp_path / "experiments.ndjson.gz.refused.ndjson").read_text().splitlines()
    assert f"refers to the action {action['id']}" in json.loads(refused)["reason"]
