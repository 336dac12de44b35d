"""Pages say what they measure, show no figure that says nothing, and tell variants apart."""

import datetime as dt
import re
from typing import Any

import pytest

from app.experiments.scorecard.decision_table import TITLES
from app.pages.actions.catalog import ACTIONS
from app.pages.labels import LABELS, with_labels
from tests.experiments.test_group_experiments import company_experiment, everybody
from tests.pages.conftest import Page, Visitor, send, shown, viewed
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database


async def sold(service: Service, persons: int, **buyers: int) -> Any:
    """Create a funnel experiment in which so many of the persons of each variant buy."""
    experiment = await service.create_experiment()
    for variant, count in buyers.items():
        await send(service, [*shown(persons, variant), *viewed(persons, count, variant)])
    return experiment


async def test_too_few_data_give_no_figures(service: Service, visitor: Visitor) -> None:
    experiment = await sold(service, 40, control=4, test=9)

    decision = await service.read(f"/experiments/{experiment['id']}/decision/")
    page = await visitor.look(experiment)

    assert "There are too few persons for a verdict: each variant needs 100 persons." in decision["summary"]
    assert decision["progress"]["estimated_days_left"] is None
    assert decision["progress"]["precision"] == 0
    assert (
        "control 40 4 not enough data baseline \N{EN DASH} test 40 9 not enough data not enough data to compare"
        in page.text
    )
    assert list(page.charts) == ["exposures", "funnel"]
    verdict = page.text[page.text.index("The verdict by the rule of 2022") :]
    assert "fewer than 100 persons" in verdict
    assert "%" not in verdict


async def test_shares_do_not_fall_below_nothing_nor_rise_above_everyone(service: Service, visitor: Visitor) -> None:
    experiment = await sold(service, 100, control=50, test=5)

    analysis = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"][0]["analysis"]
    page = await visitor.look(experiment)

    test = analysis["variants"][1]
    assert test["relative_sequential_interval"][0] < -1  # of the normal approximation
    [row] = page.charts["differences"]["rows"]
    assert row["anytime"] == [-1.0, test["relative_sequential_interval"][1]]
    assert all(one["band"][0] >= -1 and one["band"][1] <= 1 for one in page.charts["days"]["rows"])
    assert "\N{MINUS SIGN}100.0% to" in page.text


async def test_change_against_nothing_has_no_figures_in_percent(service: Service, visitor: Visitor) -> None:
    experiment = await sold(service, 500, control=0, test=80)

    page = await visitor.look(experiment)

    [row] = re.findall(r"test 500 80 .*? yes", page.text)
    assert "+16 points +12.82 points to +19.30 points" in row
    assert "no change in percent: the baseline is not above 0" in row
    assert "e+" not in page.text
    assert not re.search(r"\+\d[\d,]{3,}", page.text)


async def test_difference_from_a_baseline_below_nothing_is_shown_in_the_unit_of_the_metric(
    service: Service, visitor: Visitor
) -> None:
    profit = {"insight": "TRENDS", "events": [{"id": "sale", "math": "sum", "math_property": "profit"}]}
    experiment = await service.create_experiment(filters=profit)
    for variant, mean in (("control", -2), ("test", 3)):
        profits = [{"profit": mean + n % 2} for n in range(200)]
        at = "2022-11-03T09:00:00Z"
        sales = [event("sale", f"{variant}-{n}", at, variant=variant, properties=one) for n, one in enumerate(profits)]
        await send(service, [*shown(200, variant), *sales])

    text = (await visitor.look(experiment)).text

    assert re.search(r"test 200 700 3\.500 \S+ to \S+ \+5 \+4\.\d+ to \+5\.\d+ no change in percent", text)


