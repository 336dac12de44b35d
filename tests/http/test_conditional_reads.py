"""``If-None-Match``: what the client has already is not sent again, at every address of the private API."""

import pytest

from tests.support.application import PROJECT, operations
from tests.support.one_of_everything import make_objects
from tests.support.service import Service

pytestmark = pytest.mark.one_database

PARAMETERS = {
    f"{PROJECT}groups/": {"group_type_index": "0"},
    f"{PROJECT}experiments/{{experiment_id}}/secondary_results/": {"id": "0"},
}
FILES = {f"{PROJECT}experiments/{{experiment_id}}/export/", f"{PROJECT}imports/{{import_id}}/refused/"}
READS = [
    path
    for (method, path), operation in operations().items()
    if method == "GET" and "security" in operation and path not in FILES
]
# They say when they were computed.
NEVER_THE_SAME = {f"{PROJECT}experiments/{{experiment_id}}/{name}/" for name in ("health", "timeseries_results")}
NEVER_THE_SAME |= {f"{PROJECT}insights/trend/"}


async def test_everything_that_is_read_can_be_read_on_condition(service: Service) -> None:
    ids = {**await make_objects(service, "one"), "organization_id": "@current", "key_id": "1"}
    headers = {"Authorization": f"Bearer {service.key}"}
    answers = 0

    for path in READS:
        address, parameters = path.format_map(ids), PARAMETERS.get(path, {})
        first = await service.client.get(address, params=parameters, headers=headers)
        if first.status_code != 200:  # nothing to compare yet, or no such key
            assert "ETag" not in first.headers, path
            continue
        tag = first.headers["ETag"]
        again = await service.client.get(address, params=parameters, headers={**headers, "If-None-Match": tag})
        other = await service.client.get(address, params=parameters, headers={**headers, "If-None-Match": '"other"'})
        assert other.status_code == 200, path
        if path not in NEVER_THE_SAME:
            answers += 1
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag), path
            assert "Content-Type" not in again.headers

    assert answers > 20


@pytest.mark.parametrize("path", ["/experiments/{id}/", "/experiments/", "/feature_flags/{flag}/"])
async def test_change_is_seen_on_condition(service: Service, path: str) -> None:
    made = await service.create_experiment(end_date=None)
    address = path.format(id=made["id"], flag=made["feature_flag"])
    tag = (await service.get(address)).headers["ETag"]

    await service.post(f"/experiments/{made['id']}/pause/", {})
    changed = await service.request("GET", address, headers={"If-None-Match": tag})

    assert (changed.status_code, changed.headers["ETag"] != tag) == (200, True)
    assert changed.json() == await service.read(address)


@pytest.mark.parametrize(
    ("header", "status"), [("{tag}", 304), ("W/{tag}", 304), ('"a", {tag}', 304), ("*", 304), ('"a"', 200), ("", 200)]
)
async def test_several_tags_weak_tags_and_the_star_are_compared(service: Service, header: str, status: int) -> None:
    tag = (await service.get("/experiments/")).headers["ETag"]

    for method in ("GET", "HEAD"):
        answer = await service.request(method, "/experiments/", headers={"If-None-Match": header.format(tag=tag)})
        assert answer.status_code == status


async def test_tag_that_was_read_guards_a_change(service: Service) -> None:
    made = await service.create_experiment()
    path = f"/experiments/{made['id']}/"
    tag = (await service.get(path)).headers["ETag"]

    changed = await service.request("PATCH", path, json={"name": "New"}, headers={"If-Match": tag})
    late = await service.request("PATCH", path, json={"name": "Late"}, headers={"If-Match": tag})
    read = await service.request("GET", path, headers={"If-None-Match": changed.headers["ETag"]})

    assert (changed.status_code, late.status_code, read.status_code) == (200, 412, 304)
