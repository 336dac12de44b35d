"""A form that is saved as it was shown leaves everything as the API stored it."""

from typing import Any

import pytest

from tests.pages.conftest import FormFields, Page, Visitor
from tests.pages.test_flags import open_conditions, save_conditions
from tests.pages.test_forms import METRICS, created, shown_fields, submit
from tests.pages.test_project_forms import fields_of
from tests.support.service import FUNNEL, TREND, Service

pytestmark = pytest.mark.one_database

PERSONS: list[dict[str, Any]] = [{"key": "plan", "value": "pro", "type": "person", "operator": "exact"}]
GUARDRAIL: dict[str, Any] = {**METRICS[1], "name": "G", "role": "guardrail", "non_inferiority_margin": 0.01}
SHARED: dict[str, Any] = {"saved_metrics_ids": [{"id": "ours", "metadata": {"type": "primary"}}]}
EXPOSED: dict[str, Any] = {"kind": "ExperimentEventExposureConfig", "event": "opened"}
UNUSUAL: list[dict[str, Any]] = [
    {"name": " Two\nlines ", "description": "\r\nOne\nTwo\r\n Three \n", "metrics": [METRICS[0]]},
    {"description": "", "metrics": [METRICS[0]]},
    {"metrics_secondary": [GUARDRAIL], **SHARED},
    {"metrics": [GUARDRAIL, METRICS[0]], "metrics_secondary": METRICS[2:4]},
    {"filters": {"properties": PERSONS}},
    {"filters": {"properties": PERSONS}, **SHARED},
    {"filters": {"properties": PERSONS}, "metrics_secondary": [METRICS[4]]},
    {
        "filters": FUNNEL,
        "metrics": [METRICS[0]],
        "secondary_metrics": [{"filters": TREND, "goal": "increase"}],
        **SHARED,
    },
    {"decision_criteria": {"goal": "decrease", "target_mde": 0.2}, "metrics": [METRICS[0]]},
    {"decision_criteria": {"goal": "increase"}, "filters": TREND},
    {"exposure_criteria": {"multiple_variant_handling": "exclude"}, "metrics": [METRICS[0]]},
    {"exposure_criteria": {"exposure_config": EXPOSED, "filterTestAccounts": True}, "metrics": [METRICS[0]]},
    {
        "exposure_criteria": {
            "exposure_config": {**EXPOSED, "properties": PERSONS},
            "activation_config": EXPOSED,
            "multiple_variant_handling": "first_seen",
        },
        "metrics": [METRICS[0]],
    },
    {"parameters": {"aggregation_group_type_index": 1}, "metrics": [METRICS[0]]},
    {"stats_config": {"cuped": None, "excluded_variants": []}, "metrics": [METRICS[0]]},
    {"stats_config": {"cuped": {"enabled": False, "lookback_days": 3}, "method": "bayesian"}, "metrics": [METRICS[0]]},
    {"stats_config": {"cuped": {"lookback_days": 7}}, "metrics": [METRICS[0]]},
]


def as_browsers_send(form: dict[str, str]) -> dict[str, str]:
    """Return fields with the line breaks of browsers: none in fields of one line, CR LF in areas."""
    areas = {name for name in form if name == "description" or name.endswith("json")}
    return {name: ("\r\n" if name in areas else "").join(value.splitlines()) for name, value in form.items()}


@pytest.mark.parametrize("fields", UNUSUAL)
async def test_unchanged_form_keeps_what_the_api_stored(
    service: Service, visitor: Visitor, fields: dict[str, Any]
) -> None:
    if "saved_metrics_ids" in fields:
        saved = (await service.post("/experiment_saved_metrics/", {"name": "Shared", "query": METRICS[0]})).json()
        fields = {**fields, "saved_metrics_ids": [{**fields["saved_metrics_ids"][0], "id": saved["id"]}]}
    experiment = await service.create_experiment(**{"filters": {}, **fields})
    form = as_browsers_send(await shown_fields(visitor, experiment))

    after = await created(service, await submit(visitor, form, f"{experiment['id']}/edit/"))

    of_the_change = ("version", "updated_at", "verdict")
    assert {k: v for k, v in after.items() if k not in of_the_change} == {
        k: v for k, v in experiment.items() if k not in of_the_change
    }


async def test_fields_beside_json_say_what_it_says(service: Service, visitor: Visitor) -> None:
    guardrail = {**METRICS[4], "name": "Slow", "goal": "decrease", "role": "guardrail", "non_inferiority_margin": 0.02}
    experiment = await service.create_experiment(metrics_secondary=[guardrail])

    form = await shown_fields(visitor, experiment)

    shown = [form[f"m1_{name}"] for name in ("kind", "name", "goal", "role", "margin")]
    assert shown == ["json", "Slow", "decrease", "guardrail", "2"]
    page = (await visitor.browser.get(f"{visitor.path(experiment)}edit/")).text
    hidden = page.split('<div class="not-json">')[1:]
    assert len(hidden) == 4  # of each metric, before and behind its kind
    assert "m1_name" in hidden[2].partition("</div>")[0]
    assert "m1_role" in hidden[3].partition("</div>")[0]


