"""Example responses for /docs, as the service returned them."""

from typing import Final

from pydantic import JsonValue

from app.analysis.examples import ANALYSIS_EXAMPLE

_RATIO: Final[dict[str, JsonValue]] = {
    "expected": {"control": 1000.0, "test": 1000.0},
    "chi_square": 0.0,
    "p_value": 1.0,
    "mismatch": False,
}
# The split is tested once, for the experiment.
_ANALYSIS: Final[dict[str, JsonValue]] = {**ANALYSIS_EXAMPLE, "sample_ratio_mismatch": None}

METRIC_ANALYSIS_EXAMPLE: Final[dict[str, JsonValue]] = {
    "metric_id": "primary",
    "uuid": None,
    "metric_type": None,
    "name": "Conversion to purchase",
    "role": "primary",
    "goal": "increase",
    "status": "ok",
    "detail": "",
    "measure": "share of persons with `$pageview` who went on to `purchase` within 14 days",
    "mean_name": "conversion rate",
    "sum_name": "converted",
    "exposed": None,
    "step_counts": {"control": [1000, 100], "test": [1000, 150]},
    "step_names": None,
    "capped": None,
    "numerator_capped": None,
    "denominator_capped": None,
    "counts": [
        {"key": "control", "success_count": 100, "failure_count": 900},
        {"key": "test", "success_count": 150, "failure_count": 850},
    ],
    "analysis": _ANALYSIS,
}

SCORECARD_EXAMPLE: Final[dict[str, JsonValue]] = {
    "date_range": {
        "date_from": "2022-11-01T00:00:00+00:00",
        "date_to": "2022-11-15T00:00:00+00:00",
        "timezone": "UTC",
    },
    "sample_ratio_mismatch": _RATIO,
    "unit": "persons",
    "attribution": "events",
    "lost_variants": {},
    "metrics": [METRIC_ANALYSIS_EXAMPLE],
}
TIMESERIES_EXAMPLE: Final[dict[str, JsonValue]] = {
    "metric_id": "primary",
    "status": "ok",
    "detail": "",
    "interval": "day",
    "fingerprint": "0ea9cd7a1d5b3c62",
    "timeseries": {"2022-11-15": _ANALYSIS},
    "computed_at": "2022-11-15T00:00:00+00:00",
}
DECISION_EXAMPLE: Final[dict[str, JsonValue]] = {
    "state": "ended",
    "evidence": "superior",
    "recommendation": "ship",
    "variant_key": "test",
    "title": "Ship it: test",
    "summary": "test leads in conversion rate, being the best with a probability of 99.96%: 15.0% against 10.0% of "
    "control (+50.0%). The difference is significant (p = 0.026). Ship test.",
    "rule": {
        "basis": "anytime_valid",
        "confidence_level": 0.95,
        "multiple_testing": "none",
        "detail": "Decided by anytime-valid p-values and intervals, which hold however often they are looked at, at "
        "95%.",
    },
    "reasons": [
        {
            "code": "metric_improved",
            "metric_id": "primary",
            "detail": "test is better than the baseline in Checkout button, and that is significant.",
        },
    ],
    "progress": {"precision": 0.05, "exposed": 2000.0, "runtime_days": 14.0, "estimated_days_left": None},
}
BREAKDOWN_EXAMPLE: Final[dict[str, JsonValue]] = {
    "metric_id": "primary",
    "property": "device",
    "type": "event",
    "by": "exposure",
    "values": [
        {
            "value": "mobile",
            "exposed": {"control": 1000, "test": 1000},
            "sample_ratio_mismatch": _RATIO,
            "detail": "",
            "analysis": _ANALYSIS,
        }
    ],
    "other": None,
    "truncated": False,
    "multiple_testing": "holm",
    "detail": "",
    "notes": ["Segments are exploratory: of many, some differ by chance."],
}
