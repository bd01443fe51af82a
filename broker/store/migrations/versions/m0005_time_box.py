"""Time boxes of proposals.

A migration is frozen once released: it repeats the columns on purpose and imports nothing of ours.
"""

from alembic import op
from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKeyConstraint, LargeBinary, Text
from sqlalchemy.schema import SchemaItem

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _columns(*, key: str = "", words: str = "", numbers: str = "", blobs: str = "") -> list[SchemaItem]:
    """Required columns by type, from space-separated names; those of ``key`` are text and part of the primary key."""
    return [
        *(Column(name, Text, primary_key=True, nullable=False) for name in key.split()),
        *(Column(name, Text, nullable=False) for name in words.split()),
        *(Column(name, BigInteger, nullable=False) for name in numbers.split()),
        *(Column(name, LargeBinary, nullable=False) for name in blobs.split()),
    ]


def upgrade() -> None:
    """Make the table where this database holds the part ``state``."""
    if "state" not in op.get_context().opts["parts"]:
        return
    op.create_table(
        "time_box",
        *_columns(key="tenant proposal", words="rule state acknowledged_by code"),
        *_columns(numbers="seconds per_day told_at due acknowledged_at opened_at changed_at"),
        *_columns(blobs="acknowledge told acknowledged_roles"),
        CheckConstraint("state IN ('open', 'counted', 'void')", name="time_box_state"),
        ForeignKeyConstraint(["tenant", "proposal"], ["proposal.tenant", "proposal.id"], name="time_box_of_proposal"),
    )
    op.create_index("time_box_counted", "time_box", ["tenant", "state", "changed_at"])
