"""Rules for all paths: order of checks, trailing slashes, bodies and errors."""

import json

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.common.errors import ParseError, ValidationFailed
from app.experiments.schemas import ExperimentCreate
from app.http.request_body import parse_json, validate
from tests.support.examples import examples
from tests.support.service import FUNNEL, Service

pytestmark = pytest.mark.one_database

REQUIRED = {"name": "Checkout button", "feature_flag_key": "checkout", "filters": FUNNEL}


def refusal(type_: str, code: str, detail: str, attr: str | None = None) -> dict[str, str | None]:
    return {"type": type_, "code": code, "detail": detail, "attr": attr}


NO_ENDPOINT = refusal("invalid_request", "not_found", "Endpoint not found.")
NO_KEY = refusal("authentication_error", "not_authenticated", "Authentication credentials were not provided.")
NO_PROJECT = refusal("invalid_request", "not_found", "Project not found.")
NO_OBJECT = refusal("invalid_request", "not_found", "Not found.")
UNREADABLE = refusal("invalid_request", "parse_error", "JSON parse error - Expecting value: line 1 column 1 (char 0)")


def no_method(method: str) -> dict[str, str | None]:
    return refusal("invalid_request", "method_not_allowed", f'Method "{method}" not allowed.')


@pytest.mark.parametrize(
    ("method", "path", "status", "answer"),
    [
        ("GET", "/api/", 404, NO_ENDPOINT),
        ("POST", "/api/nothing/", 404, NO_ENDPOINT),
        ("GET", "/api/projects/1/nothing/", 404, NO_ENDPOINT),
        ("GET", "/api/projects/1/experiments//", 404, NO_ENDPOINT),
        ("GET", "/api/projects/1/experiments/1//", 404, NO_ENDPOINT),
        ("GET", "/api/projects/1/experiments/1/results/more/", 404, NO_ENDPOINT),
        ("DELETE", "/api/projects/999/experiments/", 401, NO_KEY),
        ("PATCH", "/api/projects/999/experiments/999/", 401, NO_KEY),
        ("POST", "/api/projects/", 401, NO_KEY),
        ("DELETE", "/api/users/@me/", 401, NO_KEY),
        ("DELETE", "/api/projects/999/feature_flags/999/", 401, NO_KEY),
        ("POST", "/api/organizations/@current/members/", 401, NO_KEY),
        ("PUT", "/api/personal_api_keys/999/", 401, NO_KEY),
        ("GET", "/api/personal_api_keys/1/2/", 404, NO_ENDPOINT),
    ],
)
async def test_caller_without_a_key_learns_only_unknown_paths(
    service: Service, method: str, path: str, status: int, answer: object
) -> None:
    response = await service.client.request(method, path, content=b"not JSON")

    assert (response.status_code, response.json()) == (status, answer)


