"""The first tutorial, and the guides whose commands go on in its project, run as they are printed."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.command_line import run_command
from tests.support.programs import ROOT, require, serving

DOCS = ROOT / "docs"


def blocks(page: str, language: str) -> Sequence[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


class Reader:
    """A reader who types what a page shows, in one folder and one environment, and ends at the first failure."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)

    def type(self, *commands: str) -> str:
        script = "".join(commands).replace("curl ", "curl --silent --fail -w '\\n' ")
        command = [require("sh"), "-euc", script.replace(".venv/bin/python", sys.executable)]
        done = subprocess.run(
            command, env=self._environment, cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def answers(self, *commands: str) -> list[Any]:
        return [json.loads(line) for line in self.type(*commands).splitlines()]

    def run(self, program: str) -> list[str]:
        (self._folder / "program.py").write_text(program)
        return self.type(".venv/bin/python program.py\n").splitlines()

    def abacus(self, command: str, *more: str) -> str:
        name, *arguments = shlex.split(command.replace("$ID", self._environment.get("ID", "")))
        status, printed, errors = run_command([*arguments, *more], self._environment)
        assert (Path(name).name, status) == ("abacus", 0), errors
        return printed


def test_tutorial_leads_to_a_shipped_variant_and_guides_go_on_from_there(tmp_path: Path) -> None:
    require("curl")
    environment = {**os.environ, "ABACUS_DATABASE_URL": f"sqlite:///{tmp_path}/abacus.db"}
    serve, create, _secrets, variables, *requests = blocks("tutorial/first-experiment.md", "sh")
    assert serve == "make serve\n"
    made = json.loads(Reader(tmp_path, environment).abacus(create, "--json"))
    names = {"ID": "project_id", "TOKEN": "project_token", "KEY": "personal_api_key"}
    environment |= {name: str(made[field]) for name, field in names.items()}

    with serving(environment, tmp_path, "app.main:create_app") as port:
        address = f"http://127.0.0.1:{port}"
        reader = Reader(tmp_path, {**environment, "URL": address})
        ship_a_variant(reader, tmp_path, [variables.replace("http://127.0.0.1:8000", address), *requests])
        show_variants(reader)
        read_results(reader)
        show_variants_to_groups(reader, variables.replace("http://127.0.0.1:8000", address))
        erase_ann(reader)


def ship_a_variant(reader: Reader, folder: Path, commands: Sequence[str]) -> None:
    [shop] = blocks("tutorial/first-experiment.md", "python")
    (folder / "shop.py").write_text(shop)
    install = ".venv/bin/python -m pip install --quiet posthog\n"
    assert any(install in command for command in commands)

    answers = reader.answers(*(command.replace(install, "") for command in commands))

    created, launched, decision, shipped, flags = answers
    assert (created["id"], created["status"], launched["status"]) == (1, "draft", "running")
    assert (decision["recommendation"], decision["variant_key"]) == ("ship", "test")
    assert (shipped["status"], shipped["conclusion"]) == ("stopped", "won")
    assert flags["flags"]["green-button"]["variant"] == "test"


def show_variants(reader: Reader) -> None:
    page = "how-to/show-a-variant.md"
    [http] = [block for block in blocks(page, "sh") if "curl" in block]
    [python] = blocks(page, "python")

    assert reader.run(python) == ["a green button"]
    flags, stored = reader.answers(http)
    assert (flags["flags"]["green-button"]["variant"], stored) == ("test", {"status": 1})


def read_results(reader: Reader) -> None:
    page = "how-to/read-results.md"
    [python] = blocks(page, "python")
    authorize, *requests = blocks(page, "sh")[0].splitlines(keepends=True)

    decision, analysis = reader.answers(authorize, *requests[:2])
    assert (decision["state"], len(analysis["metrics"])) == ("shipped", 1)
    assert reader.type(authorize, requests[2]).startswith("experiment,")
    assert [line.split()[:2] for line in reader.run(python)] == [["Purchases", "control"], ["Purchases", "test"]]


def show_variants_to_groups(reader: Reader, variables: str) -> None:
    [python], [create] = (blocks("how-to/experiment-on-groups.md", language) for language in ("python", "sh"))

    flag, created, launched = reader.answers(variables, create, 'curl -H "$AUTH" -X POST $EXPERIMENTS/2/launch/\n')
    assert (flag["key"], created["id"], launched["status"]) == ("shared-inbox", 2, "running")
    assert reader.run(python)[0] in {"control", "test"}
    exposures = 'curl -H "$AUTH" $EXPERIMENTS/2/exposures/\n'
    [shown] = reader.answers(variables, exposures)
    assert (shown["unit"], sum(shown["total_exposures"].values())) == ("companies", 1)


def erase_ann(reader: Reader) -> None:
    page = "how-to/erase-a-person.md"
    find, erase, command = blocks(page, "sh")
    [found] = reader.answers(find)
    [person] = found["results"]

    assert f"/persons/{person['id']}/" != "/persons/1/"
    reader.type(find, erase.replace("/persons/1/", f"/persons/{person['id']}/"))
    assert reader.answers(find)[0]["results"] == []
    reader.abacus(command.replace("--distinct-id ann", "--distinct-id customer-1"))
