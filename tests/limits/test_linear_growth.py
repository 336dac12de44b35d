"""Whatever grows in a request: it is answered, its work grows no faster than its size, and the loop keeps turning.

The inputs are in ``tests/support/inputs``. Work is processor time of this process, the database's part of it included,
so that other processes do not count; of several attempts the best one does.
"""

import gc
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import httpx
import pytest

from app.db.database import Database
from app.events.capture.router import router as capture_router
from app.flags.evaluation.router import router as evaluation_router
from app.http.routing import allowed_methods
from tests.conftest import new_service
from tests.support.application import operations
from tests.support.inputs.documents import cohort, conditions
from tests.support.inputs.model import BAR_MS, Call, Dimension, Prepare, Refused, Target
from tests.support.inputs.table import made, named
from tests.support.loop_monitor import monitor
from tests.support.one_of_everything import make_objects
from tests.support.service import Service, session_of

pytestmark = [pytest.mark.one_database, pytest.mark.timeout(1800)]

SLACK = 1.6  # more than linear by caches of the processor, and by logarithms
NOISE_SECONDS = 0.1
ATTEMPTS = 5
# Of each kind of sender and of each kind of input, for the edit loop; all of them take minutes.
SAMPLE = {
    "POST /batch/: events without fields",
    "POST /batch/: properties set by events of a person",
    "POST /batch/: merges in a chain by $merge_dangerously",
    "POST /batch/: items of the field event",
    "POST /flags/: properties of the person",
    "POST /api/projects/{project_id}/experiments/: secondary metrics",
    "POST /api/projects/{project_id}/feature_flags/: patterns of a release condition",
    "POST /api/projects/{project_id}/cohorts/: values of a condition of a cohort",
}

_numbers = itertools.count()


@dataclass(frozen=True)
class Spent:
    seconds: float
    held_ms: float
    is_taken: bool


@dataclass(frozen=True)
class Caller:
    """A project, and the ids of its objects."""

    service: Service
    ids: Mapping[str, str]

    async def spend(self, dimension: Dimension, size: int) -> Spent:
        """Send a request and return what it cost."""
        target = Target(self.service.token, self.service.key, self.ids, f"u{next(_numbers)}")
        call = dimension.build(target, size)
        response, spent = await send(self.service.client, call)
        assert 200 <= response.status_code < 500, (response.status_code, response.text[:500])
        return spent


async def send(client: httpx.AsyncClient, call: Call) -> tuple[httpx.Response, Spent]:
    gc.disable()  # a collection goes through what all tests hold
    try:
        with monitor() as held:
            started = time.process_time()
            response = await client.request(call.method, call.path, content=call.body, headers=dict(call.headers))
            seconds = time.process_time() - started
    finally:
        gc.enable()
    return response, Spent(seconds, held.longest_ms, is_taken=response.status_code < 300)


def best(attempts: Iterable[Spent]) -> Spent:
    every = list(attempts)
    return Spent(
        min(one.seconds for one in every), min(one.held_ms for one in every), all(one.is_taken for one in every)
    )


def faults(dimension: Dimension, spent: Mapping[int, Spent]) -> Iterator[object]:
    """Yield what is wrong with the costs of sizes, of which the first one is next to nothing."""
    fixed, *grown = spent.values()
    sizes = list(spent)[1:]
    if dimension.is_taken and dimension.sender != "anybody" and not grown[0].is_taken:
        yield str(dimension), f"{sizes[0]:,} was refused"
    unit = max(0.0, grown[0].seconds - fixed.seconds)
    for size, one in zip(sizes, grown, strict=True):
        if size < dimension.beyond:  # beyond the limit it may cost less
            allowed = SLACK * unit * size / sizes[0] + fixed.seconds + NOISE_SECONDS
            if one.seconds > allowed:
                yield str(dimension), f"{size:,} took {one.seconds:.3f} s", f"linear: {allowed:.3f} s"
        if one.held_ms > BAR_MS[dimension.sender]:
            yield str(dimension), f"{size:,} held the loop for {one.held_ms:.0f} ms"


def sizes_of(dimension: Dimension, factors: Sequence[int], *, beyond: bool = True) -> list[int]:
    return [1, *(dimension.start * factor for factor in factors), *([dimension.beyond] if beyond else [])]


async def faults_of(new_caller: "NewCaller", dimension: Dimension, sizes: Sequence[int]) -> list[object]:
    """Return the faults that are there in every attempt."""
    caller = await new_caller(dimension)
    spent: dict[int, Spent] = {}
    found: list[object] = []
    for _ in range(ATTEMPTS):
        try:
            for size in sizes:
                once = await caller.spend(dimension, size)
                spent[size] = best([once, *filter(None, [spent.get(size)])])
        except AssertionError as error:
            return [(str(dimension), str(error)[:500])]
        found = list(faults(dimension, spent))
        if not found:
            break
    return found