@pytest.mark.parametrize(
    ("method", "path", "status", "answer"),
    [
        ("GET", "/api/nothing/", 404, NO_ENDPOINT),
        ("DELETE", "/api/projects/999/experiments/", 404, NO_PROJECT),
        ("POST", "/api/projects/999/experiments/", 404, NO_PROJECT),
        ("POST", "/api/projects/@current/experiments/999/", 405, no_method("POST")),
        ("GET", "/api/projects/@current/experiments/analyze/", 405, no_method("GET")),
        ("POST", "/api/projects/@current/experiments/analyze/", 400, UNREADABLE),
        ("POST", "/api/projects/999/experiments/power/", 404, NO_PROJECT),
        ("PATCH", "/api/projects/@current/experiments/999/results/", 405, no_method("PATCH")),
        ("POST", "/api/projects/@current/experiments/requires_flag_implementation/", 405, no_method("POST")),
        ("DELETE", "/api/projects/999/", 405, no_method("DELETE")),
        ("PATCH", "/api/projects/@current/experiments/999/", 404, NO_OBJECT),
        ("DELETE", "/api/projects/999/feature_flags/999/", 404, NO_PROJECT),
        ("POST", "/api/projects/@current/feature_flags/999/", 405, no_method("POST")),
        ("PUT", "/api/projects/@current/feature_flags/999/", 404, NO_OBJECT),
        ("POST", "/api/organizations/@me/members/", 405, no_method("POST")),
        ("DELETE", "/api/personal_api_keys/", 405, no_method("DELETE")),
        ("DELETE", "/api/personal_api_keys/999/", 404, NO_OBJECT),
        ("POST", "/api/projects/@current/experiments/", 400, UNREADABLE),
        ("POST", "/api/projects/@current/feature_flags/", 400, UNREADABLE),
        ("POST", "/api/personal_api_keys/", 400, UNREADABLE),
        ("PATCH", "/api/projects/@current/", 400, UNREADABLE),
    ],
)
async def test_path_project_method_object_and_body_are_checked_in_this_order(
    service: Service, method: str, path: str, status: int, answer: object
) -> None:
    headers = {"Authorization": f"Bearer {service.key}", "Content-Type": "application/json"}

    response = await service.client.request(method, path, content=b"not JSON", headers=headers)

    assert (response.status_code, response.json()) == (status, answer)


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/api/projects/@current/experiments/", 200, "GET, POST, HEAD, OPTIONS"),
        ("OPTIONS", "/api/projects/@current/experiments/", 204, "GET, POST, HEAD, OPTIONS"),
        ("DELETE", "/api/projects/@current/experiments/", 405, "GET, POST, HEAD, OPTIONS"),
        ("TRACE", "/api/projects/@current/experiments/", 405, "GET, POST, HEAD, OPTIONS"),
        ("GET", "/api/projects/@current/experiments/1/", 404, "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"),
        ("POST", "/api/projects/@current/experiments/1/", 405, "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"),
        ("OPTIONS", "/api/projects/999/experiments/1/", 404, "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"),
        ("POST", "/api/projects/@current/experiments/1/results/", 405, "GET, HEAD, OPTIONS"),
        ("DELETE", "/api/projects/", 405, "GET, POST, HEAD, OPTIONS"),
        ("PATCH", "/api/projects/@current/", 400, "GET, PATCH, HEAD, OPTIONS"),
        ("GET", "/api/projects/@current/events/", 200, "GET, HEAD, OPTIONS"),
    ],
)
async def test_every_response_lists_the_methods_of_its_path(
    service: Service, method: str, path: str, status: int, allowed: str
) -> None:
    headers = {"Authorization": f"Bearer {service.key}", "Content-Type": "application/json"}
    content = b"[]" if method == "PATCH" else b""
    response = await service.client.request(method, path, headers=headers, content=content)

    assert (response.status_code, response.headers["Allow"]) == (status, allowed)


async def test_caller_without_a_key_learns_only_the_methods(service: Service) -> None:
    response = await service.client.options("/api/projects/@current/experiments/")

    assert (response.status_code, response.json()) == (401, NO_KEY)
    assert response.headers["Allow"] == "GET, POST, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["/experiments/", "/experiments", "/events/", "/experiments/999/", "/nothing/"])
async def test_head_responds_like_get_without_the_body(service: Service, path: str) -> None:
    with_body = await service.get(path)
    without = await service.request("HEAD", path)

    assert (without.status_code, without.content) == (with_body.status_code, b"")
    for name in ("Content-Type", "Content-Length", "Allow"):
        assert without.headers.get(name) == with_body.headers.get(name)


