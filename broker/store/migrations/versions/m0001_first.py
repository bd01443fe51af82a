"""The first tables, and the triggers that hold what no row may do.

A migration is frozen once released: it repeats the columns on purpose and imports nothing of ours.
"""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Text, text
from sqlalchemy.schema import CheckConstraint, ForeignKeyConstraint, SchemaItem

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LIVE = "state IN ('waiting', 'approved', 'executing')"
STATES = "'waiting', 'approved', 'denied', 'expired', 'executing', 'done', 'failed', 'cancelled', 'unknown'"
TRANSITIONS = (
    "'waiting>approved', 'waiting>denied', 'waiting>expired', 'waiting>cancelled', "
    "'approved>executing', 'approved>denied', 'approved>expired', 'approved>cancelled', "
    "'executing>done', 'executing>failed', 'executing>cancelled', 'executing>unknown', "
    "'unknown>done', 'unknown>failed'"
)
BOUND = (
    "tenant",
    "id",
    "action_id",
    "session",
    "action",
    "request_digest",
    "plan_fingerprint",
    "rollback_digest",
    "policy_revision",
    "policy_digest",
    "subject",
    "actor",
    "quorum",
    "separation",
    "signature",
    "tier",
    "created_at",
    "expires_at",
)
"""What a proposal binds never changes."""


def _columns(
    *, key: str = "", words: str = "", numbers: str = "", blobs: str = "", flags: str = ""
) -> list[SchemaItem]:
    """Required columns by type, from space-separated names; those of ``key`` are text and form the primary key."""
    return [
        *(Column(name, Text, primary_key=True, nullable=False) for name in key.split()),
        *(Column(name, Text, nullable=False) for name in words.split()),
        *(Column(name, BigInteger, nullable=False) for name in numbers.split()),
        *(Column(name, LargeBinary, nullable=False) for name in blobs.split()),
        *(Column(name, Boolean, nullable=False) for name in flags.split()),
    ]