async def test_verdict_says_why_the_rule_of_2022_differs(service: Service, visitor: Visitor) -> None:
    experiment = await sold(service, 500, control=50, test=80)
    path = f"/experiments/{experiment['id']}"

    results, decision = await service.read(f"{path}/results/"), await service.read(f"{path}/decision/")
    page = await visitor.look(experiment)

    assert results["significant"]
    assert "The difference is not significant (p = 0.14)." in decision["summary"]
    assert (
        "The rule of 2022 in `results` calls the difference significant, for one look at the end; the rule that "
        "decides here, anytime-valid (p = 0.14), asks for more evidence because it holds however often the data are "
        "looked at."
    ) in decision["summary"]
    assert decision["summary"].replace("`", "") in page.text


async def test_metric_is_said_in_a_sentence_from_its_definition(service: Service, visitor: Visitor) -> None:
    await service.patch("/", {"test_account_filters": [{"key": "staff", "value": "yes", "operator": "is_not"}]})
    large = {"key": "amount", "value": 20, "operator": "gt", "type": "event"}
    paid = {"id": "order", "math": "sum", "math_property": "amount", "properties": [large]}
    fields: dict[str, Any] = {
        "filters": {
            "insight": "FUNNELS",
            "events": [{"id": "visit", "order": 0}, {"id": "order", "custom_name": "Big order", "order": 1}],
            "funnel_window_interval": 3,
            "filter_test_accounts": True,
        },
        "secondary_metrics": [
            {"name": "Revenue", "filters": {"insight": "TRENDS", "events": [paid]}, "goal": "decrease"}
        ],
    }
    funnel = "share of persons with `visit` who went on to `Big order` within 3 days, without test accounts"
    revenue = (
        "sum of `amount` of `order` where `amount` is more than `20`, a mean over exposed persons, from the exposure on"
    )
    started = await service.create_experiment(**fields)
    draft = await service.create_experiment(feature_flag_key="draft", **fields | {"start_date": None, "end_date": None})

    metrics = (await service.read(f"/experiments/{started['id']}/analysis/"))["metrics"]
    pages = [(await visitor.look(one)).text for one in (started, draft)]

    assert [(one["name"], one["measure"]) for one in metrics] == [
        ("Conversion to Big order", funnel),
        ("Revenue", revenue),
    ]
    assert (metrics[1]["mean_name"], metrics[1]["sum_name"]) == ("`amount` per person", "sum of `amount`")
    for text in pages:
        assert f"Target metric: Conversion to Big order The {funnel}.".replace("`", "") in text
        assert f"The {revenue}.".replace("`", "") in text
        assert "less is better" in text
        assert "`" not in text


async def test_twenty_variants_have_marks_of_their_own_and_are_drawn_each_for_itself(
    service: Service, visitor: Visitor
) -> None:
    keys = ["control", *(f"v{number}" for number in range(1, 20))]
    variants = [{"key": key, "rollout_percentage": 5} for key in keys]
    filters = {"groups": [{"properties": [], "rollout_percentage": 100}], "multivariate": {"variants": variants}}
    assert (await service.post("/feature_flags/", {"key": "checkout", "filters": filters})).status_code == 201
    experiment = await service.create_experiment(allow_existing_flag=True)
    await send(service, [one for key in keys for one in (*shown(6, key), *viewed(6, 3, key))])

    page = await visitor.look(experiment)

    [legend] = {
        tuple(re.findall(r'class="swatch v(\d+)".*?<path d="([^"]+)"', part))
        for part in re.findall(r'<ul class="legend".*?</ul>', page.response.text, re.S)
    }
    assert len({(int(place) % 10, shape) for place, shape in legend}) == 20
    assert page.response.text.count('class="card exposures wide"') == 1
    bars = [bar for bar in page.charts["exposures"]["bars"] if bar["day"] == "2022-11-02"]
    assert [(bar["variant"], bar["count"], bar["planned"]) for bar in bars] == [(key, 6, 6.0) for key in keys]


