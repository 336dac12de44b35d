"""Reads the form that changes a flag's rollout and split."""

import math
from collections.abc import Mapping
from typing import Any

from app.flags.filters import JsonDict, groups_of, variants_of
from app.pages.editing.rows import Row, as_json_number


def read_rollout(filters: JsonDict, fields: Mapping[str, str], errors: dict[str, str]) -> JsonDict:
    """Return the filters with the percentages of a form; everything else stays as it is."""
    form = Row(fields, "", errors)
    groups = [_with_share(group, form.number(f"rollout{place}")) for place, group in enumerate(groups_of(filters))]
    shares = [form.number(f"share{place}") for place in range(len(variants_of(filters)))]
    changed: JsonDict = {**filters, "groups": groups}
    if shares and None not in shares:
        multivariate = filters["multivariate"]
        kept = multivariate if isinstance(multivariate, dict) else {}
        variants = [_with_share(one, share) for one, share in zip(variants_of(filters), shares, strict=True)]
        changed["multivariate"] = {**kept, "variants": variants}
        if math.fsum(share or 0 for share in shares) != 100:
            form.refuse("split", "The shares of the variants sum to 100.")
    return changed


def _with_share(part: JsonDict, share: float | None) -> Any:  # noqa: ANN401  # JSON
    """Return a release condition or a variant with a percentage; an empty field leaves it as it is."""
    if share is None or share == part.get("rollout_percentage"):
        return part
    return {**part, "rollout_percentage": as_json_number(share)}
