"""The forms that create and edit experiments: what they send is what a client of the API would send."""

import re
from typing import Any

import pytest

from app.accounts.projects.service import AccountService
from app.db.database import Database
from app.db.models import utc_now
from app.pages.editing.documents import DraftReader, blank_fields
from app.pages.editing.metrics import write_filters, write_typed
from tests.pages.conftest import FormFields, Page, Visitor
from tests.support.service import FUNNEL, TREND, Service, event

pytestmark = pytest.mark.one_database

BUY = {"kind": "EventsNode", "event": "purchase"}
FILLED = {
    **blank_fields(),
    "name": "Bigger button",
    "description": "More people buy.",
    "flag_key": "bigger",
    "m0_name": "Purchases",
    "m0_kind": "funnel",
    "m0_step0": "purchase",
    "do": "save",
}


async def submit(visitor: Visitor, fields: dict[str, str], path: str = "new/") -> Page:
    return Page(await visitor.browser.post(f"{visitor.path()}{path}", data=fields))


async def created(service: Service, page: Page) -> Any:
    assert page.status == 303, page.text
    number = page.response.headers["Location"].rstrip("/").rpartition("/")[2]
    return await service.read(f"/experiments/{number}/")


async def test_form_creates_what_the_api_would(service: Service, visitor: Visitor) -> None:
    fields = {
        **FILLED,
        "v1_name": "A big one",
        "v1_share": "30",
        "v2_key": "huge",
        "v2_share": "20",
        "m2_kind": "quantile",
        "m2_event": "purchase",
        "m2_math": "sum",
        "m2_property": "amount",
        "m1_kind": "mean",
        "m1_name": "Refunds",
        "m1_event": "refund",
        "m1_math": "sum",
        "m1_property": "amount",
        "m1_goal": "decrease",
        "m1_role": "guardrail",
        "m1_margin": "2.5",
        "effect": "7.5",
        "preset": "do_no_harm",
    }

    experiment = await created(service, await submit(visitor, fields))

    assert (experiment["status"], experiment["description"]) == ("draft", "More people buy.")
    assert experiment["parameters"]["feature_flag_variants"] == [
        {"key": "control", "rollout_percentage": 50},
        {"key": "test", "rollout_percentage": 30, "name": "A big one"},
        {"key": "huge", "rollout_percentage": 20},
    ]
    [target], [guardrail, median] = experiment["metrics"], experiment["metrics_secondary"]
    assert (median["metric_type"], median["quantile_level"]) == ("quantile", 0.5)
    assert (target["name"], target["metric_type"], target["series"]) == ("Purchases", "funnel", [BUY])
    assert guardrail["source"] == {"kind": "EventsNode", "event": "refund", "math": "sum", "math_property": "amount"}
    assert (guardrail["goal"], guardrail["role"], guardrail["non_inferiority_margin"]) == (
        "decrease",
        "guardrail",
        0.025,
    )
    assert experiment["decision_criteria"] == {
        "target_mde": 0.075,
        "minimum_runtime_days": 7,
        "preset": "do_no_harm",
    }


@pytest.mark.parametrize("kind", [{}, {"m0_kind": "trend_2022", "m0_event": "$pageview", "m0_math": "dau"}])
async def test_conditions_on_persons_are_those_of_the_flag(service: Service, visitor: Visitor, kind: Any) -> None:
    conditions = {"c0_key": "country", "c0_value": "NL, BE", "c1_key": "plan", "c1_operator": "is_set"}

    experiment = await created(service, await submit(visitor, {**FILLED, **kind, **conditions}))

    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    [group] = flag["filters"]["groups"]
    assert [(one["key"], one["operator"], one["value"]) for one in group["properties"]] == [
        ("country", "exact", ["NL", "BE"]),
        ("plan", "is_set", "is_set"),
    ]


