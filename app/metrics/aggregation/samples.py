"""Samples: sums over exposed persons of what each did after the first exposure, for metrics of 2022."""

from typing import Literal, TypeAlias, TypeGuard, get_args

import numpy as np

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.person_values import PersonValues
from app.metrics.aggregation.value_sums import SummedValue, ValueCounts, sum_values
from app.metrics.facts.columns import FactColumns

SampleMath: TypeAlias = Literal["total", "dau", "sum", "avg"]


def is_sample_math(name: str) -> TypeGuard[SampleMath]:
    """Whether an aggregation gives a value per person."""
    return name in get_args(SampleMath)


def count_samples(
    exposed: Ledger, events: FactColumns, ticks: Ticks, math: SampleMath, variant_count: int
) -> ValueCounts:
    """Sum up what exposed persons did.

    Parameters
    ----------
    exposed : Ledger
        Persons of one variant each.
    events : FactColumns
        Events without an actor do not count.
    math : {"total", "dau", "sum", "avg"}
        A person's value: the number of events; 1 if there is any; the sum of their numbers; or two values, that sum and
        the number of events that have a number.
    """
    row, events = exposed.events_since(events)
    if math == "avg":
        has_number = ~np.isnan(events.value)
        numbers = (row[has_number], events.select(has_number), ticks)
        values = [PersonValues.of(*numbers, "sum"), PersonValues.of(*numbers, "total")]
    else:
        values = [PersonValues.of(row, events, ticks, math)]
    return sum_values(exposed, exposed.time, [SummedValue(one) for one in values], ticks, variant_count)
