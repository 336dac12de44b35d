"""The tutorial's five requests, run by a shell as they are printed."""

import json
import os
import re
import subprocess
from pathlib import Path

from tests.support.command_line import run_command
from tests.support.programs import ROOT, require, serving

TUTORIAL = ROOT / "docs/tutorial/first-verdict.md"


def test_five_requests_lead_to_a_verdict(tmp_path: Path) -> None:
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

    user, experiment, stored, events, results = map(json.loads, done.stdout.splitlines())
    assert (user["email"], experiment["id"], stored, len(events["results"])) == ("you@example.com", 1, {"status": 1}, 1)
    assert results["significant"] is True
    assert {key: f"{value:.5f}" for key, value in results["probability"].items()} == {
        "control": "0.00239",
        "test": "0.99761",
    }