async def test_form_uses_a_flag_that_exists(service: Service, visitor: Visitor) -> None:
    split = [{"key": key, "rollout_percentage": 25} for key in "abcd"]
    body = {"key": "bigger", "filters": {"groups": [{}], "multivariate": {"variants": split}}}
    assert (await service.post("/feature_flags/", body)).status_code == 201

    assert (await submit(visitor, FILLED)).status == 400
    experiment = await created(service, await submit(visitor, {**FILLED, "use_existing": "yes"}))

    assert experiment["uses_existing_flag"]
    assert "feature_flag_variants" not in experiment["parameters"]


WRONG: list[tuple[dict[str, str], str]] = [
    ({"name": ""}, "name"),
    ({"flag_key": " "}, "flag_key"),
    ({"v1_share": "40"}, "variants"),
    ({"v1_share": "half"}, "v1_share"),
    ({"v0_key": "a"}, "variants"),
    ({"v1_key": "control"}, "variants"),
    ({"m0_step0": ""}, "m0_step0"),
    ({"m0_kind": "mean", "m0_event": "x", "m0_math": "sum"}, "m0_property"),
    ({"m0_kind": "mean"}, "m0_event"),
    ({"m0_kind": "retention", "m0_event": "x", "m0_from": "9", "m0_until": "3"}, "m0_kind"),
    ({"m0_kind": "json", "m0_json": "{"}, "m0_json"),
    ({"m0_kind": "json", "m0_json": '{"metric_type": "x"}'}, "m0_kind"),
    ({"m0_kind": "funnel_2022"}, "m0_step1"),
    ({"m0_window": "0"}, "m0_window"),
    ({"m1_kind": "mean", "m1_event": ""}, "m1_event"),
    ({"m1_kind": "quantile", "m1_event": "x", "m1_quantile": "150"}, "m1_quantile"),
    ({"m1_kind": "quantile", "m1_event": ""}, "m1_event"),
    ({"m1_kind": "funnel", "m1_step0": "x", "m1_role": "guardrail", "m1_margin": "5000"}, "m1_margin"),
    ({"effect": "-1"}, "effect"),
    ({"effect": "1_0"}, "effect"),
    ({"c0_key": "country"}, "c0_value"),
    ({"level": "150"}, "level"),
    ({"cuped": "yes", "cuped_days": "31"}, "cuped_days"),
    ({"cuped_days": "7"}, "cuped_days"),
    ({"compare_with": "huge"}, "compare_with"),
    ({"start_at": "soon"}, "start_at"),
    ({"start_at": "2020-01-01T00:00"}, "start_at"),
    ({"start_at": "2199-01-02T00:00", "end_at": "2199-01-01T00:00"}, "end_at"),
    ({"r0_hours": "5", "r0_share": "10"}, "r0_hours"),
    ({"r0_hours": "0", "r0_share": "10", "r1_hours": "24", "r1_share": "5"}, "r1_share"),
    ({"r0_hours": "0", "r0_share": "200"}, "r0_share"),
    ({"r0_hours": "0"}, "r0_share"),
    ({"b0_metric": "primary", "b0_threshold": ""}, "b0_threshold"),
    ({"b0_metric": "primary", "b0_threshold": "5", "b0_persons": "0"}, "b0_persons"),
    ({"b0_metric": "gone", "b0_threshold": "5"}, "breakers"),
    ({"s0_id": "7"}, "saved"),
    ({"holdout": "7"}, "holdout"),
]


async def test_errors_stand_beside_their_fields_and_the_input_is_kept(service: Service, visitor: Visitor) -> None:
    for wrong, field in WRONG:
        page = await submit(visitor, {**FILLED, **wrong})

        assert page.status == 400, wrong
        assert f'id="error-{field}"' in page.response.text, (wrong, re.findall(r'id="error-[^"]*"', page.response.text))
        assert "More people buy." in page.response.text, wrong
    assert (await service.read("/experiments/"))["count"] == 0


