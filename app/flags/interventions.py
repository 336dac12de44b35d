"""Changes of a flag's filters that are taken back later: frozen to a cohort, held at the baseline, released to more."""

from pydantic import JsonValue

from app.flags.filters import JsonDict, groups_of, variants_of

_HELD = ("groups", "multivariate")


def freeze(filters: JsonDict, cohort_id: int) -> JsonDict:
    """Return the filters whose release conditions ask, each, for a cohort too."""
    condition: JsonDict = {"key": "id", "type": "cohort", "value": cohort_id}
    groups: list[JsonValue] = [
        {**group, "properties": [*_properties(group), condition]} for group in groups_of(filters)
    ]
    return {**filters, "groups": groups}


def unfreeze(filters: JsonDict, cohort_id: int, before: JsonDict) -> JsonDict:
    """Return the filters without the cohort: as they were ``before``, if nothing else was changed since."""
    if groups_of(filters) == groups_of(freeze(before, cohort_id)):
        return {**filters, "groups": before.get("groups")}
    groups: list[JsonValue] = [
        {**group, "properties": [one for one in _properties(group) if not _asks_for(one, cohort_id)]}
        for group in groups_of(filters)
    ]
    return {**filters, "groups": groups}


def is_frozen(filters: JsonDict, cohort_id: int) -> bool:
    """Whether every release condition asks for the cohort."""
    return all(any(_asks_for(one, cohort_id) for one in _properties(group)) for group in groups_of(filters))


def hold(filters: JsonDict, variant_key: str) -> JsonDict:
    """Return the filters that give one variant to everyone whom the flag is released to."""
    variants = [
        {**variant, "rollout_percentage": 100 if variant.get("key") == variant_key else 0}
        for variant in variants_of(filters)
    ]
    groups = [{**group, "variant": variant_key} if group.get("variant") else group for group in groups_of(filters)]
    old = filters.get("multivariate")
    multivariate: JsonDict = {**(old if isinstance(old, dict) else {}), "variants": [*variants]}
    return {**filters, "multivariate": multivariate, "groups": [*groups]}


def release(filters: JsonDict, variant_key: str, before: JsonDict) -> JsonDict:
    """Return the filters as they were ``before`` they were held; what was changed since stays."""
    held = hold(before, variant_key)
    return {**filters, **{name: before[name] for name in _HELD if name in before and filters.get(name) == held[name]}}


def rollout_of(filters: JsonDict) -> float | None:
    """Return the percentage of the only release condition; None where there are several, or none."""
    groups = groups_of(filters)
    if len(groups) != 1:
        return None
    share = groups[0].get("rollout_percentage")
    return float(share) if isinstance(share, int | float) else 100.0


def with_rollout(filters: JsonDict, percentage: float) -> JsonDict:
    """Return the filters with another percentage of the only release condition. Who was released to stays so."""
    [group] = groups_of(filters)
    shown = int(percentage) if percentage == int(percentage) else percentage
    return {**filters, "groups": [{**group, "rollout_percentage": shown}]}


def _properties(group: JsonDict) -> list[JsonValue]:
    properties = group.get("properties")
    return properties if isinstance(properties, list) else []


def _asks_for(condition: JsonValue, cohort_id: int) -> bool:
    return condition == {"key": "id", "type": "cohort", "value": cohort_id}
