"""Evaluating a project's flags for somebody, with what is stored of him."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

from app.accounts.auth.service import AuthenticationService
from app.common.errors import AuthenticationFailed
from app.db.database import Database
from app.flags.evaluation.active_flags import ActiveFlags, FlagSet, ProjectFlags
from app.flags.evaluation.decoding import MAX_DISTINCT_ID_CHARACTERS, FlagsRequest, RawProperties
from app.flags.evaluation.repository import EvaluatedPersonQueries, EvaluatedPersonRepository, StoredPerson
from app.flags.evaluation.rules import Evaluation, EvaluationContext, KnownProperties, PreparedFlag, evaluate
from app.flags.evaluation.sources import CohortsOf, GroupsOf
from app.people.persons.repository import PersonRepository
from app.properties.decoding import PropertyReader

logger = logging.getLogger("abacus")

_WHERE_TO_FIND_IT: Final = "You can find your project API key in PostHog project settings."


@dataclass(frozen=True, slots=True)
class _KnownPerson:
    """What evaluation has read about somebody."""

    properties: str | None = None
    hash_keys: Mapping[str, str] = field(default_factory=dict)
    cohorts: Collection[int] = ()
    unkept: Sequence[str] = ()  # keys of flags that have yet to be told to go on with the former identifier
    former_id: str | None = None


_NOBODY: Final = _KnownPerson()


class EvaluationService:
    """Reads in short transactions of its own, and only what the flags in question ask for: often nothing."""

    def __init__(self, database: Database, active_flags: ActiveFlags, groups: GroupsOf, cohorts: CohortsOf) -> None:
        self._database = database
        self._active_flags = active_flags
        self._groups = groups
        self._cohorts = cohorts

    async def find_project(self, token: str | None, project_id: object = None) -> ProjectFlags:
        """Return the flags of the project that a public token names, or a member's key beside the project's number.

        Raises
        ------
        AuthenticationFailed
            With the 2022 codes ``missing_api_key``, ``invalid_api_key`` and ``invalid_personal_key``.
        ValidationFailed
            The token is none and the project beside it no number: ``invalid_project``.
        """
        if token is None:
            raise AuthenticationFailed(f"API key not provided. {_WHERE_TO_FIND_IT}", code="missing_api_key")
        project = await self._active_flags.find(token)
        if project is None and project_id:
            members = AuthenticationService(self._database)
            named = await members.project_beside_key(token, project_id, code="invalid_personal_key")
            project = await self._active_flags.find(named.api_token)
        if project is None:
            raise AuthenticationFailed(f"Project API key invalid. {_WHERE_TO_FIND_IT}", code="invalid_api_key")
        return project

    async def evaluate(self, project: ProjectFlags, asked: FlagsRequest, distinct_id: str) -> Evaluation:
        """FlagResult a client's question. What it sends about persons and groups counts more than what is stored."""
        flags = _asked_for(project.active, asked)
        reader = project.reader
        sent = _relevant(reader, asked.person_properties)
        group_keys = _group_keys(flags, project.group_types, asked.groups)
        sent_of_groups = {
            index: _relevant(reader, asked.group_properties.get(project.group_types[index], {})) for index in group_keys
        }
        unclear_groups = _unclear_groups(flags, group_keys, sent_of_groups)
        person = _NOBODY
        stored_groups: Mapping[tuple[int, str], str] = {}
        if unclear_groups:
            async with self._database.read() as session:
                stored_groups = await self._groups(session, project.project_id).properties_of(unclear_groups)
        if not flags.personal.is_clear(sent.keys()):
            person = await self._read_person(project.project_id, flags.personal, distinct_id, asked)
        if person.unkept:
            person = await self._keep_hash_keys(project.project_id, person, distinct_id)
        context = EvaluationContext(
            distinct_id=distinct_id,
            person=_subject(reader, person.properties, sent, person.cohorts),
            hash_keys=person.hash_keys,
            groups={
                index: (key, _subject(reader, stored_groups.get((index, key)), sent_of_groups[index]))
                for index, key in group_keys.items()
            },
        )
        return evaluate_all(flags.flags, context)

    async def _read_person(
        self,
        project_id: int,
        flags: FlagSet,
        distinct_id: str,
        asked: FlagsRequest,
    ) -> _KnownPerson:
        persons = self._persons(project_id)
        continuing = flags.continuing
        former = asked.anonymous_id if continuing else None
        known_as = _known_as(distinct_id, former)
        found = await persons.persons(known_as)
        person = found.get(known_as[0])
        owner = _owner(found, known_as)
        hash_keys = (await persons.hash_keys([owner.id]))[owner.id] if owner and continuing else {}
        return _KnownPerson(
            properties=person.properties if person else None,
            hash_keys=hash_keys,
            cohorts=await self._containing(project_id, person, flags.cohorts) if person and flags.cohorts else (),
            unkept=[key for key in continuing if key not in hash_keys] if owner and former else (),
            former_id=former,
        )

    def _persons(self, project_id: int) -> EvaluatedPersonQueries:
        return EvaluatedPersonQueries(self._database.fetch, self._database.engine.dialect.name, project_id)

    async def _containing(self, project_id: int, person: StoredPerson, cohorts: Collection[int]) -> Collection[int]:
        async with self._database.read() as session:
            return await self._cohorts(session, project_id).containing(person.id, person.properties, cohorts)

    async def _keep_hash_keys(self, project_id: int, person: _KnownPerson, distinct_id: str) -> _KnownPerson:
        """Have flags go on with a person's former identifier."""
        known_as = _known_as(distinct_id, person.former_id)
        async with self._database.write() as session:
            await PersonRepository(session, project_id).lock_identities()  # a merge could take the person away
            persons = EvaluatedPersonRepository(session, project_id)
            owner = _owner(await persons.persons(known_as), known_as)
            if owner is None:
                return person
            await persons.add_hash_keys(owner.id, dict.fromkeys(person.unkept, known_as[-1]))
            return replace(person, hash_keys=(await persons.hash_keys([owner.id]))[owner.id])

    async def evaluate_stored(self, project: ProjectFlags, distinct_ids: Collection[str]) -> Mapping[str, Evaluation]:
        """FlagResult for persons about whom there is nothing but what is stored, and without groups."""
        flags = project.active.personal
        found: Mapping[str, StoredPerson] = {}
        hash_keys: Mapping[int, Mapping[str, str]] = {}
        cohorts: dict[str, Collection[int]] = {}
        if not flags.is_clear(frozenset()):
            persons = self._persons(project.project_id)
            found = await persons.persons(list(distinct_ids))
            if flags.continuing:
                hash_keys = await persons.hash_keys([person.id for person in found.values()])
            if flags.cohorts and found:
                async with self._database.read() as session:
                    source = self._cohorts(session, project.project_id)
                    for distinct_id, person in found.items():
                        cohorts[distinct_id] = await source.containing(person.id, person.properties, flags.cohorts)
        evaluations = {}
        for distinct_id in distinct_ids:
            stored = found.get(distinct_id)
            context = EvaluationContext(
                distinct_id=distinct_id,
                person=_subject(
                    project.reader, stored.properties if stored else None, {}, cohorts.get(distinct_id, ())
                ),
                hash_keys=hash_keys.get(stored.id, {}) if stored else {},
            )
            evaluations[distinct_id] = evaluate_all(flags.flags, context)
        return evaluations


