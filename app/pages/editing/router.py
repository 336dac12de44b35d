"""The forms that create and edit experiments. Each sends what a client of the API would send."""

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.common import limits
from app.common.errors import Conflict, PermissionDenied, ValidationFailed
from app.common.timestamps import write_moment
from app.db.models import Experiment, FeatureFlag
from app.events.definitions.names import PERSON
from app.events.usage.repository import EventUsageQueries
from app.experiments.dependencies import build_experiments, get_experiment_changes
from app.experiments.existing_flags.service import require_participants
from app.experiments.schemas import ExperimentCreate, ExperimentUpdate
from app.experiments.service import ExperimentService
from app.flags.dependencies import build_flags
from app.flags.filters import (
    MAX_VARIANTS,
    JsonDict,
    compile_conditions,
    group_type_index_of,
    variant_keys,
    variants_of,
)
from app.http.dependencies import get_database
from app.http.request_body import find_refusals, validate
from app.http.schemas import RequestBody
from app.pages.credentials import PREFIX
from app.pages.dependencies import ChangingVisitDep, PageExperimentDep, load_unit, load_units
from app.pages.editing import metrics
from app.pages.editing.conditions import OPERATORS
from app.pages.editing.dependencies import load_choices, load_property_names
from app.pages.editing.documents import (
    DraftReader,
    blank_fields,
    fields_of,
    metric_choices,
    new_reference,
)
from app.pages.editing.exposure import SEVERAL
from app.pages.editing.planning import DAYS, PlanService, Preview
from app.pages.editing.rows import Fields, count_rows, without_row, write_number
from app.pages.editing.settings import BREAKER_ACTIONS, CUPED, HARMS, MOST, SAVED_TYPES, usual_ramp
from app.pages.editing.staleness import refuse_stale
from app.pages.reading_forms import read_form
from app.pages.routing import PageRoute, link_from, show
from app.pages.visits import Visit

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)

_MAX_ROWS: Final = {"m": 30, "v": MAX_VARIANTS, "c": 20, **MOST}  # a form has at most 1,000 fields
_BOTH_SCOPES: Final = (
    "These participants are stored in the flag: the session lacks the scope feature_flag:write. Create the "
    "experiment without conditions."
)


async def get_usage(request: Request, visit: ChangingVisitDep) -> EventUsageQueries:
    return EventUsageQueries(get_database(request), visit.project.id)


UsageDep = Annotated[EventUsageQueries, Depends(get_usage)]


class ExperimentForm:
    """The form of a new experiment, or of one that exists: what it holds, and how it answers."""

    def __init__(
        self, request: Request, visit: Visit, usage: EventUsageQueries, experiment: Experiment | None = None
    ) -> None:
        self._request = request
        self._visit = visit
        self._usage = usage
        self._experiment = experiment

    async def show(
        self,
        fields: Fields,
        *,
        errors: dict[str, str] | None = None,
        preview: Preview | None = None,
        status: int = 200,
    ) -> HTMLResponse:
        group_type, unit = self._group_type(fields), await self._unit(fields)
        subject = PERSON if group_type is None else f"group_{group_type}"
        offered = await load_choices(self._request, self._visit)
        of_flag = variant_keys(self._experiment.feature_flag.filters) if self._experiment else ()
        return await show(
            self._request,
            "form.html",
            status,
            visit=self._visit,
            experiment=self._experiment,
            fields=fields,
            errors=errors or {},
            preview=preview,
            metric_count=max(count_rows(fields, "m"), 1),
            variant_count=count_rows(fields, "v"),
            condition_count=count_rows(fields, "c"),
            saved_count=count_rows(fields, "s"),
            ramp_count=count_rows(fields, "r"),
            breaker_count=count_rows(fields, "b"),
            events=await self._usage.names(),
            properties=offered.properties,
            unit=unit,
            units=await load_units(self._request, self._visit.project),
            subject_properties=await load_property_names(self._request, self._visit, subject),
            several=SEVERAL,
            variants=of_flag or [fields.get(f"v{place}_key", "") for place in range(count_rows(fields, "v"))],
            saved=offered.saved,
            saved_choices=offered.saved_choices,
            saved_types=SAVED_TYPES,
            holdouts=offered.holdout_choices(fields.get("holdout", "")),
            metric_choices=metric_choices(fields, offered.saved),
            harms=HARMS,
            cuped=CUPED,
            breaker_actions=BREAKER_ACTIONS,
            kinds=metrics.in_words(metrics.KINDS, unit),
            kinds_of_2022=metrics.in_words(metrics.KINDS_OF_2022, unit),
            maths=metrics.in_words(metrics.MATHS, unit),
            operators=OPERATORS,
            max_steps=limits.FUNNEL_STEPS.value,
            days=DAYS,
        )

    async def change_rows(self, fields: Fields, asked: str) -> HTMLResponse | None:
        """Answer a button that adds or removes a row; None for other buttons."""
        if asked == "ramp":
            return await self.show(usual_ramp(fields))
        verb, _, row = asked.partition("-")
        kind, index = row[:1], row[1:]
        if kind not in _MAX_ROWS or verb not in {"add", "remove"}:
            return None
        count = count_rows(fields, kind)
        if verb == "add" and count < _MAX_ROWS[kind]:
            row_of_kind = {f"{kind}{count}_{name}": value for name, value in _new_row(kind).items()}
            return await self.show({**fields, **row_of_kind})
        if verb == "remove" and index.isdecimal() and len(index) < 3:
            return await self.show(without_row(fields, kind, int(index)))
        return await self.show(fields)

    async def preview(self, fields: Fields, variants: int) -> HTMLResponse:
        reader = DraftReader(fields)
        await self.check(reader)
        preview = await PlanService(self._usage).preview(fields, variants, await self._unit(fields), reader.errors)
        if preview.power is not None and preview.power.recommended_sample_size is not None:
            days = preview.power.recommended_running_time
            fields = {
                **fields,
                "planned_size": write_number(float(round(preview.power.recommended_sample_size))),
                "planned_days": "" if days is None else write_number(round(days, 1)),
            }
        return await self.show(fields, errors=reader.errors, preview=preview)

    def _group_type(self, fields: Fields) -> int | None:
        """Return the index of the type of groups that the experiment assigns; None where it assigns persons."""
        if self._experiment is not None:
            return group_type_index_of(self._experiment.feature_flag.filters)
        return DraftReader(fields).read_group_type()

    async def _unit(self, fields: Fields) -> str:
        return await load_unit(self._request, self._visit.project, self._group_type(fields))

    async def check(self, reader: DraftReader) -> dict[str, object]:
        """Return the document of the form; what the API would refuse of it is added to the reader's errors."""
        model: type[RequestBody] = ExperimentCreate
        if self._experiment is None:
            document = reader.read_new()
            reader.read_participants()
        else:
            model, document = ExperimentUpdate, reader.read_change(self._experiment)
        for refusal in find_refusals(model, document):
            reader.refuse(refusal)
        try:
            await model.prepare(document)
        except ValidationFailed as refusal:
            reader.refuse(refusal)
        return document


