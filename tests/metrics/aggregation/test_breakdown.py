"""Breakdowns of facts."""

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from app.experiments.scorecard.metrics import sample_fact_query, variants_of
from app.metrics.aggregation.breakdown import BreakdownCounts, Frequencies, places_of
from app.metrics.aggregation.calendar import ticks
from app.metrics.facts.columns import FactColumns
from app.metrics.queries.breakdown import Breakdown, breakdown_fact_query
from app.metrics.queries.models import ExposureQuery
from app.metrics.queries.parsing import read_trend
from app.metrics.queries.scope import ExperimentScope
from app.statistics.variants import FunnelVariant

# Persons who bought, of those who got no e-mail, one for men and one for women, by whether they were new customers: K.
# Hillstrom, MineThatData E-Mail Analytics and Data Mining Challenge (2008), columns `newbie`, `segment`, `conversion`.
HILLSTROM = {0: [(82, 10611), (148, 10621), (92, 10624)], 1: [(40, 10695), (119, 10686), (97, 10763)]}
SCOPE = ExperimentScope(
    flag_key="email",
    variants=("control", "mens", "womens"),
    start=dt.datetime(2022, 11, 1, tzinfo=dt.UTC),
    end=dt.datetime(2022, 11, 3, tzinfo=dt.UTC),
    now=dt.datetime(2022, 12, 1, tzinfo=dt.UTC),
    timezone=ZoneInfo("UTC"),
)


def facts(actor: NDArray[np.int64], variant: NDArray[np.int64], first_sequence: int, hour: int) -> FactColumns:
    time = np.full(len(actor), SCOPE.window.since + hour * 3_600_000_000)
    sequence = first_sequence + np.arange(len(actor))
    return FactColumns(actor, time, variant.astype(np.int32), np.full(len(actor), np.nan), sequence)


def test_conversion_by_newbie_is_that_of_the_published_data() -> None:
    groups = [
        (newbie, slot + 1, converted, count)
        for newbie, of_variants in HILLSTROM.items()
        for slot, (converts, persons) in enumerate(of_variants)
        for converted, count in ((True, converts), (False, persons - converts))
    ]
    newbie, variant, converted = (
        np.repeat([group[place] for group in groups], [group[3] for group in groups]) for place in range(3)
    )
    order = np.random.default_rng(1).permutation(len(newbie))
    newbie, variant, converted = newbie[order], variant[order], converted[order].astype(bool)
    persons = np.arange(1, len(newbie) + 1)
    exposures = facts(persons, variant, 1, hour=1)
    keyed = exposures.of_actors(newbie + 7)  # the texts "0" and "1" have the numbers 7 and 8
    bought = facts(persons[converted], variant[converted], 100_000, hour=2)
    conversion = read_trend({"insight": "TRENDS", "events": [{"id": "conversion", "math": "dau"}]})
    assert conversion is not None
    exposure_query = ExposureQuery(
        [SCOPE.exposures()], "$feature_flag_called", "$feature_flag_response", filters_test_accounts=False
    )
    days = ticks(SCOPE.start, SCOPE.last, "day", SCOPE.timezone)
    metric = sample_fact_query(conversion, "dau", exposure_query, SCOPE, days)

    query = breakdown_fact_query(Breakdown("newbie"), metric, exposure_query, SCOPE, [], None)
    assert query.read_off is not None
    found = query.read_off(query.count([exposures, keyed, exposures, bought]))

    assert isinstance(found, BreakdownCounts)
    by_newbie = dict(zip((found.keys - 7).tolist(), zip(found.exposed, found.counts, strict=True), strict=True))
    assert by_newbie.keys() == HILLSTROM.keys()
    for value, (exposed, counts) in by_newbie.items():
        variants = variants_of(counts, "funnel", SCOPE.variants)
        assert exposed.tolist() == [[total for _, total in HILLSTROM[value]]]
        assert [(one.success_count, one.total) for one in variants if isinstance(one, FunnelVariant)] == HILLSTROM[
            value
        ]


@pytest.mark.parametrize(("limit", "shown"), [(2, [5, 3]), (3, [5, 3, 9])])
def test_the_most_frequent_values_come_first(limit: int, shown: Sequence[int]) -> None:
    keys = np.array([5, 3, 5, 9, 3, 5])

    found = Frequencies.of(keys).most_frequent(limit)

    assert found.tolist() == shown
    assert places_of(keys, found).tolist() == [0, 1, 0, 2, 1, 0]