async def test_taken_key_is_refused_beside_its_field(service: Service, visitor: Visitor) -> None:
    await service.create_experiment(feature_flag_key="bigger")

    page = await submit(visitor, FILLED)

    assert 'id="error-flag_key">There is already a feature flag with this key.' in page.response.text


async def test_rows_are_added_and_removed_without_a_script(visitor: Visitor) -> None:
    more = await submit(visitor, {**FILLED, "do": "add-m"})
    fewer = await submit(visitor, {**FILLED, "v2_key": "huge", "do": "remove-v1"})

    assert 'name="m1_kind"' in more.response.text
    assert "More people buy." in more.response.text
    assert re.findall(r'name="v\d_key" type="text" value="(\w*)"', fewer.response.text) == ["control", "huge"]


async def test_preview_shows_what_a_metric_counts_and_plans(service: Service, visitor: Visitor) -> None:
    now = utc_now().isoformat()
    met = [event("$pageview", f"p{n}", now) for n in range(140)]
    bought = [event("purchase", f"p{n}", now) for n in range(14)]
    await service.capture(*met, *bought, bought[0])

    page = await submit(visitor, {**FILLED, "met": "$pageview", "do": "preview"})

    plan = {"metric_type": "funnel", "baseline": 0.1, "minimum_detectable_effect": 0.1, "relative": True}
    power = (await service.post("/experiments/power/", {**plan, "exposures_per_day": 10})).json()
    size = round(power["recommended_sample_size"])
    assert "purchase: 15 events of 14 persons in the last 14 days" in page.text
    assert f"Planned: {size:,} persons" in page.text
    planned = re.findall(r'name="planned_size" value="([^"]*)"', page.response.text)
    experiment = await created(service, await submit(visitor, {**FILLED, "planned_size": planned[0]}))
    assert experiment["parameters"]["recommended_sample_size"] == size
    assert experiment["parameters"]["minimum_detectable_effect"] == 10


async def test_preview_asks_for_what_a_plan_lacks(visitor: Visitor) -> None:
    page = await submit(visitor, {**FILLED, "do": "preview"})

    assert "no event in the last 14 days" in page.text
    assert "Name the event at which persons meet the experiment" in page.text


async def test_event_names_are_offered(service: Service, visitor: Visitor) -> None:
    await service.capture(event("b", "ann"), event("a", "ann"), event("b", "bob"))

    page = await visitor.browser.get(f"{visitor.path()}new/")

    assert re.findall(r'<option value="(\w)"></option>', page.text) == ["a", "b"]


async def test_names_of_properties_are_offered(service: Service, visitor: Visitor) -> None:
    await service.capture(event("buy", "ann", properties={"amount": 3, "$set": {"plan": "pro"}}))

    page = (await visitor.browser.get(f"{visitor.path()}new/")).text

    offered = {
        name: re.findall(r'value="([^"]*)"', options)
        for name, options in re.findall(r'<datalist id="(\w+)">(.*?)</datalist>', page, re.S)
    }
    assert "amount" in offered["properties"]
    assert "$set" not in offered["properties"]
    assert offered["subject_properties"] == ["plan"]
    assert offered["variants"] == ["control", "test"]


