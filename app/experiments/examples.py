"""Examples of filters and parameters, for /docs."""

from pydantic import JsonValue

FUNNEL_FILTERS_EXAMPLE: dict[str, JsonValue] = {
    "insight": "FUNNELS",
    "events": [
        {"id": "$pageview", "order": 0, "type": "events"},
        {"id": "purchase", "order": 1, "type": "events"},
    ],
}
PARAMETERS_EXAMPLE: dict[str, JsonValue] = {
    "feature_flag_variants": [
        {"key": "control", "name": "Control Group", "rollout_percentage": 50},
        {"key": "test", "name": "Test Variant", "rollout_percentage": 50},
    ],
    "minimum_detectable_effect": 5,
    "recommended_running_time": 14,
    "recommended_sample_size": 3200,
}
SECONDARY_METRICS_EXAMPLE: list[JsonValue] = [
    {
        "name": "Purchases",
        "filters": {"insight": "TRENDS", "events": [{"id": "purchase", "order": 0, "type": "events"}]},
    }
]
METRIC_EXAMPLE: dict[str, JsonValue] = {
    "kind": "ExperimentMetric",
    "uuid": "2f4e0f2c-6d6a-4a39-9a0e-7c1f6f0d8b11",
    "name": "Revenue per person",
    "metric_type": "mean",
    "source": {"kind": "EventsNode", "event": "purchase", "math": "sum", "math_property": "amount"},
    "goal": "increase",
}
METRICS_EXAMPLE: list[JsonValue] = [METRIC_EXAMPLE]
