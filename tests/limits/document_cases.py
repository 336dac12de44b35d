"""What members may store: bodies, documents and everything that they list."""

from collections.abc import Awaitable, Callable, Iterator
from uuid import uuid4

import httpx

from app.common import limits
from app.common.limits import Limit
from tests.limits.capture_cases import padded
from tests.limits.cases import NAMES, World, assert_refused, assert_taken, holds
from tests.support.inputs import documents as docs
from tests.support.inputs.model import JSON, JsonDict, encoded

Store = Callable[[World, list[JsonDict]], Awaitable[httpx.Response]]


def unique() -> str:
    return f"u{uuid4().hex[:12]}"


async def raw(world: World, path: str, body: bytes, *, has_header: bool = True) -> httpx.Response:
    key = {"Authorization": f"Bearer {world.service.key}"} if has_header else {}
    address = f"{world.service.project}{path}"
    return await world.service.client.post(address, content=body, headers={"Content-Type": JSON, **key})


async def in_a_flag(world: World, listed: list[JsonDict]) -> httpx.Response:
    """Store conditions in several groups: the limit is of all of them together."""
    half = len(listed) // 2
    groups = [{"properties": part} for part in (listed[:half], listed[half:]) if part]
    return await world.service.post("/feature_flags/", docs.flag(unique(), *groups))


async def in_a_cohort(world: World, listed: list[JsonDict]) -> httpx.Response:
    return await world.service.post("/cohorts/", docs.cohort(unique(), listed))


async def in_an_action(world: World, listed: list[JsonDict]) -> httpx.Response:
    half = len(listed) // 2
    steps = [{"event": "a", "properties": part} for part in (listed[:half], listed[half:]) if part]
    return await world.service.post("/actions/", docs.action(unique(), *steps))


async def in_a_metric(world: World, listed: list[JsonDict]) -> httpx.Response:
    filters = {"insight": "TRENDS", "events": [{**docs.steps(1)[0], "properties": listed}]}
    return await experiment_with(world, "results/", filters=filters)


async def in_a_secondary_metric(world: World, listed: list[JsonDict]) -> httpx.Response:
    filters = {"insight": "TRENDS", "events": [{**docs.steps(1)[0], "properties": listed}]}
    return await experiment_with(
        world, "secondary_results/?id=0", secondary_metrics=[{"name": "m", "filters": filters}]
    )


async def experiment_with(world: World, read: str, **fields: object) -> httpx.Response:
    """Return the refusal of an experiment, or of its results: experiments may hold what cannot be counted."""
    made = await world.service.post("/experiments/", docs.experiment(unique(), **fields))
    if made.status_code != 201:
        return made
    results = await world.service.get(f"/experiments/{made.json()['id']}/{read}")
    return made if results.json().get("code") == "no_data" else results


async def in_the_project(world: World, listed: list[JsonDict]) -> httpx.Response:
    return await world.service.patch("/", {"test_account_filters": listed})


STORES: dict[str, tuple[Store, str]] = {
    "flag": (in_a_flag, "person"),
    "cohort": (in_a_cohort, "person"),
    "action": (in_an_action, "event"),
    "metric": (in_a_metric, "event"),
    "secondary metric": (in_a_secondary_metric, "event"),
    "filter of test accounts": (in_the_project, "person"),
}


async def goes_to(world: World, limit: Limit, below: int, above: int, build: docs.Conditions) -> None:
    """Store conditions just below a limit, and just above it, wherever there are conditions."""
    offenders = []
    for name, (store, kind) in STORES.items():
        for size, is_taken in ((below, True), (above, False)):
            answer = await store(world, build(size, kind))
            try:
                assert_taken(answer) if is_taken else assert_refused(answer, limit)
            except AssertionError as error:
                offenders.append((name, size, str(error)[:200]))
    assert offenders == []


@holds("BODY_BYTES")
async def body_bytes(world: World) -> None:
    limit = limits.BODY_BYTES
    for path, body in (("/cohorts/", {"name": "a", "is_static": True}), ("/feature_flags/", docs.flag("a"))):
        text = encoded(body)
        assert_refused(await raw(world, path, padded(text, limit.value + 1)), limit)
        assert_taken(await raw(world, path, padded(text, limit.value)))


@holds("BODY_WITH_KEY_BYTES")
async def body_with_key_bytes(world: World) -> None:
    limit = limits.BODY_WITH_KEY_BYTES
    text = encoded({**docs.flag("a"), "personal_api_key": world.service.key})

    assert_refused(await raw(world, "/feature_flags/", padded(text, limit.value + 1), has_header=False), limit)
    assert_taken(await raw(world, "/feature_flags/", padded(text, limit.value), has_header=False))
    assert_taken(await raw(world, "/feature_flags/", padded(encoded(docs.flag("b")), limit.value + 1)))


