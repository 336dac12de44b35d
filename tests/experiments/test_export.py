"""The figures of an experiment as files."""

import csv
import io
import json
from dataclasses import replace

import httpx
import pytest

from app.common import limits
from tests.accounts.auth.test_scopes import with_scopes
from tests.support.service import FUNNEL, Json, Service, event, exposure

pytestmark = pytest.mark.one_database

TREND: Json = {"insight": "TRENDS", "events": [{"id": "purchase", "type": "events", "order": 0}]}


async def running(service: Service) -> str:
    """Six persons are exposed on two days; half of them convert."""
    events = []
    for number in range(6):
        variant, day = ("control", "test")[number % 2], 2 + number // 4
        person, time = f"p{number}", f"2022-11-0{day}T10:00:00Z"
        events += [
            exposure(person, variant, f"2022-11-0{day}T09:00:00Z"),
            event("$pageview", person, time, variant=variant),
        ]
        if number < 3:
            events.append(event("purchase", person, f"2022-11-0{day}T11:00:00Z", variant=variant))
    await service.capture(*events, exposure("p0", "test", "2022-11-05T09:00:00Z"))
    made = await service.create_experiment(
        name="=HYPERLINK(1)", filters=FUNNEL, secondary_metrics=[{"name": "Sales", "filters": TREND}]
    )
    return f"/experiments/{made['id']}"


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def lines(answer: httpx.Response) -> list[Json]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_results_have_a_row_for_each_variant_of_each_metric(service: Service) -> None:
    path = await running(service)

    table = await service.get(f"{path}/export/")
    found = lines(await service.get(f"{path}/export/", format="ndjson", table="results"))

    analysis = (await service.read(f"{path}/analysis/"))["metrics"]
    assert [(one["metric"], one["variant"]) for one in found] == [
        (metric, variant) for metric in ("primary", "secondary-0") for variant in ("control", "test")
    ]
    of_test = next(one for one in analysis[0]["analysis"]["variants"] if one["key"] == "test")
    assert found[1] == {
        **found[1],
        "experiment": int(path.rpartition("/")[2]),
        "experiment_name": "=HYPERLINK(1)",
        "is_baseline": False,
        "n": of_test["number_of_samples"],
        "sum": of_test["sum"],
        "effect": of_test["delta"],
        "effect_anytime_low": of_test["sequential_interval"] and of_test["sequential_interval"][0],
        "mean_credible_high": of_test["credible_interval"][1],
        "p": of_test["p_value"],
        "chance": of_test["chance_to_win"],
        "significant": of_test["significant"],
    }
    assert found[0]["effect"] is None
    assert (
        table.headers["content-disposition"]
        == f'attachment; filename="experiment-{found[0]["experiment"]}-results.csv"'
    )
    read = rows(table)
    assert [one["variant"] for one in read] == [one["variant"] for one in found]
    assert [float(one["n"]) for one in read] == [one["n"] for one in found]
    assert (read[0]["effect"], read[0]["is_baseline"]) == ("", "true")
    assert float(read[1]["effect"]) == found[1]["effect"] < 0  # a number is no formula


