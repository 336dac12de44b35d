"""What experiments refer to: actions, cohorts, saved metrics and holdouts, exported and created in another project."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast

from app.common.ids import MAX_ID
from app.db.models import Action, Cohort, Holdout, SavedMetric, User
from app.events.actions.schemas import ActionCreate
from app.events.actions.service import ActionService
from app.events.imports.records import LineRefused
from app.experiments.holdouts.schemas import HoldoutCreate
from app.experiments.holdouts.service import HoldoutService
from app.experiments.saved_metrics.schemas import SavedMetricCreate
from app.experiments.saved_metrics.service import SavedMetricService
from app.http.request_body import validate
from app.operations.transfer.renumbering import Kind, Numbers, renumbered
from app.people.cohorts.schemas import CohortCreate, CohortUpdate
from app.people.cohorts.service import CohortService
from app.properties.references import cohorts_written

Document = Mapping[str, Any]  # whatever JSON holds
Row = Action | Cohort | Holdout | SavedMetric
AnyRow = TypeVar("AnyRow", bound=Row)

FIELDS: Final[Mapping[Kind, Sequence[str]]] = {
    "action": ("name", "description", "steps"),
    "cohort": ("name", "description", "is_static", "groups", "filters"),
    "saved_metric": ("name", "description", "query", "tags"),
    "holdout": ("name", "description", "filters"),
}
MEMBERS: Final = "cohort_members"  # the kind of a line with distinct ids of a static cohort
_ROWS_AT_A_TIME: Final = 500
_IDS_AT_A_TIME: Final = 1_000


class DefinitionServices(NamedTuple):
    """What reads and creates them, in one transaction."""

    actions: ActionService
    cohorts: CohortService
    saved_metrics: SavedMetricService
    holdouts: HoldoutService


async def stored_definitions(services: DefinitionServices) -> AsyncIterator[Document]:
    """Yield what a project holds, each after those that it refers to, as lines of an export."""
    for cohort in _in_order([one.cohort for one in await _all_cohorts(services.cohorts)]):
        yield _line("cohort", cohort)
        last = ""
        while cohort.is_static and (ids := await services.cohorts.listed(cohort.id, last, _IDS_AT_A_TIME)):
            last = ids[-1]
            yield {"abacus": MEMBERS, "id": cohort.id, "distinct_ids": ids}
    for action in await _all(services.actions.page):
        yield _line("action", action)
    for metric in await _all(services.saved_metrics.page):
        yield _line("saved_metric", metric)
    for holdout in await _all(services.holdouts.page):
        yield _line("holdout", holdout)


def _line(kind: Kind, row: Row) -> Document:
    return {"abacus": kind, "id": row.id, kind: {name: getattr(row, name) for name in FIELDS[kind]}}


def _in_order(cohorts: Sequence[Cohort]) -> Iterator[Cohort]:
    """Yield cohorts after those that they refer to; those in a circle cannot be stored."""
    by_id = {cohort.id: cohort for cohort in cohorts}
    waiting = [cohort.id for cohort in reversed(cohorts)]
    opened: set[int] = set()
    while waiting:
        number = waiting[-1]
        cohort = by_id.get(number)
        if cohort is None or number in opened:
            waiting.pop()
            if cohort is not None:
                yield by_id.pop(number)
            continue
        opened.add(number)
        waiting += cohorts_written([cohort.groups, cohort.filters])


class DefinitionImport:
    """Creates definitions, unless the project has the same one, and knows their numbers."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._numbers: dict[tuple[Kind, int], int] = {}

    @property
    def numbers(self) -> Numbers:
        return self._numbers

    async def create(self, services: DefinitionServices, kind: str, document: Document) -> bool:
        """Create the definition of a line; return whether it is new.

        Raises
        ------
        LineRefused
        AppError
        """
        number = document.get("id")
        if type(number) is not int or not 0 < number <= MAX_ID:
            raise LineRefused("has no id")
        if kind == MEMBERS:
            await self._add_members(services.cohorts, number, document)
            return False
        known = cast("Kind", kind)
        told = document.get(kind)
        if not isinstance(told, dict):
            raise LineRefused(f"is not a {kind.replace('_', ' ')}")
        fields = renumbered({name: told.get(name) for name in FIELDS[known]}, self._numbers)
        same = await self._find(services, known, fields)
        created = same or await self._create(services, known, fields)
        self._numbers[known, number] = created.id
        return same is None

    async def _add_members(self, cohorts: CohortService, number: int, document: Document) -> None:
        cohort_id = self._numbers.get(("cohort", number))
        if cohort_id is None:
            raise LineRefused(f"lists members of the cohort {number}, which was not imported")
        body = validate(CohortUpdate, {"distinct_ids": document.get("distinct_ids")})
        await cohorts.update(await cohorts.get(str(cohort_id), for_update=True), body)

    async def _find(self, services: DefinitionServices, kind: Kind, fields: Document) -> Row | None:
        rows: Sequence[Row]
        if kind == "action":
            rows = await _all(services.actions.page)
        elif kind == "cohort":
            rows = [one.cohort for one in await _all_cohorts(services.cohorts)]
        elif kind == "saved_metric":
            rows = await _all(services.saved_metrics.page)
        else:
            rows = await _all(services.holdouts.page)
        wanted = _comparable(fields)
        return next((row for row in rows if _comparable({name: getattr(row, name) for name in fields}) == wanted), None)

    async def _create(self, services: DefinitionServices, kind: Kind, fields: Document) -> Row:
        body = {name: value for name, value in _comparable(fields).items() if value is not None}
        if kind == "action":
            await ActionCreate.prepare(body)
            return await services.actions.create(validate(ActionCreate, body), self._user)
        if kind == "cohort":
            await CohortCreate.prepare(body)
            return await services.cohorts.create(validate(CohortCreate, body), self._user)
        if kind == "saved_metric":
            await SavedMetricCreate.prepare(body)
            return await services.saved_metrics.create(validate(SavedMetricCreate, body), self._user)
        return await services.holdouts.create(validate(HoldoutCreate, body), self._user)


def _comparable(fields: Document) -> Document:
    """Return fields without what is made of numbers: the variant of a holdout, and the fingerprint of a metric."""
    changed = dict(fields)
    if isinstance(fields.get("filters"), list):
        changed["filters"] = [_without(one, "variant") for one in fields["filters"]]
    if isinstance(fields.get("query"), dict):
        changed["query"] = _without(fields["query"], "fingerprint")
    return changed


def _without(document: Document, left_out: str) -> Document:
    return {name: value for name, value in document.items() if name != left_out}


async def _all(page: Callable[[int, int], Awaitable[tuple[int, Sequence[AnyRow]]]]) -> list[AnyRow]:
    rows: list[AnyRow] = []
    while found := (await page(_ROWS_AT_A_TIME, len(rows)))[1]:
        rows += found
    return rows[::-1]  # oldest first


async def _all_cohorts(cohorts: CohortService) -> list[Any]:
    return await _all(cast("Any", cohorts.page))
