"""The variants and the period that all metrics of an experiment share."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from app.common import limits
from app.common.errors import ValidationFailed
from app.common.timestamps import to_microseconds
from app.metrics.aggregation.calendar import (
    INTERVALS,
    Interval,
    Ticks,
    TooManyBuckets,
    Window,
    count_ticks,
    ticks,
)
from app.metrics.facts.event_sets import EventSet, event_set
from app.metrics.facts.series import EventSource
from app.metrics.queries.entities import NO_FILTER, Entity
from app.properties.filters import Group, parse_filter
from app.properties.relative_dates import resolve_relative_dates
from app.properties.splitting import both

FLAG_CALLED = "$feature_flag_called"

_SECOND = dt.timedelta(seconds=1)


@dataclass(frozen=True)
class ExperimentScope:
    """What all metrics of an experiment share: its flag's variants (control first), its period and its time zone."""

    flag_key: str
    variants: Sequence[str]
    start: dt.datetime
    end: dt.datetime | None
    now: dt.datetime
    timezone: ZoneInfo

    @property
    def last(self) -> dt.datetime:
        """The end of the experiment, or now while it runs."""
        return self.end or self.now

    @property
    def so_far(self) -> "ExperimentScope":
        """The scope up to now, where the end still lies ahead."""
        return replace(self, end=min(self.last, self.now))

    @property
    def window(self) -> Window:
        """From the second of the start to the end of the second of the end: both belong to the experiment."""
        since = self.start.replace(microsecond=0)
        until = self.last.replace(microsecond=0) + _SECOND
        return Window(to_microseconds(since), to_microseconds(until), is_open=self.end is None)

    @property
    def variant_property(self) -> str:
        return f"$feature/{self.flag_key}"

    def event_set(
        self,
        entity: Entity,
        *,
        value_property: str | None = None,
        actor_property: str | None = None,
        actor_required: bool = False,
    ) -> EventSet:
        """Return the event set of an entity; an empty one for an action that does not exist."""
        return event_set(
            [self._at_present(source) for source in entity.sources or ()],
            self.variant_property,
            value_property=value_property,
            actor_property=actor_property,
            actor_required=actor_required,
        )

    def exposures(self, always: Group = NO_FILTER) -> EventSet:
        """Return the event set of exposures that SDKs reported, of events that pass a filter."""
        condition = {"key": "$feature_flag", "operator": "exact", "type": "event", "value": [self.flag_key]}
        source = EventSource(FLAG_CALLED, both(always, parse_filter([condition])))
        return event_set([self._at_present(source)], "$feature_flag_response")

    def _at_present(self, source: EventSource) -> EventSource:
        return EventSource(source.name, resolve_relative_dates(source.filter, self.now))


def buckets(scope: ExperimentScope, interval: Interval, limit: limits.Limit = limits.BUCKETS) -> Ticks:
    """Return the buckets of time from the experiment's start to its end or now.

    Raises
    ------
    ValidationFailed
        When there would be more than the limit; it names the interval to choose.
    """
    try:
        return ticks(scope.start, max(scope.start, scope.last), interval, scope.timezone, limit.value)
    except TooManyBuckets as error:
        longer = fitting_interval(scope, interval, limit)
        remedy = "a later start" if longer == interval else f"the interval {longer}"
        raise ValidationFailed(f"{limit.detail} Choose {remedy}: {error}.", attr="interval") from error


def fitting_interval(scope: ExperimentScope, interval: Interval, limit: limits.Limit = limits.BUCKETS) -> Interval:
    """Return the shortest interval, from a given one on, that keeps to the limit; the given one if there is none."""
    longer = INTERVALS[INTERVALS.index(interval) :]
    last = max(scope.start, scope.last)
    fitting = (one for one in longer if count_ticks(scope.start, last, one, scope.timezone) <= limit.value)
    return next(fitting, interval)