@pytest.mark.parametrize(
    ("accept", "query", "status", "detail"),
    [
        ("text/html", "", 406, "Could not satisfy the request Accept header."),
        ("text/html,application/xml;q=0.9", "", 406, "Could not satisfy the request Accept header."),
        ("", "", 406, "Could not satisfy the request Accept header."),
        ("text/html, application/json;q=0.5", "", 200, None),
        ("application/*", "?format=json", 200, None),
        ("*/*", "?format=json", 200, None),
        ("*/*", "?format=xml", 404, "Not found."),
        ("text/html", "?format=api", 404, "Not found."),
    ],
)
async def test_responses_are_json_or_empty(
    service: Service, accept: str, query: str, status: int, detail: str | None
) -> None:
    response = await service.request("GET", f"/experiments/{query}", headers={"Accept": accept})

    assert response.status_code == status
    assert response.json().get("detail") == detail


async def test_content_negotiation_comes_after_routing_and_before_authentication(service: Service) -> None:
    headers = {"Accept": "text/html"}

    assert (await service.client.get("/api/projects/999/experiments/", headers=headers)).status_code == 406
    assert (await service.client.get("/api/nothing/", headers=headers)).status_code == 404


async def test_trailing_slash_is_optional(service: Service) -> None:
    created = await service.post("/experiments", REQUIRED)
    path = f"/experiments/{created.json()['id']}"

    changed = await service.patch(path, {"name": "New"})

    assert (created.status_code, changed.status_code) == (201, 200)
    assert await service.read(path) == changed.json()
    assert (await service.read("/experiments"))["results"] == [changed.json()]
    assert (await service.read(""))["id"] == service.project_id
    assert (await service.delete(path)).status_code == 204


async def test_responses_are_compact_json_without_escaped_letters(service: Service) -> None:
    response = await service.post("/experiments/", {**REQUIRED, "name": "Größe 😀"})

    assert response.headers["Content-Type"] == "application/json"
    assert '"name":"Größe 😀","description":null,'.encode() in response.content


async def send(service: Service, content: bytes, content_type: str = "application/json") -> httpx.Response:
    headers = {"Content-Type": content_type} if content_type else {}
    return await service.request("POST", "/experiments/", content=content, headers=headers)


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_content_type_of_json_may_name_a_character_set(service: Service, content_type: str) -> None:
    assert (await send(service, json.dumps(REQUIRED).encode(), content_type)).status_code == 201


@pytest.mark.parametrize("content_type", ["text/plain", "application/jsonp", "application/xml", ""])
async def test_body_of_another_type_is_refused(service: Service, content_type: str) -> None:
    response = await send(service, json.dumps(REQUIRED).encode(), content_type)

    detail = f'Unsupported media type "{content_type}" in request.'
    assert response.status_code == 415
    assert response.json() == refusal("invalid_request", "unsupported_media_type", detail)


async def test_empty_body_is_an_empty_object(service: Service) -> None:
    response = await send(service, b"", "")

    assert response.status_code == 400
    assert response.json() == refusal("validation_error", "required", "This field is required.", "name")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"name":}', "Expecting value: line 1 column 9 (char 8)"),
        (b'{"name": "a\nb"}', "Invalid control character at: line 1 column 12 (char 11)"),
        (b'{"name": "\xff"}', "invalid start byte at byte 10"),
        (b'\xef\xbb\xbf{"name": "x"}', "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"),
        ("{}".encode("utf-16"), "invalid start byte at byte 0"),
        (b"{} {}", "Extra data: line 1 column 4 (char 3)"),
        (b"9" * 5000, "a number has too many digits"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_invalid_json_is_refused_with_its_position(body: bytes, detail: str) -> None:
    with pytest.raises(ParseError) as refused:
        parse_json(body)

    assert refused.value.detail == f"JSON parse error - {detail}"


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"[]", "list"), (b'"text"', "str"), (b"5", "int"), (b"NaN", "float"), (b"1e400", "float"), (b"true", "bool")],
)
def test_body_that_is_not_an_object_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        validate(ExperimentCreate, parse_json(body))

    detail = f"Invalid data. Expected a dictionary, but got {kind}."
    assert (refused.value.code, refused.value.detail, refused.value.attr) == ("invalid_input", detail, None)


