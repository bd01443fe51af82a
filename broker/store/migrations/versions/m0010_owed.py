"""Answers of people that the log does not have yet; no answer is stored without what it owes to the log.

A replica of the release before stores answers without that: the database refuses them. What waits with answers of that
release is withdrawn, for nothing tells which of them the log has: whoever asked asks again.

A migration is frozen once released: it repeats the columns on purpose and imports nothing of ours.
"""

from alembic import op
from sqlalchemy import Column, LargeBinary, Text

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEY = ("tenant", "proposal", "reviewer", "digest", "verdict")
SAME = " AND ".join(f"o.{name} = NEW.{name}" for name in KEY)
UNOWED = f"NOT EXISTS (SELECT 1 FROM review_owed o WHERE {SAME})"  # noqa: S608 - names from the line above
ANSWERED = (
    "state IN ('waiting', 'approved') AND EXISTS "
    "(SELECT 1 FROM review r WHERE r.tenant = proposal.tenant AND r.proposal = proposal.id)"
)


def upgrade() -> None:
    """Make the table, and the trigger that no answer passes by it."""
    if "state" not in op.get_context().opts["parts"]:
        return
    op.create_table(
        "review_owed",
        *(Column(name, Text, primary_key=True, nullable=False) for name in KEY),
        Column("said", LargeBinary, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"CREATE TRIGGER review_unowed BEFORE INSERT ON review FOR EACH ROW WHEN {UNOWED} "
            "BEGIN SELECT RAISE(ABORT, 'review_unowed'); END"
        )
    else:
        # Every answer holds its proposal's row: those in flight end first, and the next ones meet the trigger.
        op.execute("LOCK TABLE proposal IN EXCLUSIVE MODE")
        op.execute(
            "CREATE FUNCTION refuse_unowed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {UNOWED} THEN RAISE EXCEPTION 'refused by %', TG_NAME USING ERRCODE = 'check_violation'; END IF; "
            "RETURN NEW; END $$"
        )
        op.execute("CREATE TRIGGER review_unowed BEFORE INSERT ON review FOR EACH ROW EXECUTE FUNCTION refuse_unowed()")
    op.execute(f"UPDATE proposal SET state = 'cancelled' WHERE {ANSWERED}")  # noqa: S608 - the words above
