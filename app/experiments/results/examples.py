"""Example results for /docs, as the service returned them."""

from typing import Final

from pydantic import JsonValue


def _entity(name: str, order: int) -> dict[str, JsonValue]:
    return {
        "id": name,
        "type": "events",
        "order": order,
        "name": name,
        "custom_name": None,
        "math": None,
        "math_property": None,
        "math_group_type_index": None,
        "properties": {},
    }


def _step(
    name: str, order: int, count: int, average: float | None, median: float | None, variant: str
) -> dict[str, JsonValue]:
    return {
        "action_id": name,
        "name": name,
        "custom_name": None,
        "order": order,
        "people": [],
        "count": count,
        "type": "events",
        "average_conversion_time": average,
        "median_conversion_time": median,
        "breakdown": [variant],
        "breakdown_value": [variant],
        "converted_people_url": None,
        "dropped_people_url": None,
    }


# 1000 persons saw each button; 100 and 150 of them purchased.
FUNNEL_RESULTS_EXAMPLE: Final[dict[str, JsonValue]] = {
    "insight": [
        [_step("$pageview", 0, 1000, None, None, "control"), _step("purchase", 1, 100, 176.1, 176.0, "control")],
        [_step("$pageview", 0, 1000, None, None, "test"), _step("purchase", 1, 150, 173.5, 169.0, "test")],
    ],
    "probability": {"control": 0.0003576370993234159, "test": 0.9996423629006765},
    "significant": True,
    "filters": {
        "limit": 100,
        "breakdown": ["$feature/checkout-button"],
        "breakdown_attribution_type": "first_touch",
        "breakdown_normalize_url": False,
        "breakdown_type": "event",
        "date_from": "2022-11-01T00:00:00+00:00",
        "date_to": "2022-11-03T12:00:00+00:00",
        "explicit_date": "true",
        "display": "FunnelViz",
        "events": [_entity("$pageview", 0), _entity("purchase", 1)],
        "funnel_window_interval": 14,
        "funnel_window_interval_unit": "day",
        "insight": "FUNNELS",
        "interval": "day",
        "smoothing_intervals": 1,
    },
    "significance_code": "significant",
    "expected_loss": 1.3715423376398577e-06,
    "variants": [
        {"key": "control", "success_count": 100, "failure_count": 900},
        {"key": "test", "success_count": 150, "failure_count": 850},
    ],
    "credible_intervals": {
        "control": [0.08293639849581787, 0.12016912987586058],
        "test": [0.12923057128760435, 0.17348707340422312],
    },
}
_TREND_FILTERS: Final[dict[str, JsonValue]] = {
    "breakdown": "$feature/recommendations",
    "breakdown_attribution_type": "first_touch",
    "breakdown_normalize_url": False,
    "breakdown_type": "event",
    "date_from": "2022-11-01T00:00:00+00:00",
    "date_to": "2022-11-03T12:00:00+00:00",
    "explicit_date": "true",
    "display": "ActionsLineGraphCumulative",
    "events": [_entity("product added", 0)],
    "insight": "TRENDS",
    "interval": "day",
    "properties": {
        "type": "AND",
        "values": [
            {"key": "$feature/recommendations", "operator": "exact", "type": "event", "value": ["control", "test"]}
        ],
    },
    "smoothing_intervals": 1,
}
# 1000 and 1010 persons were exposed; they put 300 and 380 products into their carts.
TREND_RESULTS_EXAMPLE: Final[dict[str, JsonValue]] = {
    "insight": [
        {
            "action": _entity("product added", 0),
            "label": "product added - test",
            "count": 380.0,
            "data": [127.0, 254.0, 380.0],
            "labels": ["1-Nov-2022", "2-Nov-2022", "3-Nov-2022"],
            "days": ["2022-11-01", "2022-11-02", "2022-11-03"],
            "breakdown_value": "test",
            "persons_urls": [],
            "filter": _TREND_FILTERS,
        },
        {
            "action": _entity("product added", 0),
            "label": "product added - control",
            "count": 300.0,
            "data": [100.0, 200.0, 300.0],
            "labels": ["1-Nov-2022", "2-Nov-2022", "3-Nov-2022"],
            "days": ["2022-11-01", "2022-11-02", "2022-11-03"],
            "breakdown_value": "control",
            "persons_urls": [],
            "filter": _TREND_FILTERS,
        },
    ],
    "probability": {"control": 0.001646102448173499, "test": 0.9983538975518265},
    "significant": True,
    "filters": _TREND_FILTERS,
    "significance_code": "significant",
    "p_value": 0.003696877572297081,
    "variants": [
        {"key": "control", "count": 300, "exposure": 1.0, "absolute_exposure": 1000.0},
        {"key": "test", "count": 380, "exposure": 1.01, "absolute_exposure": 1010.0},
    ],
    "credible_intervals": {
        "control": [0.26795272730049513, 0.33594112555257066],
        "test": [0.3402958500230367, 0.4160347916267953],
    },
}
