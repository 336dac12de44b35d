"""Parsed queries of metrics and exposures."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal, TypeAlias

from app.common.nouns import PERSONS
from app.metrics.aggregation.active_users import ActivityMath
from app.metrics.aggregation.attribution import FIRST_TOUCH, Attribution
from app.metrics.aggregation.calendar import Interval
from app.metrics.aggregation.funnel import ConversionWindow
from app.metrics.aggregation.ledger import Ledger, MultipleVariants
from app.metrics.aggregation.trend import Math
from app.metrics.facts.columns import NO_VARIANT, Column, FactColumns
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
    """A parsed funnel. With ``group_type_index`` its actors are groups of that type, not the experiment's units."""

    steps: Sequence[Entity]
    exclusions: Sequence[Exclusion]
    window: ConversionWindow
    interval: Interval = "day"
    group_type_index: int | None = None
    order_type: OrderType = "ordered"
    attribution: Attribution = FIRST_TOUCH

    def event_sets(self, scope: ExperimentScope) -> list[EventSet]:
        """Return what to read: the steps, the exclusions, and for a strict funnel all events, in this order."""
        own = self.group_type_index
        actor = scope.actor_property if own is None else group_property(own)
        entities = [*self.steps, *(exclusion.entity for exclusion in self.exclusions)]
        event_sets = [scope.event_set(entity, actor_property=actor) for entity in entities]
        if self.order_type == "strict":
            everything = [EventSource(None, NO_FILTER)]
            required = actor is not None
            event_sets.append(event_set(everything, scope.named_variant, actor_property=actor, actor_required=required))
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

    def counts_units(self, scope: ExperimentScope) -> bool:
        """Whether it counts the experiment's units, each once."""
        counts_groups = self.math == "unique_group" and self.entity.math_group_type_index == scope.group_type_index
        return self.math == "dau" or counts_groups

    def is_count(self, scope: ExperimentScope) -> bool:
        """Whether it counts events, or the experiment's units: other totals are not counts of anything independent."""
        return self.math == "total" or self.counts_units(scope)

    def event_set(self, scope: ExperimentScope) -> EventSet:
        """Return what to read for the entity."""
        if self.measures_sessions:
            return scope.event_set(self.entity, actor_property=SESSION_PROPERTY)
        if self.math == "unique_session":  # events without a session count as one
            return scope.event_set(self.entity, actor_property=SESSION_PROPERTY, actor_required=False)
        if self.math == "unique_group" and self.entity.math_group_type_index is not None:
            actor, is_unit = group_property(self.entity.math_group_type_index), self.counts_units(scope)
            return scope.event_set(self.entity, actor_property=actor, actor_required=is_unit)
        return scope.event_set(self.entity, value_property=self.value_property)


@dataclass(frozen=True)
class ExposureQuery:
    """What counts as exposure in an experiment.

    Attributes
    ----------
    event_sets : sequence of EventSet
        The events; where test accounts are left out, first the events without those, then all.
    problem : str
        Why the experiment's own filters of exposure do not apply.
    unit : str
        What is exposed, in the plural: ``persons``, or the name of the type of groups.
    handling : {"exclude", "first_seen"}
        What persons with several variants are.
    activation : EventSet or None
        Persons count from their first such event at or after the exposure on.
    holdouts : sequence of str
        The values of persons who are held out, which facts number after the variants: queries that read the ledger have
        to name both, as ``ExperimentScope.exposure_variants`` does.
    """

    event_sets: Sequence[EventSet]
    event: str
    variant_property: str
    filters_test_accounts: bool
    problem: str = ""
    unit: str = PERSONS
    handling: MultipleVariants = "exclude"
    activation: EventSet | None = None
    holdouts: Sequence[str] = ()

    @property
    def ledger_sets(self) -> list[EventSet]:
        """What to read to know who was exposed: the exposures, and the activations if there are any."""
        return [self.event_sets[0]] if self.activation is None else [self.event_sets[0], self.activation]

    @property
    def columns(self) -> Set[Column]:
        """What the ledger reads of the facts."""
        return frozenset({"actor"} if self.handling == "exclude" else {"actor", "sequence"})

    @property
    def ledger_parameters(self) -> str:
        """What the ledger depends on besides facts."""
        return self.handling

    def ledger(self, columns: Sequence[FactColumns], variant_count: int) -> Ledger:
        """Return the ledger of the facts of ``ledger_sets``."""
        activations = None if self.activation is None else columns[1]
        return Ledger.of(columns[0].with_actor(), variant_count, self.handling, activations, len(self.holdouts))

    def entries(self, columns: Sequence[FactColumns]) -> FactColumns:
        """Return those of the facts of ``ledger_sets`` from which on persons can count."""
        return columns[0].select(columns[0].variant != NO_VARIANT) if self.activation is None else columns[1]

    def ledgers(
        self, exposures: FactColumns, activations: Sequence[FactColumns], variant_count: int
    ) -> tuple[Ledger, Ledger, Ledger]:
        """Return who was exposed, those of them who were activated, and who was held out; see ``ledger``."""
        facts, holdouts = exposures.with_actor(), len(self.holdouts)
        exposed = Ledger.of(facts, variant_count, self.handling, held_count=holdouts)
        counted = exposed.activated(activations[0]) if activations else exposed
        return exposed, counted, Ledger.of_held_out(facts, variant_count, self.handling, holdouts)
