"""The report of an experiment: its page as one file."""

import re
from typing import Any

import httpx
import pytest

from tests.pages.conftest import Page, Visitor, clear_win
from tests.support.service import Service
from tests.test_cli import abacus

pytestmark = pytest.mark.one_database


async def test_report_is_one_file_that_loads_nothing(
    service: Service, database_url: str, tmp_path: Any, visitor: Visitor
) -> None:
    experiment = await clear_win(service)
    file = tmp_path / "report.html"
    environment = {"ABACUS_DATABASE_URL": database_url, "PATH": ""}

    told = abacus(
        environment, "report", str(experiment["id"]), "--project", str(service.project_id), "--output", str(file)
    )

    report = file.read_text()
    page = await visitor.look(experiment)
    assert "Report written to" in told
    assert re.findall(r'(?:src|action)="', report) == []
    assert re.findall(r'href="(?!#main|data:)', report) == []
    assert report.count("<script>") == 3
    assert "default-src &#39;none&#39;" in report
    assert "'self'" not in re.findall(r'http-equiv="[^"]*" content="([^"]*)"', report)[0].replace(
        "img-src &#39;self", ""
    )
    written = Page(httpx.Response(200, html=report))
    assert written.data == page.data
    assert (await service.read(f"/experiments/{experiment['id']}/decision/"))["summary"] in written.text


async def test_report_of_an_unknown_experiment_is_refused_in_one_line(service: Service, database_url: str) -> None:
    environment = {"ABACUS_DATABASE_URL": database_url, "PATH": ""}

    told = abacus(environment, "report", "999", "--project", str(service.project_id), status=1)

    assert told.strip() == f"abacus: There is no experiment 999 in project {service.project_id}."
