"""The index of the log, people's saved views of it, and exports.

A migration is frozen once released: it repeats the columns on purpose and imports nothing of ours.
"""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Text
from sqlalchemy.schema import SchemaItem

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXED = ("who", "behalf", "action", "resource", "effect", "tier", "kind", "session", "incident")


def _columns(*, key: str = "", words: str = "", numbers: str = "", blobs: str = "") -> list[SchemaItem]:
    """Required columns by type, from space-separated names; those of ``key`` are text and part of the primary key."""
    return [
        *(Column(name, Text, primary_key=True, nullable=False) for name in key.split()),
        *(Column(name, Text, nullable=False) for name in words.split()),
        *(Column(name, BigInteger, nullable=False) for name in numbers.split()),
        *(Column(name, LargeBinary, nullable=False) for name in blobs.split()),
    ]


def _number(name: str) -> Column[int]:
    """A number that is part of the primary key."""
    return Column(name, BigInteger, primary_key=True, autoincrement=False, nullable=False)


def upgrade() -> None:
    """Make the tables where this database holds the part ``state``."""
    if "state" not in op.get_context().opts["parts"]:
        return
    op.create_table(
        "log_line",
        *_columns(key="tenant"),
        _number("seq"),
        *_columns(words="kind who behalf action resource effect session incident", numbers="placed_at", blobs="line"),
        Column("tier", Integer, nullable=False),
        Column("own", Boolean, nullable=False),
    )
    op.create_index("log_line_placed_at", "log_line", ["tenant", "placed_at", "seq"])
    for name in INDEXED:
        op.create_index(f"log_line_{name}", "log_line", ["tenant", name, "seq"])
    op.create_table("log_code", *_columns(key="tenant code"), _number("seq"))
    op.create_table("log_tail", *_columns(key="tenant", numbers="next placed_at"))
    op.create_table("saved_view", *_columns(key="tenant party page name", numbers="at", blobs="query"))
    op.create_table(
        "log_export",
        *_columns(key="tenant id", words="party form state error digest", blobs="query"),
        *_columns(numbers="seen entries last bytes created_at changed_at expires_at"),
    )
    op.create_index("log_export_page", "log_export", ["tenant", "created_at", "id"])
    op.create_index("log_export_over", "log_export", ["state", "expires_at"])
    op.create_table("log_export_part", *_columns(key="tenant export"), _number("number"), *_columns(blobs="content"))
