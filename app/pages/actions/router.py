"""Actions on an experiment: a page that asks, and the form that does it by the service call of the API."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.common.errors import NotFound, StillCounting, ValidationFailed
from app.db.models import Experiment, User, utc_now
from app.experiments.changes import ExperimentChanges
from app.experiments.dependencies import build_changes
from app.experiments.lifecycle import Conclusion
from app.experiments.participants.dependencies import build_participants
from app.experiments.phases.dependencies import build_launch_checklist
from app.experiments.phases.service import PhaseService, refuse_to_freeze
from app.experiments.schemas import ExperimentDuplicate, ExperimentEnd, ExperimentShip, ExperimentUpdate
from app.experiments.scorecard.dependencies import build_scorecards
from app.experiments.scorecard.schemas import DecisionRead
from app.flags.filters import variants_of
from app.http.dependencies import get_database
from app.http.request_body import validate
from app.pages.actions.catalog import BY_NAME, PageAction, offered
from app.pages.actions.objections import RECOMMENDING, Objection, Objections
from app.pages.credentials import PREFIX
from app.pages.dependencies import ChangingVisitDep, PageExperimentDep, limit_page_time, load_unit_of
from app.pages.reading_forms import read_form
from app.pages.routing import PageRoute, link_from, show
from app.pages.visits import Visit

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)

Do = Callable[[PhaseService, Experiment], Awaitable[Any]]


async def get_action(action: str) -> PageAction:
    if action not in BY_NAME:
        raise NotFound
    return BY_NAME[action]


async def get_objections(request: Request, visit: ChangingVisitDep) -> Objections:
    database, materializer = get_database(request), request.app.state.materializer
    return Objections(
        build_scorecards(database, materializer, visit.project), build_launch_checklist(database, visit.project)
    )


async def get_changes(request: Request, visit: ChangingVisitDep) -> ExperimentChanges[PhaseService]:
    return build_changes(PhaseService, get_database(request), request.app.state.materializer, visit.project)


ActionDep = Annotated[PageAction, Depends(get_action)]
ObjectionsDep = Annotated[Objections, Depends(get_objections)]
ChangesDep = Annotated[ExperimentChanges[PhaseService], Depends(get_changes)]


@router.get("/{project_id}/{experiment_id}/do/{action}/")
async def ask_before_action(
    request: Request,
    visit: ChangingVisitDep,
    experiment: PageExperimentDep,
    action: ActionDep,
    objections: ObjectionsDep,
) -> HTMLResponse:
    decision = await _decide(request, action, experiment, objections)
    fields = {"conclusion": experiment.conclusion or "", "conclusion_comment": experiment.conclusion_comment or ""}
    unit = await load_unit_of(request, visit.project, experiment.feature_flag)
    objection = await objections.against(action.name, experiment, unit, decision, {})
    return await _ask(request, visit, experiment, action, fields=fields, decision=decision, objection=objection)


@router.post("/{project_id}/{experiment_id}/do/{action}/")
async def do_action(
    request: Request,
    visit: ChangingVisitDep,
    experiment: PageExperimentDep,
    action: ActionDep,
    objections: ObjectionsDep,
    changes: ChangesDep,
) -> Response:
    fields = await read_form(request)
    decision, objection = None, None
    if fields.get("against") != "yes":
        decision = await _decide(request, action, experiment, objections)
        unit = await load_unit_of(request, visit.project, experiment.feature_flag)
        objection = await objections.against(action.name, experiment, unit, decision, fields)
    if objection is not None:
        return await _ask(
            request, visit, experiment, action, fields=fields, decision=decision, objection=objection, status=409
        )
    try:
        return await _do(request, visit, experiment, action, changes, fields)
    except ValidationFailed as refusal:
        return await _ask(
            request, visit, experiment, action, fields=fields, decision=decision, refusal=refusal, status=400
        )


async def _decide(
    request: Request, action: PageAction, experiment: Experiment, objections: Objections
) -> DecisionRead | None:
    """Return the recommendation, if it is there within the time that a visitor waits."""
    try:
        async with limit_page_time(request):
            return await objections.decision(action.name, experiment)
    except StillCounting:
        return None


async def _do(
    request: Request,
    visit: Visit,
    experiment: Experiment,
    action: PageAction,
    changes: ExperimentChanges[PhaseService],
    fields: Mapping[str, str],
) -> Response:
    link, places = link_from(request), {"project_id": visit.project.id, "experiment_id": experiment.id}
    if action.name == "freeze":
        work = await _freeze(request, visit, experiment)
    else:
        work = _work_of(action.name, fields, visit.user)

    async def attempt(experiments: PhaseService) -> Any:  # noqa: ANN401  # what the action returns
        return await work(experiments, await experiments.get(str(experiment.id), for_update=True))

    made = await changes.make(attempt)
    if action.name == "delete":
        address = link("show_experiments", project_id=visit.project.id)
    else:
        places |= {"experiment_id": made.id} if isinstance(made, Experiment) else {}
        address = link("show_experiment", **places)
    return RedirectResponse(f"{address}?done={action.name}", status_code=303)


async def _freeze(request: Request, visit: Visit, experiment: Experiment) -> Do:
    """Return the freeze to the persons who are exposed by now: they are counted before its transaction."""
    refuse_to_freeze(experiment)
    frozen_at = utc_now()
    participants = build_participants(get_database(request), request.app.state.materializer, visit.project)
    async with limit_page_time(request):
        distinct_ids = await participants.exposed_distinct_ids(experiment)
    return lambda phases, locked: phases.freeze(locked, distinct_ids, frozen_at, visit.user)


def _work_of(name: str, fields: Mapping[str, str], user: User) -> Do:
    """Return the call of the service that an action is."""
    now = utc_now()
    if name in {"ship", "end", "conclude"}:
        outcome = {
            "conclusion": fields.get("conclusion") or None,
            "conclusion_comment": fields.get("conclusion_comment", "").strip() or None,
        }
        if name == "ship":
            ship = validate(ExperimentShip, {**outcome, "variant_key": fields.get("variant_key", "")})
            return lambda experiments, experiment: experiments.ship_variant(experiment, ship, now, user)
        if name == "end":
            end = validate(ExperimentEnd, outcome)
            return lambda experiments, experiment: experiments.end(experiment, end, now, user)
        change = validate(ExperimentUpdate, outcome)
        return lambda experiments, experiment: experiments.update(experiment, change, user)
    if name == "duplicate":
        asked = {
            field: fields[field].strip() for field in ("name", "feature_flag_key") if fields.get(field, "").strip()
        }
        copy = validate(ExperimentDuplicate, asked)
        return lambda experiments, experiment: experiments.duplicate(experiment, copy, user)
    simple: Mapping[str, Do] = {
        "launch": lambda experiments, experiment: experiments.launch(experiment, user),
        "pause": lambda experiments, experiment: experiments.pause(experiment, user),
        "resume": lambda experiments, experiment: experiments.resume(experiment, user),
        "unfreeze": lambda phases, experiment: phases.unfreeze(experiment, user),
        "reset": lambda experiments, experiment: experiments.reset(experiment, user),
        "archive": lambda experiments, experiment: experiments.archive(experiment, user),
        "unarchive": lambda experiments, experiment: experiments.unarchive(experiment, user),
        "delete": lambda experiments, experiment: experiments.delete(experiment, user),
    }
    return simple[name]


async def _ask(
    request: Request,
    visit: Visit,
    experiment: Experiment,
    action: PageAction,
    *,
    fields: Mapping[str, str],
    decision: DecisionRead | None,
    objection: Objection | None = None,
    refusal: ValidationFailed | None = None,
    status: int = 200,
) -> HTMLResponse:
    return await show(
        request,
        "confirm.html",
        status,
        visit=visit,
        experiment=experiment,
        action=action,
        fields=fields,
        decision=decision,
        objection=objection,
        refusal=refusal,
        recommending=RECOMMENDING,
        is_offered=action in offered(experiment),
        consequences=action.tell_consequences(await load_unit_of(request, visit.project, experiment.feature_flag)),
        variants=variants_of(experiment.feature_flag.filters),
        conclusions=get_args(Conclusion),
    )
