"""The guides' examples in JavaScript run as they are printed; tests/docs/test_guides.py runs the others."""

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.clients import MODULES
from tests.clients.test_clients import until_told
from tests.support.programs import ROOT, require
from tests.support.service import Service

pytestmark = pytest.mark.clients


def run(page: str, folder: Path, experiment_id: int, service: Service) -> str:
    [program] = re.findall(r"```js\n(.*?)```", (ROOT / "docs/how-to" / page).read_text(), re.DOTALL)
    file = folder / "example.js"
    file.write_text(program.replace("/experiments/1/", f"/experiments/{experiment_id}/"))
    variables = {
        "NODE_PATH": str(MODULES),
        "URL": str(service.client.base_url).rstrip("/"),
        "TOKEN": service.token,
        "ID": str(service.project_id),
        "KEY": service.key,
    }
    done = subprocess.run(
        [require("node"), str(file)], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_examples_show_a_variant_and_read_the_decision(shop: Service, tmp_path: Path) -> None:
    experiment = await shop.create_experiment(
        feature_flag_key="green-button",
        filters={},
        metrics=[{"metric_type": "funnel", "series": [{"kind": "EventsNode", "event": "purchase"}]}],
        start_date="2022-11-01T00:00:00Z",
        end_date=None,
    )

    shown = await asyncio.to_thread(run, "show-a-variant.md", tmp_path, experiment["id"], shop)
    await until_told(shop, {"purchase": 1, "$feature_flag_called": 1})
    decided = await asyncio.to_thread(run, "read-results.md", tmp_path, experiment["id"], shop)

    assert shown in {"a green button", "the button as it was"}
    assert decided.startswith("keep_running null ")
