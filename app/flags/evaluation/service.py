"""Evaluates a project's flags for a person, with the data stored about the person."""

import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from app.accounts.auth.service import AuthenticationService
from app.common.errors import AuthenticationFailed
from app.common.gathered_lookups import GatheredLookups
from app.common.time_slices import TimeSlices
from app.db.bulk import chunks
from app.db.database import Database
from app.flags.evaluation.active_flags import ActiveFlags, FlagSet, ProjectFlags
from app.flags.evaluation.decoding import MAX_DISTINCT_ID_CHARACTERS, FlagsRequest, RawProperties
from app.flags.evaluation.flag_references import in_order, with_dependencies
from app.flags.evaluation.repository import EvaluatedPersonQueries, EvaluatedPersonRepository, StoredPerson
from app.flags.evaluation.rules import (
    Evaluation,
    EvaluationContext,
    FlagResult,
    KnownProperties,
    PreparedFlag,
    evaluate,
)
from app.flags.evaluation.sources import CohortsOf, GroupsOf
from app.people.cohorts.service import LoadedCohorts
from app.people.persons.repository import PersonRepository
from app.properties.decoding import PropertyReader

logger = logging.getLogger("abacus")

_PERSONS_TOGETHER: Final = 200  # are read at a time: each may have half a megabyte of properties
WHERE_TO_FIND_TOKENS: Final = "`abacus project create` prints the project's token, and GET /api/projects/ returns it."


@dataclass(frozen=True, slots=True)
class _KnownPerson:
    """The data that evaluation has read about a person."""

    properties: str | None = None
    hash_keys: Mapping[str, str] = field(default_factory=dict)
    cohorts: Collection[int] = ()
    lost_cohorts: Collection[int] = ()  # that are gone or not understood
    is_stored: bool = False  # under the current identifier or the former one
    missing_hash_keys: Mapping[str, str] = field(default_factory=dict)  # what to store, by the key of the flag


_UNKNOWN_PERSON: Final = _KnownPerson()


def _unknown_person(cohorts: LoadedCohorts | None) -> _KnownPerson:
    """Return a person who is not stored, and so in no list."""
    return _KnownPerson(cohorts=cohorts.of_unknown, lost_cohorts=cohorts.lost) if cohorts else _UNKNOWN_PERSON


