"""The criteria of a decision and the roles of metrics, read from an experiment's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import JsonValue

from app.statistics.results import Goal

Preset: TypeAlias = Literal["clear_signals", "do_no_harm"]
Role: TypeAlias = Literal["primary", "secondary", "guardrail"]

DEFAULT_EFFECT = 0.1
DEFAULT_RUNTIME = 7
DEFAULT_MARGIN = 0.05


@dataclass(frozen=True)
class Criteria:
    """When an experiment is decided.

    ``clear_signals`` asks for a significant gain; ``do_no_harm`` also accepts that the experiment is precise
    enough and nothing got worse. ``target_effect`` is the smallest relative change worth detecting,
    ``minimum_runtime`` is in days.
    """

    preset: Preset = "clear_signals"
    target_effect: float = DEFAULT_EFFECT
    minimum_runtime: float = DEFAULT_RUNTIME


@dataclass(frozen=True)
class MetricRole:
    """The role of a metric. ``margin`` is the relative harm that a guardrail allows, such as 0.05."""

    role: Role
    goal: Goal = "increase"
    margin: float = DEFAULT_MARGIN


def read_role(metric: Mapping[str, JsonValue]) -> MetricRole:
    """Return the role of a secondary metric; unreadable settings mean the defaults."""
    role: Role = "guardrail" if metric.get("role") == "guardrail" else "secondary"
    margin = metric.get("non_inferiority_margin")
    is_number = isinstance(margin, int | float) and not isinstance(margin, bool) and 0 <= margin <= 10
    return MetricRole(
        role, read_goal(metric), float(margin) if is_number and isinstance(margin, int | float) else DEFAULT_MARGIN
    )


def read_goal(settings: Mapping[str, JsonValue]) -> Goal:
    return "decrease" if settings.get("goal") == "decrease" else "increase"
