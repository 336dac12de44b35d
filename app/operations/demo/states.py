"""Invented experiments in the states that a project has, to click through: running, broken, shipped, and a draft."""

import datetime as dt
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

Json = dict[str, Any]

_SEED: Final = 2022
_PURCHASE: Final = {"kind": "EventsNode", "event": "purchase"}
_REFUND: Final = {"kind": "EventsNode", "event": "refund"}


@dataclass(frozen=True)
class Arm:
    """How many persons see a variant, and the share of them who buy."""

    key: str
    name: str
    persons: int
    buys: float


@dataclass(frozen=True)
class Example:
    """An experiment to create, its data, and the variant to ship afterwards, if any."""

    name: str
    description: str
    flag_key: str
    days: int  # since its start
    arms: Sequence[Arm]
    ships: str = ""
    settings: Json = field(default_factory=dict)

    @property
    def is_draft(self) -> bool:
        return self.days == 0

    def body(self, now: dt.datetime) -> Json:
        """Return what creates it."""
        share = 100 / len(self.arms)
        variants = [{"key": arm.key, "name": arm.name, "rollout_percentage": share} for arm in self.arms]
        return {
            "name": self.name,
            "description": self.description,
            "feature_flag_key": self.flag_key,
            "start_date": None if self.is_draft else (now - dt.timedelta(days=self.days)).isoformat(),
            "parameters": {"feature_flag_variants": variants},
            "metrics": [{"name": "Purchases", "metric_type": "funnel", "series": [_PURCHASE]}],
            "metrics_secondary": [
                {
                    "name": "Refunds",
                    "metric_type": "mean",
                    "source": _REFUND,
                    "goal": "decrease",
                    "role": "guardrail",
                    "non_inferiority_margin": 0.5,
                }
            ],
            **self.settings,
        }

    def events(self, now: dt.datetime) -> Iterator[Json]:
        """Yield the exposures of all persons, spread over its days, and what they did."""
        generator = random.Random(f"{_SEED} {self.flag_key}")  # noqa: S311  # reproducible, not a secret
        seconds = self.days * 86_400 - 3 * 3600  # so that all have time to buy
        for arm in self.arms if not self.is_draft else ():
            for number in range(arm.persons):
                person = f"{self.flag_key}-{arm.key}-{number}"
                met = now - dt.timedelta(seconds=self.days * 86_400 - generator.random() * seconds)
                called = {"$feature_flag": self.flag_key, "$feature_flag_response": arm.key}
                yield _event(generator, "$feature_flag_called", person, met, called)
                if number < round(arm.buys * arm.persons):
                    yield _event(generator, "purchase", person, met + dt.timedelta(hours=1), {})
                    if number % 20 == 0:
                        yield _event(generator, "refund", person, met + dt.timedelta(hours=2), {})


EXAMPLES: Final[Sequence[Example]] = (
    Example(
        "One-page checkout",
        "All of the checkout on one page, so that fewer people leave halfway.",
        "one-page-checkout",
        12,
        (Arm("control", "Three steps", 1500, 0.20), Arm("test", "One page", 1500, 0.28)),
        ships="test",
    ),
    Example(
        "Free delivery banner",
        "A banner on every page that says from which amount on delivery is free.",
        "delivery-banner",
        6,
        (Arm("control", "No banner", 1100, 0.40), Arm("test", "Banner", 1090, 0.42)),
    ),
    Example(
        "Faster product page",
        "Pictures are loaded as they are scrolled to. The release went wrong: a third of the visitors of the new page "
        "is not reported.",
        "lazy-pictures",
        5,
        (Arm("control", "All pictures at once", 900, 0.12), Arm("test", "As they are scrolled to", 610, 0.14)),
    ),
    Example(
        "Reviews above the price",
        "What others say comes first: we expect more purchases, and no more refunds.",
        "reviews-first",
        0,
        (Arm("control", "Price first", 0, 0), Arm("test", "Reviews first", 0, 0)),
        settings={"decision_criteria": {"target_mde": 0.08}},
    ),
)


def _event(generator: random.Random, name: str, distinct_id: str, time: dt.datetime, properties: Json) -> Json:
    return {
        "event": name,
        "distinct_id": distinct_id,
        "timestamp": time.isoformat(),
        "uuid": str(UUID(int=generator.getrandbits(128), version=4)),
        "properties": properties,
    }
