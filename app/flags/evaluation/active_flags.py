"""The active flags of projects, prepared and kept in memory for a moment."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from app.common.storable_json import is_storable_json
from app.db.database import Database
from app.flags.evaluation.repository import ActiveFlagRepository, StoredFlag
from app.flags.evaluation.rules import PreparedFlag, prepare
from app.flags.evaluation.sources import GroupsOf
from app.flags.repository import CHANGED_FLAGS
from app.properties.decoding import PropertyReader

FRESH_SECONDS: Final = 1.0
_MAX_PROJECTS: Final = 1_000


@dataclass(frozen=True)
class FlagSet:
    """Flags that are evaluated together, and what they ask for together."""

    flags: Sequence[PreparedFlag] = ()

    @cached_property
    def personal(self) -> "FlagSet":
        """Those that look at persons, not at groups."""
        return FlagSet([flag for flag in self.flags if flag.group_type_index is None])

    @cached_property
    def group_type_indexes(self) -> Set[int]:
        return {flag.group_type_index for flag in self.flags if flag.group_type_index is not None}

    @cached_property
    def continuing(self) -> Sequence[str]:
        """The keys of those that go on with a person's former identifier."""
        return [flag.key for flag in self.flags if flag.ensure_experience_continuity]

    @cached_property
    def cohorts(self) -> Set[int]:
        return frozenset[int]().union(*(flag.cohorts for flag in self.flags))

    @cached_property
    def keys(self) -> Set[str]:
        """The properties that any of the flags looks at."""
        return frozenset[str]().union(*(flag.keys for flag in self.flags))

    @cached_property
    def _asks_for_more(self) -> bool:
        return any(flag.ensure_experience_continuity or flag.cohorts or flag.tests_absence for flag in self.flags)

    def is_clear(self, sent: Set[str]) -> bool:
        """Whether nothing stored of a person can change the answers, given properties of these names."""
        return not self._asks_for_more and self.keys <= sent


@dataclass(frozen=True)
class ProjectFlags:
    """A project's active flags, and what they need to know."""

    project_id: int
    active: FlagSet
    group_types: Mapping[int, str]

    @cached_property
    def reader(self) -> PropertyReader:
        """Reads the properties that any of the flags looks at."""
        return PropertyReader(self.active.keys)


@dataclass
class _Entry:
    project: ProjectFlags
    rows: Mapping[StoredFlag, PreparedFlag]
    fresh_until: float
    reload: asyncio.Lock = field(default_factory=asyncio.Lock)


class ActiveFlags:
    """Hands out a project's active flags by its token.

    What this process changes is seen by the next request: a commit that changes flags makes the project's entry stale.
    What other processes change is seen when the entry is a second old. A flag whose row did not change is not prepared
    again. Unknown tokens are not remembered.
    """

    def __init__(self, database: Database, groups: GroupsOf, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._groups = groups
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._changes = 0
        database.on_commit(self._forget)

    async def find(self, token: str) -> ProjectFlags | None:
        """Return the active flags of the project that has the token; None where no project has it."""
        entry = self._entries.get(token)
        if entry is None:
            return await self._load(token, {}) if is_storable_json(token) else None
        if self._clock() < entry.fresh_until:
            return entry.project
        async with entry.reload:  # one of many requests that come at once does the work
            current = self._entries.get(token)
            if current is not None and self._clock() < current.fresh_until:
                return current.project
            return await self._load(token, entry.rows)

    async def _load(self, token: str, known: Mapping[StoredFlag, PreparedFlag]) -> ProjectFlags | None:
        changes = self._changes
        async with self._database.read() as session:
            found = await ActiveFlagRepository(session).find(token)
            if found is None:
                self._entries.pop(token, None)
                return None
            project_id, rows = found
            group_types = await self._groups(session, project_id).type_names()
        flags = {row: known.get(row) or _prepare(row) for row in rows}
        project = ProjectFlags(project_id, FlagSet(tuple(flags.values())), group_types)
        # What was committed meanwhile may not be in what was read: then this is good for one request only.
        fresh_until = self._clock() + FRESH_SECONDS if changes == self._changes else self._clock()
        self._keep(token, _Entry(project, flags, fresh_until))
        return project

    def _keep(self, token: str, entry: _Entry) -> None:
        self._entries.pop(token, None)
        self._entries[token] = entry
        if len(self._entries) > _MAX_PROJECTS:
            del self._entries[next(iter(self._entries))]

    def _forget(self, noted: Mapping[Any, Any]) -> None:
        changed = noted.get(CHANGED_FLAGS)
        if not changed:
            return
        self._changes += 1
        for entry in self._entries.values():
            if entry.project.project_id in changed:
                entry.fresh_until = self._clock()


def _prepare(row: StoredFlag) -> PreparedFlag:
    return prepare(
        flag_id=row.id,
        key=row.key,
        filters=json.loads(row.filters),
        ensure_experience_continuity=row.ensure_experience_continuity,
        has_experiment=row.has_experiment,
    )