class EvaluationService:
    """Reads in short transactions of its own, and only data that the requested flags need: often none."""

    def __init__(self, database: Database, active_flags: ActiveFlags, groups: GroupsOf, cohorts: CohortsOf) -> None:
        self._database = database
        self._active_flags = active_flags
        self._groups = groups
        self._cohorts = cohorts
        self._stored = GatheredLookups[int, str, StoredPerson](
            lambda project_id, ids: self._persons(project_id).persons(ids)
        )

    async def find_project(self, token: str | None, project_id: object = None) -> ProjectFlags:
        """Return the flags of the project that a public token names, or a personal API key with a project id.

        Raises
        ------
        AuthenticationFailed
            With the 2022 codes ``missing_api_key``, ``invalid_api_key`` and ``invalid_personal_key``.
        PermissionDenied
            The personal API key lacks the scope ``feature_flag:read``.
        ValidationFailed
            The token is unknown, and the project id is not a number: ``invalid_project``.
        """
        if token is None:
            raise AuthenticationFailed(f"API key not provided. {WHERE_TO_FIND_TOKENS}", code="missing_api_key")
        project = await self._active_flags.find(token)
        if project is None and project_id:
            authentication = AuthenticationService(self._database)
            named = await authentication.project_beside_key(
                token, project_id, scope="feature_flag:read", code="invalid_personal_key"
            )
            project = await self._active_flags.find(named.api_token)
        if project is None:
            raise AuthenticationFailed(f"Project API key invalid. {WHERE_TO_FIND_TOKENS}", code="invalid_api_key")
        return project

    async def evaluate(self, project: ProjectFlags, flags_query: FlagsRequest, distinct_id: str) -> Evaluation:
        """Evaluate the requested flags. Properties that the client sends take precedence over stored ones."""
        flags = _requested_flags(project.active, flags_query)
        reader = project.reader
        sent = _needed(reader, flags_query.person_properties, "distinct_id", distinct_id)
        group_keys = _group_keys(flags, project.group_types, flags_query.groups)
        sent_by_group = {
            index: _needed(reader, flags_query.group_properties.get(project.group_types[index], {}), "$group_key", key)
            for index, key in group_keys.items()
        }
        undecided_groups = _undecided_groups(flags, group_keys, sent_by_group)
        person = _UNKNOWN_PERSON
        stored_groups: Mapping[tuple[int, str], str] = {}
        if undecided_groups:
            async with self._database.read() as session:
                stored_groups = await self._groups(session, project.project_id).properties_of(undecided_groups)
        if not flags.personal.is_decided_by(sent.keys()):
            person = await self._read_person(project.project_id, flags.personal, distinct_id, flags_query)
        hash_keys = person.hash_keys
        if person.is_stored and person.missing_hash_keys:
            identifiers = _stored_identifiers(distinct_id, flags_query.anonymous_id)
            hash_keys = await self._store_hash_keys(project.project_id, person, identifiers)
        context = EvaluationContext(
            distinct_id=distinct_id,
            person=_known_properties(reader, person.properties, sent, person.cohorts, person.lost_cohorts),
            hash_keys=hash_keys,
            groups={
                index: (key, _known_properties(reader, stored_groups.get((index, key)), sent_by_group[index]))
                for index, key in group_keys.items()
            },
        )
        return _only_requested(await evaluate_all(flags.flags, context, inactive=flags.inactive), flags_query)

    async def _read_person(
        self,
        project_id: int,
        flags: FlagSet,
        distinct_id: str,
        flags_query: FlagsRequest,
    ) -> _KnownPerson:
        persons = self._persons(project_id)
        former_id = flags_query.anonymous_id if flags.continuity_keys else None
        identifiers = _stored_identifiers(distinct_id, former_id)
        found = await self._stored.find(project_id, identifiers)
        person = found.get(identifiers[0])
        stored: Mapping[int, Mapping[str, str]] = {}
        if found and flags.continuity_keys:
            stored = await persons.hash_keys(list({one.id for one in found.values()}))
        owner = _owner(found, identifiers)
        hash_keys = stored.get(owner.id, {}) if owner else {}
        former = found.get(identifiers[-1])
        # What was hashed before the login: the former identifier, or what is stored for it.
        before = dict.fromkeys(flags.continuity_keys, identifiers[-1]) if former_id else {}
        before |= stored.get(former.id, {}) if former else {}
        missing = {key: before[key] for key in flags.continuity_keys if key in before and key not in hash_keys}
        loaded = await self._load_cohorts(project_id, flags)
        known = _unknown_person(loaded)
        if person is not None:
            inside = (await self._containing(project_id, [person], loaded))[person.id]
            known = replace(known, properties=person.properties, cohorts=inside)
        return replace(
            known,
            hash_keys={**missing, **hash_keys},
            is_stored=owner is not None,
            missing_hash_keys=missing,
        )

    def _persons(self, project_id: int) -> EvaluatedPersonQueries:
        return EvaluatedPersonQueries(self._database.fetch, self._database.engine.dialect.name, project_id)

    async def _load_cohorts(self, project_id: int, flags: FlagSet) -> LoadedCohorts | None:
        if not flags.cohorts:
            return None
        async with self._database.read() as session:
            return await self._cohorts(session, project_id).load(flags.cohorts)

    async def _containing(
        self, project_id: int, persons: Collection[StoredPerson], cohorts: LoadedCohorts | None
    ) -> Mapping[int, Collection[int]]:
        """Return those of the cohorts that each person is in, by the person's id."""
        if cohorts is None or not persons:
            return {person.id: () for person in persons}
        async with self._database.read() as session:
            source = self._cohorts(session, project_id)
            return await source.containing(cohorts, {person.id: person.properties for person in persons})

    async def _store_hash_keys(
        self, project_id: int, person: _KnownPerson, identifiers: Sequence[str]
    ) -> Mapping[str, str]:
        """Store the identifiers that flags hash for a person; return those that are stored then."""
        async with self._database.write() as session:
            await PersonRepository(session, project_id).lock_identities()  # a concurrent merge could remove the person
            persons = EvaluatedPersonRepository(session, project_id)
            owner = _owner(await persons.persons(identifiers), identifiers)
            if owner is None:
                return person.hash_keys
            await persons.add_hash_keys(owner.id, person.missing_hash_keys)
            return (await persons.hash_keys([owner.id]))[owner.id]

    async def evaluate_stored(
        self, project: ProjectFlags, distinct_ids: Sequence[str]
    ) -> AsyncIterator[tuple[str, Evaluation]]:
        """Evaluate flags for persons from stored data alone, without groups; yield the results of each distinct id."""
        flags = project.active.personal
        needs_persons = not flags.is_decided_by(frozenset({"distinct_id"}))
        cohorts = await self._load_cohorts(project.project_id, flags) if needs_persons else None
        unknown, slices = _unknown_person(cohorts), TimeSlices()
        for some in chunks(distinct_ids, _PERSONS_TOGETHER):
            found = await self._read_persons(project.project_id, flags, cohorts, some) if needs_persons else {}
            for distinct_id in some:
                person = found.get(distinct_id, unknown)
                sent = _needed(project.reader, {}, "distinct_id", distinct_id)
                context = EvaluationContext(
                    distinct_id=distinct_id,
                    person=_known_properties(
                        project.reader, person.properties, sent, person.cohorts, person.lost_cohorts
                    ),
                    hash_keys=person.hash_keys,
                )
                yield distinct_id, await evaluate_all(flags.flags, context, slices, inactive=flags.inactive)
                if slices.are_over():
                    await slices.pause()

    async def _read_persons(
        self, project_id: int, flags: FlagSet, cohorts: LoadedCohorts | None, distinct_ids: Sequence[str]
    ) -> Mapping[str, _KnownPerson]:
        persons = self._persons(project_id)
        found = await persons.persons(distinct_ids)
        hash_keys: Mapping[int, Mapping[str, str]] = {}
        if flags.continuity_keys:
            hash_keys = await persons.hash_keys([person.id for person in found.values()])
        inside = await self._containing(project_id, found.values(), cohorts)
        lost = cohorts.lost if cohorts else ()
        return {
            distinct_id: _KnownPerson(person.properties, hash_keys.get(person.id, {}), inside[person.id], lost)
            for distinct_id, person in found.items()
        }