async def test_start_stays_to_the_microsecond_when_an_end_is_added(service: Service, visitor: Visitor) -> None:
    start = {"start_at": "2199-01-01T09:00:07.500000Z"}
    experiment = await service.create_experiment(start_date=None, end_date=None, scheduling_config=start)
    form = await shown_fields(visitor, experiment)

    later = {**form, "end_at": "2199-02-01T09:00"}
    after = await created(service, await submit(visitor, later, f"{experiment['id']}/edit/"))

    assert after["scheduling_config"] == {**experiment["scheduling_config"], "end_at": "2199-02-01T09:00:00Z"}


LINES = {"key": "note", "value": "one\ntwo", "operator": "icontains", "type": "person"}
RELEASES: list[dict[str, Any]] = [
    {},
    {"rollout_percentage": 33.333333333333336, "variant": None, "description": None},
    {"properties": [LINES, {**LINES, "value": ["a\r\nb"], "operator": "exact"}, {**LINES, "key": "a\nb"}]},
    {"properties": [{**PERSONS[0], "value": [1, True, "x"]}], "variant": "b", "description": " Two\nlines "},
    {"properties": [], "rollout_percentage": 100, "description": "", "sort_key": "kept", "users_affected": 7},
]


async def test_unchanged_conditions_stay_as_the_api_stored_them(service: Service, visitor: Visitor) -> None:
    split = [{"key": key, "rollout_percentage": 50} for key in "ab"]
    filters = {"groups": RELEASES, "multivariate": {"variants": split}, "super_groups": None, "payloads": {"a": "1"}}
    flag = (await service.post("/feature_flags/", {"key": "unusual", "filters": filters})).json()
    _, fields = await open_conditions(visitor, flag)
    lines = [name for name, value in fields.items() if not name.endswith("json") and set("\r\n") & set(value)]

    saved = await save_conditions(visitor, flag, **as_browsers_send(fields), do="save")

    assert saved.status == 303, saved.text
    assert lines == ["g3_description"]
    assert (await service.read(f"/feature_flags/{flag['id']}/"))["filters"] == flag["filters"]


