"""The tutorial's requests, run by a shell as they are printed."""

import json
import os
import re
import subprocess
from pathlib import Path

import httpx

from tests.pages.conftest import Page
from tests.support.command_line import run_command
from tests.support.programs import ROOT, require, serving

TUTORIAL = ROOT / "docs/tutorial/first-verdict.md"


def test_tutorial_leads_to_verdicts_that_agree(tmp_path: Path) -> None:
    require("curl")
    blocks = re.findall(r"```sh\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    [requests] = [block for block in blocks if "curl" in block]
    create = ["project", "create", "--name", "Shop", "--email", "you@example.com", "--json"]
    environment = {**os.environ, "ABACUS_DATABASE_URL": f"sqlite:///{tmp_path}/abacus.db"}
    project = json.loads(run_command(create, environment)[1])
    names = {"ID": "project_id", "TOKEN": "project_token", "KEY": "personal_api_key"}
    variables = {name: str(project[field]) for name, field in names.items()}

    with serving(environment, tmp_path, "app.main:create_app") as port:
        script = requests.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace(
            "curl ", "curl --silent --fail -w '\\n' "
        )
        command = ["sh", "-euc", script]
        done = subprocess.run(command, env={**environment, **variables}, check=True, capture_output=True, text=True)

    run_command(["report", "1", "--project", "1", "--output", str(tmp_path / "report.html")], environment)
    report = Page(httpx.Response(200, html=(tmp_path / "report.html").read_text()))

    user, experiment, stored, events, results, decision = map(json.loads, done.stdout.splitlines())
    assert (user["email"], experiment["id"], stored, len(events["results"])) == ("you@example.com", 1, {"status": 1}, 1)
    assert results["significant"] is True
    assert results["probability"]["test"] > 0.9999
    assert (decision["title"], decision["variant_key"]) == ("Ship it: test", "test")
    assert "22.0% against 10.0% of control" in decision["summary"]
    assert "The rule of 2022" not in decision["summary"]
    assert [bar["name"] for bar in report.charts["funnel"]["bars"]] == ["visit", "visit", "purchase", "purchase"]
    assert decision["summary"] in report.text
    assert "No person was exposed" not in report.text
