"""The analysis: its false positive rate in A/A experiments, the coverage of its intervals, and its speed.

python -m benchmarks.analysis [--runs 20000] [--rounds 200]
"""

import argparse
import time
from functools import partial
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from app.statistics.analysis import analyze_metric
from app.statistics.bayesian.intervals import equal_tailed_intervals
from app.statistics.frequentist.sequential import sequential_factor
from app.statistics.posteriors import BetaPosterior
from app.statistics.posthog_2022.significance import MAX_EXPECTED_LOSS, MIN_PROBABILITY
from app.statistics.results import AnalysisConfig
from app.statistics.variants import CountVariant, FunnelVariant, MeanVariant, MetricVariant
from benchmarks.comparison import fastest

DAYS, PERSONS_PER_DAY, RATE = 28, 500, 0.1
PUBLISHED = {"rule of 2022": (20.1, 71.5, 54.9), "one look, 0.05": (5.1, 27.6, 18.7), "anytime": (0.1, 1.8, 1.1)}
Calls = NDArray[np.bool_]


def simulate(runs: int, generator: np.random.Generator) -> dict[str, Calls]:
    """Return for each rule the experiments and days on which it calls a winner, although variants are equal.

    Probabilities and losses come from the normal approximation of the posteriors, to compute all looks at once.
    """
    successes = generator.binomial(PERSONS_PER_DAY, RATE, (runs, 2, DAYS)).cumsum(axis=2)
    totals = PERSONS_PER_DAY * np.arange(1, DAYS + 1)
    means = (successes + 1) / (totals + 2)
    variances = (means * (1 - means) / (totals + 3)).sum(axis=1)
    difference = means[:, 1] - means[:, 0]
    z = np.abs(difference) / np.sqrt(variances)
    rates = successes / totals
    errors = np.sqrt((rates * (1 - rates) / totals).sum(axis=1))
    observed = np.abs(rates[:, 1] - rates[:, 0]) / errors
    factors = np.array([sequential_factor(float(2 * total), 0.05) for total in totals])
    # An upper bound of the loss of the better one: even this is below the limit where the probability is high.
    loss = np.sqrt(variances) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return {
        "rule of 2022": (z >= quantile(MIN_PROBABILITY)) & (loss < MAX_EXPECTED_LOSS),
        "one look, 0.05": observed > quantile(0.975),
        "anytime": observed > factors,
    }


def quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def coverage(generator: np.random.Generator, experiments: int = 200_000) -> dict[str, float]:
    """Return the shares of 95 % credible intervals that contain the true rate, by number of persons."""
    result = {}
    for persons in (100, 1_000, 5_000):
        rates = generator.uniform(0, 1, experiments)
        successes = generator.binomial(persons, rates)
        ends = np.zeros((persons + 1, 2))
        for first in range(0, persons + 1, 20):
            some = range(first, min(first + 20, persons + 1))
            ends[first : first + 20] = equal_tailed_intervals([BetaPosterior.from_counts(k, persons - k) for k in some])
        low, high = ends[successes].T
        result[f"{persons:,} persons, rates of all sizes"] = float(np.mean((rates >= low) & (rates <= high)))
    return result


def cases() -> dict[str, list[MetricVariant]]:
    keys = ["control", "a", "b", "c"]
    return {
        "funnel": [FunnelVariant(key, 1_000 + 50 * i, 9_000) for i, key in enumerate(keys)],
        "count": [CountVariant(key, 1_000 + 50 * i, 9_000.0) for i, key in enumerate(keys)],
        "mean": [MeanVariant(key, 10_000, 5_000.0 + 50 * i, 9_000.0) for i, key in enumerate(keys)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    generator = np.random.default_rng(20221101)
    started = time.perf_counter()
    print(
        f"A/A: {arguments.runs:,} experiments of {DAYS} days, {PERSONS_PER_DAY} persons a day and variant, rate {RATE}"
    )
    print(f"{'called a winner':20} {'last day only':>14} {'on some day':>12} {'from day 7':>11}   published")
    for name, calls in simulate(arguments.runs, generator).items():
        found = [calls[:, -1].mean(), calls.any(axis=1).mean(), calls[:, 6:].any(axis=1).mean()]
        figures = f"{found[0]:14.1%} {found[1]:12.1%} {found[2]:11.1%}"
        print(f"{name:20} {figures}   {' / '.join(f'{value} %' for value in PUBLISHED[name])}")
    print("\ncoverage of 95 % credible intervals")
    for name, share in coverage(generator).items():
        print(f"{name:36} {share:8.2%}")
    print(f"\nsimulated in {time.perf_counter() - started:.1f} s\n\nanalysis of four variants with their split")
    split = dict.fromkeys(["control", "a", "b", "c"], 1.0)
    for name, variants in cases().items():
        seconds = fastest(partial(analyze_metric, variants, AnalysisConfig(), split), arguments.rounds)
        print(f"{name:20} {seconds * 1e3:8.2f} ms")


if __name__ == "__main__":
    main()