def documents(size: int) -> Iterator[tuple[str, JsonDict]]:
    """Yield documents of a size, one of each kind and place."""
    text = "x" * size
    yield "/experiments/", docs.experiment(unique(), filters=docs.trend(note=text))
    yield "/experiments/", docs.experiment(unique(), parameters={"note": text})
    secondary = [{"name": "m", "filters": docs.trend(note=text)}]
    yield "/experiments/", docs.experiment(unique(), secondary_metrics=secondary)
    yield "/feature_flags/", docs.flag(unique(), payloads={"true": f'"{text}"'})
    yield "/actions/", docs.action(unique(), {"event": "a", "properties": [docs.condition(0, "event", value=text)]})
    yield "/cohorts/", docs.cohort(unique(), [docs.condition(value=text)])


@holds("DOCUMENT_BYTES")
async def document_bytes(world: World) -> None:
    limit = limits.DOCUMENT_BYTES
    for path, body in documents(limit.value - 4_096):
        assert_taken(await world.service.post(path, body))
    for path, body in documents(limit.value + 1):
        assert_refused(await world.service.post(path, body), limit)


@holds("CONDITIONS")
async def conditions(world: World) -> None:
    limit = limits.CONDITIONS
    await goes_to(world, limit, limit.value, limit.value + 1, docs.conditions)


@holds("CONDITION_VALUES")
async def condition_values(world: World) -> None:
    limit = limits.CONDITION_VALUES
    await goes_to(world, limit, limit.value, limit.value + 1, docs.values)


def pattern_of(characters: int, kind: str) -> list[JsonDict]:
    return [docs.condition(0, kind, operator="regex", value="a" * characters)]


@holds("PATTERN_CHARACTERS")
async def pattern_characters(world: World) -> None:
    limit = limits.PATTERN_CHARACTERS
    await goes_to(world, limit, limit.value, limit.value + 1, pattern_of)


def full_patterns(count: int, kind: str) -> list[JsonDict]:
    length = limits.PATTERN_CHARACTERS.value
    return [docs.condition(number, kind, operator="regex", value="a" * length) for number in range(count)]


@holds("PATTERN_BYTES")
async def pattern_bytes(world: World) -> None:
    fitting = limits.PATTERN_BYTES.value // limits.PATTERN_CHARACTERS.value
    await goes_to(world, limits.PATTERN_BYTES, fitting, fitting + 1, full_patterns)


def repeated_classes(count: int, kind: str) -> list[JsonDict]:
    return [docs.condition(0, kind, operator="regex", value=rf"(\pL|\pN){{{count}}}x")]


@holds("PATTERN_PROGRAM_BYTES")
async def pattern_program_bytes(world: World) -> None:
    await goes_to(world, limits.PATTERN_PROGRAM_BYTES, 2, 150, repeated_classes)


def classes(count: int, kind: str) -> list[JsonDict]:
    return [docs.condition(0, kind, operator="regex", value=r"\pZ" * count)]


@holds("PATTERN_CLASSES")
async def pattern_classes(world: World) -> None:
    limit = NAMES["PATTERN_CLASSES"]
    await goes_to(world, limit, limit.value, limit.value + 1, classes)


def large_programs(count: int, kind: str) -> list[JsonDict]:
    """Return different patterns of three quarters of what one may compile to, more or less."""
    return [docs.condition(0, kind, operator="regex", value=rf"(\pL|\pN){{8}}{number}") for number in range(count)]


@holds("PATTERN_PROGRAMS_BYTES")
async def pattern_programs_bytes(world: World) -> None:
    limit = NAMES["PATTERN_PROGRAMS_BYTES"]
    await goes_to(world, limit, 2, limits.CONDITIONS.value, large_programs)


