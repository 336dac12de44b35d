"""The analysis of any facts equals that of `analyze` for the same counts."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analysis.count_schemas import AnalyzeRequest
from app.analysis.service import analyze, write_analysis
from app.common.timestamps import to_microseconds
from app.experiments.scorecard.metrics import metric_type_of, variants_of
from app.metrics.aggregation.calendar import ticks
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.samples import SampleMath, count_samples
from app.metrics.facts.columns import FactColumns
from app.statistics.analysis import analyze_metric
from app.statistics.results import AnalysisConfig

pytestmark = pytest.mark.clickhouse

START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)
KEYS = ["control", "test"]

EXPOSURES = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 40), st.integers(1, 2)), max_size=60)
EVENTS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 40), st.sampled_from([1.0, 2.5, -3.0])), max_size=60)


def facts(rows: list[Any], *, with_variants: bool) -> FactColumns:
    number = np.array([row[2] for row in rows], dtype=np.float64)
    return FactColumns(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([to_microseconds(START) + row[1] * 3_600_000_000 for row in rows], dtype=np.int64),
        number.astype(np.int32) if with_variants else np.zeros(len(rows), dtype=np.int32),
        np.full(len(rows), np.nan) if with_variants else number,
        np.arange(len(rows), dtype=np.int64),
    )


@pytest.mark.parametrize("math", ["total", "dau", "sum", "avg"])
@given(exposures=EXPOSURES, events=EVENTS)
def test_facts_are_analyzed_as_their_counts_are(math: SampleMath, exposures: list[Any], events: list[Any]) -> None:
    days = ticks(START, START + dt.timedelta(hours=47), "day", ZoneInfo("UTC"))
    counted = count_samples(
        Ledger.of(facts(exposures, with_variants=True), len(KEYS)).of_variants(len(KEYS)),
        facts(events, with_variants=False),
        days,
        math,
        len(KEYS),
    )
    kind, sums = (
        metric_type_of(math),
        [list(map(float, sums)) for sums in counted.moments(-1)],
    )

    shown = write_analysis(kind, analyze_metric(variants_of(counted, kind, KEYS), AnalysisConfig()))

    counts = [as_sent(math, key, of_variant) for key, of_variant in zip(KEYS, sums, strict=True)]
    request = AnalyzeRequest.model_validate({"metric_type": kind, "variants": counts})
    assert shown == analyze(request)


def as_sent(math: SampleMath, key: str, sums: list[float]) -> dict[str, object]:
    """Return counts as a client would send them."""
    n, total, squares, *rest = sums
    if math == "dau":
        return {"key": key, "success_count": int(total), "failure_count": int(n - total)}
    names = ("denominator_sum", "denominator_sum_squares", "numerator_denominator_sum_product")
    return {
        "key": key,
        "number_of_samples": int(n),
        "sum": total,
        "sum_squares": squares,
        **dict(zip(names, rest, strict=False)),
    }
