"""Collects the data with which an SDK evaluates a project's flags locally."""

from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic import JsonValue

from app.common.errors import NotFound
from app.common.storable_json import is_storable_json
from app.flags.evaluation.sources import Cohorts, Groups
from app.flags.filters import with_groups
from app.flags.local_evaluation.cohorts import criteria_for_evaluators
from app.flags.local_evaluation.documents import cohort_ids, definition, dependency_chains, simple_percentage
from app.flags.local_evaluation.schemas import FlagDefinition, FlagDefinitionsRead, SimpleFlag
from app.flags.payloads import ENABLED, payloads_of
from app.flags.service import FlagService
from app.http.schemas import Page

Item = TypeVar("Item")
# Evaluators that know this version compare truth values by their text, as the server does; others ignore it.
_COMPARES_TEXTS: Final = 2


class DefinitionService:
    def __init__(self, flags: FlagService, groups: Groups, cohorts: Cohorts) -> None:
        self._flags = flags
        self._groups = groups
        self._cohorts = cohorts

    async def payload(self, key: str) -> str | None:
        """Return the payload of a flag without variants, as JSON text; None while the flag is inactive."""
        if not is_storable_json(key):
            raise NotFound
        flag = await self._flags.with_key(key)
        return payloads_of(flag.filters).get(ENABLED) if flag.active else None

    async def simple_flags(self) -> Page[SimpleFlag]:
        """Return all undeleted flags in one page: SDKs of early 2022 read the first one only."""
        found = []
        for flag in await self._flags.all_undeleted():
            filters = with_groups(flag.filters)
            percentage = simple_percentage(filters, ensure_experience_continuity=flag.ensure_experience_continuity)
            found.append(
                SimpleFlag(
                    id=flag.id,
                    name=flag.name,
                    key=flag.key,
                    filters=filters,
                    deleted=flag.deleted,
                    active=flag.active,
                    is_simple_flag=percentage is not None,
                    rollout_percentage=percentage,
                    node_rollout_percentage=percentage,
                )
            )
        return Page(count=len(found), next=None, previous=None, results=found)

    async def read(self, *, with_cohorts: bool, is_compared: bool) -> FlagDefinitionsRead:
        """Return all undeleted flags, inactive ones included, so that an SDK knows that they are inactive.

        Parameters
        ----------
        with_cohorts
            Whether the client supports cohorts. For others they are replaced by their properties where possible.
        is_compared
            Whether the client's evaluator knows all that the server knows.
        """
        flags = await self._flags.all_undeleted()
        named_cohorts = cohort_ids([flag.filters for flag in flags])
        cohorts = await self._cohorts.definitions(named_cohorts) if named_cohorts else {}
        dependencies = dependency_chains([(flag.id, flag.key, flag.filters) for flag in flags])
        return FlagDefinitionsRead(
            flags=[
                FlagDefinition.model_validate(
                    definition(
                        flag_id=flag.id,
                        name=flag.name,
                        key=flag.key,
                        filters=flag.filters,
                        active=flag.active,
                        deleted=flag.deleted,
                        ensure_experience_continuity=flag.ensure_experience_continuity,
                        cohorts={} if with_cohorts else cohorts,
                        dependencies=dependencies,
                        is_compared=is_compared,
                    )
                )
                for flag in flags
            ],
            group_type_mapping=_with_text_keys(await self._groups.type_names()),
            cohorts=_for_evaluators(cohorts) if with_cohorts else {},
            property_matching_version=_COMPARES_TEXTS,
        )


def _for_evaluators(cohorts: Mapping[int, JsonValue]) -> dict[str, JsonValue]:
    """Return the criteria of cohorts; without those that evaluators would read wrongly, so that they ask."""
    written = {number: criteria_for_evaluators(criteria) for number, criteria in cohorts.items()}
    return _with_text_keys({number: criteria for number, criteria in written.items() if criteria is not None})


def _with_text_keys(items: Mapping[int, Item]) -> dict[str, Item]:
    return {str(number): item for number, item in items.items()}
