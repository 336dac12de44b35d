"""Pages of an experiment whose flag assigns groups speak of these groups, not of persons."""

import re

import pytest

from tests.pages.conftest import Page, Visitor
from tests.pages.test_forms import FILLED, created, submit
from tests.support.service import Service

pytestmark = pytest.mark.one_database

_PERSONS = re.compile(r"\b(?:persons?|people|users?|everybody)\b", re.IGNORECASE)
_OF_THE_CODE = re.compile(r"the person\W+s id")  # SDKs identify persons, whatever is assigned


async def test_group_experiment_is_made_edited_and_run_without_a_word_of_persons(
    service: Service, visitor: Visitor
) -> None:
    named = {"$group_type": "company", "$group_key": "acme", "$group_set": {"plan": "pro"}}
    await service.capture({"event": "$groupidentify", "distinct_id": "ann", "properties": named})
    fields = {**FILLED, "description": "", "unit": "0", "c0_key": "plan", "c0_operator": "exact", "c0_value": "pro"}
    shown = await submit(visitor, {**fields, "do": "preview", "effect": "5"})

    experiment = await created(service, await submit(visitor, fields))

    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    assert flag["filters"]["aggregation_group_type_index"] == 0
    [group] = flag["filters"]["groups"]
    assert group["properties"] == [
        {"key": "plan", "operator": "exact", "value": ["pro"], "type": "group", "group_type_index": 0}
    ]
    address = visitor.path(experiment)
    draft = [address, f"{address}edit/", f"{address}do/launch/", f"{address}code/"]
    running = [
        address,
        f"{address}edit/",
        f"{address}explore/",
        f"{address}history/",
        *(f"{address}do/{action}/" for action in ("ship", "end", "pause", "reset", "delete", "duplicate", "conclude")),
    ]
    conditions = f"{visitor.path()}flags/{flag['id']}/"
    looked = {"preview": shown.text.replace("persons companies", "")}  # which are offered
    for path in (*draft, conditions, f"{conditions}conditions/"):
        looked[path] = Page(await visitor.browser.get(path)).text
    assert "{" not in looked[f"{address}edit/"]
    await service.post(f"/experiments/{experiment['id']}/launch/", {})
    for path in running:
        looked[f"{path} running"] = Page(await visitor.browser.get(path)).text
    objected = Page(await visitor.browser.post(f"{address}do/reset/", data={}))
    looked["objection"] = objected.text

    found = {path: spoken for path, text in looked.items() if (spoken := _of_persons(text))}

    assert found == {}
    assert "The flag gives control, test to companies." in looked[address]
    assert "Share of companies that do it" in looked[f"{address}edit/"]
    assert "Companies a day" in looked["preview"]
    assert "Companies get its variants right now." in objected.text


async def test_preview_counts_no_persons_for_groups(service: Service, visitor: Visitor) -> None:
    """Events tell how many persons meet the experiment, which says nothing of groups."""
    named = {"$group_type": "company", "$group_key": "acme"}
    await service.capture({"event": "$groupidentify", "distinct_id": "ann", "properties": named})
    fields = {**FILLED, "unit": "0", "met": "$groupidentify", "effect": "5", "do": "preview"}

    groups, persons = await submit(visitor, fields), await submit(visitor, {**fields, "unit": ""})

    assert "Say how large the metric is today." in groups.text
    assert "Recently" not in groups.text
    assert "Recently" in persons.text


def _of_persons(text: str) -> list[str]:
    text = _OF_THE_CODE.sub("", text)
    return [text[max(match.start() - 40, 0) : match.end() + 40] for match in _PERSONS.finditer(text)]
