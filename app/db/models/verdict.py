"""The last verdict on each experiment, which lists show without counting."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models.base import Base, JsonColumn


class ExperimentVerdict(Base):
    """What the data of an experiment said last. A change of the experiment removes it.

    It is no column of the experiment: what was counted of one is kept as long as its row is the same.
    """

    __tablename__ = "experiment_verdict"

    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True)
    document: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)  # null: its data could not be counted
    decided_at: Mapped[dt.datetime]  # when its data were last looked at; the document says when it was formed
