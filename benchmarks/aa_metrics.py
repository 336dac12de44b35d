"""A/A experiments of typed metrics: how often the product's own verdict calls a difference although there is none.

python -m benchmarks.aa_metrics [--runs 500] [--intervals 4000] [--persons 50] [--seed 1] [--processes 2]

Persons come, buy and come back at random times; their events go through the aggregation of typed metrics and the
analysis. On each of 28 days the anytime rule may call a winner, and a circuit breaker that tolerates nothing may act.
In further experiments, which are looked at once, the confidence interval should hold the true difference, 0, in 95 %.
"""

import argparse
import datetime as dt
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from app.common.timestamps import to_microseconds
from app.experiments.automation.schemas import CircuitBreaker
from app.experiments.phases.upkeep import find_harm
from app.experiments.scorecard.metrics import DailyCounts, MetricType, variants_of
from app.metrics.aggregation.calendar import Ticks, ticks
from app.metrics.aggregation.distribution import Distribution
from app.metrics.aggregation.exposed_funnel import count_again, count_reached
from app.metrics.aggregation.funnel import NEVER
from app.metrics.aggregation.funnel_by_day import FunnelProgress
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.person_values import PersonValues
from app.metrics.aggregation.quantiles import QuantileCounts, QuantileRule, read_quantiles
from app.metrics.aggregation.retention import NO_EVENT, RetentionWindow, find_returns
from app.metrics.aggregation.value_sums import Outliers, SummedValue, ValueCounts, sum_capped, sum_values
from app.metrics.facts.columns import FactColumns
from app.statistics.analysis import analyze_metric
from app.statistics.results import Analysis, AnalysisConfig

DAYS, KEYS = 28, ("control", "test")
# The most easily set off: it tolerates no harm at all.
BREAKER = CircuitBreaker(metric_uuid="primary", direction="decrease", threshold_relative=0, action="notify")
DAY = 86_400_000_000  # microseconds
START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)
LOOKBACK_DAYS = 14
RunAll = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]  # runs a function on all of some arguments


class Crowd(NamedTuple):
    """Persons with their exposures, and their purchases before and after; both variants are the same to them."""

    ledger: Ledger
    before: tuple[NDArray[np.int64], FactColumns]
    after: tuple[NDArray[np.int64], FactColumns]


def days(count: int = DAYS) -> Ticks:
    return ticks(START, START + dt.timedelta(days=count - 1), "day", ZoneInfo("UTC"))


def gather(persons: int, generator: np.random.Generator) -> Crowd:
    """Draw persons, so many a day and variant. Some buy more than others, before the exposure and after it."""
    count = persons * DAYS * len(KEYS)
    start = to_microseconds(START)
    exposed = start + generator.integers(0, DAYS * DAY, count)
    ledger = Ledger(np.arange(1, count + 1), generator.integers(0, len(KEYS), count), exposed, exposed)
    appetite = generator.gamma(0.5, 2.0, count)  # purchases in two weeks: a mean of 1, many with none
    parts = []
    for is_before in (True, False):
        row = np.repeat(np.arange(count), generator.poisson(appetite)).astype(np.int64)
        moments = exposed[row] + generator.integers(0, LOOKBACK_DAYS * DAY, len(row)) * (-1 if is_before else 1)
        amounts = np.round(generator.lognormal(3.0, 1.0, len(row)), 2)
        in_time = moments < start + DAYS * DAY
        sequence = np.arange(len(row))
        events = FactColumns(ledger.actor[row], moments, np.zeros(len(row), np.int32), amounts, sequence)
        parts.append((row[in_time], events.select(in_time)))
    return Crowd(ledger, *parts)


def revenue(crowd: Crowd) -> PersonValues:
    return PersonValues.of(*crowd.after, days(), "sum")


def count_adjusted(crowd: Crowd) -> ValueCounts:
    """Count revenue, with that of before as the covariate."""
    row, events = crowd.before
    known = FactColumns(
        events.actor, np.full(len(events), days().starts[0]), events.variant, events.value, events.sequence
    )
    values = [revenue(crowd), PersonValues.of(row, known, days(), "sum")]
    return _summed(crowd, [SummedValue(one) for one in values])


def count_ratio(crowd: Crowd) -> ValueCounts:
    """Count revenue per purchase."""
    purchases = PersonValues.of(*crowd.after, days(), "total")
    return _summed(crowd, [SummedValue(revenue(crowd)), SummedValue(purchases)])


def count_adjusted_ratio(crowd: Crowd) -> ValueCounts:
    """Count revenue per purchase, with that of before as the covariate."""
    row, events = crowd.before
    known = replace(events, time=np.full(len(events), days().starts[0]))
    values = [PersonValues.of(*crowd.after, days(), "sum"), PersonValues.of(*crowd.after, days(), "total")]
    values += [PersonValues.of(row, known, days(), "sum"), PersonValues.of(row, known, days(), "total")]
    return _summed(crowd, [SummedValue(one) for one in values])


def count_quantile(crowd: Crowd) -> QuantileCounts:
    """Find the upper decile of the amounts of all purchases, of which a person may have several."""
    row, events = crowd.after
    numbers = (row, days().bucket(events.time), events.value)
    found = Distribution.of_events(crowd.ledger, crowd.ledger.time, numbers, days(), len(KEYS))
    return read_quantiles(found, QuantileRule(0.9, 0.95))


