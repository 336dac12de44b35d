"""The feature flag endpoints."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import UserDep, get_project, require_scope
from app.accounts.idempotency.dependencies import ONCE, REUSED, KeyedRoute
from app.common.errors import ValidationFailed
from app.db.models import FeatureFlag
from app.flags.dependencies import FlagsDep, LockedFlagDep, get_flag
from app.flags.filters import JsonDict, groups_of
from app.flags.repository import FlagSelection
from app.flags.responses import read_flag
from app.flags.schemas import FlagCreate, FlagRead, FlagReplace, FlagUpdate
from app.http import openapi
from app.http.conditional_requests import IfMatch, answer, entity_tag, refuse_changed, tagged
from app.http.pagination import PaginationDep
from app.http.query_params import read_text
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.schemas import Page
from app.http.strictness import OF_2022, report
from app.http.unknown_names import name_some

router = APIRouter(
    route_class=KeyedRoute,
    prefix="/api/projects/{project_id}/feature_flags",
    tags=["Feature flags"],
    dependencies=[require_scope("feature_flag"), OF_2022],
)


_ACTIVE = {"true": True, "1": True, "false": False, "0": False}
_CHANGED = tagged(FlagRead) | openapi.error_responses(412)
_FIELDS_OF_CONDITIONS = frozenset(
    {
        "properties",
        "rollout_percentage",
        "variant",
        "aggregation_group_type_index",
        # kept for clients, without effect
        "description",
        "sort_key",
        "users_affected",
    }
)


def _write(flag: FeatureFlag) -> bytes:
    return read_flag(flag).model_dump_json().encode()


def _report_ignored(request: Request, filters: JsonDict | None, *, is_change: bool) -> None:
    """Report what has no effect, as in 2022: filters that change nothing, and misspelled fields of release conditions.

    A condition without its percentage or its properties would release the flag to everyone.
    """
    if filters is None:
        return
    if is_change and "groups" not in filters:
        report(request, "Ignored filters without groups: they are replaced as a whole.")
    unknown = {name: None for group in groups_of(filters) for name in group if name not in _FIELDS_OF_CONDITIONS}
    if unknown:
        report(request, f"Ignored unknown fields of release conditions: {name_some(list(unknown))}.")


async def get_unchanged_flag(flag: LockedFlagDep, if_match: IfMatch = None) -> FeatureFlag:
    """The flag, locked against other writers, if its current state has the entity tag in `If-Match`."""
    refuse_changed(entity_tag(_write(flag)), if_match)
    return flag


UnchangedFlagDep = Annotated[FeatureFlag, Depends(get_unchanged_flag)]


async def read_selection(
    search: Annotated[str | None, Query(description="Part of the key or the name.", examples=["checkout"])] = None,
    active: Annotated[
        str | None, Query(description="`true`: only active flags; `false`: only the others.", examples=["true"])
    ] = None,
) -> FlagSelection:
    is_active = _ACTIVE.get((active or "").lower())
    if active and is_active is None:
        raise ValidationFailed(f"active is true or false, got {active[:100]!r}", attr="active")
    return FlagSelection(read_text(search), is_active)


@router.get("/", summary="List feature flags")
async def list_feature_flags(
    flags: FlagsDep, pagination: PaginationDep, selection: Annotated[FlagSelection, Depends(read_selection)]
) -> Page[FlagRead]:
    """Return the project's feature flags that are not deleted, newest first."""
    count, rows = await flags.page(selection, pagination.limit, pagination.offset)
    return pagination.page(count, [read_flag(flag) for flag in rows])


@router.post(
    "/", status_code=201, summary="Create a feature flag", responses=tagged(FlagRead, 201) | REUSED, dependencies=[ONCE]
)
async def create_feature_flag(
    request: Request, user: UserDep, flags: FlagsDep, body: Annotated[FlagCreate, body_of(FlagCreate)]
) -> Response:
    """Create a feature flag. The percentages of its variants, if it has any, must sum to 100.

    An experiment creates its own flag: a flag that is created here cannot be used by an experiment.
    """
    _report_ignored(request, body.filters, is_change=False)
    return answer(_write(await flags.create(body, user)), 201)


@router.get("/{feature_flag_id}/", summary="Retrieve a feature flag", responses=tagged(FlagRead))
async def retrieve_feature_flag(flag: Annotated[FeatureFlag, Depends(get_flag)]) -> Response:
    """Return one feature flag, deleted or not."""
    return answer(_write(flag))


@router.put("/{feature_flag_id}/", summary="Replace a feature flag", responses=_CHANGED)
async def replace_feature_flag(
    request: Request,
    flag: UnchangedFlagDep,
    user: UserDep,
    flags: FlagsDep,
    body: Annotated[FlagReplace, body_of(FlagReplace)],
) -> Response:
    """Change a feature flag as PATCH does. The key is required; other fields that are left out keep their values."""
    _report_ignored(request, body.filters, is_change=True)
    return answer(_write(await flags.update(flag, body, user)))


@router.patch("/{feature_flag_id}/", summary="Change a feature flag", responses=_CHANGED)
async def update_feature_flag(
    request: Request,
    flag: UnchangedFlagDep,
    user: UserDep,
    flags: FlagsDep,
    body: Annotated[FlagUpdate, body_of(FlagUpdate)],
) -> Response:
    """Change the fields that are sent; `filters` are replaced as a whole. `{"deleted": true}` deletes the flag.

    A holdout stays if the new `filters` have neither `holdout` nor `holdout_groups`; `"holdout": null` removes it.

    A flag may be changed while its experiment runs: results are about its current variants. Deleting a flag keeps its
    experiment. `{"deleted": false}` restores the flag, unless another flag has taken its key.
    """
    _report_ignored(request, body.filters, is_change=True)
    return answer(_write(await flags.update(flag, body, user)))


@router.delete("/{feature_flag_id}/", status_code=405, include_in_schema=False, dependencies=[Depends(get_project)])
async def refuse_deletion() -> Response:
    """Refuse without a body, as the 2022 API does: flags are deleted with PATCH."""
    return Response(status_code=405)


answer_other_methods(router, Depends(get_project))
