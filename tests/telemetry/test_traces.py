"""Traces, which the framework exports, do not contain query strings."""

import json
import os
from pathlib import Path

from tests.support.command_line import Forked
from tests.support.programs import PATIENCE


def test_trace_contains_the_request_id_but_not_the_query_string(tmp_path: Path) -> None:
    output, errors = tmp_path / "output", tmp_path / "errors"
    process = Forked("tests.telemetry.traced", [f"{tmp_path}/abacus.db"], os.environ, output, errors)

    assert process.wait(PATIENCE) == 0, errors.read_text()
    [[name, attributes]] = json.loads(output.read_text())
    assert name == "GET"
    assert attributes["abacus.request_id"] == "abc"
    assert attributes["http.response.status_code"] == 404
    assert "secret" not in output.read_text()
