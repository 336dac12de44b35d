"""The variants and the period that all metrics of an experiment share."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args
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
from app.metrics.facts.event_sets import EventSet, event_set, group_property
from app.metrics.facts.series import EventSource
from app.metrics.queries.entities import NO_FILTER, Entity
from app.properties.filters import Group, parse_filter
from app.properties.relative_dates import resolve_relative_dates
from app.properties.splitting import both

FLAG_CALLED = "$feature_flag_called"
FLAG_RESPONSE = "$feature_flag_response"  # what the flag answered, in its exposure events
# Since autumn 2026 the platform writes another event beside it, or in its place. Exposures are counted by person and
# variant, so both for one evaluation count once.
EXPOSURE_EVENTS = (FLAG_CALLED, "$experiment_exposure")

# What tells the variant of the events of a metric: the events themselves, or the exposures of their person.
AttributedBy: TypeAlias = Literal["events", "exposure"]

ATTRIBUTED_BY: tuple[AttributedBy, ...] = get_args(AttributedBy)

_SECOND = dt.timedelta(seconds=1)


@dataclass(frozen=True)
class ExperimentScope:
    """What all metrics of an experiment share.

    Attributes
    ----------
    variants : sequence of str
        The flag's, control first.
    group_type_index : int or None
        The type of the groups that the flag assigns: they are the experiment's units. None where persons are.
    attributed_by : {"events", "exposure"}
        What tells the variant of the events of funnels and trends; typed metrics always go by exposure.
    holdouts : sequence of str
        What the flag answers in place of a variant to persons who are held out.
    """

    flag_key: str
    variants: Sequence[str]
    start: dt.datetime
    end: dt.datetime | None
    now: dt.datetime
    timezone: ZoneInfo
    group_type_index: int | None = None
    attributed_by: AttributedBy = "events"
    holdouts: Sequence[str] = ()

    @property
    def exposure_variants(self) -> Sequence[str]:
        """What exposures may name: the variants, then the values of holdouts."""
        return [*self.variants, *self.holdouts]

    @property
    def actor_property(self) -> str | None:
        """The event property that names the unit; None where units are persons."""
        return None if self.group_type_index is None else group_property(self.group_type_index)

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

    @property
    def named_variant(self) -> str | None:
        """The property by which the events of metrics name their variant; None where exposures tell it."""
        return self.variant_property if self.attributed_by == "events" else None

    def event_set(
        self,
        entity: Entity,
        *,
        value_property: str | None = None,
        actor_property: str | None = None,
        actor_required: bool = True,
        names_variant: bool | None = None,
    ) -> EventSet:
        """Return the event set of an entity; an empty one for an action that does not exist.

        Its actors are the experiment's units, unless another property names them. Events without a group, or whatever
        the property names, are left out unless the actor is not required. With ``names_variant`` events name their
        variant; they do not have to where exposures tell it, which ``attributed_by`` decides unless it is given.
        """
        variant_property = self.named_variant if names_variant is None else self.variant_property
        actor = actor_property or self.actor_property
        return event_set(
            [self._at_present(source) for source in entity.sources or ()],
            None if names_variant is False else variant_property,
            value_property=value_property,
            actor_property=actor,
            actor_required=actor is not None and actor_required,
        )

    def exposures(self, always: Group = NO_FILTER) -> EventSet:
        """Return the event set of exposures that SDKs reported, of events that pass a filter.

        Events without a group belong to it.
        """
        condition = {"key": "$feature_flag", "operator": "exact", "type": "event", "value": [self.flag_key]}
        is_exposure = both(always, parse_filter([condition]))
        sources = [self._at_present(EventSource(name, is_exposure)) for name in EXPOSURE_EVENTS]
        return event_set(sources, FLAG_RESPONSE, actor_property=self.actor_property)

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
