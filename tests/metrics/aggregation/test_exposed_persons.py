"""What exposed persons did, compared with a recount person by person."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.common.timestamps import to_microseconds
from app.metrics.aggregation.calendar import Ticks, ticks
from app.metrics.aggregation.distribution import Distribution
from app.metrics.aggregation.exposed_funnel import count_reached, ordered_times, unordered_times
from app.metrics.aggregation.funnel import NEVER
from app.metrics.aggregation.ledger import Ledger, MultipleVariants
from app.metrics.aggregation.person_values import VALUE_MATHS, PersonValues, ValueMath
from app.metrics.aggregation.retention import RetentionWindow, StartHandling, find_returns, find_starts
from app.metrics.aggregation.value_sums import Outliers, SummedValue, ValueCounts, sum_capped, sum_values
from app.metrics.facts.columns import FactColumns

START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)
HOUR = 3_600_000_000
HOURS = 72
DAYS = 3
VARIANTS = 2
Exposure = tuple[int, int, int]  # person, hours since the start, variant
Event = tuple[int, int, float, int]  # person, hours since the start, number, session

EXPOSURES = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 71), st.integers(0, 3)), max_size=12)
NUMBERS = st.sampled_from([1.0, 2.5, -3.0, 0.0, float("nan")])
EVENTS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 71), NUMBERS, st.integers(0, 2)), max_size=16)


def facts(rows: Sequence[tuple[int, ...] | Event], *, variants: bool = False, first: int = 0) -> FactColumns:
    return FactColumns(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([to_microseconds(START) + int(row[1]) * HOUR for row in rows], dtype=np.int64),
        np.array([row[2] if variants else 0 for row in rows], dtype=np.int32),
        np.array([np.nan if variants else row[2] for row in rows], dtype=np.float64),
        np.arange(first, first + len(rows), dtype=np.int64),
    )


def sessions_of(events: Sequence[Event]) -> FactColumns:
    return facts(events).of_actors(np.array([session for *_, session in events], dtype=np.int64))


def days() -> Ticks:
    return ticks(START, START + dt.timedelta(hours=HOURS - 1), "day", ZoneInfo("UTC"))


def exposed_one_by_one(exposures: Sequence[Exposure], handling: MultipleVariants) -> dict[int, tuple[int, int]]:
    """Return the variant, from 0, and the hour of each person."""
    found = {}
    for person in {person for person, _, _ in exposures}:
        shown = [(hour, place, variant) for place, (who, hour, variant) in enumerate(exposures) if who == person]
        known = [one for one in shown if 1 <= one[2] <= VARIANTS]
        if known and (handling == "first_seen" or len({variant for *_, variant in known}) == 1):
            hour, _, variant = min(known)
            found[person] = (variant - 1, hour)
    return found


def value_of(math: ValueMath, events: Sequence[Event]) -> float:
    numbers = [number for _, _, number, _ in events if not np.isnan(number)]
    if math in {"sum", "avg", "min", "max"}:
        summary: Mapping[ValueMath, Any] = {"sum": sum, "avg": np.mean, "min": min, "max": max}
        return float(summary[math](numbers)) if numbers else 0
    if math in {"unique_session", "unique_group"}:
        return len({session for *_, session in events if session})
    return min(len(events), 1) if math == "dau" else len(events)


def counted(
    exposures: Sequence[Exposure],
    events: Sequence[Event],
    math: ValueMath,
    handling: MultipleVariants = "exclude",
    window: int = HOURS,
    threshold: float | None = None,
    outliers: Outliers | None = None,
) -> ValueCounts:
    ledger = Ledger.of(facts(exposures, variants=True), VARIANTS, handling).of_variants(VARIANTS)
    row, since = ledger.events_since(facts(events))
    inside = since.time < ledger.time[row] + window * HOUR if len(ledger) else np.zeros(0, dtype=np.bool_)
    values = PersonValues.of(row[inside], since.select(inside), days(), math, sessions_of(events))
    if outliers is not None:
        return sum_capped(Distribution.of_persons(ledger, ledger.time, [values], days(), VARIANTS), [outliers])
    return sum_values(ledger, ledger.time, [SummedValue(values, threshold)], days(), VARIANTS)


def sums_of(counts: ValueCounts) -> NDArray[np.float64]:
    """Return the persons, the sum and the sum of squares of each variant and day."""
    days = [[list(map(float, sums)) for sums in counts.moments(day)] for day in range(DAYS)]
    return np.array(days).transpose(2, 1, 0)


def values_one_by_one(
    exposures: Sequence[Exposure],
    events: Sequence[Event],
    math: ValueMath,
    handling: MultipleVariants,
    window: int,
    until: int,
) -> list[list[float]]:
    """Return the values of the persons of each variant, of what happened before an hour."""
    values: list[list[float]] = [[], []]
    for person, (variant, hour) in exposed_one_by_one(exposures, handling).items():
        if hour < until:
            done = [event for event in events if event[0] == person and hour <= event[1] < min(until, hour + window)]
            values[variant].append(value_of(math, done))
    return values


@pytest.mark.parametrize("math", VALUE_MATHS)
@given(
    exposures=EXPOSURES,
    events=EVENTS,
    handling=st.sampled_from(["exclude", "first_seen"]),
    window=st.sampled_from([1, 24, HOURS]),
)
def test_sums_of_each_day_equal_recount_of_all_persons(
    math: ValueMath, exposures: list[Exposure], events: list[Event], handling: MultipleVariants, window: int
) -> None:
    found = sums_of(counted(exposures, events, math, handling, window))

    for day in range(DAYS):
        expected = values_one_by_one(exposures, events, math, handling, window, (day + 1) * 24)
        sums = [[len(one), sum(one), sum(value**2 for value in one)] for one in expected]
        assert pytest.approx(np.array(sums)) == found[:, :, day].T


@given(exposures=EXPOSURES, events=EVENTS, level=st.sampled_from([0.5, 0.9, 1.0]), ignores_zeros=st.booleans())
def test_values_beyond_caps_of_all_persons_are_moved_to_caps(
    exposures: list[Exposure], events: list[Event], level: float, ignores_zeros: bool
) -> None:
    outliers = Outliers(lower=1 - level, upper=level, ignores_zeros=ignores_zeros)

    found = counted(exposures, events, "sum", outliers=outliers)
    sums = sums_of(found)

    values = values_one_by_one(exposures, events, "sum", "exclude", HOURS, HOURS)
    pooled = sorted(value for one in values for value in one)
    of_upper = [value for value in pooled if value or not ignores_zeros]
    lower = pooled[min(int((1 - level) * len(pooled)), len(pooled) - 1)] if pooled else -np.inf
    upper = of_upper[min(int(level * len(of_upper)), len(of_upper) - 1)] if of_upper else np.inf
    capped = [sum(min(max(value, lower), upper) for value in one) for one in values]
    assert sums[1, :, -1] == pytest.approx(np.array(capped))
    if pooled:
        below, above = sum(value < lower for value in pooled), sum(value > upper for value in pooled)
        assert found.capped[0].tolist() == [lower, upper, below, above]


@given(exposures=EXPOSURES, events=EVENTS)
def test_threshold_counts_persons_whose_value_reaches_it(exposures: list[Exposure], events: list[Event]) -> None:
    found = sums_of(counted(exposures, events, "total", threshold=2))

    values = values_one_by_one(exposures, events, "total", "exclude", HOURS, HOURS)
    assert found[1, :, -1].tolist() == [sum(value >= 2 for value in one) for one in values]
    assert found[2].tolist() == found[1].tolist()


@given(exposures=EXPOSURES, activations=EVENTS)
def test_activated_persons_count_from_first_activation_after_exposure(
    exposures: list[Exposure], activations: list[Event]
) -> None:
    found = Ledger.of(facts(exposures, variants=True), VARIANTS, activations=facts(activations)).of_variants(VARIANTS)

    expected = {}
    for person, (variant, hour) in exposed_one_by_one(exposures, "exclude").items():
        moments = [event[1] for event in activations if event[0] == person and event[1] >= hour]
        if moments:
            expected[person] = (variant, min(moments))
    hours = ((found.time - to_microseconds(START)) // HOUR).tolist()
    assert dict(zip(found.actor.tolist(), zip(found.slot.tolist(), hours, strict=True), strict=True)) == expected


def furthest(steps: Sequence[Sequence[Event]], person: int, since: int) -> list[int | None]:
    """Return the earliest hour at which a person can have reached each step, by trying every choice of events."""
    places: set[tuple[int, int]] = {(since, -1)}
    found: list[int | None] = []
    first = 0
    for events in steps:
        numbered = [(hour, first + place) for place, (who, hour, *_) in enumerate(events) if who == person]
        places = {one for one in numbered if any(one > before for before in places)}
        found.append(min(places)[0] if places else None)
        first += len(events)
    return found


@given(exposures=EXPOSURES, steps=st.lists(EVENTS, min_size=1, max_size=3))
def test_ordered_funnel_reaches_as_far_as_any_choice_of_events(
    exposures: list[Exposure], steps: list[list[Event]]
) -> None:
    ledger, rows = funnel_input(exposures, steps)

    found = ordered_times(ledger, rows)

    for place, person in enumerate(ledger.actor.tolist()):
        since = (int(ledger.time[place]) - to_microseconds(START)) // HOUR
        hours = [None if times[place] == NEVER else hour_of(int(times[place])) for times in found]
        assert hours == furthest(steps, person, since)


@given(exposures=EXPOSURES, steps=st.lists(EVENTS, min_size=1, max_size=3))
def test_unordered_funnel_counts_different_steps_done(exposures: list[Exposure], steps: list[list[Event]]) -> None:
    ledger, rows = funnel_input(exposures, steps)

    counts = count_reached(ledger, ledger.time, unordered_times(ledger, rows), days(), VARIANTS).cumulative

    done = {}
    for person, (_, hour) in exposed_one_by_one(exposures, "exclude").items():
        done[person] = sum(any(who == person and at >= hour for who, at, *_ in events) for events in steps)
    variants = {person: variant for person, (variant, _) in exposed_one_by_one(exposures, "exclude").items()}
    for step in range(len(steps) + 1):
        reached = [sum(done[person] >= step for person in done if variants[person] == slot) for slot in range(VARIANTS)]
        assert counts[step, :, -1].tolist() == reached


def funnel_input(
    exposures: Sequence[Exposure], steps: Sequence[Sequence[Event]]
) -> tuple[Ledger, list[tuple[np.ndarray[tuple[int], np.dtype[np.int64]], FactColumns]]]:
    ledger = Ledger.of(facts(exposures, variants=True), VARIANTS).of_variants(VARIANTS)
    first, rows = 0, []
    for events in steps:
        rows.append(ledger.events_since(facts(events, first=first)))
        first += len(events)
    return ledger, rows


def hour_of(time: int) -> int:
    return (time - to_microseconds(START)) // HOUR


def span(first: int, last: int) -> Callable[[int, int], bool]:
    return lambda start, hour: start + first <= hour <= start + last


def calendar_days(first: int, last: int) -> Callable[[int, int], bool]:
    return lambda start, hour: start // 24 + first <= hour // 24 <= start // 24 + last


@pytest.mark.parametrize(("unit", "rule"), [("hour", span), ("day", calendar_days)])
@given(
    exposures=EXPOSURES,
    starts=EVENTS,
    completions=EVENTS,
    bounds=st.tuples(st.integers(0, 2), st.integers(0, 2)).map(sorted),
    handling=st.sampled_from(["first_seen", "last_seen"]),
)
def test_persons_are_retained_who_come_back_inside_window(
    unit: str,
    rule: Callable[[int, int], Callable[[int, int], bool]],
    exposures: list[Exposure],
    starts: list[Event],
    completions: list[Event],
    bounds: list[int],
    handling: StartHandling,
) -> None:
    first, last = bounds
    ledger = Ledger.of(facts(exposures, variants=True), VARIANTS).of_variants(VARIANTS)
    # The events of both series are the same events where they have one number. Any may be what exposed its person.
    everything = [*starts, *completions]
    exposing = ledger.first_events(facts(everything))
    row, events = ledger.events_since(facts(starts))
    window = RetentionWindow(first, last, unit, days() if unit == "day" else None)  # type: ignore[arg-type]

    began = find_starts(row, events, len(ledger), handling)
    returned = find_returns(ledger, began, exposing, facts(everything), window)

    for place, person in enumerate(ledger.actor.tolist()):
        since = hour_of(int(ledger.time[place]))
        own = [(hour, at) for at, (who, hour, *_) in enumerate(starts) if who == person and hour >= since]
        if not own:
            assert began[0][place] == returned[place] == NEVER
            continue
        hour, number = min(own) if handling == "first_seen" else max(own)
        assert hour_of(int(began[0][place])) == hour
        events_of_exposure = [at for at, (who, hour_, *_) in enumerate(everything) if who == person and hour_ == since]
        back = [
            at
            for other, (who, at, *_) in enumerate(everything)
            if who == person
            and other not in {number, *events_of_exposure[:1]}
            and at >= hour
            and rule(first, last)(hour, at)
        ]
        assert (returned[place] == NEVER) == (not back)
        assert not back or hour_of(int(returned[place])) == min(back)
