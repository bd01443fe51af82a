"""Tool uses of model answers that the gate relayed, so that calls of MCP clients can be held to them.

A migration is frozen once released: it repeats the columns on purpose and imports nothing of ours.
"""

from alembic import op
from sqlalchemy import BigInteger, Column, Text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table where this database holds the part ``state``."""
    if "state" not in op.get_context().opts["parts"]:
        return
    op.create_table(
        "relayed_turn",
        *(Column(name, Text, primary_key=True, nullable=False) for name in ("tenant", "session", "party", "id")),
        Column("tool", Text, nullable=False),
        Column("arguments", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("until", BigInteger, nullable=False),
        Column("used_by", Text, nullable=False),
    )
    op.create_index("relayed_turn_over", "relayed_turn", ["until"])
