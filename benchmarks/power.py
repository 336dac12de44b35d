"""The power of planned experiments: how often the product's own verdict finds the effect that `power/` planned for.

python -m benchmarks.power [--runs 2000] [--seed 1]

Every plan is for a power of 0.8. Groups of the planned size are drawn and analyzed as `analyze` does; the share of
significant verdicts is that of each variant that differs. The last lines look at conversions on each of 28 days.
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from app.analysis.planning import plan
from app.analysis.planning_schemas import PowerRequest
from app.analysis.service import read_config
from app.statistics.analysis import analyze_metric
from app.statistics.frequentist.sequential import sequential_factor
from app.statistics.variants import CountVariant, FunnelVariant, MeanVariant, MetricVariant

DAYS = 28
METRICS: dict[str, dict[str, Any]] = {
    "conversion": {"metric_type": "funnel", "baseline": 0.1, "minimum_detectable_effect": 0.02},
    "rare conversion": {"metric_type": "funnel", "baseline": 0.002, "minimum_detectable_effect": 0.002},
    "falling conversion": {"metric_type": "funnel", "baseline": 0.6, "minimum_detectable_effect": -0.05},
    "count": {"metric_type": "count", "baseline": 0.3, "minimum_detectable_effect": 0.05},
    "mean": {"metric_type": "mean", "baseline": 20, "variance": 900, "minimum_detectable_effect": 2},
}
RULES: dict[str, dict[str, Any]] = {
    "anytime-valid": {},
    "credible interval": {"method": "bayesian", "sequential": {"enabled": False}},
    "confidence interval": {"method": "frequentist", "sequential": {"enabled": False}},
}


class Case(NamedTuple):
    """A plan, and how many of its variants differ from the baseline."""

    metric: str
    rule: str
    request: PowerRequest
    differing: int


def cases() -> Iterator[Case]:
    for metric, question in METRICS.items():
        for rule, config in RULES.items():
            for variants, correction, differing in ((2, "none", 1), (4, "none", 3), (4, "holm", 1)):
                body = {
                    **question,
                    "variants": variants,
                    "stats_config": {**config, "multiple_testing": correction},
                }
                yield Case(metric, rule, PowerRequest.model_validate(body), differing)


def measure(case: Case, runs: int, generator: np.random.Generator) -> tuple[int, list[float]]:
    """Return the planned size of each group, and the shares of significant verdicts on each variant that differs."""
    planned = plan(case.request)
    size, difference = planned.sample_size_per_variant, planned.minimum_detectable_effect
    if size is None or difference is None:
        raise ValueError("the plan has no size")
    config = read_config(case.request.stats_config)
    found = np.zeros(case.differing)
    for _ in range(runs):
        variants = [
            draw(case.request, f"v{index}", int(size), difference if 0 < index <= case.differing else 0.0, generator)
            for index in range(case.request.variants)
        ]
        analysis = analyze_metric(variants, config)
        decisions = [one.decision for one in analysis.variants[1 : 1 + case.differing]]
        found += [decision is not None and decision.is_significant for decision in decisions]
    return int(size), (found / runs).tolist()


def draw(
    request: PowerRequest, key: str, size: int, difference: float, generator: np.random.Generator
) -> MetricVariant:
    mean = request.baseline + difference
    if request.metric_type == "funnel":
        successes = int(generator.binomial(size, mean))
        return FunnelVariant(key, successes, size - successes)
    if request.metric_type == "count":
        return CountVariant(key, int(generator.poisson(mean * size)), size)
    variance = request.variance or 0.0
    average = generator.normal(mean, (variance / size) ** 0.5)
    spread = variance * generator.chisquare(size - 1)
    return MeanVariant(key, size, float(average * size), float(spread + average**2 * size))


def daily(runs: int, generator: np.random.Generator) -> tuple[float, float]:
    """Return the shares of experiments on conversions found at the planned look, and at it or a daily one before."""
    request = PowerRequest.model_validate(METRICS["conversion"])
    planned = plan(request)
    totals = np.round((planned.sample_size_per_variant or 0) * np.arange(1, DAYS + 1) / DAYS).astype(np.int64)
    rates = np.array([request.baseline, request.baseline + (planned.minimum_detectable_effect or 0)])
    successes = generator.binomial(np.diff(totals, prepend=0), rates[:, None], (runs, 2, DAYS)).cumsum(axis=2)
    observed = successes / totals
    errors = np.sqrt((observed * (1 - observed) / totals).sum(axis=1))
    factors = np.array([sequential_factor(2 * total, 0.05) for total in totals.tolist()])
    is_found = np.abs(observed[:, 1] - observed[:, 0]) > factors * errors
    return float(is_found[:, -1].mean()), float(is_found.any(axis=1).mean())


def report(runs: int, seed: int) -> Sequence[float]:
    generator = np.random.default_rng(seed)
    shares = []
    print(f"{'metric':19} {'rule':20} {'variants':>8} {'correction':>11} {'size each':>10}  power of each")
    for case in cases():
        size, found = measure(case, runs, generator)
        shares += found
        correction = case.request.stats_config.multiple_testing
        powers = " ".join(f"{share:.3f}" for share in found)
        print(f"{case.metric:19} {case.rule:20} {case.request.variants:8} {correction:>11} {size:10,}  {powers}")
    at_end, ever = daily(20 * runs, generator)
    print(f"lowest {min(shares):.3f}, highest {max(shares):.3f}")
    print(f"conversion, anytime-valid, looked at on {DAYS} days: {at_end:.3f} at the last, {ever:.3f} on some day")
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report(arguments.runs, arguments.seed)


if __name__ == "__main__":
    main()