async def test_pictures_are_said_in_a_sentence(service: Service, visitor: Visitor) -> None:
    experiment = await sold(service, 400, control=40, test=120)

    said = dict(
        re.findall(r'<p id="says-(\w+)" class="spoken">(.*?)</p>', (await visitor.look(experiment)).response.text)
    )

    assert said["densities"].startswith("control: 10.2%, probably 7.44% to 13.3%; test: 30.1%, probably")
    assert said["differences"].startswith("Conversion to purchase, test: +200.0%, anytime interval")
    assert said["days"].startswith("From 2022-11-03 to 2022-11-15. At the end: test +200.0%, anytime interval")
    assert said["exposures"] == ("From 2022-11-01 to 2022-11-15: control 400, 50.0% planned; test 400, 50.0% planned.")
    assert said["funnel"].endswith("step 2, purchase, control: 10.0%; step 2, purchase, test: 30.0%.")


async def test_names_are_written_in_their_own_direction(service: Service, visitor: Visitor) -> None:
    name, key = "زر شراء أخضر", "زر"
    variants = [{"key": one, "rollout_percentage": 50} for one in ("control", key)]
    experiment = await service.create_experiment(name=name, parameters={"feature_flag_variants": variants})

    page, listed = await visitor.look(experiment), await visitor.look()

    assert f'<h1 dir="auto">{name}</h1>' in page.response.text
    assert f'<bdi class="key" title="{key}">{key}</bdi>' in page.response.text
    assert re.search(rf'<a [^>]*dir="auto"[^>]*>{name}</a>', listed.response.text)


async def test_long_times_left_are_told_in_years(service: Service) -> None:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=10)
    day = (start + dt.timedelta(days=1)).isoformat()
    experiment = await service.create_experiment(
        start_date=start.isoformat(), end_date=None, decision_criteria={"target_mde": 0.05}
    )
    for variant in ("control", "test"):
        events = [*shown(500, variant), *viewed(500, 60, variant)]
        await send(service, [{**one, "timestamp": day} for one in events])

    decision = await service.read(f"/experiments/{experiment['id']}/decision/")

    assert decision["title"] == TITLES["keep_running"]
    assert re.search(r"Keep it running, for about [3-9] more years at this pace\.$", decision["summary"])


async def test_page_of_an_experiment_on_companies_speaks_of_companies(service: Service, visitor: Visitor) -> None:
    experiment = await company_experiment(service, everybody(), end_date=None, name="For teams")
    drafted = await company_experiment(
        service, [], start_date=None, end_date=None, feature_flag_key="draft", name="Planned"
    )

    page, draft = (await visitor.look(experiment)).text, (await visitor.look(drafted)).text
    asked = Page(await visitor.browser.get(f"{visitor.path(experiment)}do/pause/")).text
    flag = Page(await visitor.browser.get(f"{visitor.path()}flags/{experiment['feature_flag']}/")).text

    assert "each variant needs 100 companies" in page
    assert "Companies analyzed" in page
    assert "The flag gives control, test to companies." in draft
    assert "companies get what they get without it" in asked
    assert "Percentages are of the companies" in flag
    for text in (page, asked, flag.partition(" Code ")[0]):
        assert "person" not in text, re.findall(r".{40}person.{20}", text)


async def test_labels_that_take_the_place_of_names_are_on_pages(service: Service, visitor: Visitor) -> None:
    """A label that is changed in a template would otherwise be looked for in vain."""
    draft = await service.create_experiment(start_date=None, end_date=None, circuit_breakers=[])
    flag = await service.read(f"/feature_flags/{draft['feature_flag']}/")
    await service.patch(f"/feature_flags/{flag['id']}/", {"deleted": True})  # so that the draft cannot be launched
    pages = [
        await visitor.look(draft),
        Page(await visitor.browser.get(f"{visitor.path(draft)}edit/")),
        Page(
            await visitor.browser.get(
                f"{visitor.path(await service.create_experiment(feature_flag_key='other'))}explore/"
            )
        ),
    ]
    shown = " ".join(page.text for page in pages)
    titles = {action.title for action in ACTIONS}

    assert [label for label in LABELS.values() if label not in shown and label not in titles] == []
    assert with_labels("`launch/` refuses it") == "“Launch” refuses it"
    assert with_labels("an event `purchase` of `launch`") == "an event `purchase` of `launch`"
