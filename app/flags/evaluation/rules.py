"""The evaluation of prepared flags for a person and the person's groups.

These are PostHog's rules of late 2022, which its SDKs also follow in local evaluation.
"""

import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, TypeAlias

import msgspec
from pydantic import JsonValue

from app.flags.evaluation.hashing import VariantRange, hash_fraction, is_held_out, pick_variant, variant_ranges
from app.flags.filters import JsonDict, groups_of, variants_of, with_groups
from app.flags.holdouts import Holdout, read_holdout
from app.flags.options import enrollment_group, exits_early, has_own_unit
from app.flags.payloads import ENABLED, payloads_of
from app.properties.dates import parse_moment
from app.properties.filters import (
    Condition,
    Conjunction,
    InvalidFilter,
    PropertyType,
    Scalar,
    Value,
    parse_filter,
)
from app.properties.matcher import SEVERAL, Predicate, Properties, PropertyMatcher, compile_filter, pattern_count
from app.properties.patterns import shared_work
from app.properties.subjects import cohort_id
from app.properties.text import text_form

logger = logging.getLogger("abacus")

_LOGGED_CHARACTERS: Final = 200
Reason: TypeAlias = Literal[
    "condition_match",
    "no_condition_match",
    "out_of_rollout_bound",
    "no_group_type",
    "flag_disabled",
    "super_condition_value",
    "holdout_condition_value",
]
_PROPERTY_HOLDERS: Final = frozenset({"event", "person", "group"})
_LIKE_WILDCARD: Final = re.compile(r"[%_\\]")
# The flag determines whose properties a condition is about. Elements and sessions belong to events, not to persons.
_EVALUABLE_TYPES: Final[frozenset[PropertyType]] = frozenset(
    {"event", "person", "group", "cohort", "static-cohort", "precalculated-cohort"}
)


@dataclass(frozen=True, slots=True)
class ReleaseCondition:
    """One release condition.

    Attributes
    ----------
    index : int
        Its index among the flag's conditions as they are stored.
    matches : callable or None
        The test of the properties; None where the condition matches everyone.
    keys : frozenset of str
        The properties it reads.
    cohorts : frozenset of int
        The cohorts it reads.
    tests_absence : bool
        Whether it tests if a property is absent. A client never sends all properties, so this needs stored ones.
    pattern_count : int
        How many regular expressions it searches for.
    rollout_fraction : float or None
        The fraction of matching persons that it releases to, from 0 to 1; None is all of them.
    variant : str or None
        The variant of all persons that it releases to, regardless of their hash.
    """

    index: int
    matches: Predicate | None
    keys: frozenset[str]
    cohorts: frozenset[int]
    tests_absence: bool
    pattern_count: int
    rollout_fraction: float | None
    variant: str | None

    def is_decided_by(self, sent: Set[str]) -> bool:
        """Whether properties of these names are enough, so that stored data does not matter."""
        return not self.cohorts and not self.tests_absence and self.keys <= sent


@dataclass(frozen=True, slots=True, eq=False)
class PreparedFlag:
    """A flag ready to be evaluated, with its release conditions in the order in which they are tried.

    Equality is identity.
    """

    id: int
    key: str
    active: bool
    ensure_experience_continuity: bool
    has_experiment: bool
    group_type_index: int | None
    enrollment: ReleaseCondition | None
    holdout: Holdout | None
    releases: Sequence[ReleaseCondition]
    exits_early: bool
    variants: Sequence[VariantRange]
    payloads: Mapping[str, str]
    keys: frozenset[str]
    cohorts: frozenset[int]
    tests_absence: bool
    has_several_patterns: bool
    # The JSON of results, of which there are few, most of them shared by many persons. It is freed with the flag.
    encoded_results: dict[tuple[Reason, bool, str | None, int | None], msgspec.Raw] = field(
        default_factory=dict, init=False, repr=False
    )

    def is_decided_by(self, sent: Set[str]) -> bool:
        """Whether properties of these names are enough for all conditions."""
        return not self.cohorts and not self.tests_absence and self.keys <= sent


