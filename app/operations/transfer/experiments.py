"""Experiments of an export, created in another project with their flags and what they refer to."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.errors import AppError
from app.common.timestamps import parse_moment
from app.db.database import Database
from app.db.models import Project, User, utc_now
from app.events.imports.records import LineRefused
from app.experiments.schemas import ExperimentCreate
from app.experiments.service import ExperimentService
from app.flags.holdouts import with_holdout
from app.flags.schemas import FlagUpdate
from app.flags.service import FlagService
from app.http.request_body import validate
from app.operations.transfer.definitions import FIELDS, MEMBERS, DefinitionImport, DefinitionServices
from app.operations.transfer.renumbering import renumbered

Document = Mapping[str, Any]  # whatever JSON holds

_FLAG_FIELDS: Final = ("name", "filters", "active", "ensure_experience_continuity")
EXPERIMENT_KINDS: Final = frozenset({"experiment", MEMBERS, *FIELDS})
_decode: Any = msgspec.json.Decoder().decode  # any JSON


class ExperimentServices(NamedTuple):
    """What creates experiments, and changes their flags, in one transaction."""

    experiments: ExperimentService
    flags: FlagService
    definitions: DefinitionServices


BuildServices: TypeAlias = Callable[[AsyncSession, int], ExperimentServices]


class ExperimentImport:
    """Creates experiments in a project, in the name of one user."""

    def __init__(self, database: Database, project: Project, user: User, build: BuildServices) -> None:
        self._database = database
        self._project_id = project.id
        self._user = user
        self._build = build
        self._definitions = DefinitionImport(user)

    async def create(self, line: bytes) -> bool:
        """Create what a line defines; return False where the project has it, as it does after an import.

        An experiment is known by the key of its flag, and anything else by all that it says.

        Raises
        ------
        LineRefused
        """
        document = self._read(line)
        try:
            async with self._database.write() as session:
                services = self._build(session, self._project_id)
                kind = document.get("abacus")
                if kind != "experiment":
                    return await self._definitions.create(services.definitions, str(kind), document)
                return await self._create(services, document)
        except AppError as refusal:
            where = f"{refusal.attr}: " if refusal.attr else ""
            raise LineRefused(f"{where}{refusal.detail}") from refusal

    async def _create(self, services: ExperimentServices, document: Document) -> bool:
        parts = ("experiment", "feature_flag")
        if not all(isinstance(document.get(part), dict) for part in parts):
            raise LineRefused("is not an experiment with its flag")
        experiment, flag = (renumbered(document[part], self._definitions.numbers) for part in parts)
        body = {name: value for name, value in experiment.items() if value is not None}
        body["scheduling_config"] = _still_ahead(body.get("scheduling_config"), is_started="start_date" in body)
        body["feature_flag_key"] = flag.get("key")
        if any(one.key == flag.get("key") for one in await services.flags.all_undeleted()):
            return False
        await ExperimentCreate.prepare(body)
        created = await services.experiments.create(validate(ExperimentCreate, body), self._user)
        changes = {name: flag[name] for name in _FLAG_FIELDS if name in flag}
        changes["filters"] = _with_holdout_of(created.feature_flag.filters, changes.get("filters"))
        await services.flags.update(created.feature_flag, validate(FlagUpdate, changes), self._user)
        return True

    @staticmethod
    def _read(line: bytes) -> Document:
        try:
            document = _decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise LineRefused(f"is not JSON: {error}") from error
        if not isinstance(document, dict) or document.get("abacus") not in EXPERIMENT_KINDS:
            raise LineRefused("is not an experiment, nor what experiments refer to")
        return document


def _still_ahead(schedule: object, *, is_started: bool) -> dict[str, Any] | None:
    """Return a schedule without the times that have passed: what was to be done then is done."""
    if not isinstance(schedule, dict):
        return None
    now = utc_now()
    gone = {"start_at"} if is_started else set()
    for name in ("start_at", "end_at"):
        moment = parse_moment(str(schedule.get(name)))
        if moment is not None and moment <= now:
            gone.add(name)
    return {name: value for name, value in schedule.items() if name not in gone} or None


def _with_holdout_of(own: Mapping[str, Any], exported: object) -> object:
    """Return exported filters with the holdout that the experiment has here."""
    return with_holdout(exported, own.get("holdout")) if isinstance(exported, dict) else own