@holds("PATTERN_WORK")
async def pattern_work(world: World) -> None:
    """Search for a word behind others: by a long expression less far than by a short one."""
    long = "|".join(f"{number}" + "y" * 97 for number in range(10, 19)) + "|needle"
    listed = [docs.condition(0, operator="regex", value=pattern) for pattern in (long, "needle")]
    for number, one in enumerate(listed):
        assert_taken(await world.service.post("/feature_flags/", docs.flag(f"f{number}", {"properties": [one]})))

    async def found(characters: int) -> list[bool]:
        person = {"k0": "x" * characters + "needle"}
        body = {"token": world.service.token, "distinct_id": "ann", "person_properties": person}
        flags = (await world.service.client.post("/flags/?v=2", json=body)).json()["flags"]
        return [flags[f"f{number}"]["enabled"] for number in range(2)]

    work = NAMES["PATTERN_WORK"].value
    assert await found(work // 10_000) == [True, True]
    assert await found(work // 100) == [False, True]


@holds("FILTER_ALTERNATIVES")
async def filter_alternatives(world: World) -> None:
    limit = NAMES["FILTER_ALTERNATIVES"]

    def mixed(count: int) -> JsonDict:
        pairs = [
            {"type": "AND", "values": [docs.condition(n, "event"), docs.condition(n, "person")]} for n in range(count)
        ]
        return {"type": "OR", "values": pairs}

    answers = []
    for count in (8, limit.value + 1):
        entity = {**docs.steps(1)[0], "properties": mixed(count)}
        answers.append(await experiment_with(world, "results/", filters={"insight": "TRENDS", "events": [entity]}))

    assert_taken(answers[0])
    assert_refused(answers[1], limit)


@holds("BODY_VALUES")
async def body_values(world: World) -> None:
    limit = NAMES["BODY_VALUES"]
    for path, body in (("/feature_flags/", docs.flag("a")), ("/cohorts/", {"name": "a", "is_static": True})):
        assert_refused(await world.service.post(path, {**body, "unknown": [0] * (limit.value + 1)}), limit)
        assert_refused(await world.service.post(path, {**body, "unknown": [[]] * (limit.value // 2 + 1)}), limit)
        assert_taken(await world.service.post(path, {**body, "unknown": [0] * (limit.value - 100)}))


@holds("VARIANTS")
async def variants(world: World) -> None:
    limit = limits.VARIANTS

    def flag(count: int) -> JsonDict:
        return docs.flag(unique(), multivariate={"variants": docs.variants(count)})

    assert_taken(await world.service.post("/feature_flags/", flag(limit.value)))
    assert_refused(await world.service.post("/feature_flags/", flag(limit.value + 1)), limit)
    of_an_experiment = {"feature_flag_variants": docs.variants(limit.value + 1)}
    assert_refused(await world.service.post("/experiments/", docs.experiment("a", parameters=of_an_experiment)), limit)


@holds("SECONDARY_METRICS")
async def secondary_metrics(world: World) -> None:
    limit = limits.SECONDARY_METRICS

    def body(count: int) -> JsonDict:
        return docs.experiment(unique(), secondary_metrics=[{"name": "m", "filters": docs.trend()}] * count)

    made = await world.service.post("/experiments/", body(limit.value))
    assert_taken(made)
    assert_refused(await world.service.post("/experiments/", body(limit.value + 1)), limit)
    change = {"secondary_metrics": body(limit.value + 1)["secondary_metrics"]}
    assert_refused(await world.service.patch(f"/experiments/{made.json()['id']}/", change), limit)


def stepped(count: int) -> Iterator[JsonDict]:
    """Yield filters with this number of steps, of exclusions, or of series."""
    yield docs.funnel(count)
    excluded = [{"id": f"x{number}", "funnel_from_step": 0, "funnel_to_step": 1} for number in range(count)]
    yield docs.funnel(exclusions=excluded)
    yield docs.trend(count)


@holds("FUNNEL_STEPS")
async def funnel_steps(world: World) -> None:
    limit = limits.FUNNEL_STEPS
    for filters in stepped(limit.value):
        assert_taken(await world.service.post("/experiments/", docs.experiment(unique(), filters=filters)))
    for filters in stepped(limit.value + 1):
        for where in ({"filters": filters}, {"secondary_metrics": [{"name": "m", "filters": filters}]}):
            assert_refused(await world.service.post("/experiments/", docs.experiment(unique(), **where)), limit)


@holds("ACTION_STEPS")
async def action_steps(world: World) -> None:
    limit = limits.ACTION_STEPS
    steps = [{"event": f"e{number}"} for number in range(limit.value + 1)]

    assert_taken(await world.service.post("/actions/", docs.action("a", *steps[:-1])))
    assert_refused(await world.service.post("/actions/", docs.action("b", *steps)), limit)


@holds("ALTERNATIVES")
async def alternatives(world: World) -> None:
    """Multiply 10 and 11 conditions with as many steps as an action may have."""
    service = world.service
    steps = [{"event": "a", "url": f"/{number}"} for number in range(limits.ACTION_STEPS.value)]
    action = (await service.post("/actions/", docs.action("a", *steps))).json()["id"]
    fitting = limits.ALTERNATIVES.value // limits.ACTION_STEPS.value
    answers = []
    for count in (fitting, fitting + 1):
        either = {"type": "OR", "values": docs.conditions(count, "event")}
        entity = {"id": action, "order": 0, "type": "actions", "properties": either}
        answers.append(await experiment_with(world, "results/", filters={"insight": "TRENDS", "actions": [entity]}))

    assert_taken(answers[0])
    assert_refused(answers[1], limits.ALTERNATIVES)


@holds("ANALYZED_VARIANTS_BYTES")
async def analyzed_variants_bytes(world: World) -> None:
    limit = limits.ANALYZED_VARIANTS_BYTES
    counts = [{"key": key, "success_count": 100, "failure_count": 900} for key in ("control", "test")]
    power = {"metric_type": "funnel", "baseline": 0.1, "minimum_detectable_effect": 0.02}
    for path, body in (("analyze/", {"metric_type": "funnel", "variants": counts}), ("power/", power)):
        text = encoded(body)
        assert_taken(await raw(world, f"/experiments/{path}", padded(text, limit.value)))
        assert_refused(await raw(world, f"/experiments/{path}", padded(text, limit.value + 1)), limit)