class KnownProperties(msgspec.Struct, frozen=True):
    """The known properties and cohorts of a person or a group.

    Attributes
    ----------
    properties : mapping of str to bytes
        Raw JSON tokens: stored ones, replaced by those that the client sent.
    sent : set of str
        The names of the properties that the client sent.
    is_stored : bool
        Whether the person or group is stored. For others a condition holds only if sent properties decide it.
    cohorts : collection of int
        The cohorts that the person is in.
    """

    properties: Properties = {}
    sent: Set[str] = frozenset()
    is_stored: bool = False
    cohorts: Collection[int] = frozenset()


class EvaluationContext(msgspec.Struct, frozen=True):
    """The person and the groups for whom flags are evaluated.

    ``hash_keys`` are identifiers to hash in place of the distinct id, by flag key; ``groups`` are the keys and known
    properties of groups, by the index of their type.
    """

    distinct_id: str
    person: KnownProperties = KnownProperties()
    hash_keys: Mapping[str, str] = {}
    groups: Mapping[int, tuple[str, KnownProperties]] = {}


class FlagResult(msgspec.Struct, frozen=True):
    """The result of a flag with its reason; ``condition_index`` is the index among the stored conditions."""

    flag: PreparedFlag
    enabled: bool
    reason: Reason
    variant: str | None = None
    condition_index: int | None = None

    @property
    def value(self) -> bool | str:
        return self.variant or self.enabled

    @property
    def payload(self) -> str | None:
        """The payload of the result, as JSON text, if the flag is enabled and has one."""
        return self.flag.payloads.get(self.variant or ENABLED) if self.enabled else None


class Evaluation(msgspec.Struct, frozen=True):
    """The results of several flags, and the flags that could not be evaluated."""

    results: Sequence[FlagResult] = ()
    failed: Sequence[PreparedFlag] = ()


def prepare(
    *,
    flag_id: int,
    key: str,
    filters: JsonDict,
    active: bool = True,
    ensure_experience_continuity: bool = False,
    has_experiment: bool = False,
) -> PreparedFlag:
    """Compile a flag. An unparsable condition matches no one; validation happens on write."""
    groups = groups_of(with_groups(filters))
    percentages = [
        (str(variant.get("key")), _number(variant.get("rollout_percentage")) or 0) for variant in variants_of(filters)
    ]
    known = {name for name, _ in percentages}
    group_type_index = filters.get("aggregation_group_type_index")
    releases = [
        _prepare_release(index, groups[index], known, key)
        for index in order_of_trial(groups)
        if not has_own_unit(filters, groups[index])
    ]
    enrollment = enrollment_group(filters, key)
    prepared_enrollment = _prepare_release(0, enrollment, (), key) if enrollment else None
    tried = [*releases, *([prepared_enrollment] if prepared_enrollment else [])]
    return PreparedFlag(
        id=flag_id,
        key=key,
        active=active,
        ensure_experience_continuity=ensure_experience_continuity,
        has_experiment=has_experiment,
        group_type_index=group_type_index if isinstance(group_type_index, int) else None,
        enrollment=prepared_enrollment,
        holdout=read_holdout(filters),
        releases=tuple(releases),
        exits_early=exits_early(filters),
        variants=variant_ranges(percentages),
        payloads=payloads_of(filters),
        keys=frozenset[str]().union(*(release.keys for release in tried)),
        cohorts=frozenset[int]().union(*(release.cohorts for release in tried)),
        tests_absence=any(release.tests_absence for release in tried),
        has_several_patterns=sum(release.pattern_count for release in tried) >= SEVERAL,
    )


def order_of_trial(groups: Sequence[JsonDict]) -> Sequence[int]:
    """Return the indexes of release conditions in the order in which they are tried: those that name a variant first.

    So a person who was assigned a variant gets it, even if an earlier condition would have released the flag.
    """
    return sorted(range(len(groups)), key=lambda index: not groups[index].get("variant"))