async def test_shared_metric_is_made_and_leads_an_experiment(service: Service, visitor: Visitor) -> None:
    fields = {"name": "Revenue", "m0_kind": "mean", "m0_event": "purchase", "m0_math": "sum"}
    refused = await submit(visitor, fields, "metrics/new/")
    made = await submit(visitor, {**fields, "m0_property": "amount"}, "metrics/new/")

    assert (refused.status, made.status) == (400, 303)
    assert 'id="error-m0_property"' in refused.response.text
    [metric] = (await service.read("/experiment_saved_metrics/"))["results"]
    assert metric["query"]["source"]["math_property"] == "amount"
    shared = {"m0_step0": "", "m0_name": "", "s0_id": str(metric["id"]), "s0_type": "primary"}
    experiment = await created(service, await submit(visitor, {**FILLED, **shared}))
    assert (experiment["metrics"], experiment["saved_metrics_ids"]) == (
        None,
        [{"id": metric["id"], "metadata": {"type": "primary"}}],
    )

    path = f"metrics/{metric['id']}/"
    shown = Page(await visitor.browser.get(f"{visitor.path()}{path}"))
    assert 'value="amount"' in shown.response.text
    seen = {"seen": metric["updated_at"]}
    renamed = await submit(visitor, {**fields, **seen, "name": "Sales", "m0_property": "amount"}, path)
    assert renamed.status == 303
    assert "Sales Average over persons" in Page(await visitor.browser.get(f"{visitor.path()}metrics/")).text
    delete = {"do": "delete", "sure": "yes"}
    delete["seen"] = (await service.read(f"/experiment_saved_metrics/{metric['id']}/"))["updated_at"]
    kept = await submit(visitor, delete, path)
    assert (kept.status, "The metric is counted by the experiment" in kept.text) == (400, True)
    assert 'value="Sales"' in kept.response.text
    assert (await service.delete(f"/experiments/{experiment['id']}/")).status_code == 204
    assert (await submit(visitor, delete, path)).status == 303


METRICS: list[dict[str, Any]] = [
    {"metric_type": "mean", "source": {**BUY, "math": "avg", "math_property": "amount"}, "goal": "decrease"},
    {"metric_type": "funnel", "series": [BUY, {"kind": "EventsNode", "event": "x"}], "conversion_window": 14},
    {"metric_type": "ratio", "numerator": {**BUY, "math": "sum", "math_property": "a"}, "denominator": BUY},
    {
        "metric_type": "retention",
        "start_event": {"kind": "ExperimentExposureNode"},
        "completion_event": BUY,
        "retention_window_start": 1,
        "retention_window_end": 7,
    },
    {"metric_type": "mean", "source": BUY, "upper_bound_percentile": 0.99},
    {"metric_type": "mean", "source": {"kind": "ActionsNode", "id": 7}},
    {"metric_type": "mean", "source": {**BUY, "properties": [{"key": "a", "value": "b"}]}},
    {"metric_type": "mean", "source": BUY, "conversion_window": 2, "conversion_window_unit": "hour"},
    {
        "metric_type": "quantile",
        "quantile_level": 0.9,
        "source": {**BUY, "math": "sum", "math_property": "amount"},
        "ignore_zeros": True,
    },
    {"metric_type": "quantile", "quantile_level": 0.123456789, "source": BUY},
]


@pytest.mark.parametrize("metric", METRICS)
async def test_stored_metric_comes_back_from_the_form_unchanged(
    service: Service, visitor: Visitor, metric: dict[str, Any]
) -> None:
    experiment = await service.create_experiment(filters={}, metrics=[{**metric, "name": "M"}])
    fields = await shown_fields(visitor, experiment)

    page = await submit(visitor, {**fields, "name": "Renamed"}, f"{experiment['id']}/edit/")

    after = await created(service, page)
    assert after["name"] == "Renamed"
    assert after["metrics"][0]["fingerprint"] == experiment["metrics"][0]["fingerprint"]
    assert after["metrics"][0]["uuid"] == experiment["metrics"][0]["uuid"]


@pytest.mark.parametrize(
    ("filters", "kind"),
    [
        (FUNNEL, "funnel_2022"),
        ({**TREND, "events": [{**TREND["events"][0], "math": "dau"}]}, "trend_2022"),  # type: ignore[dict-item]
        ({**TREND, "interval": "week"}, "json_2022"),
    ],
)
async def test_filters_of_2022_come_back_from_the_form_unchanged(
    service: Service, visitor: Visitor, filters: dict[str, Any], kind: str
) -> None:
    person = [{"key": "plan", "value": "pro", "type": "person", "operator": "exact"}]
    secondary = [{"name": "S", "filters": filters, "role": "guardrail"}]
    experiment = await service.create_experiment(
        filters={**filters, "properties": person}, secondary_metrics=secondary, stats_config={"confidence_level": 0.9}
    )
    fields = await shown_fields(visitor, experiment)

    after = await created(service, await submit(visitor, fields, f"{experiment['id']}/edit/"))

    assert write_filters(filters)["kind"] == fields["m0_kind"] == kind
    for name in ("filters", "secondary_metrics", "metrics", "parameters", "stats_config", "decision_criteria"):
        assert after[name] == experiment[name], name


