"""Proofs of possession that counted, so that each serves one request on one replica.

A migration is frozen once released: it repeats the columns on purpose and imports nothing of ours.
"""

from alembic import op
from sqlalchemy import BigInteger, Column, Text

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table where this database holds the part ``state``."""
    if "state" not in op.get_context().opts["parts"]:
        return
    op.create_table(
        "proof_use",
        Column("tenant", Text, primary_key=True, nullable=False),
        Column("id", Text, primary_key=True, nullable=False),
        Column("until", BigInteger, nullable=False),
    )
    op.create_index("proof_use_over", "proof_use", ["until"])
