"""The tutorial of a migration, run as it is printed, beside files as PostHog exports them."""

import gzip
import http.server
import json
import os
import random
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.command_line import run_command
from tests.support.programs import ROOT, require, serving

TUTORIAL = (ROOT / "docs/tutorial/migrate-from-posthog.md").read_text()
OLD = "12345"
VARIANTS = [
    {"key": "control", "name": "", "rollout_percentage": 50},
    {"key": "test", "name": "", "rollout_percentage": 50},
]
FLAG = {
    "id": 901,
    "key": "checkout",
    "name": "Feature Flag for Experiment Checkout button",
    "filters": {
        "groups": [{"variant": None, "properties": [], "rollout_percentage": 100}],
        "payloads": {"test": '"large"'},
        "multivariate": {"variants": VARIANTS},
    },
    "deleted": False,
    "active": True,
    "version": 3,
    "ensure_experience_continuity": False,
    "evaluation_runtime": "all",
    "tags": [],
}
BANNER = {
    **FLAG,
    "id": 902,
    "key": "banner",
    "name": "Banner",
    "filters": {"groups": [{"properties": [], "rollout_percentage": 100}]},
}
EXPERIMENT = {
    "id": 77,
    "name": "Checkout button",
    "description": "A larger button",
    "start_date": "2022-11-01T00:00:00Z",
    "end_date": None,
    "feature_flag_key": "checkout",
    "feature_flag": FLAG,
    "holdout": None,
    "holdout_id": None,
    "exposure_cohort": None,
    "parameters": {"feature_flag_variants": VARIANTS, "minimum_detectable_effect": 30},
    "secondary_metrics": [],
    "saved_metrics": [],
    "saved_metrics_ids": None,
    "filters": {"insight": "FUNNELS", "events": [{"id": "visit", "order": 0}, {"id": "purchase", "order": 1}]},
    "archived": False,
    "deleted": False,
    "created_by": {"id": 1, "uuid": "018e0000-0000-0000-0000-000000000009", "email": "ann@example.com"},
    "created_at": "2022-10-30T12:00:00.000000Z",
    "updated_at": "2022-11-01T00:00:00.000000Z",
    "type": "web",
    "exposure_criteria": {"filterTestAccounts": False},
    "metrics": [],
    "metrics_secondary": [],
    "stats_config": {"method": "bayesian"},
    "conclusion": None,
    "conclusion_comment": None,
    "user_access_level": "editor",
}


def write_exports(folder: Path) -> None:
    """Write events and persons as batch exports do: the purchases of some come under another id of the same person."""
    draw = random.Random(3)
    events, persons = [], []
    for number in range(400):
        variant = ("control", "test")[number % 2]
        person = str(UUID(int=number + 1))
        bought = number % 20 < (2 if variant == "control" else 7)
        told = [("visit", f"person-{number}"), *([("purchase", f"app-{number}")] if bought else [])]
        for hour, (name, distinct_id) in enumerate(told, start=10):
            events.append(
                {
                    "uuid": str(UUID(int=draw.getrandbits(128), version=4)),
                    "event": name,
                    "distinct_id": distinct_id,
                    "person_id": person,
                    "properties": {"$feature/checkout": variant},
                    "person_properties": {"plan": "pro"},
                    "elements_chain": "",
                    "timestamp": f"2022-11-02 {hour}:00:00.000000+00:00",
                    "created_at": f"2022-11-02 {hour}:00:01.000000+00:00",
                    "_inserted_at": f"2022-11-02 {hour}:00:03.000000+00:00",
                }
            )
        for _, distinct_id in told:
            known = {"team_id": 1, "distinct_id": distinct_id, "person_id": person, "properties": {"plan": "pro"}}
            versions = {"person_distinct_id_version": 0, "person_version": 1, "is_deleted": False}
            persons.append({**known, **versions, "created_at": "2022-11-01 00:00:00+00:00"})
    folder.mkdir()
    for name, lines in (("events-1", events[:300]), ("events-2", events[250:]), ("persons", persons)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "manifest.json").write_text(json.dumps({"files": ["events-1.jsonl.gz"]}))


@pytest.fixture
def old_api(tmp_path: Path) -> Iterator[str]:
    """The two lists of the other system's API, served from files."""
    pages = {"feature_flags": [FLAG, BANNER], "experiments": [EXPERIMENT]}
    for name, results in pages.items():
        page = tmp_path / "old/api/projects" / OLD / name
        page.mkdir(parents=True)
        (page / "index.html").write_text(json.dumps({"count": len(results), "next": None, "results": results}))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "old")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_experiments_history_and_sdk_move(tmp_path: Path, old_api: str) -> None:
    shell_program = require("sh")
    require("curl")
    shell = re.findall(r"```sh\n(.*?)```", TUTORIAL, re.DOTALL)
    move, sdk = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    environment = {**os.environ, "ABACUS_DATABASE_URL": f"sqlite:///{tmp_path}/abacus.db"}
    create = ["project", "create", "--name", "Shop", "--email", "you@example.com", "--json"]
    made = json.loads(run_command(create, environment)[1])
    (tmp_path / "move.py").write_text(move)
    write_exports(tmp_path / "export")

    with serving(environment, tmp_path, "app.main:create_app") as port:
        names = {"ID": "project_id", "TOKEN": "project_token", "KEY": "personal_api_key"}
        variables = {name: str(made[field]) for name, field in names.items()}
        variables |= {"POSTHOG": old_api, "OLD": OLD, "POSTHOG_KEY": "phx_old", "API": f"http://127.0.0.1:{port}"}

        def run(script: str) -> str:
            script = script.replace("curl ", "curl --silent --fail -w '\\n' ").replace("python3", sys.executable)
            command = [shell_program, "-euc", script]
            done = subprocess.run(
                command, env={**environment, **variables}, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr + done.stdout
            return done.stdout

        def run_abacus(script: str) -> str:
            files = " ".join(map(str, sorted((tmp_path / "export").iterdir())))
            name, *arguments = shlex.split(script.replace("export/*", files).replace("$ID", variables["ID"]))
            status, output, errors = run_command(arguments, environment)
            assert (name, status) == ("abacus", 0), errors
            return output

        _, lists, moving, trying, importing, comparing = shell
        run(lists)
        assert run(moving).splitlines() == ["moved: Checkout button", "moved: banner"]
        assert (
            run_abacus(trying)
            == run_abacus(importing)
            == ("event,day,events\npurchase,2022-11-02,88\nvisit,2022-11-02,442\n")
        )
        moved, results = map(json.loads, run(comparing).splitlines())
        (tmp_path / "sdk.py").write_text(sdk)
        variant = run("python3 sdk.py").strip()

    assert moved["results"][0]["parameters"]["minimum_detectable_effect"] == 30
    assert counts(results) == {"control": [200, 20], "test": [200, 60]}
    assert variant in {"control", "test"}


def counts(results: Any) -> dict[str, list[int]]:
    return {steps[0]["breakdown_value"][0]: [step["count"] for step in steps] for steps in results["insight"]}
