"""People's authenticators, and break-glass.

A migration is frozen once released: it repeats the columns on purpose and imports nothing of ours.
"""

from alembic import op
from sqlalchemy import BigInteger, CheckConstraint, Column, LargeBinary, Text, text
from sqlalchemy.schema import SchemaItem

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATES = "'waiting', 'open', 'over', 'reviewed', 'dropped'"
LIVE = "state IN ('waiting', 'open')"
OWED = "state IN ('waiting', 'open', 'over')"


def _columns(*, words: str = "", numbers: str = "", blobs: str = "") -> list[SchemaItem]:
    """Required columns by type, from space-separated names, behind the key of tenant and id."""
    return [
        *(Column(name, Text, primary_key=True, nullable=False) for name in ("tenant", "id")),
        *(Column(name, Text, nullable=False) for name in words.split()),
        *(Column(name, BigInteger, nullable=False) for name in numbers.split()),
        *(Column(name, LargeBinary, nullable=False) for name in blobs.split()),
    ]


def upgrade() -> None:
    """Make the tables where this database holds the part ``state``."""
    if "state" not in op.get_context().opts["parts"]:
        return
    op.create_table(
        "authenticator",
        *_columns(
            words="party aaguid confirmed_by removed_by",
            numbers="sign_count created_at confirmed_at used_at removed_at",
            blobs="public_key transports",
        ),
        CheckConstraint("sign_count >= 0", name="authenticator_sign_count"),
        CheckConstraint("confirmed_by <> party", name="authenticator_two_people"),
    )
    op.create_index("authenticator_of_party", "authenticator", ["tenant", "party"])
    op.create_table("signature_use", *_columns(words="authenticator approval", numbers="at"))
    op.create_table(
        "breakglass",
        *_columns(
            words="state opened_by confirmed_by ended_by reviewed_by",
            numbers="seconds opened_at confirm_until until ended_at review_due reviewed_at",
            blobs="reason actions targets people review",
        ),
        CheckConstraint(f"state IN ({STATES})", name="breakglass_state"),
        CheckConstraint("confirmed_by <> opened_by", name="breakglass_two_people"),
        CheckConstraint("reviewed_by <> opened_by", name="breakglass_reviewed_by_another"),
    )
    op.create_index("breakglass_page", "breakglass", ["tenant", "opened_at", "id"])
    op.create_index(
        "breakglass_live",
        "breakglass",
        ["tenant"],
        unique=True,
        sqlite_where=text(LIVE),
        postgresql_where=text(LIVE),
    )
    op.create_index("breakglass_owed", "breakglass", ["tenant"], sqlite_where=text(OWED), postgresql_where=text(OWED))
