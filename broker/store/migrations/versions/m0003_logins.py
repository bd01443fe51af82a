"""Who is signed in to the console.

A migration is frozen once released: it repeats the columns on purpose and imports nothing of ours.
"""

from alembic import op
from sqlalchemy import BigInteger, Column, LargeBinary, Text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table where this database holds the part ``state``."""
    if "state" not in op.get_context().opts["parts"]:
        return
    op.create_table(
        "login",
        *(Column(name, Text, primary_key=True, nullable=False) for name in ("tenant", "id")),
        *(Column(name, Text, nullable=False) for name in ("issuer", "subject", "sid")),
        Column("principal", LargeBinary, nullable=False),
        *(Column(name, BigInteger, nullable=False) for name in ("opened_at", "used_at", "expires_at")),
        Column("closed_at", BigInteger),
    )
    op.create_index("login_id", "login", ["id"], unique=True)
    op.create_index("login_of_subject", "login", ["issuer", "subject"])
    op.create_index("login_of_sid", "login", ["issuer", "sid"])
    op.create_index("login_over", "login", ["expires_at"])
