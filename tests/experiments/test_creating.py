import pytest
from sqlalchemy import update

from app.db.database import Database
from app.db.models import FeatureFlag
from tests.support.service import FUNNEL, Service
from tests.support.stored_experiments import flags, only_flag

pytestmark = pytest.mark.one_database

COUNTRY = {"key": "country", "value": ["NL"], "operator": "exact", "type": "person"}
GROUP = {"key": "plan", "value": "paid", "type": "group", "group_type_index": 0}
DEFAULT_VARIANTS = [
    {"key": "control", "name": "Control Group", "rollout_percentage": 50},
    {"key": "test", "name": "Test Variant", "rollout_percentage": 50},
]
REQUIRED = {"name": "Checkout button", "feature_flag_key": "checkout", "filters": FUNNEL}


def variants(*shares: object) -> dict[str, object]:
    keys = ["control", *(f"test-{number}" for number in range(1, len(shares)))]
    return {
        "feature_flag_variants": [
            {"key": key, "rollout_percentage": share} for key, share in zip(keys, shares, strict=True)
        ]
    }


async def test_experiment_has_the_documented_keys_in_their_order(service: Service) -> None:
    me = await service.client.get("/api/users/@me/", headers={"Authorization": f"Bearer {service.key}"})

    created = await service.create_experiment(description="Larger", start_date="2022-11-01 02:00+02:00", end_date=None)

    author = {key: me.json()[key] for key in ("id", "uuid", "distinct_id", "first_name", "email")}
    expected = {
        "id": created["id"],
        "name": "Checkout button",
        "description": "Larger",
        "start_date": "2022-11-01T00:00:00Z",
        "end_date": None,
        "feature_flag_key": "checkout",
        "feature_flag": created["feature_flag"],
        "parameters": None,
        "secondary_metrics": [],
        "filters": FUNNEL,
        "archived": False,
        "created_by": author,
        "created_at": created["created_at"],
        "updated_at": created["updated_at"],
        "status": "running",
        "conclusion": None,
        "conclusion_comment": None,
        "stats_config": None,
        "decision_criteria": None,
        "metrics": None,
        "metrics_secondary": None,
        "exposure_criteria": None,
        "saved_metrics_ids": None,
        "only_count_matured_users": False,
        "scheduling_config": None,
        "circuit_breakers": None,
        "automatic_actions": None,
        "exposure_freeze": None,
        "baseline_hold": None,
        "holdout_id": None,
        "uses_existing_flag": False,
        "variants": DEFAULT_VARIANTS,
        "allowed_actions": ["pause", "end", "ship_variant", "reset", "freeze_exposure"],
        "verdict": None,
    }
    assert list(created.items()) == list(expected.items())
    assert await service.read(f"/experiments/{created['id']}/") == created


async def test_read_only_fields_are_ignored(service: Service) -> None:
    sent = {"id": 999, "feature_flag": 999, "created_by": 999, "created_at": "2001-01-01T00:00:00Z", "unknown": []}

    created = await service.create_experiment(**sent)

    assert created["id"] != 999
    assert created["feature_flag"] != 999
    assert created["created_by"]["email"] == service.email
    assert created["created_at"] > "2022"
    assert "unknown" not in created


@pytest.mark.parametrize(("start_date", "active"), [(None, False), ("2022-11-01T00:00:00Z", True)])
async def test_flag_of_an_experiment_is_active_once_it_has_started(
    service: Service, database: Database, start_date: str | None, *, active: bool
) -> None:
    created = await service.create_experiment(start_date=start_date)

    assert await only_flag(database, service) == {
        "id": created["feature_flag"],
        "key": "checkout",
        "name": "Feature Flag for Experiment Checkout button",
        "active": active,
        "deleted": False,
        "filters": {
            "groups": [{"properties": [], "rollout_percentage": None}],
            "multivariate": {"variants": DEFAULT_VARIANTS},
        },
    }


@pytest.mark.parametrize(
    ("filters", "participants"),
    [
        ({"properties": [COUNTRY]}, {"groups": [{"properties": [COUNTRY], "rollout_percentage": None}]}),
        ({"properties": None}, {"groups": [{"properties": [], "rollout_percentage": None}]}),
        (
            {"properties": [GROUP], "aggregation_group_type_index": 0},
            {"groups": [{"properties": [GROUP], "rollout_percentage": None}], "aggregation_group_type_index": 0},
        ),
    ],
)
async def test_properties_of_the_filters_are_the_participants(
    service: Service, database: Database, filters: dict[str, object], participants: dict[str, object]
) -> None:
    await service.create_experiment(filters={**FUNNEL, **filters})

    assert (await only_flag(database, service))["filters"] == {
        "multivariate": {"variants": DEFAULT_VARIANTS},
        **participants,
    }


@pytest.mark.parametrize(
    "parameters",
    [variants(100), variants(12.5, 87.5), variants(*[10] * 10), variants(0, 100)],
)
async def test_variants_are_copied_to_the_flag_word_for_word(
    service: Service, database: Database, parameters: dict[str, object]
) -> None:
    await service.create_experiment(parameters=parameters)

    multivariate = (await only_flag(database, service))["filters"]["multivariate"]
    assert multivariate == {"variants": parameters["feature_flag_variants"]}


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        {},
        [],
        {"feature_flag_variants": None},
        {"feature_flag_variants": []},
        {"recommended_sample_size": 1500, "my own": {"deep": [1, 2.5, "é"]}},
    ],
)
async def test_parameters_without_variants_are_kept_and_mean_two_halves(
    service: Service, database: Database, parameters: object
) -> None:
    created = await service.create_experiment(parameters=parameters)

    assert created["parameters"] == parameters
    assert (await only_flag(database, service))["filters"]["multivariate"] == {"variants": DEFAULT_VARIANTS}


