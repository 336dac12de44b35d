"""The flags that a new experiment may use: an addition to the API of 2022."""

from fastapi import APIRouter
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.experiments.existing_flags.dependencies import ExistingFlagsDep
from app.flags.responses import read_flag
from app.flags.schemas import FlagRead
from app.http.pagination import PaginationDep
from app.http.routing import answer_other_methods
from app.http.schemas import Page

router = APIRouter(
    prefix="/api/projects/{project_id}/experiments", tags=["Experiments"], dependencies=[require_scope("experiment")]
)


@router.get("/eligible_feature_flags/", summary="List flags that an experiment may use")
async def list_eligible_flags(flags: ExistingFlagsDep, pagination: PaginationDep) -> Page[FlagRead]:
    """Return the flags that a new experiment may use with `allow_existing_flag`, newest first.

    They are not deleted, have 2 to 20 variants, and are in no experiment that has not ended.
    """
    count, rows = await flags.page(pagination.limit, pagination.offset)
    return pagination.page(count, [read_flag(flag) for flag in rows])


answer_other_methods(router, Depends(get_project))
