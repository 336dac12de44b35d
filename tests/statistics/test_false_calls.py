"""Metrics of persons who are all the same: few false calls under daily looks, and intervals that hold the truth.

``python -m benchmarks.aa_metrics`` draws thousands of experiments; here they are few, and seeded.
"""

import numpy as np

from benchmarks.aa_metrics import DAYS, METRICS, gather, holds_truth, is_called, share

PERSONS = 10  # a day and variant


def test_daily_looks_at_equal_variants_call_almost_no_winner() -> None:
    called = share(is_called, 4, PERSONS, np.random.default_rng(1))

    assert called == dict.fromkeys(METRICS, 0.0)


def test_intervals_for_one_look_hold_the_truth_in_about_95_percent() -> None:
    """Of 40 experiments 34 to 40 hold it with a probability of 0.997."""
    held = share(holds_truth, 40, PERSONS, np.random.default_rng(1))

    assert all(0.85 <= found <= 1 for found in held.values()), held
    assert min(held.values()) < 1  # they are not too wide either


def test_variants_that_differ_are_told_apart() -> None:
    """The same machinery does call a winner: here one variant has lost its buyers."""
    crowd = gather(PERSONS * DAYS, np.random.default_rng(1))
    row, events = crowd.after
    stays = crowd.ledger.slot[row] == 0
    harmed = crowd._replace(after=(row[stays], events.select(stays)))

    assert all(is_called(harmed, metric) for metric in METRICS if metric != "ratio")
