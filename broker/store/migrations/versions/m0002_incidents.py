"""Incidents, their events, what is due, diagnoses, writes on targets, and traces.

A migration is frozen once released: it repeats the columns on purpose and imports nothing of ours.
"""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Text, text
from sqlalchemy.schema import CheckConstraint, ForeignKeyConstraint, SchemaItem

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LIVE = (
    "received triaging investigating diagnosed inconclusive noise proposed awaiting_approval auto_ok leased executing "
    "verifying mitigated rolling_back rolled_back escalated human_hold learning"
)
STATES = ", ".join(f"'{state}'" for state in (*LIVE.split(), "linked", "closed"))
STEPS = (
    "received>triaging received>linked triaging>investigating triaging>noise triaging>linked investigating>diagnosed "
    "investigating>inconclusive investigating>noise investigating>linked diagnosed>proposed diagnosed>noise "
    "proposed>awaiting_approval proposed>auto_ok awaiting_approval>leased auto_ok>leased leased>executing "
    "executing>verifying verifying>mitigated verifying>rolling_back rolling_back>rolled_back mitigated>learning "
    "noise>learning escalated>learning learning>closed human_hold>triaging human_hold>investigating "
    "human_hold>learning"
)
TRANSITIONS = ", ".join(
    f"'{pair}'"
    for pair in (
        *STEPS.split(),
        *(f"{state}>escalated" for state in LIVE.split() if state != "escalated"),
        *(f"{state}>human_hold" for state in LIVE.split() if state != "human_hold"),
    )
)
OPEN = "state NOT IN ('linked', 'closed')"


def _columns(  # noqa: PLR0913 - one argument a type
    *, key: str = "", words: str = "", numbers: str = "", small: str = "", blobs: str = "", flags: str = ""
) -> list[SchemaItem]:
    """Required columns by type, from space-separated names; those of ``key`` are text and form the primary key."""
    return [
        *(Column(name, Text, primary_key=True, nullable=False) for name in key.split()),
        *(Column(name, Text, nullable=False) for name in words.split()),
        *(Column(name, BigInteger, nullable=False) for name in numbers.split()),
        *(Column(name, Integer, nullable=False) for name in small.split()),
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


def _changed(*columns: str) -> str:
    """SQL that holds where one of ``columns`` would change."""
    return " OR ".join(f"OLD.{name} <> NEW.{name}" for name in columns)


def upgrade() -> None:
    """Make the tables where this database holds the part ``state``."""
    if "state" in op.get_context().opts["parts"]:
        _incidents()
        _events()
        _work()
        _findings()


def _incidents() -> None:
    """Incidents, with the transition table as a trigger."""
    op.create_table(
        "incident",
        *_columns(
            key="tenant id",
            words="state service env fingerprint session merged_into action_id diagnosis holder",
            numbers="version since opened_at changed_at alerts counted_at",
            small="severity",
            blobs="title alert",
        ),
        Column("until", BigInteger),
        Column("closed_at", BigInteger),
        CheckConstraint(f"state IN ({STATES})", name="incident_state"),
        CheckConstraint("severity BETWEEN 1 AND 4", name="incident_severity"),
    )
    op.create_index("incident_page", "incident", ["tenant", "state", "opened_at", "id"])
    op.create_index("incident_of_service", "incident", ["tenant", "env", "service"])
    op.create_index("incident_of_fingerprint", "incident", ["tenant", "fingerprint", "opened_at"])
    op.create_index("incident_merged", "incident", ["tenant", "merged_into"])
    op.create_index(
        "incident_live",
        "incident",
        ["tenant", "fingerprint"],
        unique=True,
        sqlite_where=text(OPEN),
        postgresql_where=text(OPEN),
    )
    step = f"OLD.state <> NEW.state AND (OLD.state || '>' || NEW.state) NOT IN ({TRANSITIONS})"
    _refuse("incident_transition", step, "UPDATE", "incident")
    _refuse("incident_birth", "NEW.state <> 'received'", "INSERT", "incident")
    bound = _changed("tenant", "id", "fingerprint", "service", "env", "opened_at")
    _refuse("incident_bound", bound, "UPDATE", "incident")
    _refuse("incident_version", "NEW.version < OLD.version", "UPDATE", "incident")
    _refuse("incident_kept", "OLD.id = OLD.id", "DELETE", "incident")


def _events() -> None:
    """The append-only history of an incident."""
    op.create_table(
        "incident_event",
        *_columns(key="tenant incident"),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        *_columns(words="kind actor from_state to_state", numbers="at", blobs="body", flags="recorded"),
        ForeignKeyConstraint(["tenant", "incident"], ["incident.tenant", "incident.id"], name="event_of_incident"),
        CheckConstraint("seq >= 1", name="incident_event_seq"),
    )
    op.create_index(
        "incident_event_unrecorded",
        "incident_event",
        ["tenant", "incident", "seq"],
        sqlite_where=text("NOT recorded"),
        postgresql_where=text("NOT recorded"),
    )
    columns = ("tenant", "incident", "seq", "kind", "at", "actor", "from_state", "to_state", "body")
    _refuse("incident_event_final", f"OLD.recorded OR {_changed(*columns)}", "UPDATE", "incident_event")
    _refuse("incident_event_kept", "OLD.seq = OLD.seq", "DELETE", "incident_event")


def _work() -> None:
    """What is due, and who holds it."""
    op.create_table(
        "work",
        *_columns(
            key="tenant id",
            words="kind subject incident state holder",
            numbers="step due fence until created_at rank",
            small="attempts severity",
            blobs="body",
        ),
        CheckConstraint("state IN ('due', 'idle', 'done', 'aside')", name="work_state"),
    )
    op.create_index("work_due", "work", ["state", "kind", "tenant", "rank", "id"])
    op.create_index("work_of_incident", "work", ["tenant", "incident"])
    _refuse("work_fence", "NEW.fence < OLD.fence OR NEW.step < OLD.step", "UPDATE", "work")


def _findings() -> None:
    """Diagnoses, writes on targets with their outcomes, traces."""
    op.create_table(
        "diagnosis",
        *_columns(
            key="tenant id",
            words="incident session verdict component fault",
            numbers="at",
            small="confidence_milli verified refuted sources signals",
            blobs="cause claims ruled_out missing",
        ),
        CheckConstraint("verdict IN ('diagnosed', 'inconclusive')", name="diagnosis_verdict"),
        CheckConstraint("confidence_milli BETWEEN 0 AND 1000", name="diagnosis_confidence"),
    )
    op.create_index("diagnosis_of_incident", "diagnosis", ["tenant", "incident", "at"])
    _refuse("diagnosis_final", "OLD.id = OLD.id", "UPDATE", "diagnosis")
    _refuse("diagnosis_kept", "OLD.id = OLD.id", "DELETE", "diagnosis")
    op.create_table(
        "target_write",
        *_columns(key="tenant env target action_id", words="action incident outcome", numbers="at", blobs="plan"),
    )
    op.create_index("target_write_recent", "target_write", ["tenant", "env", "target", "at"])
    op.create_index("target_write_of_action", "target_write", ["tenant", "action_id"])
    op.create_table(
        "incident_trace",
        *_columns(
            key="tenant id", words="fingerprint service env fault component outcome", numbers="at", blobs="trace"
        ),
    )
    op.create_index("incident_trace_of_fingerprint", "incident_trace", ["tenant", "fingerprint", "at"])
    op.create_index("incident_trace_of_service", "incident_trace", ["tenant", "service", "at"])
