"""The published counts of Kevin Hillstrom's MineThatData e-mail experiment of March 2008, as events.

64,000 customers of a shop were assigned at random to an e-mail about men's merchandise, one about women's, or none.
The data set has no timestamps: customers are spread evenly over the days of the experiment, in a seeded order.
"""

import datetime as dt
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import JsonValue

FLAG_KEY = "email-campaign"
START = dt.datetime(2008, 3, 6, tzinfo=dt.UTC)
END = dt.datetime(2008, 3, 20, tzinfo=dt.UTC)
_ASSIGNMENT_DAYS = 13  # so that every customer has time to visit and buy before the end
_SEED = 2008


@dataclass(frozen=True)
class Arm:
    """An arm of the experiment with its published counts."""

    key: str
    name: str
    customers: int
    visits: int
    conversions: int


ARMS: Sequence[Arm] = (
    Arm("control", "No e-mail", 21_306, 2_262, 122),
    Arm("mens_email", "Men's e-mail", 21_307, 3_894, 267),
    Arm("womens_email", "Women's e-mail", 21_387, 3_238, 189),
)
# To six digits, by numerical integration of the three Beta posteriors.
PUBLISHED_P_BEST_OF_MENS_EMAIL = 0.999899
EVENT_COUNT = sum(arm.customers + arm.visits + arm.conversions for arm in ARMS)


def experiment() -> dict[str, JsonValue]:
    """Return the body that creates the experiment."""
    shares = (33.34, 33.33, 33.33)  # a third each, as in the original
    variants: list[JsonValue] = [
        {"key": arm.key, "name": arm.name, "rollout_percentage": share} for arm, share in zip(ARMS, shares, strict=True)
    ]
    return {
        "name": "Which e-mail sells?",
        "description": "Hillstrom 2008: 64,000 customers, three arms.",
        "feature_flag_key": FLAG_KEY,
        "start_date": START.isoformat(),
        "end_date": END.isoformat(),
        "parameters": {"feature_flag_variants": variants},
        "filters": _funnel("conversion"),
        "secondary_metrics": [{"name": "Visits", "filters": _funnel("visit")}],
    }


def _funnel(goal: str) -> dict[str, JsonValue]:
    """Return a funnel from the assignment to the goal."""
    of_this_flag: list[JsonValue] = [{"key": "$feature_flag", "value": FLAG_KEY, "operator": "exact", "type": "event"}]
    return {
        "insight": "FUNNELS",
        "events": [
            {"id": "$feature_flag_called", "order": 0, "type": "events", "properties": of_this_flag},
            {"id": goal, "order": 1, "type": "events"},
        ],
    }


def events() -> Iterator[dict[str, JsonValue]]:
    """Yield the events of all customers: the assignment, and the published numbers of visits and purchases."""
    generator = random.Random(_SEED)  # noqa: S311  # a reproducible order, not a secret
    customers = [(arm, number) for arm in ARMS for number in range(arm.customers)]
    generator.shuffle(customers)
    spacing = dt.timedelta(days=_ASSIGNMENT_DAYS) / len(customers)
    for position, (arm, number) in enumerate(customers):
        distinct_id = f"customer-{position + 1}"
        assigned = START + position * spacing
        called: dict[str, JsonValue] = {"$feature_flag": FLAG_KEY, "$feature_flag_response": arm.key}
        yield _event(generator, "$feature_flag_called", distinct_id, assigned, arm, called)
        if number < arm.visits:
            yield _event(generator, "visit", distinct_id, assigned + dt.timedelta(hours=1), arm, {})
        if number < arm.conversions:
            yield _event(generator, "conversion", distinct_id, assigned + dt.timedelta(hours=2), arm, {})


def _event(
    generator: random.Random, name: str, distinct_id: str, time: dt.datetime, arm: Arm, properties: dict[str, JsonValue]
) -> dict[str, JsonValue]:
    return {
        "event": name,
        "distinct_id": distinct_id,
        "timestamp": time.isoformat(),
        "uuid": str(UUID(int=generator.getrandbits(128), version=4)),
        "properties": {f"$feature/{FLAG_KEY}": arm.key, **properties},
    }
