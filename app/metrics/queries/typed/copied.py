"""Definitions copied from PostHog: what they carry beside the fields of this API.

Some of it is bookkeeping of the other product, and is left out whatever it says. Some would change what is counted in
a way that is not supported: it is refused by name, unless it has the value that changes nothing.
"""

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, get_args

from pydantic import JsonValue, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from app.http.schemas import StrictBody

Values: TypeAlias = tuple[JsonValue, ...]

_BOOKKEEPING = frozenset({"response", "version"})


@dataclass(frozen=True)
class Copied:
    """Keys of an object of PostHog's that are no fields here.

    ``ignored`` have no meaning for the numbers. ``neutral`` are refused, but for null and the values that have no
    effect. ``elsewhere`` are fields of objects of other types, and may be null.
    """

    ignored: Set[str] = _BOOKKEEPING
    neutral: Mapping[str, Values] = field(default_factory=dict)
    elsewhere: Set[str] = frozenset()


_ATTRIBUTION: Mapping[str, Values] = {"breakdownAttributionType": (), "breakdownAttributionValue": ()}
OF_METRIC = Copied(
    ignored=_BOOKKEEPING | {"isSharedMetric", "sharedMetricId"},
    neutral=_ATTRIBUTION,
    elsewhere=frozenset(
        {
            *("source", "lower_bound_percentile", "upper_bound_percentile", "ignore_zeros", "threshold"),
            *("series", "funnel_order_type", "numerator", "denominator"),
            *("numerator_outlier_handling", "denominator_outlier_handling", "start_event", "completion_event"),
            *("retention_window_start", "retention_window_end", "retention_window_unit", "start_handling"),
        }
    ),
)
OF_SOURCE = Copied(
    ignored=_BOOKKEEPING | {"limit", "orderBy"},
    neutral={
        "fixedProperties": ([],),
        "math_hogql": ("",),
        "math_multiplier": (1,),
        "math_property_revenue_currency": (),
        "math_property_type": ("event_properties", "numerical_event_properties"),
        "optionalInFunnel": (False,),
    },
)
# Steps, starts and returns are events that happened or not: what a source makes of its events has no place there.
OF_NODE = Copied(
    ignored=OF_SOURCE.ignored,
    neutral={**OF_SOURCE.neutral, "math": ("total",), "math_property": (), "math_group_type_index": ()},
)
OF_EXPOSURE = Copied(ignored=_BOOKKEEPING | {"name", "custom_name"})
OF_BREAKDOWN_FILTER = Copied(
    neutral={
        "breakdown": (),
        "breakdown_group_type_index": (),
        "breakdown_hide_other_aggregation": (False,),
        "breakdown_histogram_bin_count": (),
        "breakdown_normalize_url": (False,),
        "breakdown_path_cleaning": (False,),
        "breakdown_type": ("event", "person"),  # whose property `breakdown` is
    }
)
OF_SAVED_METRIC = Copied(neutral={**OF_BREAKDOWN_FILTER.neutral, **_ATTRIBUTION})
OF_BREAKDOWN = Copied(neutral={"group_type_index": (), "histogram_bin_count": (), "normalize_url": (False,)})


class CopiedBody(StrictBody):
    """Base of objects that are copied from PostHog; null in place of a field with a default is that default."""

    copied: ClassVar[Copied] = Copied()

    @model_validator(mode="before")
    @classmethod
    def _leave_out(cls, document: object) -> object:
        if not isinstance(document, Mapping):
            return document
        return {name: value for name, value in document.items() if not cls._has_no_meaning(name, value)}

    @classmethod
    def _has_no_meaning(cls, name: str, value: Any) -> bool:  # noqa: ANN401  # whatever JSON holds
        own = cls.model_fields.get(name)
        if own is not None:
            return value is None and not own.is_required() and not _may_be_null(own)
        if name in cls.copied.ignored or (value is None and name in cls.copied.elsewhere):
            return True
        if name not in cls.copied.neutral:
            return False
        neutral: Values = (None, *cls.copied.neutral[name])
        if not any(value == one and isinstance(value, bool) is isinstance(one, bool) for one in neutral):
            known = " or ".join(map(json.dumps, neutral))
            detail = f"`{name}` is not supported: leave it out, or send what has no effect, {known}."
            raise PydanticCustomError("invalid_input", "{detail}", {"detail": detail, "place": [name]})
        return True


def _may_be_null(own: FieldInfo) -> bool:
    return type(None) in get_args(own.annotation)