def _new_row(kind: str) -> dict[str, str]:
    """Return the fields that a new row has from the start."""
    if kind == "m":
        return {"kind": "funnel", "uuid": new_reference()}
    return {{"v": "key", "c": "key", "s": "id", "r": "hours", "b": "metric"}[kind]: ""}


@router.get("/{project_id}/new/")
async def show_new_experiment(request: Request, visit: ChangingVisitDep, usage: UsageDep) -> HTMLResponse:
    return await ExperimentForm(request, visit, usage).show(blank_fields())


@router.post("/{project_id}/new/")
async def create_experiment_by_form(request: Request, visit: ChangingVisitDep, usage: UsageDep) -> Response:
    form, fields = ExperimentForm(request, visit, usage), await read_form(request)
    asked = fields.get("do", "save")
    if (answer := await form.change_rows(fields, asked)) is not None:
        return answer
    if asked == "preview":
        return await form.preview(fields, count_rows(fields, "v"))
    reader = DraftReader(fields)
    document = await form.check(reader)
    if reader.errors:
        return await form.show(fields, errors=reader.errors, status=400)
    body = validate(ExperimentCreate, document)
    # With typed metrics there are no filters that could hold the participants: they are the flag's from the start.
    conditions = [] if document["filters"] else reader.read_participants()
    if conditions and not visit.may_change_flags:
        raise PermissionDenied(_BOTH_SCOPES)
    try:
        await compile_conditions({"groups": [{"properties": list(conditions)}]})
        async with get_database(request).write() as session:
            experiment = await build_experiments(session, visit.project.id).create(body, visit.user)
            flag = experiment.feature_flag
            if experiment.uses_existing_flag:
                _require_of_flag(flag, conditions, reader.read_group_type())
            elif conditions:
                flags = build_flags(session, visit.project.id)
                await flags.rewrite_participants(flag, conditions, reader.read_group_type(), visit.user)
    except ValidationFailed as refusal:
        reader.refuse(refusal)
        return await form.show(fields, errors=reader.errors, status=400)
    return _open(request, visit, experiment.id)


@router.get("/{project_id}/{experiment_id}/edit/")
async def show_experiment_form(
    request: Request, visit: ChangingVisitDep, usage: UsageDep, experiment: PageExperimentDep
) -> HTMLResponse:
    return await ExperimentForm(request, visit, usage, experiment).show(fields_of(experiment))


@router.post("/{project_id}/{experiment_id}/edit/")
async def edit_experiment_by_form(
    request: Request, visit: ChangingVisitDep, usage: UsageDep, experiment: PageExperimentDep
) -> Response:
    form, fields = ExperimentForm(request, visit, usage, experiment), await read_form(request)
    asked = fields.get("do", "save")
    if (answer := await form.change_rows(fields, asked)) is not None:
        return answer
    if asked == "preview":
        return await form.preview(fields, len(variants_of(experiment.feature_flag.filters)))
    reader = DraftReader(fields)
    document = await form.check(reader)
    if reader.errors:
        return await form.show(fields, errors=reader.errors, status=400)
    body = validate(ExperimentUpdate, document)
    changes = await get_experiment_changes(request, visit.project)

    async def change(experiments: ExperimentService) -> None:
        current = await experiments.get(str(experiment.id), for_update=True)
        refuse_stale(fields, write_moment(current.updated_at), "experiment")
        await experiments.update(current, body, visit.user)

    try:
        await changes.make(change)
    except Conflict as conflict:
        fields = {**fields, "seen": write_moment(experiment.updated_at)}
        return await form.show(fields, errors={"form": conflict.detail}, status=conflict.status)
    except ValidationFailed as refusal:
        reader.refuse(refusal)
        return await form.show(fields, errors=reader.errors, status=400)
    return _open(request, visit, experiment.id)


def _require_of_flag(flag: FeatureFlag, conditions: Sequence[JsonDict], group_type: int | None) -> None:
    """Refuse what a form says of who takes part where the flag, which existed before, says something else."""
    require_participants(flag, {"properties": list(conditions)})
    if group_type is not None and group_type != group_type_index_of(flag.filters):
        raise ValidationFailed("The flag that exists does not assign these.", attr="unit")


def _open(request: Request, visit: Visit, experiment_id: int) -> Response:
    address = link_from(request)("show_experiment", project_id=visit.project.id, experiment_id=experiment_id)
    return RedirectResponse(address, status_code=303)
