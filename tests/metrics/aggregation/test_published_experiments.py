"""Typed metrics of published experiments, to the digits that scipy gives for their data.

``published/`` holds what is needed of the data: of Kevin Hillstrom's e-mail experiment of 2008 the persons, visits and
spends of each arm; of the experiment with the gates of the game Cookie Cats a histogram of rounds, whose last bin are
all above 493.
"""

import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from app.common.timestamps import to_microseconds
from app.experiments.scorecard.metrics import MetricType, variants_of
from app.metrics.aggregation.calendar import Ticks, ticks
from app.metrics.aggregation.distribution import Distribution
from app.metrics.aggregation.exposed_funnel import count_reached
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.person_values import PersonValues
from app.metrics.aggregation.quantiles import QuantileRule, read_quantiles
from app.metrics.aggregation.retention import NO_EVENT, RetentionWindow, find_returns
from app.metrics.aggregation.value_sums import Outliers, SummedValue, ValueCounts, sum_capped, sum_values
from app.metrics.facts.columns import FactColumns
from app.statistics.analysis import analyze_metric
from app.statistics.results import Analysis, AnalysisConfig

START = dt.datetime(2022, 11, 1, 10, tzinfo=dt.UTC)
DAY = 86_400_000_000
DAYS = ticks(START, START + dt.timedelta(days=8), "day", ZoneInfo("UTC"))
FOLDER = Path(__file__).parent / "published"
Spending = Mapping[str, Mapping[str, Any]]


def ledger_of(sizes: Sequence[int]) -> Ledger:
    """Return persons who were all exposed at the start: those of the first variant first."""
    slot = np.repeat(np.arange(len(sizes)), sizes)
    shown = np.full(len(slot), to_microseconds(START))
    return Ledger(np.arange(1, len(slot) + 1), slot, shown, shown)


def facts(persons: np.ndarray[Any, Any], values: Any = math.nan, days: int = 0) -> FactColumns:
    """Return an event of each of some persons, so many days after the exposure."""
    count = len(persons)
    return FactColumns(
        persons.astype(np.int64),
        np.full(count, to_microseconds(START) + days * DAY),
        np.zeros(count, dtype=np.int32),
        np.broadcast_to(np.asarray(values, dtype=np.float64), count),
        np.arange(count),
    )


