"""Documents of members, which grow in every list that they hold: experiments, flags, actions, cohorts, filters."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tests.support.application import PROJECT, Route
from tests.support.inputs.model import Build, Call, Dimension, JsonDict, Target, encoded, keyed, numbered

COSTLY_PATTERN = r"(\pL|\pN){150}x"  # 18 characters that compile to a megabyte
EXPERIMENTS = ("POST", f"{PROJECT}experiments/")
FLAGS = ("POST", f"{PROJECT}feature_flags/")
ACTIONS = ("POST", f"{PROJECT}actions/")
COHORTS = ("POST", f"{PROJECT}cohorts/")
IMPORTS = ("POST", f"{PROJECT}imports/")
WEBHOOKS = ("POST", f"{PROJECT}experiment_webhooks/")
HOLDOUTS = ("POST", f"{PROJECT}experiment_holdouts/")
SAVED_METRICS = ("POST", f"{PROJECT}experiment_saved_metrics/")
EARLIEST, END = dt.datetime(1900, 1, 1, tzinfo=dt.UTC), dt.datetime(2022, 11, 15, tzinfo=dt.UTC)


class Document(NamedTuple):
    """A way in which a document grows: ``build`` makes one with this unique name, of this size."""

    start: int
    beyond: int
    build: Callable[[str, int], JsonDict]


def condition(number: int = 0, kind: str = "person", **members: Any) -> JsonDict:
    return {"key": f"k{number}", "value": "a", "operator": "exact", "type": kind, **members}


def conditions(count: int, kind: str = "person") -> list[JsonDict]:
    return [condition(number, kind) for number in range(count)]


def values(count: int, kind: str = "person") -> list[JsonDict]:
    return [condition(0, kind, value=["a", *(f"v{number}" for number in range(1, count))])]


def patterns(count: int, kind: str = "person") -> list[JsonDict]:
    return [condition(number, kind, operator="regex", value=f"a|{number}" + "x" * 990) for number in range(count)]


def costly_patterns(count: int, kind: str = "person") -> list[JsonDict]:
    return [condition(0, kind, operator="regex", value=f"a|{COSTLY_PATTERN}{number}") for number in range(count)]


def patterns_of_classes(count: int, kind: str = "person") -> list[JsonDict]:
    return [condition(0, kind, operator="regex", value=rf"a|\pL\pN{number}") for number in range(count)]


# Ways in which any list of conditions grows.
Conditions = Callable[[int, str], list[JsonDict]]
LISTS: Mapping[str, tuple[int, int, Conditions]] = {
    "conditions": (25, 5_000, conditions),
    "values of a condition": (1_250, 60_000, values),
    "patterns": (8, 200, patterns),
    "patterns of classes": (4, 200, patterns_of_classes),
    "patterns of megabytes": (8, 200, costly_patterns),  # refused, whatever their number
}


def steps(count: int) -> list[JsonDict]:
    return [{"id": f"step {number}", "order": number, "type": "events"} for number in range(count)]


def funnel(count: int = 2, **members: Any) -> JsonDict:
    return {"insight": "FUNNELS", "events": steps(count), **members}


def trend(count: int = 1, **members: Any) -> JsonDict:
    return {"insight": "TRENDS", "events": steps(count), **members}


def shares(count: int) -> list[float]:
    """Return percentages that sum to 100."""
    each = 100 // count
    return [100 - each * (count - 1), *[each] * (count - 1)]


def variants(count: int) -> list[JsonDict]:
    keys = ["control", "test", *(f"test-{number}" for number in range(2, count))]
    return [{"key": key, "rollout_percentage": share} for key, share in zip(keys, shares(count), strict=False)]


def experiment(unique: str, **fields: Any) -> JsonDict:
    return {
        "name": unique,
        "feature_flag_key": unique,
        "start_date": "2022-11-01T00:00:00Z",
        "end_date": "2022-11-15T00:00:00Z",
        "filters": trend(),
        **fields,
    }


def flag(unique: str, *groups: JsonDict, **filters: Any) -> JsonDict:
    return {"key": unique, "name": unique, "active": True, "filters": {"groups": [*groups] or [{}], **filters}}


def action(unique: str, *steps: JsonDict) -> JsonDict:
    return {"name": unique, "steps": [*steps]}


def cohort(unique: str, criteria: Sequence[JsonDict]) -> JsonDict:
    return {"name": unique, "filters": {"properties": {"type": "OR", "values": [*criteria]}}}


def _tree(depth: int) -> JsonDict:
    """Return a condition inside as many groups."""
    document = condition()
    for _ in range(depth):
        document = {"type": "AND", "values": [document]}
    return document


def _secondary(count: int) -> list[JsonDict]:
    return [{"name": f"m{number}", "filters": trend()} for number in range(count)]


def _step_with(listed: list[JsonDict]) -> JsonDict:
    return trend() | {"events": [{**steps(1)[0], "properties": listed}]}


def _days_before_the_end(days: int) -> str:
    return max(EARLIEST, END - dt.timedelta(days=days)).isoformat()


def _exclusions(count: int) -> list[JsonDict]:
    return [
        {**step, "id": f"other {step['order']}", "funnel_from_step": 0, "funnel_to_step": 1} for step in steps(count)
    ]


def lists_of(where: str, make: Callable[[str, list[JsonDict]], JsonDict], kind: str) -> dict[str, Document]:
    """Return the ways in which a document grows by a list of conditions."""

    def one(build: Conditions) -> Callable[[str, int], JsonDict]:
        return lambda unique, size: make(unique, build(size, kind))

    return {f"{name} of {where}": Document(start, beyond, one(build)) for name, (start, beyond, build) in LISTS.items()}


EXPERIMENT: Mapping[str, Document] = {
    "secondary metrics": Document(6, 500, lambda unique, size: experiment(unique, secondary_metrics=_secondary(size))),
    "variants": Document(
        2, 100, lambda unique, size: experiment(unique, parameters={"feature_flag_variants": variants(size)})
    ),
    "steps of a funnel": Document(4, 5_000, lambda unique, size: experiment(unique, filters=funnel(size))),
    "steps in any order": Document(
        4, 5_000, lambda unique, size: experiment(unique, filters=funnel(size, funnel_order_type="unordered"))
    ),
    "steps one after another": Document(
        4, 5_000, lambda unique, size: experiment(unique, filters=funnel(size, funnel_order_type="strict"))
    ),
    "exclusions": Document(
        4,
        5_000,
        lambda unique, size: experiment(
            unique,
            filters=funnel(exclusions=_exclusions(size)),
        ),
    ),
    "series of a trend": Document(4, 5_000, lambda unique, size: experiment(unique, filters=trend(size))),
    "days": Document(
        600,
        50_000,
        lambda unique, size: experiment(unique, start_date=_days_before_the_end(size), end_date=END.isoformat()),
    ),
    "hours": Document(
        600,
        500_000,
        lambda unique, size: experiment(
            unique,
            start_date=_days_before_the_end(size // 24),
            end_date=END.isoformat(),
            filters=trend(interval="hour"),
        ),
    ),
    "fields of filters": Document(
        2_000, 50_000, lambda unique, size: experiment(unique, filters={**trend(), **numbered(size)})
    ),
    "fields of parameters": Document(
        2_000, 50_000, lambda unique, size: experiment(unique, parameters={"note": numbered(size)})
    ),
    "items in filters": Document(
        10_000, 600_000, lambda unique, size: experiment(unique, filters=trend(a=[[]] * size))
    ),
    **lists_of("a step", lambda unique, listed: experiment(unique, filters=_step_with(listed)), "event"),
    **lists_of("participants", lambda unique, listed: experiment(unique, filters=trend(properties=listed)), "person"),
    "conditions of exposures": Document(
        25,
        5_000,
        lambda unique, size: experiment(
            unique, parameters={"custom_exposure_filter": trend(properties=conditions(size, "event"))}
        ),
    ),
}


FLAG: Mapping[str, Document] = {
    "release conditions": Document(
        25, 5_000, lambda unique, size: flag(unique, *({"properties": [condition(n)]} for n in range(size)))
    ),
    "release conditions for everyone": Document(25, 20_000, lambda unique, size: flag(unique, *[{}] * size)),
    "variants": Document(2, 100, lambda unique, size: flag(unique, multivariate={"variants": variants(size)})),
    "length of a payload": Document(
        32_768, 1_500_000, lambda unique, size: flag(unique, payloads={"true": '"' + "x" * size + '"'})
    ),
    "fields of filters": Document(2_000, 50_000, lambda unique, size: flag(unique, **numbered(size))),
    **lists_of("a release condition", lambda unique, listed: flag(unique, {"properties": listed}), "person"),
}

ACTION: Mapping[str, Document] = {
    "steps": Document(12, 20_000, lambda unique, size: action(unique, *({"event": f"step {n}"} for n in range(size)))),
    "steps with patterns": Document(
        4,
        500,
        lambda unique, size: action(unique, *({"url": rf"\pL\pN{n}", "url_matching": "regex"} for n in range(size))),
    ),
    "fields of a step": Document(2_000, 50_000, lambda unique, size: action(unique, {"event": "a", **numbered(size)})),
    "parts of a selector": Document(
        20,
        100_000,
        lambda unique, size: action(unique, {"event": "$autocapture", "selector": "div > " * size + "a"}),
    ),
    **lists_of("a step", lambda unique, listed: action(unique, {"event": "a", "properties": listed}), "event"),
}

COHORT: Mapping[str, Document] = {
    "distinct ids": Document(
        5_000,
        500_000,
        lambda unique, size: {"name": unique, "is_static": True, "distinct_ids": [f"{n}" for n in range(size)]},
    ),
    "groups inside each other": Document(2, 400, lambda unique, size: cohort(unique, [_tree(size)])),
    "groups of the older form": Document(
        25, 5_000, lambda unique, size: {"name": unique, "groups": [{"properties": conditions(1)}] * size}
    ),
    **lists_of("a cohort", cohort, "person"),
}


def _project(unique: str, listed: list[JsonDict]) -> JsonDict:
    return {"name": unique, "test_account_filters": listed}


def _counts(count: int) -> list[JsonDict]:
    keys = ["control", *(f"test-{number}" for number in range(1, count))]
    return [{"key": key, "success_count": 100, "failure_count": 900} for key in keys]


def saved_metric(unique: str, *events: list[JsonDict]) -> JsonDict:
    """Return a funnel with as many steps, each of which has conditions."""
    series = [
        {"kind": "EventsNode", "event": f"step {number}", "properties": listed} for number, listed in enumerate(events)
    ]
    return {"name": unique, "query": {"metric_type": "funnel", "series": series}}


SAVED_METRIC: Mapping[str, Document] = {
    "steps": Document(4, 5_000, lambda unique, size: saved_metric(unique, *[[]] * size)),
    **lists_of("a step", saved_metric, "event"),
}
HOLDOUT: Mapping[str, Document] = {
    "length of the description": Document(
        50,
        1_500_000,
        lambda unique, size: {"name": unique, "description": "x" * size, "filters": [{"rollout_percentage": 10}]},
    ),
}
WEBHOOK = "https://example.com/"
PERSON = f"{PROJECT}persons/{{person_id}}/"
OTHERS: Mapping[Route, Mapping[str, Document]] = {
    ("PATCH", PROJECT): lists_of("a filter of test accounts", _project, "person"),
    ("POST", "/api/projects/"): {"length of the name": Document(25, 1_500_000, lambda _, size: {"name": "x" * size})},
    ("POST", f"{PROJECT}experiments/analyze/"): {
        "variants": Document(2, 100_000, lambda _, size: {"metric_type": "funnel", "variants": _counts(size)}),
    },
    ("POST", f"{PROJECT}experiments/power/"): {
        "variants": Document(
            2,
            10**9,
            lambda _, size: {
                "metric_type": "funnel",
                "baseline": 0.1,
                "minimum_detectable_effect": 0.02,
                "variants": size,
            },
        ),
    },
    ("POST", f"{PROJECT}insights/trend/"): {
        "series": Document(2, 50_000, lambda _, size: {"events": [{"id": "$pageview"}] * size}),
        **lists_of("a series", lambda _, listed: {"events": [{"id": "$pageview", "properties": listed}]}, "event"),
    },
    ("POST", f"{PROJECT}insights/funnel/"): {
        "steps": Document(2, 50_000, lambda _, size: {"events": [{"id": "$pageview"}, *[{"id": "paid"}] * size]}),
    },
    **{
        route: {
            "events": Document(2_000, 150_000, lambda _, size: {"url": WEBHOOK, "events": ["experiment.ended"] * size}),
            "length of the address": Document(500, 1_500_000, lambda _, size: {"url": WEBHOOK + "x" * size}),
        }
        for route in (
            ("POST", f"{PROJECT}experiment_webhooks/"),
            ("PATCH", f"{PROJECT}experiment_webhooks/{{webhook_id}}/"),
        )
    },
    ("POST", "/api/personal_api_keys/"): {
        "scopes": Document(
            2_000, 150_000, lambda unique, size: {"label": unique, "scopes": ["experiment:read"] * size}
        ),
    },
    ("POST", f"{PROJECT}experiments/{{experiment_id}}/end/"): {
        "length of the comment": Document(375, 1_500_000, lambda _, size: {"conclusion_comment": "x" * size}),
    },
    ("POST", f"{PROJECT}experiments/{{experiment_id}}/ship_variant/"): {
        "length of the comment": Document(
            375, 1_500_000, lambda _, size: {"variant_key": "test", "conclusion_comment": "x" * size}
        ),
    },
    ("POST", f"{PROJECT}experiments/{{experiment_id}}/duplicate/"): {
        "length of the name": Document(
            50, 1_500_000, lambda unique, size: {"feature_flag_key": unique, "name": "x" * size}
        ),
    },
    **{
        (method, PERSON): {"properties": Document(2_000, 100_000, lambda _, size: {"properties": numbered(size)})}
        for method in ("PUT", "PATCH")
    },
    ("POST", f"{PERSON}update_property/"): {
        "length of the value": Document(100_000, 1_900_000, lambda _, size: {"key": "plan", "value": "x" * size}),
    },
    ("POST", f"{PERSON}delete_property/"): {
        "length of the name": Document(50, 1_500_000, lambda _, size: {"$unset": "x" * size}),
    },
    ("POST", f"{PERSON}split/"): {
        "length of the distinct id": Document(50, 1_500_000, lambda _, size: {"main_distinct_id": "x" * size}),
    },
    ("POST", f"{PROJECT}persons/bulk_delete/"): {
        "distinct ids": Document(100, 100_000, lambda _, size: {"distinct_ids": [f"{n}" for n in range(size)]}),
    },
}
# Each document, where it is created, and the addresses where it is changed.
KINDS: Sequence[tuple[Route, Mapping[str, Document], str]] = (
    (EXPERIMENTS, EXPERIMENT, "{experiment_id}/"),
    (FLAGS, FLAG, "{feature_flag_id}/"),
    (ACTIONS, ACTION, "{action_id}/"),
    (COHORTS, COHORT, "{cohort_id}/"),
    (SAVED_METRICS, SAVED_METRIC, "{saved_metric_id}/"),
    (HOLDOUTS, HOLDOUT, "{holdout_id}/"),
)


def build(route: Route, document: Document) -> Build:
    def request(target: Target, size: int) -> Call:
        body = document.build(target.unique, size)
        if route[0] != "POST" and "feature_flag_key" in body:
            body["feature_flag_key"] = target.ids["key"]  # which an experiment keeps
        return keyed(route, _with_kind_of_cohort(target, body), body)

    return request


def _with_kind_of_cohort(target: Target, body: JsonDict) -> Target:
    """Return the target with the id of a static cohort where the body is one: a cohort keeps its kind."""
    if "distinct_ids" not in body:
        return target
    return replace(target, ids={**target.ids, "cohort_id": target.ids.get("static_cohort_id", "")})


def dimensions() -> Iterator[Dimension]:
    for created, ways, object_path in KINDS:
        methods = ("PATCH",) if created in {SAVED_METRICS, HOLDOUTS} else ("PUT", "PATCH")
        for route in (created, *((method, created[1] + object_path) for method in methods)):
            for name, way in ways.items():
                if route[0] == "POST" or ways is not EXPERIMENT or name != "variants":  # those of an experiment stay
                    yield _dimension(name, route, way)
    for route, ways in OTHERS.items():
        for name, way in ways.items():
            yield _dimension(name, route, way)
    yield Dimension("lines of the file", "member", IMPORTS, 200, 200_000, _file, is_taken=False)  # one at a time


def _file(target: Target, size: int) -> Call:
    asked = keyed(IMPORTS, target, None, "?name=events.ndjson")
    lines = (encoded({"event": "imported", "distinct_id": f"d{number}"}) for number in range(size))
    return replace(asked, body=b"\n".join(lines))


def _dimension(name: str, route: Route, way: Document) -> Dimension:
    # What ends ends once, and a person is split by a distinct id that they have.
    is_taken = "megabytes" not in name and not route[1].endswith(("/end/", "/split/"))
    return Dimension(name, "member", route, way.start, way.beyond, build(route, way), is_taken=is_taken)
