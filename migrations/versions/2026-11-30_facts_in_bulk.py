"""Facts that are stored in bulk are in the order of persons, and in no index by sequence, on PostgreSQL."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0032"
down_revision: str | None = "0031"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# In the order in which all who read or write facts come to them, so that neither waits for the other for ever.
LOCK = "LOCK TABLE series, fact"
NUMBERED = "CREATE UNIQUE INDEX uq_fact_series_id_sequence ON fact (series_id, sequence) WHERE is_appended"


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.execute(LOCK)
    op.add_column("series", sa.Column("bulk_until", sa.BigInteger(), server_default="0", nullable=False))
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table("fact", table_kwargs={"sqlite_with_rowid": False}) as batch_op:
            batch_op.add_column(sa.Column("is_appended", sa.Boolean(), server_default=sa.true(), nullable=True))
            batch_op.alter_column("value", existing_type=sa.Double(), nullable=True)
        return
    op.create_table(
        "fact_in_bulk",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("variant", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("is_appended", sa.Boolean(), server_default=sa.true(), nullable=True),
    )
    op.execute(
        "INSERT INTO fact_in_bulk SELECT fact.series_id, variant, sequence, person_id, time,"
        " CASE WHEN definition::json ->> 'value_property' IS NOT NULL THEN value END, NULL"
        " FROM fact JOIN series ON series.id = fact.series_id ORDER BY fact.series_id, person_id, sequence"
    )
    op.execute("UPDATE series SET bulk_until = watermark")
    op.drop_table("fact")
    op.rename_table("fact_in_bulk", "fact")
    op.create_index("ix_fact_series_id_person_id", "fact", ["series_id", "person_id"])
    op.execute(NUMBERED)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("UPDATE fact SET value = -9e999 WHERE value IS NULL")
        with op.batch_alter_table("fact", table_kwargs={"sqlite_with_rowid": False}) as batch_op:
            batch_op.drop_column("is_appended")
            batch_op.alter_column("value", existing_type=sa.Double(), nullable=False)
    else:
        op.execute(LOCK)
        op.create_table(
            "fact_by_sequence",
            sa.Column("series_id", sa.Integer(), nullable=False),
            sa.Column("sequence", sa.BigInteger(), nullable=False),
            sa.Column("person_id", sa.BigInteger(), nullable=False),
            sa.Column("time", sa.BigInteger(), nullable=False),
            sa.Column("value", sa.Double(), nullable=False),
            sa.Column("variant", sa.Integer(), nullable=False),
        )
        op.execute(
            "INSERT INTO fact_by_sequence SELECT series_id, sequence, person_id, time,"
            " coalesce(value, '-Infinity'), variant FROM fact ORDER BY series_id, sequence"
        )
        op.drop_table("fact")
        op.rename_table("fact_by_sequence", "fact")
        op.create_primary_key("pk_fact", "fact", ["series_id", "sequence"])
        op.create_index("ix_fact_person_id_series_id", "fact", ["person_id", "series_id"])
    op.drop_column("series", "bulk_until")
