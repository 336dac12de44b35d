"""Metrics of persons who are all the same: few false calls under daily looks, and intervals that hold the truth.

``python -m benchmarks.aa_metrics`` draws thousands of experiments; here they are few, and seeded.
"""

import numpy as np

from benchmarks.aa_metrics import DAYS, METRICS, gather, holds_truth, share, watch

PERSONS = 10  # a day and variant


def test_daily_looks_at_equal_variants_call_almost_no_winner_and_set_off_no_breaker() -> None:
    called_and_acted = share(watch, 4, PERSONS, seed=1)

    assert called_and_acted == {metric: [0.0, 0.0] for metric in METRICS}


def test_intervals_for_one_look_hold_the_truth_in_about_95_percent() -> None:
    """Of 40 experiments 34 to 40 hold it with a probability of 0.997."""
    held = share(holds_truth, 40, PERSONS, seed=1)

    assert all(0.85 <= found <= 1 for [found] in held.values()), held
    assert min(found for [found] in held.values()) < 1  # they are not too wide either


def test_variants_that_differ_are_told_apart() -> None:
    """The same machinery does call a winner: here one variant has lost its buyers."""
    crowd = gather(PERSONS * DAYS, np.random.default_rng(1))
    row, events = crowd.after
    stays = crowd.ledger.slot[row] == 0
    harmed = crowd._replace(after=(row[stays], events.select(stays)))

    found = {
        metric: watch(harmed, metric) for metric in METRICS if metric.split()[0] not in {"ratio", "ratio,", "quantile"}
    }
    assert found == dict.fromkeys(found, (True, True))