async def test_cells_are_no_formulas(service: Service) -> None:
    path = await running(service)
    await service.capture(exposure("=1+1", "test"), exposure("-2", "test"), exposure("@x", "test"))

    found = rows(await service.get(f"{path}/export/", table="participants"))
    plain = lines(await service.get(f"{path}/export/", table="participants", format="ndjson"))

    assert {one["experiment_name"] for one in found} == {"'=HYPERLINK(1)"}
    assert {one["experiment_name"] for one in plain} == {"=HYPERLINK(1)"}
    assert not [cell for row in found for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    assert ["=1+1"] in [one["distinct_ids"] for one in plain]


async def test_exposures_have_a_row_for_each_variant_and_day(service: Service) -> None:
    path = await running(service)

    found = lines(await service.get(f"{path}/export/", format="ndjson", table="exposures"))

    assert [one["first_exposures"] for one in found if one["variant"] == "test"][:4] == [0, 2, 1, 0]
    assert [one["exposed"] for one in found if one["variant"] == "test"][-1] == 3
    assert {one["variant"] for one in found} == {"control", "test", "$multiple"}


async def test_participants_are_those_of_their_list(service: Service) -> None:
    path = await running(service)
    listed = (await service.read(f"{path}/participants/"))["results"]

    found = lines(await service.get(f"{path}/export/", format="ndjson", table="participants"))
    file = rows(await service.get(f"{path}/participants/", format="csv"))
    several = rows(await service.get(f"{path}/export/", table="participants", variant="$multiple"))

    names = ("person_id", "distinct_ids", "variant", "first_exposure", "variants_seen")
    assert [{name: one[name] for name in names} for one in found] == listed
    assert [json.loads(one["distinct_ids"]) for one in file] == [one["distinct_ids"] for one in listed]
    assert [one["variants_seen"] for one in several] == ['["control", "test"]']


async def test_timeseries_are_those_of_all_metrics_or_of_one(service: Service) -> None:
    path = await running(service)

    everything = lines(await service.get(f"{path}/export/", format="ndjson", table="timeseries"))
    weekly = lines(
        await service.get(f"{path}/export/", format="ndjson", table="timeseries", metric="secondary-0", interval="week")
    )

    series = (await service.read(f"{path}/timeseries_results/"))["timeseries"]
    of_test = [one for one in everything if (one["metric"], one["variant"]) == ("primary", "test")]
    assert [one["day"] for one in of_test] == list(series)
    assert [one["n"] for one in of_test][:3] == [0, 2, 3]
    assert {one["metric"] for one in everything} == {"primary", "secondary-0"}
    assert {one["metric"] for one in weekly} == {"secondary-0"}
    assert len({one["day"] for one in weekly}) == 3


async def test_what_cannot_be_exported_is_refused(service: Service) -> None:
    path = await running(service)
    draft = await service.create_experiment(feature_flag_key="draft", start_date=None, end_date=None)
    unable = await with_scopes(service, "experiment:read")

    for parameters, status, attr in (
        ({"format": "xlsx"}, 404, None),
        ({"format": "json"}, 400, "format"),
        ({"table": "events"}, 400, "table"),
        ({"table": "results", "variant": "test"}, 400, "variant"),
        ({"table": "timeseries", "metric": "primer"}, 400, "metric"),
        ({"table": "timeseries", "interval": "year"}, 400, "interval"),
        ({"table": "participants", "variant": "blue"}, 400, "variant"),
    ):
        answer = await service.get(f"{path}/export/", **parameters)
        assert (answer.status_code, answer.json()["attr"]) == (status, attr), answer.text
    assert (await service.get(f"/experiments/{draft['id']}/export/")).json()["code"] == "no_data"
    assert (await service.get(f"{path}/participants/", format="ndjson")).status_code == 404
    headers = {"Authorization": f"Bearer {unable.key}"}
    for table, status in (("participants", 403), ("results", 200)):
        answer = await service.client.get(f"{service.project}{path}/export/?table={table}", headers=headers)
        assert answer.status_code == status
    accepting = await service.client.get(
        f"{service.project}{path}/export/", headers={"Authorization": f"Bearer {service.key}", "Accept": "text/csv"}
    )
    assert accepting.status_code == 200


async def test_file_has_a_limited_number_of_participants(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await running(service)
    monkeypatch.setattr(limits, "EXPORTED_PERSONS", replace(limits.EXPORTED_PERSONS, value=5))

    refused = await service.get(f"{path}/export/", table="participants")
    taken = await service.get(f"{path}/export/", table="participants", variant="test")

    assert (refused.status_code, refused.json()["detail"]) == (400, limits.EXPORTED_PERSONS.detail)
    assert len(rows(taken)) == 3
