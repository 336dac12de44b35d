"""Experiments of an export, created in another project with their flags."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.errors import AppError
from app.db.database import Database
from app.db.models import Project, User
from app.events.imports.records import LineRefused
from app.experiments.schemas import ExperimentCreate
from app.experiments.service import ExperimentService
from app.flags.schemas import FlagUpdate
from app.flags.service import FlagService
from app.http.request_body import validate

Document = Mapping[str, Any]  # whatever JSON holds

_FLAG_FIELDS: Final = ("name", "filters", "active", "ensure_experience_continuity")
# What other projects have under other numbers.
_NUMBERED_TYPES: Final = {"cohort": "cohorts", "precalculated-cohort": "cohorts", "static-cohort": "cohorts"}
_decode: Any = msgspec.json.Decoder().decode  # any JSON


class ExperimentServices(NamedTuple):
    """What creates experiments, and changes their flags, in one transaction."""

    experiments: ExperimentService
    flags: FlagService


BuildServices: TypeAlias = Callable[[AsyncSession, int], ExperimentServices]


class ExperimentImport:
    """Creates experiments in a project, in the name of one user."""

    def __init__(self, database: Database, project: Project, user: User, build: BuildServices) -> None:
        self._database = database
        self._project_id = project.id
        self._user = user
        self._build = build

    async def create(self, line: bytes) -> bool:
        """Create the experiment of a line; return False where its flag's key is taken, as it is after an import.

        Raises
        ------
        LineRefused
        """
        document = self._read(line)
        experiment, flag = document["experiment"], document["feature_flag"]
        if numbered := sorted(set(_numbered({"experiment": experiment, "flag": flag}))):
            raise LineRefused(f"refers to {' and '.join(numbered)}, whose ids are others here")
        body = {name: value for name, value in experiment.items() if value is not None}
        body["feature_flag_key"] = flag.get("key")
        try:
            async with self._database.write() as session:
                experiments, flags = self._build(session, self._project_id)
                if any(one.key == flag.get("key") for one in await flags.all_undeleted()):
                    return False
                await ExperimentCreate.prepare(body)
                created = await experiments.create(validate(ExperimentCreate, body), self._user)
                changes = {name: flag[name] for name in _FLAG_FIELDS if name in flag}
                await flags.update(created.feature_flag, validate(FlagUpdate, changes), self._user)
        except AppError as refusal:
            where = f"{refusal.attr}: " if refusal.attr else ""
            raise LineRefused(f"{where}{refusal.detail}") from refusal
        return True

    @staticmethod
    def _read(line: bytes) -> Document:
        try:
            document = _decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise LineRefused(f"is not JSON: {error}") from error
        parts = ("experiment", "feature_flag")
        if not isinstance(document, dict) or not all(isinstance(document.get(part), dict) for part in parts):
            raise LineRefused("is not an experiment with its flag")
        return document


def _numbered(document: object) -> Iterator[str]:
    """Yield what a document refers to by numbers that another project does not have."""
    if isinstance(document, dict):
        kind = document.get("type")
        if isinstance(kind, str) and kind in _NUMBERED_TYPES:
            yield _NUMBERED_TYPES[kind]
        if document.get("actions") or kind == "actions" or document.get("kind") == "ActionsNode":
            yield "actions"
        if document.get("saved_metrics_ids"):
            yield "saved metrics"
        for value in document.values():
            yield from _numbered(value)
    elif isinstance(document, list):
        for value in document:
            yield from _numbered(value)