async def shown_fields(visitor: Visitor, experiment: Any) -> dict[str, str]:
    """Return the fields of the form for an experiment, as a browser would send them."""
    page = await visitor.browser.get(f"{visitor.path(experiment)}edit/")
    assert page.status_code == 200
    reader = FormFields()
    reader.feed(page.text)
    return reader.fields


async def test_edit_over_a_change_of_somebody_else_is_refused_and_kept(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(metrics=[METRICS[0]], filters={})
    fields = await shown_fields(visitor, experiment)
    await service.patch(f"/experiments/{experiment['id']}/", {"description": "Theirs"})

    page = await submit(visitor, {**fields, "name": "Mine"}, f"{experiment['id']}/edit/")

    assert page.status == 409
    assert "changed by another person" in page.text
    assert 'value="Mine"' in page.response.text
    assert (await service.read(f"/experiments/{experiment['id']}/"))["description"] == "Theirs"


async def test_forms_are_closed_to_who_may_only_read(service: Service, visitor: Visitor, database: Database) -> None:
    experiment = await service.create_experiment()
    async with database.write() as session:
        _, key = await AccountService(session).create_key(service.email, "Reader", ["experiment:read"])
    await visitor.sign_in(key)

    assert "New experiment" not in (await visitor.look()).text
    for path in ("new/", f"{experiment['id']}/edit/"):
        assert (await visitor.browser.get(f"{visitor.path()}{path}")).status_code == 403
        assert (await submit(visitor, FILLED, path)).status == 403
    assert (await service.read("/experiments/"))["count"] == 1


HOSTILE: list[dict[str, str]] = [
    {},
    {"do": "add-x"},
    {"do": "remove-m999999999999"},
    {"do": "remove-m-1"},
    {"do": "ramp", "r0_hours": "x", "r9_share": "1"},
    {"do": "remove-b0", "b0_metric": "\x00", "s0_id": "\x00", "holdout": "1e400"},
    {"start_at": "\x00", "r0_hours": "1e308", "r0_share": "nan", "b0_metric": "\x00", "b0_threshold": "9e99"},
    {"s0_id": "99999999999", "holdout": "-1", "level": "inf"},
    {"do": "preview", "m0_kind": "json", "m0_json": "[" * 5000},
    {"m99_kind": "mean"},
    {"name": "\x00\ud7ff", "flag_key": "\x00", "m0_event": "\x00"},
    {"m0_window": "1e400", "effect": "nan", "days": "-0"},
    {
        "do": "preview",
        "per_day": "1e308",
        "baseline": "1e308",
        "deviation": "1e308",
        "m0_kind": "mean",
        "m0_event": "x",
    },
    {"do": "preview", "met": "\x00", "m0_step0": "\x00"},
]


async def test_no_field_causes_a_server_error(visitor: Visitor) -> None:
    for fields in HOSTILE:
        page = await submit(visitor, {**FILLED, **fields} if fields else {})

        assert page.status in {200, 303, 400}, fields


def test_what_is_not_said_of_a_metric_is_not_guessed() -> None:
    assert write_typed(METRICS[0] | {"uuid": "0" * 32})["kind"] == "mean"
    reader = DraftReader({"m0_kind": "mean"})
    reader.read_new()
    assert {"name", "flag_key", "variants", "m0_event"} <= reader.errors.keys()