def evaluate(flag: PreparedFlag, context: EvaluationContext) -> FlagResult:
    """Evaluate a flag. Equal contexts give equal results, in every process and at any time."""
    if not flag.active:
        return FlagResult(flag, enabled=False, reason="flag_disabled")
    if flag.group_type_index is None:
        identifier = context.hash_keys.get(flag.key, context.distinct_id)
        return _evaluate(flag, identifier, context.person)
    group = context.groups.get(flag.group_type_index)
    if group is None:
        return FlagResult(flag, enabled=False, reason="no_group_type")
    return _evaluate(flag, *group)


def _evaluate(flag: PreparedFlag, identifier: str, subject: KnownProperties) -> FlagResult:
    if not flag.has_several_patterns:
        return _try_all(flag, identifier, subject)
    with shared_work():
        return _try_all(flag, identifier, subject)


def _try_all(flag: PreparedFlag, identifier: str, subject: KnownProperties) -> FlagResult:
    """Try what comes before the release conditions, then those: who enrolled or is held out never gets to them."""
    enrollment = flag.enrollment
    if enrollment is not None and any(key in subject.properties for key in enrollment.keys):
        reason = _try_release(flag, enrollment, identifier, subject)
        return FlagResult(flag, enabled=reason == "condition_match", reason="super_condition_value")
    if flag.holdout is not None and is_held_out(flag.holdout.percentage, identifier):
        return FlagResult(flag, enabled=True, reason="holdout_condition_value", variant=flag.holdout.variant)
    return _try_releases(flag, identifier, subject)


def _try_releases(flag: PreparedFlag, identifier: str, subject: KnownProperties) -> FlagResult:
    best: Reason = "no_condition_match"
    best_index = None
    for release in flag.releases:
        reason = _try_release(flag, release, identifier, subject)
        if reason == "condition_match":
            variant = release.variant or pick_variant(flag.key, identifier, flag.variants)
            return FlagResult(flag, enabled=True, reason=reason, variant=variant, condition_index=release.index)
        if reason == "out_of_rollout_bound" or best == "no_condition_match":  # the reason that came closest to a match
            best, best_index = reason, release.index
        if flag.exits_early and reason == "out_of_rollout_bound":
            break
    return FlagResult(flag, enabled=False, reason=best, condition_index=best_index)


def _try_release(flag: PreparedFlag, release: ReleaseCondition, identifier: str, subject: KnownProperties) -> Reason:
    if release.matches is not None and not _holds(release, release.matches, subject):
        return "no_condition_match"
    if release.rollout_fraction is not None and hash_fraction(flag.key, identifier) > release.rollout_fraction:
        return "out_of_rollout_bound"
    return "condition_match"


def _holds(release: ReleaseCondition, matches: Predicate, subject: KnownProperties) -> bool:
    if not subject.is_stored and not release.is_decided_by(subject.sent):
        return False
    if not release.cohorts:
        return matches(subject.properties)
    memberships = {_cohort_key(cohort): b"true" for cohort in release.cohorts & frozenset(subject.cohorts)}
    properties = {key: token for key, token in subject.properties.items() if key in release.keys}
    return matches({**properties, **memberships})


def _prepare_release(index: int, group: JsonDict, variants: Collection[str], flag_key: str) -> ReleaseCondition:
    entries = group.get("properties") or []
    conditions = _read_conditions(entries)
    variant = group.get("variant")
    percentage = _number(group.get("rollout_percentage"))
    return ReleaseCondition(
        index=index,
        matches=_compile(conditions, flag_key) if entries else None,
        keys=frozenset(condition.key for condition in conditions if condition.type != "cohort"),
        cohorts=frozenset(cohort for condition in conditions if (cohort := _cohort_of(condition)) is not None),
        tests_absence=any(map(_is_about_absence, conditions)),
        pattern_count=sum(map(pattern_count, conditions)),
        rollout_fraction=percentage / 100 if percentage is not None else None,
        variant=variant if isinstance(variant, str) and variant in variants else None,
    )


