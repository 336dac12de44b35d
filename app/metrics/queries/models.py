"""Parsed queries of metrics and exposures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from app.metrics.aggregation.active_users import ActivityMath
from app.metrics.aggregation.attribution import FIRST_TOUCH, Attribution
from app.metrics.aggregation.calendar import Interval
from app.metrics.aggregation.funnel import ConversionWindow
from app.metrics.aggregation.ledger import Ledger, MultipleVariants
from app.metrics.aggregation.trend import Math
from app.metrics.facts.columns import FactColumns
from app.metrics.facts.event_sets import SESSION_PROPERTY, EventSet, event_set, group_property
from app.metrics.facts.series import EventSource
from app.metrics.queries.entities import NO_FILTER, Entity
from app.metrics.queries.scope import ExperimentScope
from app.properties.filters import Group
from app.properties.subjects import DURATION_PROPERTY

OrderType: TypeAlias = Literal["ordered", "strict", "unordered"]


@dataclass(frozen=True)
class Exclusion:
    """Events that, strictly between two steps, disqualify an attempt."""

    entity: Entity
    from_step: int
    to_step: int


@dataclass(frozen=True)
class FunnelQuery:
    """A parsed funnel. With ``group_type_index`` its actors are groups of that type instead of persons."""

    steps: Sequence[Entity]
    exclusions: Sequence[Exclusion]
    window: ConversionWindow
    interval: Interval = "day"
    group_type_index: int | None = None
    order_type: OrderType = "ordered"
    attribution: Attribution = FIRST_TOUCH

    def event_sets(self, scope: ExperimentScope) -> list[EventSet]:
        """Return what to read: the steps, the exclusions, and for a strict funnel all events, in this order."""
        actor = None if self.group_type_index is None else group_property(self.group_type_index)
        required = actor is not None
        entities = [*self.steps, *(exclusion.entity for exclusion in self.exclusions)]
        event_sets = [scope.event_set(entity, actor_property=actor, actor_required=required) for entity in entities]
        if self.order_type == "strict":
            everything = [EventSource(None, NO_FILTER)]
            event_sets.append(
                event_set(everything, scope.variant_property, actor_property=actor, actor_required=required)
            )
        return event_sets


@dataclass(frozen=True)
class TrendQuery:
    """A parsed trend. ``always`` is the filter on test accounts, if the metric has it: it applies to exposures too."""

    entity: Entity
    math: Math | ActivityMath
    value_property: str | None
    interval: Interval
    always: Group = NO_FILTER

    @property
    def measures_sessions(self) -> bool:
        """Whether the values are durations of sessions, which a single event does not hold."""
        return self.value_property == DURATION_PROPERTY

    def event_set(self, scope: ExperimentScope) -> EventSet:
        """Return what to read for the entity."""
        if self.measures_sessions:
            return scope.event_set(self.entity, actor_property=SESSION_PROPERTY, actor_required=True)
        if self.math == "unique_session":
            return scope.event_set(self.entity, actor_property=SESSION_PROPERTY)
        if self.math == "unique_group" and self.entity.math_group_type_index is not None:
            return scope.event_set(self.entity, actor_property=group_property(self.entity.math_group_type_index))
        return scope.event_set(self.entity, value_property=self.value_property)


@dataclass(frozen=True)
class ExposureQuery:
    """What counts as exposure in an experiment.

    ``event_sets`` are the events; where test accounts are left out, first the events without those, then all.
    ``problem`` says why the experiment's own filters of exposure do not apply. With an ``activation``, persons count
    from their first such event at or after the exposure on; ``handling`` says what persons with several variants are.
    """

    event_sets: Sequence[EventSet]
    event: str
    variant_property: str
    filters_test_accounts: bool
    problem: str = ""
    handling: MultipleVariants = "exclude"
    activation: EventSet | None = None

    @property
    def ledger_sets(self) -> list[EventSet]:
        """What to read to know who was exposed: the exposures, and the activations if there are any."""
        return [self.event_sets[0]] if self.activation is None else [self.event_sets[0], self.activation]

    def ledger(self, columns: Sequence[FactColumns], variant_count: int) -> Ledger:
        """Return the ledger of the facts of ``ledger_sets``."""
        return Ledger.of(columns[0], variant_count, self.handling, None if self.activation is None else columns[1])
