"""Pages of experiments with typed metrics: they say what is measured, who is left out, and what was capped."""

from typing import Any

import pytest

from tests.experiments.scorecard.test_metric_details import shopping
from tests.experiments.scorecard.test_typed_metrics import END, funnel, retention, revenue
from tests.pages.conftest import Visitor, send, shown
from tests.support.service import FUNNEL, Service

pytestmark = pytest.mark.one_database


async def test_page_shows_typed_metrics_with_their_caps_and_steps(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(
        end_date=END,
        filters={},
        metrics=[
            funnel("visit", "purchase", name="Purchases"),
            revenue(name="Revenue", upper_bound_percentile=0.8, ignore_zeros=True, conversion_window=90_000),
            retention({"kind": "EventsNode", "event": "purchase"}, {"kind": "EventsNode", "event": "visit"}, 1, 2),
        ],
    )
    await service.capture(*shopping())

    text = (await visitor.look(experiment)).text

    assert (
        "Target metric: Purchases The share of exposed persons with visit, then purchase, from the exposure on." in text
    )
    assert "The funnel" in text
    assert "Values above 10 count as that (persons: 1)." in text
    assert "they did not start, or their window is not over: 15 of 20 in control, 15 of 20 in test" in text
    assert "Share retained" in text
    assert "`" not in text
    assert "rule of 2022" not in text


@pytest.mark.each_database
async def test_page_says_who_waits_for_the_end_of_the_window(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(
        end_date=END, filters={}, metrics=[revenue(conversion_window=90_000)], only_count_matured_users=True
    )
    await service.capture(*shopping())

    text = (await visitor.look(experiment)).text

    assert "because their conversion window is not over: 20 of 20 in control, 20 of 20 in test" in text


async def test_draft_names_its_typed_target_metric(service: Service, visitor: Visitor) -> None:
    draft = await service.create_experiment(
        start_date=None, end_date=None, filters={}, metrics=[revenue(name="Revenue")]
    )

    assert "Target metric: Revenue" in (await visitor.look(draft)).text


@pytest.mark.parametrize(("filters", "is_shown"), [({"properties": []}, False), (FUNNEL, True)])
async def test_verdict_of_2022_is_shown_where_filters_define_a_metric(
    service: Service, visitor: Visitor, filters: Any, is_shown: bool
) -> None:
    purchase = {"kind": "EventsNode", "event": "purchase", "math": "total"}
    metric = {"kind": "ExperimentMetric", "name": "Purchases", "metric_type": "mean", "source": purchase}
    experiment = await service.create_experiment(filters=filters, metrics=[metric])
    await send(service, [*shown(5, "control"), *shown(5, "test")])

    assert ("The verdict by the rule of 2022" in (await visitor.look(experiment)).text) is is_shown
