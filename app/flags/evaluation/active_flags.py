"""The active flags of projects, prepared and cached in memory for a second."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from app.common.storable_json import is_storable_json
from app.common.time_slices import TimeSlices
from app.db.database import Database
from app.flags.evaluation.repository import ActiveFlagRepository, StoredFlag
from app.flags.evaluation.rules import PreparedFlag, prepare
from app.flags.evaluation.sources import GroupsOf
from app.flags.repository import CHANGED_FLAGS
from app.properties.decoding import PropertyReader

FRESH_SECONDS: Final = 1.0
_MAX_PROJECTS: Final = 1_000
_SMALL_CHARACTERS: Final = 2_000  # of filters that compile in a millisecond or two


@dataclass(frozen=True)
class FlagSet:
    """Flags that are evaluated together, with the data that they need together.

    ``inactive`` are the project's flags that are off, their keys by their ids: their value is false where others depend
    on them.
    """

    flags: Sequence[PreparedFlag] = ()
    inactive: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def personal(self) -> "FlagSet":
        """The flags that are evaluated for persons, not for groups."""
        return FlagSet([flag for flag in self.flags if flag.group_type_index is None], self.inactive)

    @cached_property
    def group_type_indexes(self) -> Set[int]:
        return {flag.group_type_index for flag in self.flags if flag.group_type_index is not None}

    @cached_property
    def continuity_keys(self) -> Sequence[str]:
        """The keys of the flags that ensure experience continuity."""
        return [flag.key for flag in self.flags if flag.ensure_experience_continuity]

    @cached_property
    def cohorts(self) -> Set[int]:
        return frozenset[int]().union(*(flag.cohorts for flag in self.flags))

    @cached_property
    def keys(self) -> Set[str]:
        """The properties that at least one of the flags reads."""
        return frozenset[str]().union(*(flag.keys for flag in self.flags))

    @cached_property
    def _needs_stored_data(self) -> bool:
        return any(flag.ensure_experience_continuity or flag.cohorts or flag.tests_absence for flag in self.flags)

    def is_decided_by(self, sent: Set[str]) -> bool:
        """Whether properties of these names are enough, so that stored data of a person cannot change the results."""
        return not self._needs_stored_data and self.keys <= sent


@dataclass(frozen=True)
class ProjectFlags:
    """A project's active flags, with the names of its group types."""

    project_id: int
    active: FlagSet
    group_types: Mapping[int, str]

    @cached_property
    def reader(self) -> PropertyReader:
        """Reads the properties that at least one of the flags needs."""
        return PropertyReader(self.active.keys)


@dataclass
class _Entry:
    project: ProjectFlags
    rows: Mapping[StoredFlag, PreparedFlag]
    fresh_until: float
    reload: asyncio.Lock = field(default_factory=asyncio.Lock)


class ActiveFlags:
    """A cache of projects' active flags, by token.

    Changes by this process are visible to the next request, because a commit that changes flags makes the project's
    entry stale. Changes by other processes are visible once the entry is a second old. A flag whose row did not change
    is not prepared again. Unknown tokens are not cached.
    """

    def __init__(self, database: Database, groups: GroupsOf, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._groups = groups
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._changes = 0
        database.on_commit(self._expire_changed)

    async def find(self, token: str) -> ProjectFlags | None:
        """Return the active flags of the project that has the token; None where no project has it."""
        entry = self._entries.get(token)
        if entry is None:
            return await self._load(token, {}) if is_storable_json(token) else None
        if self._clock() < entry.fresh_until:
            return entry.project
        async with entry.reload:  # only one of several concurrent requests reloads
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
            project_id, rows, inactive = found
            group_types = await self._groups(session, project_id).type_names()
        slices = TimeSlices()
        flags = {}
        for row in rows:
            flags[row] = known.get(row) or await _prepare(row)
            if slices.are_over():
                await slices.pause()
        project = ProjectFlags(project_id, FlagSet(tuple(flags.values()), inactive), group_types)
        # A commit during the read may be missing from its result: then the entry serves this request only.
        fresh_until = self._clock() + FRESH_SECONDS if changes == self._changes else self._clock()
        self._store(token, _Entry(project, flags, fresh_until))
        return project

    def _store(self, token: str, entry: _Entry) -> None:
        self._entries.pop(token, None)
        self._entries[token] = entry
        if len(self._entries) > _MAX_PROJECTS:
            del self._entries[next(iter(self._entries))]

    def _expire_changed(self, committed: Mapping[Any, Any]) -> None:
        changed = committed.get(CHANGED_FLAGS)
        if not changed:
            return
        self._changes += 1
        for entry in self._entries.values():
            if entry.project.project_id in changed:
                entry.fresh_until = self._clock()


async def _prepare(row: StoredFlag) -> PreparedFlag:
    """Compile a flag; in a thread if that takes long, as it does for one that is larger than is accepted today."""
    return await asyncio.to_thread(_prepare_now, row) if len(row.filters) > _SMALL_CHARACTERS else _prepare_now(row)


def _prepare_now(row: StoredFlag) -> PreparedFlag:
    return prepare(
        flag_id=row.id,
        key=row.key,
        filters=json.loads(row.filters),
        ensure_experience_continuity=row.ensure_experience_continuity,
        has_experiment=row.has_experiment,
    )
