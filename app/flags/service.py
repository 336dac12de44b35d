"""The rules of feature flags, for their own endpoints and for the flag of an experiment."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeAlias

from pydantic import JsonValue

from app.activity_log.changes import State
from app.activity_log.service import ActivityLog
from app.common.errors import NotFound, ValidationFailed
from app.common.ids import read_id, read_reference
from app.db.models import FeatureFlag, User, utc_now
from app.flags.evaluation.flag_references import ordered_ids
from app.flags.filters import (
    DEFAULT_VARIANTS,
    JsonDict,
    build_filters,
    cohorts_of,
    compile_conditions,
    dependencies_of,
    plan_variants,
    rewrite_filters,
    ship,
    validate_filters,
    validate_split,
    variants_of,
    with_groups,
)
from app.flags.holdouts import keep_holdout, with_holdout
from app.flags.interventions import freeze
from app.flags.options import validate_options, with_enrollment
from app.flags.payloads import validate_payloads
from app.flags.repository import FlagRepository, FlagSelection, KeyTaken
from app.flags.schemas import FlagCreate, FlagUpdate
from app.people.cohorts.service import CohortService

MAX_KEY_CHARACTERS = 400

# Takes the id of an experiment that has followed its flag, its parameters before, and who changed the flag.
TellFollowed: TypeAlias = Callable[[int, JsonDict | None, User], Awaitable[None]]

_STORED_AS_SENT = ("name", "key", "deleted", "active", "ensure_experience_continuity")


async def tell_nobody(_experiment_id: int, _parameters_before: JsonDict | None, _changed_by: User) -> None:
    """Tell nobody that an experiment has followed its flag."""


class FlagService:
    """The flags of one project. ``update`` needs ``tell_followed``; nothing else changes what experiments follow."""

    def __init__(
        self,
        flags: FlagRepository,
        cohorts: CohortService,
        log: ActivityLog,
        tell_followed: TellFollowed = tell_nobody,
    ) -> None:
        self._flags = flags
        self._cohorts = cohorts
        self._log = log
        self._tell_followed = tell_followed

    async def get(self, reference: str, *, for_update: bool = False) -> FeatureFlag:
        """Return the flag that a path names, deleted or not; ``NotFound`` also for a reference that is not a number."""
        flag_id = read_id(reference)
        flag = await self._flags.get(flag_id, for_update=for_update) if flag_id else None
        if flag is None:
            raise NotFound
        return flag

    async def page(self, selection: FlagSelection, limit: int, offset: int) -> tuple[int, Sequence[FeatureFlag]]:
        return await self._flags.count(selection), await self._flags.page(selection, limit, offset)

    async def with_ids(self, flag_ids: Collection[int]) -> Sequence[FeatureFlag]:
        """Return flags with their authors and experiments, newest first."""
        return await self._flags.with_ids(flag_ids)

    async def with_key(self, key: str) -> FeatureFlag:
        """Return the undeleted flag that has the key, without its author and experiments."""
        flag = await self._flags.with_key(key)
        if flag is None:
            raise NotFound
        return flag

    async def all_undeleted(self) -> Sequence[FeatureFlag]:
        """Return all undeleted flags, oldest first, without authors and experiments."""
        return await self._flags.all_undeleted()

    async def create(self, body: FlagCreate, created_by: User) -> FeatureFlag:
        flag = FeatureFlag(
            key=body.key,
            name=body.name,
            filters=with_groups(body.filters),
            active=body.active,
            deleted=body.deleted,
            ensure_experience_continuity=body.ensure_experience_continuity,
            created_by_id=created_by.id,
        )
        await self._add(flag, created_by)
        return await self.get(str(flag.id))

    async def create_for_experiment(
        self,
        *,
        key: str,
        experiment_name: str,
        active: bool,
        properties: Sequence[JsonDict],
        variants: Sequence[JsonDict],
        aggregation_group_type_index: int | None,
        rollout: JsonValue,
        holdout: JsonDict | None,
        created_by: User,
    ) -> FeatureFlag:
        """Create the flag of a new experiment; without variants it has control and test, 50 percent each."""
        if len(key) > MAX_KEY_CHARACTERS:
            detail = f"Ensure this field has no more than {MAX_KEY_CHARACTERS} characters."
            raise ValidationFailed(detail, code="max_length", attr="key")
        flag = FeatureFlag(
            key=key,
            name=f"Feature Flag for Experiment {experiment_name}",
            filters=with_holdout(
                build_filters(properties, variants or DEFAULT_VARIANTS, aggregation_group_type_index, rollout), holdout
            ),
            active=active,
            deleted=False,
            created_by_id=created_by.id,
        )
        await self._add(flag, created_by)
        return flag

    async def update(self, flag: FeatureFlag, body: FlagUpdate, changed_by: User) -> FeatureFlag:
        """Change the fields that were sent. Percentages need not sum to 100: a split may be changed in steps."""
        before, variants_before = _state(flag), variants_of(flag.filters)
        key = flag.key if body.key is None else body.key
        is_deleted = flag.deleted if body.deleted is None else body.deleted
        if key != flag.key:
            _refuse_blanks(key)
        if not is_deleted and (key != flag.key or flag.deleted) and await self._flags.key_is_taken(key):
            raise _key_taken()
        if is_deleted and not flag.deleted:
            await self._refuse_if_others_depend(flag)
        if body.filters is not None and "groups" in body.filters:
            filters = keep_holdout(body.filters, flag.filters)
            await self._validate(filters, flag.id)
            validate_payloads(filters)
            flag.filters = filters
        for field in _STORED_AS_SENT:
            if field in body.model_fields_set:
                setattr(flag, field, getattr(body, field))
        try:
            await self._store(flag, before, changed_by)
        except KeyTaken as error:  # by a concurrent request
            raise _key_taken() from error
        if variants_of(flag.filters) != variants_before:
            await self._follow_in_plans(flag, changed_by)
        return flag

    async def _follow_in_plans(self, flag: FeatureFlag, changed_by: User) -> None:
        """Let experiments that have not started plan the flag's new variants, if they planned any."""
        for experiment in await self._flags.planned_on(flag.id):
            before = experiment.parameters
            if (after := plan_variants(before, variants_of(flag.filters))) == before:
                continue
            experiment.parameters, experiment.updated_at = after, utc_now()
            await self._log.record(
                "Experiment",
                experiment.id,
                "updated",
                changed_by,
                before={"parameters": before},
                after={"parameters": after},
                name=experiment.name,
            )
            await self._tell_followed(experiment.id, before, changed_by)

    async def rewrite_participants(
        self,
        flag: FeatureFlag,
        properties: Sequence[JsonDict] | None,
        aggregation_group_type_index: int | None,
        changed_by: User,
    ) -> None:
        """Give the flag the participants of changed experiment filters."""
        before = _state(flag)
        filters = rewrite_filters(flag.filters, properties, aggregation_group_type_index)
        if properties is not None:
            await self._validate(filters, flag.id)
        else:  # what an older flag holds may exceed the limits
            await asyncio.to_thread(validate_filters, filters)
            await self._check_cohorts(filters)
        flag.filters = filters
        await self._store(flag, before, changed_by)

    async def set_holdout(self, flag: FeatureFlag, holdout: JsonDict | None, changed_by: User) -> None:
        """Keep persons out of a flag, or no longer; see ``with_holdout``."""
        before = _state(flag)
        filters = with_holdout(flag.filters, holdout)
        validate_options(filters)
        flag.filters = filters
        await self._store(flag, before, changed_by)

    async def activate(self, flag: FeatureFlag, changed_by: User | None) -> None:
        before = _state(flag)
        flag.active = True
        await self._store(flag, before, changed_by)

    async def deactivate(self, flag: FeatureFlag, changed_by: User | None) -> None:
        before = _state(flag)
        flag.active = False
        await self._store(flag, before, changed_by)

    async def rewrite(
        self, flag: FeatureFlag, filters: JsonDict, changed_by: User | None, *, is_checked: bool = False
    ) -> None:
        """Replace the filters by others that were made of them. Those that may be too large have to be checked."""
        before = _state(flag)
        if is_checked:
            await self._validate(filters, flag.id)
        flag.filters = filters
        await self._store(flag, before, changed_by)

    async def freeze(
        self, flag: FeatureFlag, name: str, description: str, distinct_ids: Sequence[str], changed_by: User
    ) -> int:
        """Release the flag to listed persons only, and return the id of the cohort that lists them."""
        cohort = await self._cohorts.create_list(name, description, distinct_ids, changed_by)
        await self.rewrite(flag, freeze(flag.filters, cohort.id), changed_by, is_checked=True)
        return cohort.id

    async def ship(self, flag: FeatureFlag, variant_key: str, changed_by: User) -> None:
        """Give one variant to everyone."""
        before = _state(flag)
        flag.filters = ship(flag.filters, variant_key)
        flag.active = True
        await self._store(flag, before, changed_by)

    async def delete(self, flag: FeatureFlag, changed_by: User) -> None:
        """Mark the flag as deleted, which frees its key.

        Raises
        ------
        ValidationFailed
            Another flag depends on it.
        """
        if not flag.deleted:
            await self._refuse_if_others_depend(flag)
        before = _state(flag)
        flag.deleted = True
        await self._store(flag, before, changed_by)

    async def suggest_copy_key(self, key: str) -> str:
        """Return a key derived from another, that no undeleted flag has."""
        key = "-".join(key.split())
        suffixes = itertools.chain(["-copy"], (f"-copy-{number}" for number in itertools.count(2)))
        while await self._flags.key_is_taken(free := _with_suffix(key, next(suffixes))):
            pass
        return free

    async def _store(self, flag: FeatureFlag, before: State, changed_by: User | None) -> None:
        await self._flags.flush()
        await self._log.record(
            "FeatureFlag", flag.id, "updated", changed_by, before=before, after=_state(flag), name=flag.key
        )

    async def _add(self, flag: FeatureFlag, created_by: User) -> None:
        _refuse_blanks(flag.key)
        if not flag.deleted and await self._flags.key_is_taken(flag.key):
            raise _key_taken()
        await self._validate(flag.filters)
        validate_payloads(flag.filters)
        validate_split(flag.filters)
        try:
            await self._flags.add(flag)
        except KeyTaken as error:  # by a concurrent request
            raise _key_taken() from error
        await self._log.record("FeatureFlag", flag.id, "created", created_by, after=_state(flag), name=flag.key)

    async def _validate(self, filters: JsonDict, flag_id: int | None = None) -> None:
        validate_options(filters)
        tried = with_enrollment(filters)
        await compile_conditions(tried)
        validate_filters(tried)
        await self._check_cohorts(filters)
        await self._check_flags(filters, flag_id)

    async def _check_flags(self, filters: JsonDict, flag_id: int | None) -> None:
        """Refuse conditions on flags that do not exist, that are evaluated for groups, or that depend on this one."""
        named = dependencies_of(filters)
        if not named:
            return
        flags = {flag.id: flag for flag in await self._flags.all_undeleted()}
        for other in sorted(named):
            if other not in flags:
                raise ValidationFailed(
                    f"Feature flag with id {other} does not exist", code="flag_does_not_exist", attr="filters"
                )
            if flags[other].filters.get("aggregation_group_type_index") is not None:
                raise ValidationFailed(f"Feature flag {flags[other].key!r} is one of groups", attr="filters")
        references = {number: dependencies_of(flag.filters) for number, flag in flags.items()}
        if flag_id is not None:
            references[flag_id] = named
            if flag_id not in ordered_ids(references):
                raise ValidationFailed("A flag cannot depend on itself, directly or through others", attr="filters")

    async def _refuse_if_others_depend(self, flag: FeatureFlag) -> None:
        for other in await self._flags.all_undeleted():
            if flag.id in dependencies_of(other.filters):
                detail = f"The flag cannot be deleted: the feature flag {other.key[:200]!r} depends on it."
                raise ValidationFailed(detail, code="flag_in_use", attr="deleted")

    async def _check_cohorts(self, filters: JsonDict) -> None:
        references = cohorts_of(filters)
        ids = [read_reference(reference) for reference in references]
        named = [cohort_id for cohort_id in ids if cohort_id is not None]
        known = await self._cohorts.find_to_refer(named) if ids else {}
        for reference, cohort_id in zip(references, ids, strict=True):
            if cohort_id not in known:
                detail = f"Cohort with id {str(reference)[:100]} does not exist"
                raise ValidationFailed(detail, code="cohort_does_not_exist", attr="filters")


def _with_suffix(key: str, suffix: str) -> str:
    return key[: MAX_KEY_CHARACTERS - len(suffix)] + suffix


def _state(flag: FeatureFlag) -> State:
    """Return the fields of a flag that the activity log compares."""
    return {
        "key": flag.key,
        "name": flag.name,
        "filters": flag.filters,
        "active": flag.active,
        "deleted": flag.deleted,
        "ensure_experience_continuity": flag.ensure_experience_continuity,
    }


def _refuse_blanks(key: str) -> None:
    """Refuse a key that code could not name without a mistake; older ones stay."""
    if any(character.isspace() for character in key):
        raise ValidationFailed("The key of a flag has no blanks.", attr="key")


def _key_taken() -> ValidationFailed:
    return ValidationFailed("There is already a feature flag with this key.", code="unique", attr="key")