async def test_ramp_that_would_lower_a_running_rollout_is_not_promised(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(end_date=None)
    path = f"{experiment['id']}/edit/"
    usual = {"r0_hours": "0", "r0_share": "5", "r1_hours": "24", "r1_share": "100"}

    refused = await submit(visitor, {**await shown_fields(visitor, experiment), **usual}, path)

    assert refused.status == 400
    assert 'id="error-schedule">A ramp never lowers the share, and 100 % get it already' in refused.response.text
    ramp = [{"after_hours": 0, "rollout_percentage": 5}, {"after_hours": 24, "rollout_percentage": 100}]
    await service.patch(f"/experiments/{experiment['id']}/", {"scheduling_config": {"ramp": ramp}})
    assert "At the start nothing changes: 100% get it already" in (await visitor.look(experiment)).text
    unchanged = await submit(visitor, await shown_fields(visitor, experiment), path)
    assert unchanged.status == 303


@pytest.mark.parametrize("metric", [{**METRICS[0], "role": "secondary"}, METRICS[1], METRICS[4], METRICS[7]])
async def test_unchanged_shared_metric_stays_as_the_api_stored_it(
    service: Service, visitor: Visitor, metric: dict[str, Any]
) -> None:
    body = {"name": "Shared ", "description": "One\nTwo", "query": metric}
    saved = (await service.post("/experiment_saved_metrics/", body)).json()
    path = f"metrics/{saved['id']}/"
    reader = FormFields()
    reader.feed((await visitor.browser.get(f"{visitor.path()}{path}")).text)

    page = await submit(visitor, as_browsers_send(reader.fields), path)

    assert page.status == 303, page.text
    after = await service.read(f"/experiment_saved_metrics/{saved['id']}/")
    assert {**after, "updated_at": None} == {**saved, "updated_at": None}


@pytest.mark.parametrize("text", ['{"non_inferiority_margin": 1' + "0" * 400 + "}", '{"a": ' * 900 + "1" + "}" * 900])
async def test_json_that_is_like_no_metric_is_refused(service: Service, visitor: Visitor, text: str) -> None:
    experiment = await service.create_experiment(filters={}, metrics=[METRICS[0]])
    fields = {**await shown_fields(visitor, experiment), "m0_kind": "json", "m0_json": text}

    assert (await submit(visitor, fields, f"{experiment['id']}/edit/")).status == 400


SPLIT: list[dict[str, Any]] = [
    {"key": "a", "name": " Two\nlines ", "rollout_percentage": 33.333333333333336, "extra": 7},
    {"key": "b"},
]
FLAGS: list[dict[str, Any]] = [
    {"name": " Two\nlines ", "filters": {"groups": RELEASES[:1], "payloads": {"true": {"a": [1]}}}},
    {"filters": {"groups": RELEASES[:2], "multivariate": None, "payloads": {"true": None}}, "active": False},
    {
        "ensure_experience_continuity": True,
        "filters": {
            "groups": RELEASES[:1],
            "multivariate": {"variants": [SPLIT[0], {**SPLIT[1], "rollout_percentage": 66.66666666666666}], "more": 1},
            "payloads": {"a": ' {"b":\n1} ', "b": None},
            "aggregation_group_type_index": None,
        },
    },
]


@pytest.mark.parametrize("body", FLAGS)
async def test_unchanged_flag_stays_as_the_api_stored_it(
    service: Service, visitor: Visitor, body: dict[str, Any]
) -> None:
    created = await service.post("/feature_flags/", {"key": "unusual", **body})
    assert created.status_code == 201, created.text
    await save_unchanged(visitor, f"flags/{created.json()['id']}/edit/")
    assert await service.read(f"/feature_flags/{created.json()['id']}/") == created.json()


CRITERIA: list[dict[str, Any]] = [
    {"is_static": True, "distinct_ids": ["ann"], "description": " Two\nlines "},
    {"filters": {"properties": {"type": "OR", "values": [{"type": "AND", "values": PERSONS}]}}},
    {
        "filters": {
            "properties": {
                "type": "AND",
                "values": [{"type": "OR", "values": PERSONS * 2}, {"type": "AND", "values": PERSONS}],
            }
        }
    },
    {"filters": {"properties": {"plan": "pro"}}},
    {
        "groups": [
            {"properties": [*PERSONS, {"key": "note", "value": "a\nb", "type": "person"}]},
            {"properties": PERSONS},
        ]
    },
    {"filters": {"properties": {"type": "AND", "values": [{**PERSONS[0], "negation": True}, {**PERSONS[0], "x": 1}]}}},
    {},
]


@pytest.mark.parametrize("body", CRITERIA)
async def test_unchanged_cohort_stays_as_the_api_stored_it(
    service: Service, visitor: Visitor, body: dict[str, Any]
) -> None:
    created = await service.post("/cohorts/", {"name": " Some\npersons ", **body})
    assert created.status_code == 201, created.text
    before = await service.read(f"/cohorts/{created.json()['id']}/")
    await save_unchanged(visitor, f"cohorts/{before['id']}/")
    assert await service.read(f"/cohorts/{before['id']}/") == before


async def test_unchanged_holdout_webhook_and_project_stay_as_the_api_stored_them(
    service: Service, visitor: Visitor
) -> None:
    holdout = {"name": " Two\nlines ", "description": "\n", "filters": [{"rollout_percentage": 33.333333333333336}]}
    webhook = {"url": "https://a.example/x?y=z", "events": ["experiment.ended", "experiment.created"]}
    conditions = [*PERSONS, {**PERSONS[0], "type": "event"}, {"key": "note", "value": "a\nb", "type": "person"}]
    kept = {"name": " Two\nlines ", "test_account_filters": conditions, "default_cuped": {"enabled": False}}
    for path, address, body in (
        ("/experiment_holdouts/", "holdouts", holdout),
        ("/experiment_webhooks/", "webhooks", webhook),
    ):
        created = await service.post(path, body)
        assert created.status_code == 201, created.text
        number = created.json()["id"]
        before = await service.read(f"{path}{number}/")
        await save_unchanged(visitor, f"{address}/{number}/")
        after = await service.read(f"{path}{number}/")
        assert {**after, "updated_at": None} == {**before, "updated_at": None}
    for change in (kept, {"default_cuped": None}, {"default_cuped": {"enabled": True, "lookback_days": 3}}):
        assert (await service.patch("/", change)).status_code == 200
        before = await service.read("/")
        await save_unchanged(visitor, "settings/")
        assert {**await service.read("/"), "updated_at": None} == {**before, "updated_at": None}


async def save_unchanged(visitor: Visitor, path: str) -> None:
    """Send a form as a browser sends it that nobody changed."""
    fields = fields_of(Page(await visitor.browser.get(f"{visitor.path()}{path}")))
    page = await submit(visitor, as_browsers_send(fields), path)
    assert page.status == 303, page.text
