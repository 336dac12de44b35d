"""Says what an experiment's metrics measure, from their definitions alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.common.nouns import GROUPS
from app.db.models import Experiment
from app.experiments.scorecard.metrics import person_level_math
from app.metrics.aggregation.samples import SampleMath
from app.metrics.queries.entities import Filters
from app.metrics.queries.models import FunnelQuery, TrendQuery
from app.metrics.queries.parsing import filters_test_accounts, read_insight
from app.metrics.queries.scope import ExperimentScope
from app.metrics.queries.service import MetricQueryBuilder
from app.metrics.queries.typed.reading import TypedQuery, parse_criteria
from app.metrics.queries.typed.wording import describe_typed
from app.metrics.queries.wording import MetricWording, describe_funnel, describe_trend


@dataclass(frozen=True)
class MetricDescriber:
    """Describes the metrics of one experiment; ``unit`` is what it compares, in the plural."""

    queries: MetricQueryBuilder
    experiment: Experiment
    scope: ExperimentScope
    unit: str

    async def describe(self, filters: Filters, typed: Mapping[str, JsonValue] | None) -> MetricWording | None:
        """Return what a metric measures, of 2022 or typed; None where it cannot be read or compared."""
        try:
            if typed is not None:
                return self.typed(await self.queries.typed(typed, self.experiment))
            if not filters:
                return None
            if read_insight(filters) != "TRENDS":
                funnel = await self.queries.funnel(filters)
                return self.funnel(funnel, filters) if funnel.steps else None
            trend = await self.queries.trend(filters)
            math = None if trend is None else person_level_math(trend, self.scope)
            return None if trend is None or math is None else self.trend(trend, math, filters)
        except ValidationFailed:  # which the metric's own problem says
            return None

    def typed(self, query: TypedQuery) -> MetricWording:
        leaves_out = parse_criteria(self.experiment.exposure_criteria).filterTestAccounts
        return describe_typed(query.metric, self.unit, leaves_out=leaves_out and self.queries.knows_test_accounts)

    def funnel(self, query: FunnelQuery, filters: Filters) -> MetricWording:
        leaves_out = self._leaves_out(filters)
        is_of_other_groups = query.group_type_index not in (None, self.scope.group_type_index)
        unit = GROUPS if is_of_other_groups else self.unit
        return describe_funnel(query, unit, self.scope.attributed_by, leaves_out=leaves_out)

    def trend(self, query: TrendQuery, math: SampleMath, filters: Filters) -> MetricWording:
        return describe_trend(query, math, self.unit, leaves_out=self._leaves_out(filters))

    def _leaves_out(self, filters: Filters) -> bool:
        return filters_test_accounts(filters) and self.queries.knows_test_accounts