class NewCaller:
    """Makes a project for a dimension, with objects where its address names some."""

    def __init__(self, client: httpx.AsyncClient, database: Database) -> None:
        self._client = client
        self._database = database

    async def __call__(self, dimension: Dimension) -> Caller:
        service = await new_service(self._client, self._database)
        ids = {"project_id": str(service.project_id)}
        if "{" in dimension.route[1].replace("{project_id}", "").replace("{token}", ""):
            ids = await make_objects(service, "object")
            with_criteria = await service.post("/cohorts/", cohort("object", conditions(1)))
            ids = {**ids, "static_cohort_id": ids["cohort_id"], "cohort_id": str(with_criteria.json()["id"])}
        if "{key_id}" in dimension.route[1] or "{organization_id}" in dimension.route[1]:
            headers = {"Authorization": f"Bearer {service.key}"}
            keys = (await service.client.get("/api/personal_api_keys/", headers=headers)).json()
            ids = {**ids, "key_id": keys[0]["id"], "organization_id": "@current"}
        if dimension.route[1].startswith("/experiments/"):
            ids = {**ids, **await session_of(self._client, service.key)}
        return Caller(service, ids)


@pytest.fixture
def new_caller(client: httpx.AsyncClient, database: Database) -> NewCaller:
    return NewCaller(client, database)


def without_preparation() -> dict[str, list[Dimension]]:
    return grouped((one for one in named() if one.prepare is None), lambda one: " ".join(one.route))


def with_preparation() -> dict[str, list[Dimension]]:
    return grouped((one for one in named() if one.prepare is not None), lambda one: one.name)


def from_the_document() -> dict[str, list[Dimension]]:
    return grouped(made(), lambda one: " ".join(one.route))


def grouped(dimensions: Iterable[Dimension], key: Callable[[Dimension], str]) -> dict[str, list[Dimension]]:
    groups: dict[str, list[Dimension]] = {}
    for dimension in dimensions:
        groups.setdefault(key(dimension), []).append(dimension)
    return groups


def test_every_operation_that_takes_an_input_has_dimensions() -> None:
    def takes(operation: Mapping[str, object]) -> bool:
        parameters = operation.get("parameters", [])
        assert isinstance(parameters, list)
        return "requestBody" in operation or any(parameter["in"] == "query" for parameter in parameters)

    of_documents = {route for route, operation in operations().items() if "requestBody" in operation}
    of_anything = {route for route, operation in operations().items() if takes(operation)}

    assert of_documents - {dimension.route for dimension in named()} == set()
    assert of_anything - {dimension.route for dimension in made()} == set()


def test_every_address_of_sdks_has_dimensions() -> None:
    served = {
        (method, path if path.endswith("/") else f"{path}/")
        for path, methods in allowed_methods((capture_router, evaluation_router)).items()
        for method in methods
        if method in {"GET", "POST"}
    }

    assert served - {dimension.route for dimension in named()} == set()


@pytest.mark.parametrize("dimension", [one for one in named() if str(one) in SAMPLE], ids=str)
async def test_input_of_the_sample_costs_what_its_size_costs(new_caller: NewCaller, dimension: Dimension) -> None:
    assert await faults_of(new_caller, dimension, sizes_of(dimension, [1, 4], beyond=False)) == []


def test_sample_exists() -> None:
    assert {str(dimension) for dimension in named()} >= SAMPLE


@pytest.mark.growth
@pytest.mark.parametrize("group", without_preparation())
async def test_input_costs_what_its_size_costs(new_caller: NewCaller, group: str) -> None:
    offenders: list[object] = []
    for dimension in without_preparation()[group]:
        offenders += await faults_of(new_caller, dimension, sizes_of(dimension, [1, 2, 4, 8]))

    assert not offenders, "\n".join(map(str, offenders))


@pytest.mark.growth
@pytest.mark.parametrize("group", with_preparation())
async def test_reading_costs_what_the_size_of_the_stored_costs(new_caller: NewCaller, group: str) -> None:
    dimensions = with_preparation()[group]
    spent: dict[Dimension, dict[int, Spent]] = {dimension: {} for dimension in dimensions}
    offenders: list[object] = []
    for size in sizes_of(dimensions[0], [1, 8]):
        for _ in range(2):  # each from the beginning, because a second reader finds what the first one counted
            try:
                caller = await prepared(await new_caller(dimensions[0]), dimensions[0].prepare, size)
            except Refused:
                continue
            for dimension in dimensions:
                try:
                    once = await caller.spend(dimension, size)
                except AssertionError as error:
                    offenders.append((str(dimension), size, str(error)[:500]))
                else:
                    spent[dimension][size] = best([once, *filter(None, [spent[dimension].get(size)])])

    offenders += [fault for one, sizes in spent.items() if len(sizes) > 1 for fault in faults(one, sizes)]
    assert [dimension for dimension, sizes in spent.items() if len(sizes) < 2 and "megabytes" not in group] == []
    assert not offenders, "\n".join(map(str, offenders))


async def prepared(caller: Caller, prepare: Prepare | None, size: int) -> Caller:
    assert prepare is not None
    return replace(caller, ids={**caller.ids, **await prepare(caller.service, size)})


@pytest.mark.growth
@pytest.mark.parametrize("group", from_the_document())
async def test_every_place_of_a_request_may_grow(new_caller: NewCaller, group: str) -> None:
    offenders: list[object] = []
    for dimension in from_the_document()[group]:
        offenders += await faults_of(new_caller, dimension, sizes_of(dimension, [1, 8]))

    assert not offenders, "\n".join(map(str, offenders))
