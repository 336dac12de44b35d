"""What is read of documents after they were stored, and costs more the more they hold."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple
from uuid import uuid4

import httpx

from app.common import limits
from tests.support.application import PROJECT, Route
from tests.support.inputs import documents as docs
from tests.support.inputs import evaluation
from tests.support.inputs.capture import as_json, event, payload
from tests.support.inputs.documents import Document
from tests.support.inputs.model import Build, Call, Dimension, JsonDict, Prepare, Refused, Sender, Target, keyed
from tests.support.service import Service

ONE_EXPERIMENT = f"{PROJECT}experiments/{{experiment_id}}/"
# Everything that reads an experiment's documents.
OF_AN_EXPERIMENT: tuple[Route, ...] = (
    ("GET", ONE_EXPERIMENT),
    ("GET", f"{ONE_EXPERIMENT}results/"),
    ("GET", f"{ONE_EXPERIMENT}secondary_results/"),
    ("GET", f"{ONE_EXPERIMENT}exposures/"),
    ("GET", f"{ONE_EXPERIMENT}analysis/"),
    ("GET", f"{ONE_EXPERIMENT}timeseries_results/"),
    ("GET", f"{ONE_EXPERIMENT}decision/"),
    ("GET", f"{ONE_EXPERIMENT}health/"),
    ("POST", f"{ONE_EXPERIMENT}snapshots/"),
    ("POST", f"{ONE_EXPERIMENT}duplicate/"),
    ("GET", f"{PROJECT}experiments/"),
    ("GET", "/experiments/{project_id}/{experiment_id}/"),
)
OF_FLAGS: tuple[Route, ...] = (
    ("GET", f"{PROJECT}feature_flags/local_evaluation/"),
    ("GET", "/flags/definitions/"),
    ("GET", f"{PROJECT}feature_flags/"),
    ("GET", "/array/{token}/config/"),
    ("GET", "/array/{token}/config.js/"),
)
_QUERIES = {
    "secondary_results/": "?id=0",
    "timeseries_results/": "?metric=primary",
    "/flags/definitions/": "?send_cohorts",
}
PERSONS = 100


class Reading(NamedTuple):
    route: Route
    sender: Sender
    build: Build


async def _stored(service: Service, path: str, body: JsonDict) -> JsonDict:
    response = await service.post(path, body)
    if 400 <= response.status_code < 500:
        raise Refused(response.text)
    assert response.status_code == 201, response.text
    made: JsonDict = response.json()
    return made


async def _events(service: Service) -> None:
    """Store events that experiments' documents match, of persons of both variants."""
    matching = {f"k{number}": "a" for number in range(limits.CONDITIONS.value)}
    sent = [
        {
            **event(name, f"person-{number}", {**matching, "$feature/stored": ("control", "test")[number % 2]}),
            "timestamp": "2022-11-02T10:00:00Z",
        }
        for number in range(PERSONS)
        for name in ("step 0", "step 1", "a")
    ]
    call = as_json("/batch/", payload(sent, service.token))
    response = await service.client.request(call.method, call.path, content=call.body, headers=call.headers)
    assert response.status_code == 200, response.text


def _an_experiment(way: Document) -> Callable[[Service, int], Awaitable[Mapping[str, str]]]:
    async def prepare(service: Service, size: int) -> Mapping[str, str]:
        made = await _stored(service, "/experiments/", way.build("stored", size))
        await _events(service)
        return {"experiment_id": str(made["id"])}

    return prepare


def _a_flag(way: Document) -> Callable[[Service, int], Awaitable[Mapping[str, str]]]:
    async def prepare(service: Service, size: int) -> Mapping[str, str]:
        await _stored(service, "/feature_flags/", way.build("stored", size))
        return {}

    return prepare