def _refuse(name: str, when: str, event: str, table: str) -> None:
    """Refuse ``event`` on a row of ``table`` where ``when`` holds; both databases report a broken constraint."""
    if op.get_bind().dialect.name == "sqlite":
        body = f"SELECT RAISE(ABORT, '{name}')"
        op.execute(f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN {when} BEGIN {body}; END")
        return
    op.execute(
        f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION refuse_change()"
    )


def upgrade() -> None:
    """Make the tables of the part (``state``, ``counters``) that this database holds."""
    parts = op.get_context().opts["parts"]
    if "state" in parts:
        if op.get_bind().dialect.name == "postgresql":
            op.execute(
                "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "RAISE EXCEPTION 'refused by %', TG_NAME USING ERRCODE = 'check_violation'; END $$"
            )
        _gate_tables()
        _approval_tables()
        _vault_tables()
        _policy_tables()
    if "counters" in parts:
        op.create_table("limit_counter", *_columns(key="tenant key", numbers="tat_ns"))
        op.create_table("session_use", *_columns(key="tenant session", numbers="actions writes tokens"))
        op.create_table(
            "usage_counter",
            *_columns(key="tenant party"),
            Column("day", Integer, primary_key=True, autoincrement=False),
            *_columns(numbers="actions writes"),
        )


def _gate_tables() -> None:
    """Sessions, kill switch and leases."""
    op.create_table(
        "session",
        *_columns(
            key="tenant id",
            words="opened_by agent incident",
            blobs="intent labels budgets",
            numbers="opened_at expires_at",
            flags="named tainted",
        ),
        Column("closed_at", BigInteger),
    )
    op.create_index("session_incident", "session", ["tenant", "incident"])
    op.create_table("party", *_columns(key="tenant id", numbers="seen_at", blobs="roles"))
    op.create_table(
        "kill_switch",
        *_columns(
            key="tenant scope target",
            words="pulled_by resumed_by",
            numbers="pulled_at resumed_at",
            blobs="reason",
            flags="active",
        ),
        CheckConstraint("scope IN ('agent', 'connector', 'tenant', 'all')", name="kill_switch_scope"),
    )
    op.create_table("lease", *_columns(key="tenant key", words="holder", numbers="fence until"))
    op.create_index("lease_holder", "lease", ["tenant", "holder"])
    _refuse("lease_fence", "NEW.fence < OLD.fence", "UPDATE", "lease")


def _approval_tables() -> None:
    """Proposals and reviews, with the transition table as a trigger."""
    op.create_table(
        "proposal",
        *_columns(
            key="tenant id",
            words="action_id session action request_digest digest plan_fingerprint rollback_digest policy_revision "
            "policy_digest subject actor separation state",
            blobs="resource request plan bounds narrowed principal roles",
            numbers="token_expires_at created_at expires_at changed_at",
            flags="signature",
        ),
        Column("quorum", Integer, nullable=False),
        Column("tier", Integer, nullable=False),
        CheckConstraint(f"state IN ({STATES})", name="proposal_state"),
        CheckConstraint("separation IN ('actor', 'subject')", name="proposal_separation"),
        CheckConstraint("quorum >= 1", name="proposal_quorum"),
    )
    op.create_index("proposal_of_action", "proposal", ["tenant", "action_id"])
    op.create_index("proposal_page", "proposal", ["tenant", "state", "created_at", "id"])
    op.create_index("proposal_due", "proposal", ["state", "expires_at"])
    op.create_index(
        "proposal_live",
        "proposal",
        ["tenant", "action_id"],
        unique=True,
        sqlite_where=text(LIVE),
        postgresql_where=text(LIVE),
    )
    op.create_table(
        "review",
        *_columns(
            key="tenant proposal reviewer digest verdict",
            words="kind acr signature",
            blobs="roles reason",
            flags="same_actor same_subject",
            numbers="at",
        ),
        CheckConstraint("verdict IN ('approve', 'deny')", name="review_verdict"),
        ForeignKeyConstraint(["tenant", "proposal"], ["proposal.tenant", "proposal.id"], name="review_of_proposal"),
    )
    step = f"OLD.state <> NEW.state AND (OLD.state || '>' || NEW.state) NOT IN ({TRANSITIONS})"
    _refuse("proposal_transition", step, "UPDATE", "proposal")
    _refuse("proposal_birth", "NEW.state <> 'waiting'", "INSERT", "proposal")
    changed = " OR ".join(f"OLD.{name} <> NEW.{name}" for name in BOUND)
    _refuse("proposal_bound", changed, "UPDATE", "proposal")
    _refuse("proposal_digest", "OLD.digest <> NEW.digest AND OLD.state <> 'waiting'", "UPDATE", "proposal")
    _refuse("review_final", "OLD.tenant = OLD.tenant", "UPDATE", "review")


def _vault_tables() -> None:
    """Wrapped session keys and encrypted pseudonym values."""
    op.create_table("vault_key", *_columns(key="tenant session", blobs="wrapped"))
    op.create_table("vault_token", *_columns(key="tenant session token", words="entity", blobs="sealed"))


def _policy_tables() -> None:
    """Bundles that were active, and when."""
    op.create_table("policy_bundle", *_columns(key="digest", words="revision signer", blobs="bundle"))
    op.create_table(
        "policy_activation",
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        *_columns(words="digest activated_by", numbers="at"),
        ForeignKeyConstraint(["digest"], ["policy_bundle.digest"], name="activation_of_bundle"),
        CheckConstraint("seq >= 1", name="activation_seq"),
    )
    _refuse("policy_bundle_final", "OLD.digest = OLD.digest", "UPDATE", "policy_bundle")
    _refuse("policy_activation_final", "OLD.seq = OLD.seq", "UPDATE", "policy_activation")
    _refuse("policy_activation_kept", "OLD.seq = OLD.seq", "DELETE", "policy_activation")