def first_persons(sizes: Sequence[int], counts: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return the first so many persons of each variant."""
    begins = np.cumsum([1, *sizes[:-1]])
    return np.concatenate([np.arange(begin, begin + count) for begin, count in zip(begins, counts, strict=True)])


def analyzed(counts: Any, kind: MetricType, keys: Sequence[str]) -> Analysis:
    return analyze_metric(variants_of(counts, kind, keys), AnalysisConfig(correction="none"))


def means(analysis: Analysis) -> list[float | None]:
    return [one.sample.mean for one in analysis.variants]


def statistics(analysis: Analysis) -> list[float]:
    """Return the difference from the baseline in standard errors, for each variant but the baseline."""
    baseline, *others = analysis.variants
    return [
        (one.difference.estimate or 0) / math.sqrt((one.sample.variance or 0) + (baseline.sample.variance or 0))
        for one in others
    ]


@pytest.fixture(scope="module")
def hillstrom() -> Spending:
    spending: Spending = json.loads((FOLDER / "hillstrom_spend.json").read_text())
    return spending


def spent(hillstrom: Spending, buckets: Ticks = DAYS) -> tuple[Ledger, PersonValues]:
    sizes = [arm["persons"] for arm in hillstrom.values()]
    ledger = ledger_of(sizes)
    amounts = [amount for arm in hillstrom.values() for amount in arm["spends"]]
    events = facts(first_persons(sizes, [len(arm["spends"]) for arm in hillstrom.values()]), amounts)
    return ledger, PersonValues.of(*ledger.events_since(events), buckets, "sum")


def summed(ledger: Ledger, values: Sequence[SummedValue], variants: int) -> ValueCounts:
    return sum_values(ledger, ledger.time, values, DAYS, variants)


def capped(ledger: Ledger, values: PersonValues, outliers: Outliers, variants: int) -> ValueCounts:
    return sum_capped(Distribution.of_persons(ledger, ledger.time, [values], DAYS, variants), [outliers])


def test_spend_per_visit_is_a_ratio_with_the_variance_of_the_delta_method(hillstrom: Spending) -> None:
    ledger, spend = spent(hillstrom)
    sizes, visits = ([arm[name] for arm in hillstrom.values()] for name in ("persons", "visits"))
    visited = facts(first_persons(sizes, visits))
    visit = PersonValues.of(*ledger.events_since(visited), DAYS, "total")

    values = [SummedValue(spend), SummedValue(visit)]
    analysis = analyzed(summed(ledger, values, 3), "ratio", list(hillstrom))

    assert means(analysis) == pytest.approx([6.148687002652519, 7.784203903441193, 7.114919703520692], rel=1e-13)
    assert statistics(analysis) == pytest.approx([1.6568227799063666, 0.967653501994882], rel=1e-10)
    assert [one.sample.variance for one in analysis.variants[:2]] == pytest.approx(
        [0.5442362401488912, 0.43021016641546406], rel=1e-11
    )


def test_threshold_counts_the_persons_who_spent_at_least_that(hillstrom: Spending) -> None:
    ledger, spend = spent(hillstrom)

    counts = summed(ledger, [SummedValue(spend, threshold=100)], 3)
    variants = variants_of(counts, "funnel", list(hillstrom))

    assert [(one.success_count, one.success_count + one.failure_count) for one in variants] == [  # type: ignore[union-attr]
        (48, 21306),
        (94, 21307),
        (92, 21387),
    ]


@pytest.mark.parametrize(
    ("level", "cap", "above", "differences", "tests"),
    [
        (0.95, 362.2, 28, [0.7374464047868928, 0.4134892360004089], [5.496762012602194, 3.4072439361550155]),
        (0.9, 257.51, 57, [0.6718854366052054, 0.3904331050412022], [5.741836448415884, 3.616602722401649]),
    ],
)
def test_spend_is_capped_at_a_percentile_of_those_who_bought(
    hillstrom: Spending, level: float, cap: float, above: int, differences: list[float], tests: list[float]
) -> None:
    ledger, spend = spent(hillstrom)

    counts = capped(ledger, spend, Outliers(None, level, ignores_zeros=True), 3)
    analysis = analyzed(counts, "mean", list(hillstrom))

    assert counts.capped.tolist() == [[-math.inf, cap, 0, above]]
    assert [one.difference.estimate for one in analysis.variants[1:]] == pytest.approx(differences, rel=1e-12)
    assert statistics(analysis) == pytest.approx(tests, rel=1e-11)
    if level == 0.95:
        expected = [0.6294532056697645, 1.3668996104566573, 1.0429424416701734]
        assert means(analysis) == pytest.approx(expected, rel=1e-13)


def rounds_played() -> tuple[list[str], Ledger, np.ndarray[Any, Any]]:
    """Return the variants, their players and the rounds that each played; 560 stands for more."""
    histograms = json.loads((FOLDER / "cookie_cats_rounds.json").read_text())
    ledger = ledger_of([sum(histogram) for histogram in histograms.values()])
    return (
        list(histograms),
        ledger,
        np.concatenate([np.repeat(np.arange(len(one)), one) for one in histograms.values()]),
    )


@pytest.mark.parametrize("by", ["person", "event"])
@pytest.mark.parametrize(
    ("level", "quantiles", "error"),
    [
        (0.9, [(135, 132, 138), (134, 130, 137)], 2.3519678244129687),
        (0.99, [(493, 475, 510), (493, 470, 511)], 13.752122057596047),
        (0.5, [(17, 16, 17), (16, 16, 17)], 0.36077539524405333),
    ],
)
def test_quantiles_of_cookie_cats_lie_between_order_statistics(
    by: str, level: float, quantiles: list[tuple[float, ...]], error: float
) -> None:
    keys, ledger, rounds = rounds_played()
    row, events = ledger.events_since(facts(ledger.actor, rounds))
    rule = QuantileRule(level, 0.95)

    if by == "person":
        values = PersonValues.of(row, events, DAYS, "sum")
        found = Distribution.of_persons(ledger, ledger.time, [values], DAYS, 2)
    else:  # of one event each, which are independent
        numbers = (row, DAYS.bucket(events.time), events.value)
        found = Distribution.of_events(ledger, ledger.time, numbers, DAYS, 2)
    counts = read_quantiles(found, rule)

    assert counts.cumulative[3:, :, -1].T.tolist() == [list(one) for one in quantiles]
    control, test = analyzed(counts, "quantile", keys).variants
    assert math.hypot(*(math.sqrt(one.sample.variance or 0) for one in (control, test))) == pytest.approx(error)
    assert test.difference.estimate == quantiles[1][0] - quantiles[0][0]


def test_rounds_of_cookie_cats_are_capped_at_the_percentile_of_both_variants() -> None:
    keys, ledger, rounds = rounds_played()
    played = PersonValues.of(*ledger.events_since(facts(ledger.actor, rounds)), DAYS, "sum")

    counts = capped(ledger, played, Outliers(None, 0.99), 2)
    analysis = analyzed(counts, "mean", keys)

    assert counts.capped[0, 1] == 493
    assert means(analysis) == pytest.approx([49.1358, 48.8539], abs=5e-5)
    assert statistics(analysis) == pytest.approx([-0.50268], abs=5e-6)
    assert analysis.variants[1].p_value == pytest.approx(0.61519, abs=5e-6)


@pytest.mark.parametrize(
    ("day", "returned", "shares", "p_value"),
    [(1, [20_034, 20_119], [0.448188, 0.442283], 0.07441), (7, [8_502, 8_279], [0.190201, 0.182000], 0.0015542)],
)
def test_retention_of_cookie_cats_is_that_of_a_calendar_day(
    day: int, returned: list[int], shares: list[float], p_value: float
) -> None:
    sizes = [44_700, 45_489]
    ledger = ledger_of(sizes)
    starts = (ledger.time, np.full(len(ledger), NO_EVENT))
    same_day, later = facts(ledger.actor), facts(first_persons(sizes, returned), days=day)
    window = RetentionWindow(day, day, "day", ticks(START, START + dt.timedelta(days=20), "day", ZoneInfo("UTC")))

    for events, expected in ((same_day, [0, 0]), (later, returned)):
        times = find_returns(ledger, starts, starts[1], events, window)
        progress = count_reached(ledger, ledger.time, [times], DAYS, 2)
        assert progress.cumulative[:, :, -1].tolist() == [sizes, expected]

    analysis = analyzed(progress, "funnel", ["gate_30", "gate_40"])
    assert means(analysis) == pytest.approx(shares, abs=5e-7)
    assert analysis.variants[1].p_value == pytest.approx(p_value, rel=5e-5)
