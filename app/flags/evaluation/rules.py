"""The evaluation of prepared flags for a person and the person's groups.

These are PostHog's rules of late 2022, which its SDKs also follow in local evaluation.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec
from pydantic import JsonValue

from app.flags.evaluation.conditions import (
    compile_conditions,
    flag_values,
    is_about_absence,
    keys_of,
    memberships,
    read_conditions,
)
from app.flags.evaluation.hashing import VariantRange, hash_fraction, is_held_out, pick_variant, variant_ranges
from app.flags.filters import JsonDict, flags_of, groups_of, variants_of, with_groups
from app.flags.holdouts import Holdout, read_holdout
from app.flags.options import enrollment_group, exits_early, has_own_unit
from app.flags.payloads import ENABLED, payloads_of
from app.properties.filters import Conjunction
from app.properties.matcher import SEVERAL, Predicate, Properties, pattern_count
from app.properties.patterns import shared_work
from app.properties.subjects import cohorts_in

Reason: TypeAlias = Literal[
    "condition_match",
    "no_condition_match",
    "out_of_rollout_bound",
    "no_group_type",
    "flag_disabled",
    "super_condition_value",
    "holdout_condition_value",
]


FlagValues: TypeAlias = Mapping[int, bool | str]
NO_VALUES: FlagValues = {}


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
    flags : frozenset of int
        The flags whose values it tests.
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
    flags: frozenset[int]
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
    flags: frozenset[int]
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
        Whether the person or group is stored. For others a condition on properties holds only if sent ones decide it.
    cohorts : collection of int
        The cohorts that the person is in.
    lost_cohorts : collection of int
        The cohorts that flags name and that are gone or not understood: no condition on them holds.
    """

    properties: Properties = {}
    sent: Set[str] = frozenset()
    is_stored: bool = False
    cohorts: Collection[int] = frozenset()
    lost_cohorts: Collection[int] = frozenset()


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
        flags=frozenset[int]().union(*(release.flags for release in tried)),
        tests_absence=any(release.tests_absence for release in tried),
        has_several_patterns=sum(release.pattern_count for release in tried) >= SEVERAL,
    )


def order_of_trial(groups: Sequence[JsonDict]) -> Sequence[int]:
    """Return the indexes of release conditions in the order in which they are tried: those that name a variant first.

    So a person who was assigned a variant gets it, even if an earlier condition would have released the flag.
    """
    return sorted(range(len(groups)), key=lambda index: not groups[index].get("variant"))


def evaluate(flag: PreparedFlag, context: EvaluationContext, values: FlagValues = NO_VALUES) -> FlagResult:
    """Evaluate a flag, when the ``values`` of the flags that it depends on are known, by their ids.

    Equal arguments give equal results, in every process and, but for relative dates, at any time.
    """
    if not flag.active:
        return FlagResult(flag, enabled=False, reason="flag_disabled")
    if flag.group_type_index is None:
        identifier = context.hash_keys.get(flag.key, context.distinct_id)
        return _evaluate(flag, identifier, context.person, values)
    group = context.groups.get(flag.group_type_index)
    if group is None:
        return FlagResult(flag, enabled=False, reason="no_group_type")
    return _evaluate(flag, *group, values)


def _evaluate(flag: PreparedFlag, identifier: str, subject: KnownProperties, values: FlagValues) -> FlagResult:
    if not flag.has_several_patterns:
        return _try_all(flag, identifier, subject, values)
    with shared_work():
        return _try_all(flag, identifier, subject, values)


def _try_all(flag: PreparedFlag, identifier: str, subject: KnownProperties, values: FlagValues) -> FlagResult:
    """Try what comes before the release conditions, then those: who enrolled or is held out never gets to them."""
    enrollment = flag.enrollment
    if enrollment is not None and any(key in subject.properties for key in enrollment.keys):
        reason = _try_release(flag, enrollment, identifier, subject, values)
        return FlagResult(flag, enabled=reason == "condition_match", reason="super_condition_value")
    if flag.holdout is not None and is_held_out(flag.holdout.percentage, identifier):
        return FlagResult(flag, enabled=True, reason="holdout_condition_value", variant=flag.holdout.variant)
    return _try_releases(flag, identifier, subject, values)


def _try_releases(flag: PreparedFlag, identifier: str, subject: KnownProperties, values: FlagValues) -> FlagResult:
    best: Reason = "no_condition_match"
    best_index = None
    for release in flag.releases:
        reason = _try_release(flag, release, identifier, subject, values)
        if reason == "condition_match":
            variant = release.variant or pick_variant(flag.key, identifier, flag.variants)
            return FlagResult(flag, enabled=True, reason=reason, variant=variant, condition_index=release.index)
        if reason == "out_of_rollout_bound" or best == "no_condition_match":  # the reason that came closest to a match
            best, best_index = reason, release.index
        if flag.exits_early and reason == "out_of_rollout_bound":
            break
    return FlagResult(flag, enabled=False, reason=best, condition_index=best_index)


def _try_release(
    flag: PreparedFlag, release: ReleaseCondition, identifier: str, subject: KnownProperties, values: FlagValues
) -> Reason:
    if release.matches is not None and not _holds(release, release.matches, subject, values):
        return "no_condition_match"
    if release.rollout_fraction is not None and hash_fraction(flag.key, identifier) > release.rollout_fraction:
        return "out_of_rollout_bound"
    return "condition_match"


def _holds(release: ReleaseCondition, matches: Predicate, subject: KnownProperties, values: FlagValues) -> bool:
    if not subject.is_stored and (release.tests_absence or not release.keys <= subject.sent):
        return False
    if not release.cohorts and not release.flags:
        return matches(subject.properties)
    properties = {key: token for key, token in subject.properties.items() if key in release.keys}
    inside, lost = release.cohorts & frozenset(subject.cohorts), release.cohorts & frozenset(subject.lost_cohorts)
    return matches({**properties, **memberships(inside, lost), **flag_values(values, release.flags)})


def _prepare_release(index: int, group: JsonDict, variants: Collection[str], flag_key: str) -> ReleaseCondition:
    entries = group.get("properties") or []
    conditions = read_conditions(entries, flag_key)
    variant = group.get("variant")
    percentage = _number(group.get("rollout_percentage"))
    return ReleaseCondition(
        index=index,
        matches=compile_conditions(conditions, flag_key) if entries else None,
        keys=keys_of(conditions),
        cohorts=cohorts_in(Conjunction(tuple(conditions))),
        flags=flags_of(Conjunction(tuple(conditions))),
        tests_absence=any(map(is_about_absence, conditions)),
        pattern_count=sum(map(pattern_count, conditions)),
        rollout_fraction=percentage / 100 if percentage is not None else None,
        variant=variant if isinstance(variant, str) and variant in variants else None,
    )


def _number(value: JsonValue) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def enabled_values(results: Iterable[FlagResult]) -> dict[str, bool | str]:
    """Return the values of the enabled flags, by key."""
    return {result.flag.key: result.value for result in results if result.enabled}
