"""The flag behind an experiment."""

import math
from collections.abc import Sequence

from app.errors import ValidationFailed
from app.flags.filters import (
    DEFAULT_VARIANTS,
    JsonDict,
    build_filters,
    rewrite_filters,
    validate_participants,
    variants_of,
)
from app.flags.repository import FlagRepository, KeyTaken
from app.models import FeatureFlag, User

MAX_KEY_CHARACTERS = 400


class FlagService:
    def __init__(self, flags: FlagRepository) -> None:
        self._flags = flags

    async def create_for_experiment(
        self,
        *,
        key: str,
        experiment_name: str,
        active: bool,
        properties: Sequence[JsonDict],
        variants: Sequence[JsonDict],
        aggregation_group_type_index: int | None,
        created_by: User,
    ) -> FeatureFlag:
        """Create the flag of a new experiment; no variants means control and test, half each."""
        if len(key) > MAX_KEY_CHARACTERS:
            detail = f"Ensure this field has no more than {MAX_KEY_CHARACTERS} characters."
            raise ValidationFailed(detail, code="max_length", attr="key")
        if await self._flags.key_is_taken(key):
            raise _key_taken()
        filters = build_filters(properties, variants or DEFAULT_VARIANTS, aggregation_group_type_index)
        validate_participants(filters)
        _validate_split(variants_of(filters))
        flag = FeatureFlag(
            key=key,
            name=f"Feature Flag for Experiment {experiment_name}",
            filters=filters,
            active=active,
            created_by_id=created_by.id,
        )
        try:
            await self._flags.add(flag)
        except KeyTaken as error:  # by a request that ran at the same time
            raise _key_taken() from error
        return flag

    async def rewrite_participants(
        self, flag: FeatureFlag, properties: Sequence[JsonDict] | None, aggregation_group_type_index: int | None
    ) -> None:
        """Give the flag the participants of changed experiment filters."""
        filters = rewrite_filters(flag.filters, properties, aggregation_group_type_index)
        validate_participants(filters)
        flag.filters = filters
        await self._flags.flush()

    async def launch(self, flag: FeatureFlag) -> None:
        flag.active = True
        await self._flags.flush()

    async def delete(self, flag: FeatureFlag) -> None:
        """Mark the flag as deleted, which frees its key."""
        flag.deleted = True
        await self._flags.flush()


def _key_taken() -> ValidationFailed:
    return ValidationFailed("There is already a feature flag with this key.", code="unique", attr="key")


def _validate_split(variants: Sequence[JsonDict]) -> None:
    shares = [variant.get("rollout_percentage") for variant in variants]
    total = math.fsum(share for share in shares if isinstance(share, int | float))
    if total != 100:
        raise ValidationFailed("Invalid variant definitions: Variant rollout percentages must sum to 100.")
