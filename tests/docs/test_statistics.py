"""The example on the page of statistics is what the service computes, and its formulas give the same."""

import json
import math
import re

import pytest

from tests.support.programs import ROOT
from tests.support.service import Service

pytestmark = pytest.mark.one_database

PAGE = (ROOT / "docs/explanation/statistics.md").read_text()
ROW = re.compile(r"^\| .*? \| `(\w+)` \| (-?[\d.]+)(?: to (-?[\d.]+))? \|$", re.MULTILINE)
ALPHA, TUNING = 0.05, 5000


async def test_example_shows_what_analyze_answers(service: Service) -> None:
    [body] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    answer = await service.post("/experiments/analyze/", json.loads(body))
    assert answer.status_code == 200, answer.text
    _, variant = answer.json()["variants"]

    rows = ROW.findall(PAGE)
    assert len(rows) > 10
    for field, low, high in rows:
        shown = [float(low), float(high)] if high else float(low)
        assert shown == pytest.approx(variant[field], abs=5e-5), field

    error = math.sqrt(0.1 * 0.9 / 1000 + 0.13 * 0.87 / 1000)
    rho_squared = (-2 * math.log(ALPHA) + math.log(1 - 2 * math.log(ALPHA))) / TUNING
    k = 2000 * rho_squared + 1
    width = math.sqrt(2 * k / (2000 * rho_squared) * math.log(math.sqrt(k) / ALPHA))
    p_value = math.sqrt(k) * math.exp(-((0.03 / error) ** 2) * (k - 1) / (2 * k))
    assert variant["sequential_interval"] == pytest.approx([0.03 - width * error, 0.03 + width * error])
    assert variant["sequential_p_value"] == pytest.approx(p_value)
    assert all(figure in PAGE for figure in (f"{error:.5f}", f"{rho_squared:.6f}", f"{k:.3f}", f"{width:.3f}"))