def count_conversion(crowd: Crowd) -> FunnelProgress:
    """Count who buys, with who had bought before as the covariate."""
    first = np.full(len(crowd.ledger), NEVER, dtype=np.int64)
    np.minimum.at(first, crowd.after[0], crowd.after[1].time)
    before = np.zeros(len(crowd.ledger), dtype=np.bool_)
    before[crowd.before[0]] = True
    return count_again(crowd.ledger, crowd.ledger.time, [first], before, days(), len(KEYS))


def count_capped(crowd: Crowd) -> ValueCounts:
    """Count revenue up to the 99th percentile of those who bought."""
    found = Distribution.of_persons(crowd.ledger, crowd.ledger.time, [revenue(crowd)], days(), len(KEYS))
    return sum_capped(found, [Outliers(None, 0.99, ignores_zeros=True)])


def count_plain(crowd: Crowd) -> ValueCounts:
    return _summed(crowd, [SummedValue(revenue(crowd))])


def count_retention(crowd: Crowd) -> FunnelProgress:
    """Count who buys again one to seven days after the exposure."""
    ledger = crowd.ledger
    window = RetentionWindow(1, 7, "day", days(DAYS + 10))
    nothing = np.full(len(ledger), NO_EVENT, dtype=np.int64)
    returned = find_returns(ledger, (ledger.time, nothing), nothing, crowd.after[1], window)
    return count_reached(ledger, ledger.time, [returned], days(), len(KEYS))


def _summed(crowd: Crowd, values: list[SummedValue]) -> ValueCounts:
    return sum_values(crowd.ledger, crowd.ledger.time, values, days(), len(KEYS))


METRICS: Mapping[str, tuple[MetricType, Callable[[Crowd], DailyCounts]]] = {
    "mean": ("mean", count_plain),
    "mean, adjusted (CUPED)": ("mean", count_adjusted),
    "mean, capped": ("mean", count_capped),
    "ratio": ("ratio", count_ratio),
    "ratio, adjusted (CUPED)": ("ratio", count_adjusted_ratio),
    "quantile 0.9 of purchases": ("quantile", count_quantile),
    "conversion, adjusted": ("funnel", count_conversion),
    "retention": ("funnel", count_retention),
}


def analyzed(crowd: Crowd, metric: str, looks: Sequence[int]) -> list[Analysis]:
    """Return the analysis at the end of some days."""
    kind, count = METRICS[metric]
    counts = count(crowd)
    return [analyze_metric(variants_of(counts, kind, KEYS, look), AnalysisConfig()) for look in looks]


def watch(crowd: Crowd, metric: str) -> tuple[bool, bool]:
    """Whether the anytime rule calls a winner on any day, and whether a circuit breaker acts on any day."""
    looks = analyzed(crowd, metric, range(DAYS))
    decisions = [look.variants[1].decision for look in looks]
    is_called = any(decision is not None and decision.is_significant for decision in decisions)
    return is_called, any(find_harm(BREAKER, metric, look) is not None for look in looks)


def holds_truth(crowd: Crowd, metric: str) -> tuple[bool]:
    """Whether the interval for one look, on the last day, holds 0."""
    interval = analyzed(crowd, metric, [-1])[0].variants[1].difference.confidence_interval
    return (interval is not None and interval[0] <= 0 <= interval[1],)


def share(
    what: Callable[[Crowd, str], tuple[bool, ...]], runs: int, persons: int, seed: int, run_all: RunAll = map
) -> dict[str, list[float]]:
    """Return for each metric the shares of experiments of which some things are true.

    Each experiment has a seed of its own, so that the answer does not depend on who runs which.
    """
    seeds = np.random.SeedSequence(seed).spawn(runs)
    answers = list(run_all(partial(_answers, what, persons), seeds))
    return {metric: np.mean([one[metric] for one in answers], axis=0).tolist() for metric in METRICS}


def _answers(
    what: Callable[[Crowd, str], tuple[bool, ...]], persons: int, seed: np.random.SeedSequence
) -> dict[str, tuple[bool, ...]]:
    crowd = gather(persons, np.random.default_rng(seed))
    return {metric: what(crowd, metric) for metric in METRICS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="experiments that are looked at daily")
    parser.add_argument("--intervals", type=int, default=4000, help="experiments that are looked at once")
    parser.add_argument("--persons", type=int, default=50, help="a day and variant")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    started = time.perf_counter()
    print(
        f"A/A: {arguments.runs:,} experiments of {DAYS} days, {arguments.persons} persons a day and variant; ", end=""
    )
    print(f"{arguments.intervals:,} that are looked at once")
    print(f"{'metric':26} {'called on some day':>20} {'breaker acted':>15} {'held by 95 % intervals':>24}")
    with ProcessPoolExecutor(arguments.processes) as processes:
        run_all = partial(processes.map, chunksize=10)
        watched = share(watch, arguments.runs, arguments.persons, arguments.seed, run_all)
        held = share(holds_truth, arguments.intervals, arguments.persons, arguments.seed + 1, run_all)
    for metric in METRICS:
        (called, acted), [within] = watched[metric], held[metric]
        print(f"{metric:26} {called:20.2%} {acted:15.2%} {within:24.2%}")
    print(f"simulated in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
