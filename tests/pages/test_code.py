"""The code for a flag does what it says."""

import ast
import json
import shlex

import pytest

from app.pages.code.snippets import write_snippets
from tests.pages.conftest import Page, Visitor
from tests.support.service import Service

pytestmark = pytest.mark.one_database

HOSTILE = "a'b\"c\\n`${x}\u2028"


async def test_code_names_the_token_the_address_and_the_flag(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment()

    page = Page(await visitor.browser.get(f"{visitor.path(experiment)}code/"))

    assert page.status == 200
    for known in ("JavaScript", "React", "Node", "Python", "curl"):
        assert known in page.text
    assert page.text.count(service.token) == 6
    assert "http://abacus.test" in page.text
    assert '=== "test"' in page.text


async def test_commands_of_curl_get_the_variant_and_report_it(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(end_date=None)
    [*_, curl] = write_snippets("http://abacus.test", service.token, "checkout", ["control", "test"])
    asked, reported = [shlex.split(line) for line in curl.code.splitlines() if line.startswith("curl")]

    answer = await service.client.post(asked[-1], json=json.loads(asked[-2]))
    stored = await service.client.post(reported[-1], json=json.loads(reported[-2]))

    assert answer.json()["flags"]["checkout"]["variant"] in {"control", "test"}
    assert stored.status_code == 200
    assert (await service.read(f"/experiments/{experiment['id']}/exposures/"))["accounting"]["exposure_events"] == 1


def test_names_stay_texts_in_every_language() -> None:
    snippets = {one.name: one.code for one in write_snippets("http://h", "phc_x", HOSTILE, ["control", HOSTILE])}

    tree = ast.parse(snippets["Python"])
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert texts.count(HOSTILE) == 2
    assert json.dumps(HOSTILE) in snippets["Node"]
    lines = [line for line in snippets["curl"].splitlines() if line.startswith("curl")]
    assert json.loads(shlex.split(lines[1])[-2])["properties"]["$feature_flag"] == HOSTILE