def _is_about_absence(condition: Condition) -> bool:
    return condition.operator == ("is_set" if condition.negation else "is_not_set")


def _read_conditions(entries: JsonValue) -> Sequence[Condition]:
    """Read the properties of a release condition; empty when one of them cannot be evaluated."""
    if not isinstance(entries, list):
        return ()
    try:
        conditions = [node for node in parse_filter(entries).children if isinstance(node, Condition)]
    except InvalidFilter:
        return ()
    is_evaluable = len(conditions) == len(entries) and all(
        condition.type in _EVALUABLE_TYPES for condition in conditions
    )
    return conditions if is_evaluable else ()


def _compile(conditions: Sequence[Condition], flag_key: str) -> Predicate:
    if not conditions:
        return _never
    try:
        return compile_filter(Conjunction(tuple(map(_as_person_condition, conditions))), _resolve).matches
    except InvalidFilter as error:  # accepted before patterns were limited, or stored by hand
        logger.warning("a release condition of flag %r matches no one: %s", flag_key, error.detail[:_LOGGED_CHARACTERS])
        return _never


def _resolve(condition: Condition) -> PropertyMatcher:
    cohort = _cohort_of(condition)
    if cohort is None:
        raise InvalidFilter(f"Properties of type {condition.type!r} cannot be used here")
    is_member = partial(_contains, _cohort_key(cohort))
    if condition.negation != (condition.operator == "is_not"):
        return PropertyMatcher(frozenset(), lambda properties: not is_member(properties))
    return PropertyMatcher(frozenset(), is_member)


def _as_person_condition(condition: Condition) -> Condition:
    """Return a condition on properties typed as ``person``: the flag determines whose properties are tested."""
    if condition.type not in _PROPERTY_HOLDERS:
        return condition
    return Condition(
        condition.key, condition.operator, _matcher_value(condition), "person", negation=condition.negation
    )


def _matcher_value(condition: Condition) -> Value:
    """Return the value for the matcher that gives a condition the meaning it has for flags and SDKs.

    There ``true`` equals its text, texts may contain quotes and backslashes, there are no wildcards, and a day begins
    at midnight. The matcher follows the rules of metrics in 2022, which differ in all of these.
    """
    value = condition.value
    if condition.operator in {"is_date_before", "is_date_after"} and isinstance(value, str):
        parsed = parse_moment(value)
        return value if parsed is None else parsed.at.isoformat()
    if condition.operator in {"exact", "is_not"}:
        values = value if isinstance(value, tuple) else (value,)
        return tuple(text for scalar in values for text in dict.fromkeys(_property_texts(scalar)))
    if condition.operator in {"icontains", "not_icontains"} and isinstance(value, str):
        return _LIKE_WILDCARD.sub(r"\\\g<0>", _as_property(value))
    return value


def _property_texts(value: Scalar) -> Iterator[Scalar]:
    """Yield the text forms of properties that equal the value; the text "2.50" may also mean a number."""
    yield value
    if isinstance(value, bool | str):
        yield _as_property(value)
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            document = json.loads(value)
            if not isinstance(document, str) and (text := _as_property(document)):
                yield text


def _as_property(value: object) -> str:
    return text_form(json.dumps(value).encode())


def _contains(key: str, properties: Properties) -> bool:
    return key in properties


def _never(_properties: Properties) -> bool:
    return False


def _cohort_of(condition: Condition) -> int | None:
    return cohort_id(condition) if condition.type == "cohort" else None


def _cohort_key(cohort: int) -> str:
    return f"$cohort/{cohort}"


def _number(value: JsonValue) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def enabled_values(results: Iterable[FlagResult]) -> dict[str, bool | str]:
    """Return the values of the enabled flags, by key."""
    return {result.flag.key: result.value for result in results if result.enabled}
