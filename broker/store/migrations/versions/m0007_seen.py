"""What the log adds up to, whom it is about, and with which key somebody came.

A migration is frozen once released: it repeats the columns on purpose and imports nothing of ours.
"""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and empty the index: it is made anew from the log, with what these need."""
    if "state" not in op.get_context().opts["parts"]:
        return
    op.create_table(
        "log_use",
        Column("tenant", Text, primary_key=True, nullable=False),
        Column("size", Integer, primary_key=True, autoincrement=False, nullable=False),
        Column("at", BigInteger, primary_key=True, autoincrement=False, nullable=False),
        Column("who", Text, primary_key=True, nullable=False),
        Column("model", Text, primary_key=True, nullable=False),
        *(
            Column(name, BigInteger, nullable=False)
            for name in ("actions", "writes", "refusals", "calls", "uncounted", "tokens_in", "tokens_out")
        ),
    )
    op.create_table(
        "log_party",
        Column("tenant", Text, primary_key=True, nullable=False),
        Column("who", Text, primary_key=True, nullable=False),
        *(Column(name, Text, nullable=False) for name in ("name", "kind", "issuer", "roles")),
        *(Column(name, BigInteger, nullable=False) for name in ("first_at", "last_at", "last_seq")),
    )
    op.create_index("log_party_page", "log_party", ["tenant", "last_seq"])
    op.create_index("log_party_of_kind", "log_party", ["tenant", "kind", "last_seq"])
    op.create_index("session_of_agent", "session", ["tenant", "agent", "expires_at"])
    op.add_column("party", Column("key", Text, nullable=False, server_default=""))
    for table in ("log_line", "log_code", "log_tail"):
        op.execute(f"DELETE FROM {table}")  # noqa: S608 - names from the line above