def evaluate_all(flags: Iterable[PreparedFlag], context: EvaluationContext) -> Evaluation:
    """Evaluate flags; one that fails, which is a bug, does not keep the others from answering."""
    answers = []
    failed = []
    for flag in flags:
        try:
            answers.append(evaluate(flag, context))
        except Exception:
            logger.exception("flag %s could not be evaluated", flag.id)
            failed.append(flag)
    return Evaluation(answers, failed)


def _asked_for(active: FlagSet, asked: FlagsRequest) -> FlagSet:
    if asked.is_disabled:
        return FlagSet()
    if asked.flag_keys is None:
        return active
    return FlagSet([flag for flag in active.flags if flag.key in asked.flag_keys])


def _known_as(distinct_id: str, former_id: str | None) -> Sequence[str]:
    """Return the identifiers of a person as they are stored, the present one first."""
    return [text[:MAX_DISTINCT_ID_CHARACTERS] for text in (distinct_id, former_id) if text is not None]


def _owner(found: Mapping[str, StoredPerson], known_as: Sequence[str]) -> StoredPerson | None:
    return next((found[distinct_id] for distinct_id in known_as if distinct_id in found), None)


def _relevant(reader: PropertyReader, sent: RawProperties) -> RawProperties:
    return {key: sent[key] for key in reader.keys if key in sent} if sent else {}


def _group_keys(flags: FlagSet, type_names: Mapping[int, str], sent: Mapping[str, str]) -> Mapping[int, str]:
    """Return the keys of the groups that flags ask for and the client names, by the index of their type."""
    return {index: sent[type_names[index]] for index in flags.group_type_indexes if type_names.get(index) in sent}


def _unclear_groups(
    flags: FlagSet, keys: Mapping[int, str], sent: Mapping[int, Mapping[str, bytes]]
) -> Set[tuple[int, str]]:
    """Return the groups about which the client did not say enough."""
    if not keys:
        return frozenset()
    return {
        (index, keys[index])
        for flag in flags.flags
        if (index := flag.group_type_index) in keys and index is not None and not flag.is_decided_by(sent[index].keys())
    }


def _subject(
    reader: PropertyReader, stored: str | None, sent: RawProperties, cohorts: Collection[int] = ()
) -> KnownProperties:
    properties = reader.read(stored) if stored is not None else {}
    return KnownProperties({**properties, **sent}, sent.keys(), stored is not None, cohorts)
