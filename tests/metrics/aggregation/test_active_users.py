"""Activity, groups and sessions, compared with a plain recount of the rows."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.common.timestamps import to_microseconds
from app.metrics.aggregation.active_users import Days, active_actors, once_per_bucket
from app.metrics.aggregation.calendar import Ticks, ticks
from app.metrics.facts.columns import FactColumns
from app.metrics.facts.sessions import durations, with_durations

ZONE = ZoneInfo("Europe/Amsterdam")
START = dt.datetime(2022, 10, 25, 22, tzinfo=dt.UTC)  # midnight there; the clock goes back on the 30th
HOURS = 24 * 40
rows_of_few = st.lists(st.tuples(st.integers(0, 3), st.integers(0, HOURS - 1), st.integers(0, 3)), max_size=25)


def facts(rows: list[tuple[int, int, int]]) -> FactColumns:
    """Return facts of (actor, hour since the start, variant)."""
    return FactColumns(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([to_microseconds(START) + row[1] * 3_600_000_000 for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.int32),
        np.full(len(rows), np.nan),
        np.arange(len(rows), dtype=np.int64),
    )


def buckets(interval: str = "day") -> Ticks:
    return ticks(START, START + dt.timedelta(hours=HOURS - 1), interval, ZONE)  # type: ignore[arg-type]  # drawn


def date_of(hour: int) -> dt.date:
    return (START + dt.timedelta(hours=hour)).astimezone(ZONE).date()


@given(rows_of_few, st.sampled_from([5, 28]), st.sets(st.integers(0, 40)), st.sampled_from(["day", "week", "month"]))
def test_actor_is_active_on_day_of_event_and_trailing_days(
    rows: list[tuple[int, int, int]], trailing: int, quiet: set[int], interval: str
) -> None:
    days, shown = buckets(), buckets(interval)
    busy = np.array([day not in quiet for day in range(len(days))])

    counted = active_actors(facts(rows), shown, Days(days, busy), trailing, 2)

    expected = np.zeros((2, len(shown)))
    for day, label in enumerate(days.days()):
        date = dt.date.fromisoformat(label)
        for slot in range(2) if busy[day] else ():
            since = date - dt.timedelta(days=trailing)
            active = {who for who, hour, variant in rows if variant == slot + 1 and since <= date_of(hour) <= date}
            expected[slot, max(0, shown.bucket(days.starts[day : day + 1])[0])] += len(active)
    assert counted.tolist() == expected.tolist()


@given(rows_of_few)
def test_actor_counts_once_in_each_bucket(rows: list[tuple[int, int, int]]) -> None:
    days = buckets()

    assert len(once_per_bucket(facts(rows), days)) == len(
        {(who, date_of(hour), variant) for who, hour, variant in rows}
    )


@given(rows_of_few, rows_of_few)
def test_session_lasts_from_first_event_to_last(
    sessions: list[tuple[int, int, int]], rows: list[tuple[int, int, int]]
) -> None:
    hours: dict[int, list[int]] = {}
    for who, hour, _ in sessions:
        if who:  # actor 0 stands for events without an actor
            hours.setdefault(who, []).append(hour)
    lasted = {who: (max(of) - min(of)) * 3600 for who, of in hours.items()}

    actors, seconds = durations(facts(sessions))
    values = with_durations(facts(rows), facts(sessions)).value

    assert dict(zip(actors.tolist(), seconds.tolist(), strict=True)) == lasted
    assert [None if np.isnan(value) else value for value in values] == [lasted.get(who) for who, _, _ in rows]
