"""The guide in a browser: its search works under the content security policy, in light and dark colors."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.pages.test_browser import CHROMIUM, HERE, MODULES
from tests.support.command_line import run_command
from tests.support.guide import build_guide
from tests.support.programs import require, serving

pytestmark = pytest.mark.browser


def test_reader_searches_the_guide_without_another_host_and_axe_finds_nothing(tmp_path: Path) -> None:
    build_guide(tmp_path / "guide")
    environment = {
        **os.environ,
        "ABACUS_DATABASE_URL": f"sqlite:///{tmp_path}/abacus.db",
        "ABACUS_GUIDE_DIRECTORY": str(tmp_path / "guide"),
    }
    assert run_command(["migrate"], environment)[0] == 0
    with serving(environment, tmp_path, "app.main:create_app") as port:
        task = {"address": f"http://127.0.0.1:{port}", "modules": str(MODULES), "chromium": CHROMIUM}
        done = subprocess.run(
            [require("node"), str(HERE / "visit_guide.mjs")],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)

    assert seen["violations"] == []
    assert (seen["complaints"], seen["foreign"], seen["heading"]) == ([], [], "Metrics")
    assert seen["pictures"] == {
        "light": ["peeking-light.svg", "days-light.png"],
        "dark": ["peeking-dark.svg", "days-dark.png"],
    }
    assert seen["backgrounds"]["light"] != seen["backgrounds"]["dark"]
