"""Who takes part in an experiment, and what a person takes part in: additions to the API of 2022."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.params import Depends
from fastapi.responses import StreamingResponse

from app.accounts.auth.dependencies import ProjectDep, get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.common.errors import ValidationFailed
from app.common.timestamps import from_microseconds
from app.experiments.dependencies import DetachedExperimentDep
from app.experiments.export.tables import PARTICIPANTS, participant_row
from app.experiments.participants.dependencies import ParticipantsDep
from app.experiments.participants.schemas import (
    ParticipantPage,
    ParticipantRead,
    ParticipationList,
    ParticipationRead,
)
from app.http.dependencies import get_database
from app.http.files import MEDIA_TYPES, stream_table
from app.http.pagination import LimitText, Links, read_limit
from app.http.routing import AnswersFiles, answer_other_methods
from app.people.directory.dependencies import PersonId, build_directory

router = APIRouter(
    prefix="/api/projects/{project_id}", tags=["Results"], dependencies=[require_scope("person", ANALYTICS)]
)

_LARGEST = 2**63 - 1


@router.get(
    "/experiments/{experiment_id}/participants/",
    summary="List who takes part in an experiment",
    response_model=ParticipantPage,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    dependencies=[Depends(AnswersFiles({"csv": MEDIA_TYPES["csv"]}))],
)
async def list_participants(
    request: Request,
    experiment: DetachedExperimentDep,
    participants: ParticipantsDep,
    format: Annotated[  # noqa: A002  # the documented name
        str | None, Query(description="`json`, the default, or `csv`: a file of everyone, without pages.")
    ] = None,
    variant: Annotated[str | None, Query(description="Only persons of this variant, or of `$multiple`.")] = None,
    limit: LimitText = None,
    cursor: Annotated[str | None, Query(description="The start of a page, as in `next`.")] = None,
) -> ParticipantPage | StreamingResponse:
    """Return the persons that `exposures` counts, with the variants that they were shown, in the order of their ids.

    It shows persons, so the key needs the scope for those.
    """
    if format == "csv":
        rows = (participant_row(experiment, one) async for one in await participants.everyone(experiment, variant))
        return stream_table(f"experiment-{experiment.id}-participants", "csv", PARTICIPANTS, rows)
    page = await participants.page(experiment, variant, _read_cursor(cursor), read_limit(limit))
    return ParticipantPage(
        next=None if page.last is None else Links(request).replacing(cursor=str(page.last)),
        results=[
            ParticipantRead(
                person_id=one.person_id,
                distinct_ids=list(one.distinct_ids),
                variant=one.variant,
                first_exposure=from_microseconds(one.first_exposure),
                variants_seen=list(one.variants),
            )
            for one in page.participants
        ],
    )


@router.get("/persons/{person_id}/experiments/", summary="List the experiments of a person")
async def list_person_experiments(
    request: Request, project: ProjectDep, person_id: PersonId, participants: ParticipantsDep
) -> ParticipationList:
    """Return the experiments that the person was exposed in, and the variants that they were shown, newest first."""
    async with get_database(request).read() as session:  # whose connection nobody else can have while this counts
        person = (await build_directory(session, project.id).get(person_id)).person
    return ParticipationList(
        results=[
            ParticipationRead(
                experiment_id=experiment.id,
                name=experiment.name,
                feature_flag_key=experiment.feature_flag.key,
                variant=one.variant,
                first_exposure=from_microseconds(one.first_exposure),
                variants_seen=list(one.variants),
            )
            for experiment, one in await participants.of_person(person.id)
        ]
    )


def _read_cursor(text: str | None) -> int:
    if not text:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST))):
        raise ValidationFailed("The cursor cannot be read", attr="cursor")
    return min(int(text), _LARGEST)


answer_other_methods(router, Depends(get_project))