async def evaluate_all(
    flags: Sequence[PreparedFlag],
    context: EvaluationContext,
    slices: TimeSlices | None = None,
    *,
    inactive: Collection[int] = (),
) -> Evaluation:
    """Evaluate flags in slices of time; an exception in one flag, which is a bug, does not affect the others.

    Flags follow those they depend on; ``inactive`` are the ids of flags that are off.
    """
    slices = slices or TimeSlices()
    results: dict[int, FlagResult] = {}
    failed = []
    values: dict[int, bool | str] = dict.fromkeys(inactive, False)
    ordered, in_circles = in_order(flags)
    unknown = {flag.id for flag in in_circles}
    for flag in (*ordered, *in_circles):
        try:
            results[flag.id] = evaluate(flag, context, values)
        except Exception:
            logger.exception("evaluation of flag %s failed", flag.id)
            failed.append(flag)
        if flag.id in results and flag.id not in unknown:
            values[flag.id] = results[flag.id].value
        if slices.are_over():
            await slices.pause()
    return Evaluation([results[flag.id] for flag in flags if flag.id in results], failed)


def _requested_flags(active: FlagSet, flags_query: FlagsRequest) -> FlagSet:
    """Return the flags that are requested, with those they depend on."""
    if flags_query.flag_keys is None:
        return active
    requested = [flag for flag in active.flags if flag.key in flags_query.flag_keys]
    return FlagSet(with_dependencies(requested, active.flags), active.inactive)


def _only_requested(evaluation: Evaluation, flags_query: FlagsRequest) -> Evaluation:
    keys = flags_query.flag_keys
    if keys is None:
        return evaluation
    return Evaluation(
        [result for result in evaluation.results if result.flag.key in keys],
        [flag for flag in evaluation.failed if flag.key in keys],
    )


def _stored_identifiers(distinct_id: str, former_id: str | None) -> Sequence[str]:
    """Return the identifiers of a person as they are stored, the current one first."""
    return [text[:MAX_DISTINCT_ID_CHARACTERS] for text in (distinct_id, former_id) if text is not None]


def _owner(found: Mapping[str, StoredPerson], identifiers: Sequence[str]) -> StoredPerson | None:
    return next((found[distinct_id] for distinct_id in identifiers if distinct_id in found), None)


def _needed(reader: PropertyReader, sent: RawProperties, name: str, identifier: str) -> RawProperties:
    """Return the properties that flags read, of those that were sent.

    A request says who it is about: ``name`` is the property by which conditions name one person, or one group.
    """
    needed = {key: sent[key] for key in reader.keys if key in sent} if sent else {}
    if name in reader.keys and name not in needed:
        needed[name] = msgspec.json.encode(identifier)
    return needed


def _group_keys(flags: FlagSet, type_names: Mapping[int, str], sent: Mapping[str, str]) -> Mapping[int, str]:
    """Return the keys of the groups that flags need and the client names, by the index of their type."""
    return {index: sent[type_names[index]] for index in flags.group_type_indexes if type_names.get(index) in sent}


def _undecided_groups(
    flags: FlagSet, keys: Mapping[int, str], sent: Mapping[int, Mapping[str, bytes]]
) -> Set[tuple[int, str]]:
    """Return the groups of which the client did not send all properties that flags read."""
    if not keys:
        return frozenset()
    return {
        (index, keys[index])
        for flag in flags.flags
        if (index := flag.group_type_index) in keys and index is not None and not flag.is_decided_by(sent[index].keys())
    }


def _known_properties(
    reader: PropertyReader,
    stored: str | None,
    sent: RawProperties,
    cohorts: Collection[int] = (),
    lost_cohorts: Collection[int] = (),
) -> KnownProperties:
    properties = reader.read(stored) if stored is not None else {}
    return KnownProperties({**properties, **sent}, sent.keys(), stored is not None, cohorts, lost_cohorts)
