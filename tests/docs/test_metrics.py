"""The examples in the reference of metrics, and in the guides to them, are true."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from app.metrics.aggregation.person_values import VALUE_MATHS
from app.metrics.queries.typed.schemas import ExposureCriteria, FunnelMetric, MeanMetric, RatioMetric, RetentionMetric
from tests.support.programs import ROOT
from tests.support.service import Service, event, exposure

pytestmark = pytest.mark.one_database

REFERENCE: Final = (ROOT / "docs/reference/metrics.md").read_text()
HOW_TO: Final = ROOT / "docs/how-to"
GUIDES: Final = re.findall(r"\]\(([\w-]+\.md)\)", (HOW_TO / "choose-metrics.md").read_text())
BODIES: Final = {
    f"{guide}-{number}": body
    for guide in GUIDES
    for number, body in enumerate(re.findall(r"```json\n(.*?)```", (HOW_TO / guide).read_text(), re.DOTALL))
}
EVENT: Final = re.compile(r"^\| (\w+) \| (\w+) \| (\d+) (\d\d:\d\d) \| (?:`(.*)`)? ?\|$", re.MULTILINE)
METRIC: Final = re.compile(r'^\| `(\{"metric_type".*?\})` \| (\d+) \| (\d+) \|', re.MULTILINE)
SHORT: Final = {
    "$purchase": '{"kind": "EventsNode", "event": "purchase"}',
    "$visit": '{"kind": "EventsNode", "event": "visit"}',
    "$amount": '{"kind": "EventsNode", "event": "purchase", "math": "sum", "math_property": "amount"}',
}


def told() -> Sequence[Mapping[str, object]]:
    """Return the events of the page's story."""
    events = []
    for person, name, day, clock, properties in EVENT.findall(REFERENCE):
        time = f"2022-11-{int(day):02}T{clock}:00Z"
        if name == "exposure":
            events.append(exposure(person, "test", time))
        elif name == "several":
            events += [exposure(person, variant, time) for variant in ("test", "control")]
        else:
            events.append(event(name, person, time, properties=json.loads(properties or "{}")))
    return events


def listed() -> Sequence[tuple[Any, int, int]]:
    """Return the metrics of the page with the persons and the sum of each."""
    found = []
    for body, persons, total in METRIC.findall(REFERENCE):
        for name, meaning in SHORT.items():
            body = re.sub(re.escape(name) + r"(?=[,\]}])", meaning, body)  # noqa: PLW2901  # spelled out
        found.append((json.loads(body), int(persons), int(total)))
    return found


async def test_examples_of_the_reference_count_what_it_says(service: Service) -> None:
    metrics = listed()
    assert len(metrics) > 15
    experiment = await service.create_experiment(
        end_date="2022-11-30T00:00:00Z", filters={}, metrics=[metric for metric, *_ in metrics]
    )
    await service.capture(*told())

    shown = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]

    for (metric, persons, total), one in zip(metrics, shown, strict=True):
        [_, test] = one["analysis"]["variants"]
        assert (test["number_of_samples"], test["sum"]) == (persons, pytest.approx(total)), metric
    [ratio] = [one for one in shown if one["metric_type"] == "ratio"]
    assert ratio["analysis"]["variants"][1]["mean"] == 22.5


def test_reference_names_every_field_and_every_math() -> None:
    fields = {
        name
        for model in (MeanMetric, FunnelMetric, RatioMetric, RetentionMetric, ExposureCriteria)
        for name in model.model_fields
    }

    assert {name for name in (*fields, *VALUE_MATHS) if f"`{name}`" not in REFERENCE} == set()


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_experiment_of_a_guide_is_launched(service: Service, body: str) -> None:
    created = await service.post("/experiments/", json.loads(body))

    assert created.status_code == 201, created.text
    launched = await service.post(f"/experiments/{created.json()['id']}/launch/", {})
    assert launched.status_code == 200, launched.text
    health = await service.read(f"/experiments/{created.json()['id']}/health/")
    assert [finding["code"] for finding in health["findings"]] == ["ZERO_EXPOSURES"]
