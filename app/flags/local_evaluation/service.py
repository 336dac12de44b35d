"""Collecting what an SDK needs to evaluate a project's flags by itself."""

from collections.abc import Mapping
from typing import TypeVar

from app.common.errors import NotFound
from app.common.storable_json import is_storable_json
from app.flags.evaluation.rules import payloads_of
from app.flags.evaluation.sources import Cohorts, Groups
from app.flags.local_evaluation.documents import cohort_ids, definition
from app.flags.local_evaluation.schemas import FlagDefinition, FlagDefinitionsRead
from app.flags.service import FlagService

Item = TypeVar("Item")


class DefinitionService:
    def __init__(self, flags: FlagService, groups: Groups, cohorts: Cohorts) -> None:
        self._flags = flags
        self._groups = groups
        self._cohorts = cohorts

    async def payload(self, key: str) -> str | None:
        """Return the JSON text that a flag without variants carries; None while the flag is off."""
        if not is_storable_json(key):
            raise NotFound
        flag = await self._flags.with_key(key)
        return payloads_of(flag.filters).get("true") if flag.active else None

    async def read(self, *, with_cohorts: bool) -> FlagDefinitionsRead:
        """Return all flags that are not deleted; those that are off too, so that an SDK knows that they are.

        Parameters
        ----------
        with_cohorts
            Whether the client knows cohorts. For others they are written out as properties where that can be done.
        """
        flags = await self._flags.all_undeleted()
        named = cohort_ids([flag.filters for flag in flags])
        cohorts = await self._cohorts.definitions(named) if named else {}
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
                    )
                )
                for flag in flags
            ],
            group_type_mapping=_by_text(await self._groups.type_names()),
            cohorts=_by_text(cohorts) if with_cohorts else {},
        )


def _by_text(members: Mapping[int, Item]) -> dict[str, Item]:
    return {str(index): member for index, member in members.items()}
