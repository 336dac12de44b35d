"""A project with one of everything that has an id, and all that the API shows of it."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeAlias

import httpx

from tests.support.application import PROJECT, Route, example_body, routes_of_projects
from tests.support.service import Json, Service, event

Maker: TypeAlias = Callable[[Service, Mapping[str, str]], Awaitable[Json]]  # returns the id of what it makes

WEBHOOK = "http://localhost:1/"  # where nothing listens
HELD_OUT = [{"rollout_percentage": 10}]


async def make_objects(service: Service, name: str, needed: Collection[str] | None = None) -> dict[str, str]:
    """Create one of everything that has an id, or of what is needed, and return the ids by the names that paths use.

    An experiment with its flag, and events of a person and of a group, are always there.
    """
    experiment = await service.create_experiment(name=name, feature_flag_key=name)
    await service.capture(
        event(name, name, properties={"$set": {"note": name}}),
        {"event": "$groupidentify", "distinct_id": name, "properties": {"$group_type": name, "$group_key": name}},
    )
    ids = {
        "project_id": str(service.project_id),
        "experiment_id": str(experiment["id"]),
        "feature_flag_id": str(experiment["feature_flag"]),
        "key": name,
    }
    for named, made in MAKERS.items():
        if needed is None or named in needed:
            ids[named] = str(await made(service, ids))
    return ids


def _created(path: str, body: Callable[[str], Json]) -> Maker:
    async def create(service: Service, ids: Mapping[str, str]) -> Json:
        return (await service.post(path.format_map(ids), body(ids["key"]))).json()["id"]

    return create


def _first(path: str) -> Maker:
    async def find(service: Service, _ids: Mapping[str, str]) -> Json:
        return (await service.read(path))["results"][0]["id"]

    return find


async def _import(service: Service, _ids: Mapping[str, str]) -> Json:
    """Import a file of which nothing is stored, so that nothing else changes."""
    skipped = b'{"event_type": "session_start"}\n'
    made = (await service.request("POST", "/imports/", content=skipped)).json()
    while (await service.read(f"/imports/{made['id']}/"))["status"] == "running":
        pass
    return made["id"]


def _saved_metric(name: str) -> Json:
    return {"name": name, "query": {"metric_type": "mean", "source": {"kind": "EventsNode", "event": name}}}


MAKERS: Mapping[str, Maker] = {
    "snapshot_id": _created("/experiments/{experiment_id}/snapshots/", lambda _: {}),
    "saved_metric_id": _created("/experiment_saved_metrics/", _saved_metric),
    "holdout_id": _created("/experiment_holdouts/", lambda name: {"name": name, "filters": HELD_OUT}),
    "import_id": _import,
    "webhook_id": _created("/experiment_webhooks/", lambda _: {"url": WEBHOOK}),
    "person_id": _first("/persons/"),
    "event_definition_id": _first("/event_definitions/"),
    "property_definition_id": _first("/property_definitions/"),
    "action_id": _created("/actions/", lambda name: {"name": name, "steps": [{"event": name}]}),
    "cohort_id": _created("/cohorts/", lambda name: {"name": name, "is_static": True}),
}


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
