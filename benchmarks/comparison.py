"""Exact probabilities and losses, compared with a vectorized simulation of 100,000 draws and its error.

python -m benchmarks.comparison [--rounds 200]
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from app.statistics.bayesian.comparison import compare
from app.statistics.bayesian.intervals import equal_tailed_on
from app.statistics.posteriors import BetaPosterior, GammaPosterior

Posterior = BetaPosterior | GammaPosterior

DRAWS = 100_000

CASES: dict[str, Sequence[Posterior]] = {
    "2 variants, 10 % of 10,000": [BetaPosterior.from_counts(1_000 + 50 * i, 9_000) for i in range(2)],
    "4 variants, small": [BetaPosterior.from_counts(10 + 3 * i, 90) for i in range(4)],
    "10 variants in a ladder": [BetaPosterior.from_counts(1_000 + 10 * i, 9_000) for i in range(10)],
    "20 variants": [BetaPosterior.from_counts(100 + i, 900) for i in range(20)],
    "2 variants of a billion": [BetaPosterior.from_counts(10**8 + 10**4 * i, 9 * 10**8) for i in range(2)],
    "2 counts": [GammaPosterior.from_counts(300 + 80 * i, 1 + i / 100) for i in range(2)],
    "10 counts": [GammaPosterior.from_counts(300 + 8 * i, 1 + i / 100) for i in range(10)],
}


def simulate(posteriors: Sequence[Posterior], generator: np.random.Generator) -> np.ndarray:
    """Return win probabilities as the shares of draws in which each variant is the highest."""
    draws = np.stack(
        [
            generator.beta(one.alpha, one.beta, DRAWS)
            if isinstance(one, BetaPosterior)
            else generator.gamma(one.shape, 1 / one.rate, DRAWS)
            for one in posteriors
        ]
    )
    return np.bincount(draws.argmax(axis=0), minlength=len(posteriors)) / DRAWS


def compare_with_intervals(posteriors: Sequence[Posterior]) -> np.ndarray:
    return equal_tailed_on(compare(posteriors).grid)


def fastest(work: Callable[[], object], rounds: int) -> float:
    """Return the 10th percentile of the seconds that the work takes, which other processes disturb little."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[rounds // 10]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    generator = np.random.default_rng(1)
    print(f"{'':28} {'exact':>9} {'+ intervals':>12} {'100,000 draws':>14} {'times':>7} {'error of draws':>15}")
    for name, posteriors in CASES.items():
        exact = fastest(partial(compare, posteriors), rounds)
        full = fastest(partial(compare_with_intervals, posteriors), rounds)
        drawn = fastest(partial(simulate, posteriors, generator), max(10, rounds // 20))
        error = np.abs(simulate(posteriors, generator) - compare(posteriors).win_probabilities).max()
        print(
            f"{name:28} {exact * 1e6:6.0f} us {full * 1e6:9.0f} us {drawn * 1e6:11.0f} us"
            f" {drawn / exact:7.0f} {error:15.1e}"
        )


if __name__ == "__main__":
    main()