NO_FILTERS = "Filters are required to create an Experiment"
PERSONS_ONLY = "Filters are not valid (can only use person and cohort properties)"
GROUPS_ONLY = "Filters are not valid (can only use group properties)"
LEFT_OUT = object()
CONTROL_HALF = {"key": "control", "rollout_percentage": 50}

REFUSED_BODIES = [
    (
        {"parameters": {"feature_flag_variants": [CONTROL_HALF, {"key": " ", "rollout_percentage": 50}]}},
        "invalid_input",
        "Feature flag variants must be a list of objects with key and rollout_percentage",
        "parameters",
    ),
    (
        {"filters": {"properties": [{"key": "a", "type": "person", "operator": "regex", "value": "("}]}},
        "invalid_input",
        "Invalid regular expression '(': missing ): (",
        "filters",
    ),
    ({"name": LEFT_OUT}, "required", "This field is required.", "name"),
    ({"filters": {}}, "invalid_input", NO_FILTERS, None),
    ({"filters": []}, "invalid_input", NO_FILTERS, None),
    ({"filters": ""}, "invalid_input", NO_FILTERS, None),
    ({"filters": LEFT_OUT}, "invalid_input", NO_FILTERS, None),
    (
        {"feature_flag_key": "x" * 401},
        "max_length",
        "Ensure this field has no more than 400 characters.",
        "feature_flag_key",
    ),
    (
        {"filters": {"properties": [{"key": "country", "value": "NL"}]}},
        "invalid_input",
        PERSONS_ONLY,
        "filters",
    ),
    ({"filters": {"properties": [COUNTRY, GROUP]}}, "invalid_input", PERSONS_ONLY, "filters"),
    (
        {"filters": {"properties": [COUNTRY], "aggregation_group_type_index": 0}},
        "invalid_input",
        GROUPS_ONLY,
        "filters",
    ),
    (
        {"filters": {"properties": [GROUP], "aggregation_group_type_index": 1}},
        "invalid_input",
        GROUPS_ONLY,
        "filters",
    ),
    (
        {"filters": {"properties": [{"key": "id", "value": 555, "type": "cohort"}]}},
        "cohort_does_not_exist",
        "Cohort with id 555 does not exist",
        "filters",
    ),
    (
        {"parameters": variants(50, 49)},
        "invalid_input",
        "Invalid variant definitions: Variant rollout percentages must sum to 100.",
        None,
    ),
]


@pytest.mark.parametrize(("changes", "code", "detail", "attr"), REFUSED_BODIES)
async def test_refused_experiment_leaves_no_flag(
    service: Service, database: Database, changes: dict[str, object], code: str, detail: str, attr: str | None
) -> None:
    body = {name: given for name, given in {**REQUIRED, **changes}.items() if given is not LEFT_OUT}

    response = await service.post("/experiments/", body)

    assert response.status_code == 400
    assert response.json() == {"type": "validation_error", "code": code, "detail": detail, "attr": attr}
    assert not await flags(database, service)


@pytest.mark.each_database
async def test_documents_are_kept_as_they_were_sent(service: Service) -> None:
    document = {**FUNNEL, "emoji 😀": "\u202eRTL", "": None, "large": 10**4000, "small": -1e-300, "$ref": [[], {}]}

    created = await service.create_experiment(filters=document, secondary_metrics=document, parameters=document)

    assert [created[name] for name in ("filters", "secondary_metrics", "parameters")] == [document] * 3


async def test_taken_key_is_refused(service: Service) -> None:
    await service.create_experiment()

    response = await service.post("/experiments/", {**REQUIRED, "name": "Another"})

    assert response.status_code == 400
    assert response.json() == {
        "type": "validation_error",
        "code": "unique",
        "detail": "There is already a feature flag with this key.",
        "attr": "feature_flag_key",
    }
    assert (await service.read("/experiments/"))["count"] == 1


@pytest.mark.each_database
async def test_keys_differ_by_case(service: Service) -> None:
    await service.create_experiment(feature_flag_key="checkout")

    assert (await service.create_experiment(feature_flag_key="Checkout"))["feature_flag_key"] == "Checkout"


@pytest.mark.parametrize("key", ["check out", "check\tout", "check\u00a0out"])
async def test_key_with_blanks_is_refused_under_the_name_that_was_sent(
    service: Service, database: Database, key: str
) -> None:
    body = {"name": "Checkout", "filters": FUNNEL, "feature_flag_key": key}
    refused = await service.post("/experiments/", body)
    of_flag = await service.post("/feature_flags/", {"key": key})

    assert [(one.status_code, one.json()["attr"]) for one in (refused, of_flag)] == [
        (400, "feature_flag_key"),
        (400, "key"),
    ]
    older = await service.create_experiment()
    async with database.write() as session:
        await session.execute(update(FeatureFlag).where(FeatureFlag.id == older["feature_flag"]).values(key=key))
    kept = await service.patch(f"/feature_flags/{older['feature_flag']}/", {"key": key, "active": False})
    copied = await service.post(f"/experiments/{older['id']}/duplicate/", {})
    assert (kept.status_code, copied.json()["feature_flag_key"]) == (200, "check-out-copy")
