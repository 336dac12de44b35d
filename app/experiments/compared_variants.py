"""Which variants of an experiment are compared, and with which one: what ``stats_config`` says about a flag."""

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.flags.filters import CONTROL
from app.metrics.queries.typed.rules import excluded_variants

_SHOWN_CHARACTERS: Final = 40
_LEAST_VARIANTS: Final = 2

Settings = Mapping[str, JsonValue] | None


def compared_variants(keys: Sequence[str], settings: Settings) -> list[str]:
    """Return the variants that are compared, in the order of ``variant_keys``."""
    excluded = excluded_variants(settings)
    return [key for key in keys if key not in excluded]


def baseline_of(keys: Sequence[str], settings: Settings) -> str | None:
    """Return the variant that the others are compared with: the chosen one, or else control, or else the first."""
    chosen = (settings or {}).get("baseline_variant_key")
    if isinstance(chosen, str) and chosen:
        return chosen
    compared = compared_variants(keys, settings)
    return CONTROL if CONTROL in compared else next(iter(compared), None)


def find_exclusion_problem(keys: Sequence[str], settings: Settings) -> str:
    """Return why variants of a flag cannot be excluded as ``stats_config`` says, or an empty text."""
    excluded = excluded_variants(settings)
    if not excluded:
        return ""
    unknown = sorted(excluded - set(keys))
    if unknown:
        shown = ascii(unknown[0])[:_SHOWN_CHARACTERS]
        return f"`excluded_variants`: {shown} is not a variant of the flag: {', '.join(keys)[:400]}."
    baseline = baseline_of(keys, {**(settings or {}), "excluded_variants": []})
    if baseline in excluded:
        return (
            f"`excluded_variants`: {baseline!r} is the baseline, which the others are compared with: choose another "
            "one in `baseline_variant_key` first."
        )
    if len(set(keys) - excluded) < _LEAST_VARIANTS:
        return "`excluded_variants`: at least two variants have to be left."
    return ""


def refuse_impossible_exclusions(keys: Sequence[str], settings: Settings) -> None:
    """Refuse settings that exclude what is not a variant of the flag, the baseline, or too many variants.

    Raises
    ------
    ValidationFailed
        With ``attr`` ``stats_config``.
    """
    if detail := find_exclusion_problem(keys, settings):
        raise ValidationFailed(detail, attr="stats_config")
