"""Series: the events of one entity of an insight, and the properties that facts keep of them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from app.properties.filters import Group, canonical

# Raise when the rules change by which facts are made and counted: facts of older rules are not extended.
RULES = 2


@dataclass(frozen=True)
class EventSource:
    """The events of one name that pass a filter. Without a name: events of all names."""

    name: str | None
    filter: Group


@dataclass(frozen=True)
class ActionSource:
    """An action of a project: the sources of which an event has to match one."""

    name: str
    sources: Sequence[EventSource]


@dataclass(frozen=True)
class SeriesDefinition:
    """Events that come from any of several sources, each event once.

    The filters of ``sources`` look at the event itself only. ``variant_property`` names the variant, if any does
    (``$feature/<flag key>``, or ``$feature_flag_response`` for exposures); ``value_property`` holds the number
    of numeric metrics. ``actor_property`` names the actor where that is not a person (``$group_0``, ``$session_id``):
    with ``actor_required`` events without it do not belong to the series, else they share one actor.
    """

    sources: tuple[EventSource, ...]
    variant_property: str | None
    value_property: str | None = None
    actor_property: str | None = None
    actor_required: bool = False

    @property
    def names(self) -> frozenset[str] | None:
        """The names that an event of the series may have; None for any."""
        names = [source.name for source in self.sources]
        return frozenset(name for name in names if name is not None) if None not in names else None

    def canonical(self) -> str:
        """Return the definition as text; equal definitions have equal texts."""
        document = {
            "actor_property": self.actor_property,
            "actor_required": self.actor_required,
            "sources": sorted({json.dumps([source.name, canonical(source.filter)]) for source in self.sources}),
            "rules": RULES,
            "value_property": self.value_property,
            "variant_property": self.variant_property,
        }
        return json.dumps(document, sort_keys=True, ensure_ascii=False)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.canonical().encode()).hexdigest()