async def test_null_is_not_a_body(service: Service) -> None:
    response = await send(service, b"null")

    assert response.status_code == 400
    assert response.json() == refusal("validation_error", "null", "No data provided")


@pytest.mark.parametrize(
    ("field", "value", "code", "detail"),
    [
        ("filters", b'{"a": NaN}', "invalid_input", "Value must be valid JSON."),
        ("filters", b'{"a": -Infinity}', "invalid_input", "Value must be valid JSON."),
        ("filters", b'{"a": 1e400}', "invalid_input", "Value must be valid JSON."),
        ("filters", rb'{"a": "\ud800"}', "invalid_input", "Value must be valid JSON."),
        ("filters", rb'{"\u0000": 1}', "invalid_input", "Value must be valid JSON."),
        ("filters", b"[" * 900 + b"]" * 900, "invalid_input", "Value must be valid JSON."),
        ("name", b"NaN", "invalid_input", "Not a valid string."),
        ("name", rb'"\udfff"', "invalid_input", "Not a valid string."),
        ("name", rb'"a\u0000"', "null_characters_not_allowed", "Null characters are not allowed."),
        ("name", b"9" * 4000, "max_length", "Ensure this field has no more than 400 characters."),
    ],
)
def test_unstorable_values_are_refused(field: str, value: bytes, code: str, detail: str) -> None:
    fields = {name: json.dumps(given).encode() for name, given in REQUIRED.items()} | {field: value}
    body = b"{" + b",".join(b'"%s": %s' % (name.encode(), text) for name, text in fields.items()) + b"}"

    with pytest.raises(ValidationFailed) as refused:
        validate(ExperimentCreate, parse_json(body))

    assert (refused.value.code, refused.value.detail, refused.value.attr) == (code, detail, field)


async def test_last_of_repeated_members_counts(service: Service) -> None:
    response = await send(service, json.dumps(REQUIRED).encode()[:-1] + b', "name": [], "name": "Last"}')

    assert (response.status_code, response.json()["name"]) == (201, "Last")


async def test_unstorable_value_of_an_unknown_field_is_ignored(service: Service) -> None:
    response = await send(
        service, json.dumps(REQUIRED).encode()[:-1] + rb', "mine": [NaN, "\ud800"], "\ud800": "\u0000"}'
    )

    assert response.status_code == 201


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(2**63), 0, 50, 100]),
    st.floats(),
    st.text(st.characters(exclude_categories=()), max_size=8),
    st.sampled_from(["", "\0", "control", "test", "2022-11-01T00:00Z", "' OR 1=1 --", "$1", "%s", ":k", "FUNNELS"]),
)
names = st.sampled_from(
    [
        "feature_flag_variants",
        "key",
        "rollout_percentage",
        "properties",
        "type",
        "value",
        "aggregation_group_type_index",
    ]
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
FIELDS = ["name", "description", "start_date", "end_date", "parameters", "secondary_metrics", "filters", "archived"]


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, documents)))
async def test_any_field_value_is_stored_or_refused_with_the_error_body(
    service: Service, changes: dict[str, object]
) -> None:
    created = await send(service, json.dumps({**REQUIRED, **changes}).encode())

    if created.status_code == 201:
        path = f"/experiments/{created.json()['id']}/"
        assert await service.read(path) == created.json()
        assert (await service.delete(path)).status_code == 204
        return
    assert created.status_code == 400
    assert list(created.json()) == ["type", "code", "detail", "attr"]
    assert created.json()["attr"] in {*FIELDS, "key", None}


