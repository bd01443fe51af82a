"""Indexes for pages: the newest incidents, the newest records that are no looks at the gate itself, work by its state.

A migration is frozen once released: it repeats the names on purpose and imports nothing of ours.
"""

from alembic import op
from sqlalchemy import text

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes."""
    if "state" not in op.get_context().opts["parts"]:
        return
    op.create_index("incident_newest", "incident", ["tenant", "opened_at", "id"])
    op.create_index("work_of_state", "work", ["tenant", "state"])
    acts = text("NOT own")
    op.create_index("log_line_acts", "log_line", ["tenant", "seq"], sqlite_where=acts, postgresql_where=acts)
