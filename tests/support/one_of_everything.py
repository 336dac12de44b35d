"""A project with one of everything that has an id, and all that the API shows of it."""

from collections.abc import Mapping

import httpx

from tests.support.application import PROJECT, Route, example_body, routes_of_projects
from tests.support.service import Json, Service, event

WEBHOOK = "http://localhost:1/"  # where nothing listens


async def make_objects(service: Service, name: str) -> dict[str, str]:
    """Create one of everything that has an id, and return the ids by the names that paths use."""
    experiment = await service.create_experiment(name=name, feature_flag_key=name)
    source = {"kind": "EventsNode", "event": name}
    saved = {"name": name, "query": {"metric_type": "mean", "source": source}}
    holdout = {"name": name, "filters": [{"rollout_percentage": 10}]}
    step = {"name": name, "steps": [{"event": name}]}
    await service.capture(
        event(name, name, properties={"$set": {"note": name}}),
        {"event": "$groupidentify", "distinct_id": name, "properties": {"$group_type": name, "$group_key": name}},
    )
    [person] = (await service.read("/persons/"))["results"]
    definitions = {kind: (await service.read(f"/{kind}_definitions/"))["results"] for kind in ("event", "property")}
    snapshot = await service.post(f"/experiments/{experiment['id']}/snapshots/", {})
    return {
        "project_id": str(service.project_id),
        "experiment_id": str(experiment["id"]),
        "snapshot_id": str(snapshot.json()["id"]),
        "feature_flag_id": str(experiment["feature_flag"]),
        "key": name,
        "saved_metric_id": str((await service.post("/experiment_saved_metrics/", saved)).json()["id"]),
        "holdout_id": str((await service.post("/experiment_holdouts/", holdout)).json()["id"]),
        "import_id": str(await make_import(service)),
        "webhook_id": str((await service.post("/experiment_webhooks/", {"url": WEBHOOK})).json()["id"]),
        "person_id": str(person["id"]),
        "event_definition_id": definitions["event"][0]["id"],
        "property_definition_id": definitions["property"][0]["id"],
        "action_id": str((await service.post("/actions/", step)).json()["id"]),
        "cohort_id": str((await service.post("/cohorts/", {"name": name, "is_static": True})).json()["id"]),
    }


async def make_import(service: Service) -> int:
    """Import a file of which nothing is stored, so that nothing else changes."""
    skipped = b'{"event_type": "session_start"}\n'
    made = (await service.request("POST", "/imports/", content=skipped)).json()
    while (await service.read(f"/imports/{made['id']}/"))["status"] == "running":
        pass
    return int(made["id"])


async def shown(service: Service) -> dict[str, str]:
    """Return what every list of the API shows of a project, by the list's path."""
    needed = {"groups/": {"group_type_index": 0}}
    lists = [path.removeprefix(PROJECT) for method, path in routes_of_projects() if method == "GET"]
    lists = [path for path in lists if "{" not in path and not path.startswith("insights/")]  # which tell the time
    return {path: (await service.get(f"/{path}", **needed.get(path, {}))).text for path in lists}


async def call(service: Service, route: Route, ids: Mapping[str, str]) -> httpx.Response:
    """Call an operation as the document's example does, for the objects with these ids."""
    method, path = route
    headers = {"Authorization": f"Bearer {service.key}"}
    return await service.client.request(method, path.format_map(ids), json=example_body(route), headers=headers)


def answer(response: httpx.Response) -> tuple[int, Json]:
    return response.status_code, response.json()