async def test_every_write_is_documented_with_its_body_and_errors(application: FastAPI) -> None:
    document = application.openapi()

    experiments = "/api/projects/{project_id}/experiments/"
    flags = "/api/projects/{project_id}/feature_flags/"
    bodies = {
        (method, path): operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if path.startswith("/api/") and "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    actions, cohorts = "/api/projects/{project_id}/actions/", "/api/projects/{project_id}/cohorts/"
    persons = "/api/projects/{project_id}/persons/"
    saved_metrics = "/api/projects/{project_id}/experiment_saved_metrics/"
    holdouts = "/api/projects/{project_id}/experiment_holdouts/"
    webhooks = "/api/projects/{project_id}/experiment_webhooks/"
    assert bodies == {
        ("post", webhooks): "WebhookCreate",
        ("patch", f"{webhooks}{{webhook_id}}/"): "WebhookUpdate",
        ("post", actions): "ActionCreate",
        ("put", f"{actions}{{action_id}}/"): "ActionReplace",
        ("patch", f"{actions}{{action_id}}/"): "ActionUpdate",
        ("post", cohorts): "CohortCreate",
        ("put", f"{cohorts}{{cohort_id}}/"): "CohortReplace",
        ("patch", f"{cohorts}{{cohort_id}}/"): "CohortUpdate",
        ("post", experiments): "ExperimentCreate",
        ("post", f"{experiments}analyze/"): "AnalyzeRequest",
        ("post", f"{experiments}power/"): "PowerRequest",
        ("put", f"{experiments}{{experiment_id}}/"): "ExperimentReplace",
        ("patch", f"{experiments}{{experiment_id}}/"): "ExperimentUpdate",
        ("post", f"{experiments}{{experiment_id}}/duplicate/"): "ExperimentDuplicate",
        ("post", f"{experiments}{{experiment_id}}/end/"): "ExperimentEnd",
        ("post", f"{experiments}{{experiment_id}}/ship_variant/"): "ExperimentShip",
        ("post", holdouts): "HoldoutCreate",
        ("patch", f"{holdouts}{{holdout_id}}/"): "HoldoutUpdate",
        ("post", "/api/projects/{project_id}/insights/funnel/"): "FunnelInsightBody",
        ("post", "/api/projects/{project_id}/insights/trend/"): "TrendInsightBody",
        ("post", saved_metrics): "SavedMetricCreate",
        ("patch", f"{saved_metrics}{{saved_metric_id}}/"): "SavedMetricUpdate",
        ("post", flags): "FlagCreate",
        ("put", f"{flags}{{feature_flag_id}}/"): "FlagReplace",
        ("patch", f"{flags}{{feature_flag_id}}/"): "FlagUpdate",
        ("post", f"{persons}bulk_delete/"): "PersonsDeletion",
        ("put", f"{persons}{{person_id}}/"): "PersonUpdate",
        ("patch", f"{persons}{{person_id}}/"): "PersonUpdate",
        ("post", f"{persons}{{person_id}}/update_property/"): "PropertyUpdate",
        ("post", f"{persons}{{person_id}}/delete_property/"): "PropertyDeletion",
        ("post", f"{persons}{{person_id}}/split/"): "PersonSplit",
        ("post", "/api/personal_api_keys/"): "PersonalApiKeyCreate",
        ("post", "/api/projects/"): "ProjectCreate",
        ("patch", "/api/projects/{project_id}/"): "ProjectUpdate",
    }
    for path, operations in document["paths"].items():
        for operation in operations.values() if path.startswith("/api/") else ():
            forms = {
                status: answer["content"]["application/json"]["schema"]["$ref"]
                for status, answer in operation["responses"].items()
                if status >= "400"
            }
            expected = {"400", "401", "403", "404", "405", "406", "408", "413", "415", "429", "503"}
            assert expected <= forms.keys() <= expected | {"409", "412"}
            assert set(forms.values()) == {"#/components/schemas/ErrorBody"}


async def test_every_reference_of_the_document_resolves(client: httpx.AsyncClient) -> None:
    text = (await client.get("/openapi.json")).text

    schemas = json.loads(text)["components"]["schemas"]
    referred = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred <= schemas.keys()