def _a_cohort_in_a_flag(way: Document) -> Callable[[Service, int], Awaitable[Mapping[str, str]]]:
    async def prepare(service: Service, size: int) -> Mapping[str, str]:
        made = await _stored(service, "/cohorts/", way.build("stored", size))
        member = docs.condition(key="id", value=made["id"], type="cohort")
        await _stored(service, "/feature_flags/", docs.flag("stored", {"properties": [member]}))
        await _page_views(service)
        return {}

    return prepare


async def _page_views(service: Service) -> httpx.Response:
    call = page_views(Target(service.token, service.key, {}, "known"))
    return await service.client.request(call.method, call.path, content=call.body, headers=call.headers)


def _an_action_in_a_metric(way: Document) -> Callable[[Service, int], Awaitable[Mapping[str, str]]]:
    async def prepare(service: Service, size: int) -> Mapping[str, str]:
        made = await _stored(service, "/actions/", way.build("stored", size))
        filters = {"insight": "TRENDS", "actions": [{"id": made["id"], "order": 0, "type": "actions"}]}
        stored = await _stored(service, "/experiments/", docs.experiment("stored", filters=filters))
        await _events(service)
        return {"experiment_id": str(stored["id"])}

    return prepare


async def _many_flags(service: Service, size: int) -> Mapping[str, str]:
    for number in range(size):
        await _stored(
            service, "/feature_flags/", docs.flag(f"{number}-{uuid4().hex[:8]}", {"properties": docs.conditions(5)})
        )
    return {}


def page_views(target: Target, _: int = 0) -> Call:
    """Return page views by a browser, which are given the variants of flags, of persons that are known by now."""
    sent = [event("$pageview", f"known-{number}", {"$lib": "web", "$set": {"k0": "a"}}) for number in range(PERSONS)]
    return as_json("/batch/", payload(sent, target.token))


def _read(route: Route) -> Build:
    query = next((query for end, query in _QUERIES.items() if route[1].endswith(end)), "")

    def request(target: Target, _: int) -> Call:
        called = query + (f"&token={target.token}" if route[1] == "/flags/definitions/" else "")
        body = {"feature_flag_key": target.unique} if route[1].endswith("duplicate/") else None
        call = keyed(route, target, {} if route[0] == "POST" and body is None else body, called)
        if route[1].startswith("/experiments/"):
            return Call(call.method, call.path, b"", {"Cookie": target.ids["Cookie"]})
        return call

    return request


def _readings_of_flags() -> Iterator[Reading]:
    for path in evaluation.ADDRESSES:
        question = evaluation.Question("token", 0, 0, lambda _: {"person_properties": {"k0": "x" * 100}})
        yield Reading(("POST", path), "token", evaluation.build(path, question))
    yield Reading(("POST", "/batch/"), "token", page_views)
    for route in OF_FLAGS:
        yield Reading(route, "token" if route[1].startswith("/array") else "member", _read(route))


def dimensions() -> Iterator[Dimension]:
    for name, way in docs.EXPERIMENT.items():
        for route in OF_AN_EXPERIMENT:
            yield _dimension(f"{name}, stored", Reading(route, "member", _read(route)), way, _an_experiment(way))
    results = OF_AN_EXPERIMENT[1]
    for name, way in docs.ACTION.items():
        reading = Reading(results, "member", _read(results))
        yield _dimension(f"{name} of an action, stored", reading, way, _an_action_in_a_metric(way))
    for reading in _readings_of_flags():
        for name, way in docs.FLAG.items():
            yield _dimension(f"{name} of a flag, stored", reading, way, _a_flag(way))
        for name, way in docs.COHORT.items():
            yield _dimension(f"{name} of a cohort in a flag, stored", reading, way, _a_cohort_in_a_flag(way))
        yield _dimension("flags, stored", reading, (5, 80), _many_flags)


def _dimension(name: str, reading: Reading, way: tuple[int, int] | Document, prepare: Prepare) -> Dimension:
    """Return a dimension whose answer may be a refusal: not every document has secondary results, or any."""
    route, sender, build = reading
    return Dimension(name, sender, route, way[0], way[1], build, prepare, is_taken=False)
