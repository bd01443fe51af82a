"""The tables as they are now; ``migrations/`` says how a database gets there, and a test compares the two.

Every row has its ``tenant`` (``*`` stands for all tenants in ``kill_switch`` and ``limit_counter``); policy activations
alone belong to the whole gate. Times are whole seconds since the Unix epoch unless a name ends in ``_ns``. JSON and
free text are kept as UTF-8 bytes: they may hold characters that a text column refuses.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from broker.store.columns import big as _big
from broker.store.columns import blob as _blob
from broker.store.columns import metadata
from broker.store.columns import one_of as _one_of
from broker.store.columns import words as _text

STATES = ("waiting", "approved", "denied", "expired", "executing", "done", "failed", "cancelled", "unknown")
LIVE_SQL = "state IN ('waiting', 'approved', 'executing')"
"""An action has at most one proposal for which this holds."""

TRANSITIONS: frozenset[tuple[str, str]] = frozenset(
    {
        ("waiting", "approved"),
        ("waiting", "denied"),
        ("waiting", "expired"),
        ("waiting", "cancelled"),
        ("approved", "executing"),
        ("approved", "denied"),
        ("approved", "expired"),
        ("approved", "cancelled"),
        ("executing", "done"),
        ("executing", "failed"),
        ("executing", "cancelled"),
        ("executing", "unknown"),
        ("unknown", "done"),
        ("unknown", "failed"),
    }
)
"""Every change of a proposal's state that may happen; a trigger in the database holds the same pairs."""

LIVE_INCIDENT_STATES = (
    "received",
    "triaging",
    "investigating",
    "diagnosed",
    "inconclusive",
    "noise",
    "proposed",
    "awaiting_approval",
    "auto_ok",
    "leased",
    "executing",
    "verifying",
    "mitigated",
    "rolling_back",
    "rolled_back",
    "escalated",
    "human_hold",
    "learning",
)
INCIDENT_STATES = (*LIVE_INCIDENT_STATES, "linked", "closed")
INCIDENT_TRANSITIONS: frozenset[tuple[str, str]] = frozenset(
    {
        ("received", "triaging"),
        ("received", "linked"),
        ("triaging", "investigating"),
        ("triaging", "noise"),
        ("triaging", "linked"),
        ("investigating", "diagnosed"),
        ("investigating", "inconclusive"),
        ("investigating", "noise"),
        ("investigating", "linked"),
        ("diagnosed", "proposed"),
        ("diagnosed", "noise"),  # the alert ended by itself, and nothing was done
        ("proposed", "awaiting_approval"),
        ("proposed", "auto_ok"),
        ("awaiting_approval", "leased"),
        ("auto_ok", "leased"),
        ("leased", "executing"),
        ("executing", "verifying"),
        ("verifying", "mitigated"),
        ("verifying", "rolling_back"),
        ("rolling_back", "rolled_back"),
        ("mitigated", "learning"),
        ("noise", "learning"),
        ("escalated", "learning"),
        ("learning", "closed"),
        ("human_hold", "triaging"),
        ("human_hold", "investigating"),
        ("human_hold", "learning"),
    }
    | {(state, "escalated") for state in LIVE_INCIDENT_STATES if state != "escalated"}
    | {(state, "human_hold") for state in LIVE_INCIDENT_STATES if state != "human_hold"}
)
"""Every change of an incident's state that may happen; a trigger in the database holds the same pairs."""

LIVE_INCIDENT_SQL = "state NOT IN ('linked', 'closed')"
"""Of one fingerprint there is at most one incident for which this holds."""

WORK_STATES = ("due", "idle", "done", "aside")

COUNTER_TABLES = ("limit_counter", "session_use", "usage_counter")
"""Kept without a sync per commit; on SQLite in a file of their own."""

session = Table(
    "session",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _text("opened_by"),
    _text("agent"),
    Column("named", Boolean, nullable=False),
    _text("incident"),
    _blob("intent"),
    _blob("labels"),
    _blob("budgets"),
    _big("opened_at"),
    _big("expires_at"),
    Column("closed_at", BigInteger),
    Column("tainted", Boolean, nullable=False),
    Index("session_incident", "tenant", "incident"),
    Index("session_of_agent", "tenant", "agent", "expires_at"),
)

party = Table(
    "party",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _blob("roles"),
    _big("seen_at"),
    Column("key", Text, nullable=False, server_default=""),
)
"""The roles with which somebody was last seen, and the key that their token is bound to; written when they change."""

kill_switch = Table(
    "kill_switch",
    metadata,
    _text("tenant", primary_key=True),
    _text("scope", primary_key=True),
    _text("target", primary_key=True),
    Column("active", Boolean, nullable=False),
    _text("pulled_by"),
    _big("pulled_at"),
    _blob("reason"),
    _text("resumed_by"),
    _big("resumed_at"),
    _one_of("scope", ("agent", "connector", "tenant", "all"), "kill_switch_scope"),
)

proposal = Table(
    "proposal",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _text("action_id"),
    _text("session"),
    _text("action"),
    _blob("resource"),
    _blob("request"),
    _blob("plan"),
    _blob("bounds"),
    _blob("narrowed"),
    _text("request_digest"),
    _text("digest"),
    _text("plan_fingerprint"),
    _text("rollback_digest"),
    _text("policy_revision"),
    _text("policy_digest"),
    _text("subject"),
    _text("actor"),
    _blob("principal"),
    _big("token_expires_at"),
    Column("quorum", Integer, nullable=False),
    _blob("roles"),
    _text("separation"),
    Column("signature", Boolean, nullable=False),
    Column("tier", Integer, nullable=False),
    _big("created_at"),
    _big("expires_at"),
    _big("changed_at"),
    _text("state"),
    _one_of("state", STATES, "proposal_state"),
    _one_of("separation", ("actor", "subject"), "proposal_separation"),
    CheckConstraint("quorum >= 1", name="proposal_quorum"),
    Index("proposal_of_action", "tenant", "action_id"),
    Index("proposal_page", "tenant", "state", "created_at", "id"),
    Index("proposal_due", "state", "expires_at"),
    Index(
        "proposal_live",
        "tenant",
        "action_id",
        unique=True,
        sqlite_where=text(LIVE_SQL),
        postgresql_where=text(LIVE_SQL),
    ),
)

review = Table(
    "review",
    metadata,
    _text("tenant", primary_key=True),
    _text("proposal", primary_key=True),
    _text("reviewer", primary_key=True),
    _text("digest", primary_key=True),
    _text("verdict", primary_key=True),
    _text("kind"),
    _blob("roles"),
    _text("acr"),
    _blob("reason"),
    _text("signature"),
    Column("same_actor", Boolean, nullable=False),
    Column("same_subject", Boolean, nullable=False),
    _big("at"),
    _one_of("verdict", ("approve", "deny"), "review_verdict"),
    ForeignKeyConstraint(["tenant", "proposal"], ["proposal.tenant", "proposal.id"], name="review_of_proposal"),
)

review_owed = Table(
    "review_owed",
    metadata,
    *(_text(name, primary_key=True) for name in ("tenant", "proposal", "reviewer", "digest", "verdict")),
    _blob("said"),
)
"""Answers that are not in the log yet, with what their record says beside the answer; an approval among them does not count."""

lease = Table(
    "lease",
    metadata,
    _text("tenant", primary_key=True),
    _text("key", primary_key=True),
    _text("holder"),
    _big("fence"),
    _big("until"),
    Index("lease_holder", "tenant", "holder"),
)

vault_key = Table(
    "vault_key",
    metadata,
    _text("tenant", primary_key=True),
    _text("session", primary_key=True),
    _blob("wrapped"),
)

vault_token = Table(
    "vault_token",
    metadata,
    _text("tenant", primary_key=True),
    _text("session", primary_key=True),
    _text("token", primary_key=True),
    _text("entity"),
    _blob("sealed"),
)

policy_bundle = Table(
    "policy_bundle",
    metadata,
    _text("digest", primary_key=True),
    _text("revision"),
    _text("signer"),
    _blob("bundle"),
)

policy_activation = Table(
    "policy_activation",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _text("digest"),
    _text("activated_by"),
    _big("at"),
    ForeignKeyConstraint(["digest"], ["policy_bundle.digest"], name="activation_of_bundle"),
    CheckConstraint("seq >= 1", name="activation_seq"),
)

incident = Table(
    "incident",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _text("state"),
    _big("version"),
    _blob("title"),
    _text("service"),
    _text("env"),
    Column("severity", Integer, nullable=False),
    _text("fingerprint"),
    _text("session"),
    _text("merged_into"),
    _text("action_id"),
    _text("diagnosis"),
    _big("since"),
    Column("until", BigInteger),
    _big("opened_at"),
    _big("changed_at"),
    Column("closed_at", BigInteger),
    _text("holder"),
    _blob("alert"),
    _big("alerts"),
    _big("counted_at"),
    _one_of("state", INCIDENT_STATES, "incident_state"),
    CheckConstraint("severity BETWEEN 1 AND 4", name="incident_severity"),
    Index("incident_page", "tenant", "state", "opened_at", "id"),
    Index("incident_newest", "tenant", "opened_at", "id"),
    Index("incident_of_service", "tenant", "env", "service"),
    Index("incident_of_fingerprint", "tenant", "fingerprint", "opened_at"),
    Index("incident_merged", "tenant", "merged_into"),
    Index(
        "incident_live",
        "tenant",
        "fingerprint",
        unique=True,
        sqlite_where=text(LIVE_INCIDENT_SQL),
        postgresql_where=text(LIVE_INCIDENT_SQL),
    ),
)
"""``version`` is the number of its last event."""

incident_event = Table(
    "incident_event",
    metadata,
    _text("tenant", primary_key=True),
    _text("incident", primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _text("kind"),
    _big("at"),
    _text("actor"),
    _text("from_state"),
    _text("to_state"),
    _blob("body"),
    Column("recorded", Boolean, nullable=False),
    ForeignKeyConstraint(["tenant", "incident"], ["incident.tenant", "incident.id"], name="event_of_incident"),
    CheckConstraint("seq >= 1", name="incident_event_seq"),
    Index(
        "incident_event_unrecorded",
        "tenant",
        "incident",
        "seq",
        sqlite_where=text("NOT recorded"),
        postgresql_where=text("NOT recorded"),
    ),
)
"""Only ``recorded`` ever changes, once: the log has it."""

work = Table(
    "work",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _text("kind"),
    _text("subject"),
    _text("incident"),
    _big("step"),
    _text("state"),
    _big("due"),
    _text("holder"),
    _big("fence"),
    _big("until"),
    Column("attempts", Integer, nullable=False),
    Column("severity", Integer, nullable=False),
    _big("created_at"),
    _big("rank"),
    _blob("body"),
    _one_of("state", WORK_STATES, "work_state"),
    Index("work_due", "state", "kind", "tenant", "rank", "id"),
    Index("work_of_incident", "tenant", "incident"),
    Index("work_of_state", "tenant", "state"),
)
"""What is due. ``rank`` is when it was made less a bonus for its severity: the smallest comes first."""

diagnosis = Table(
    "diagnosis",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _text("incident"),
    _text("session"),
    _text("verdict"),
    Column("confidence_milli", Integer, nullable=False),
    Column("verified", Integer, nullable=False),
    Column("refuted", Integer, nullable=False),
    Column("sources", Integer, nullable=False),
    Column("signals", Integer, nullable=False),
    _text("component"),
    _text("fault"),
    _blob("cause"),
    _blob("claims"),
    _blob("ruled_out"),
    _blob("missing"),
    _big("at"),
    _one_of("verdict", ("diagnosed", "inconclusive"), "diagnosis_verdict"),
    CheckConstraint("confidence_milli BETWEEN 0 AND 1000", name="diagnosis_confidence"),
    Index("diagnosis_of_incident", "tenant", "incident", "at"),
)
"""What the gate found of an agent's claims; never rewritten."""

target_write = Table(
    "target_write",
    metadata,
    _text("tenant", primary_key=True),
    _text("env", primary_key=True),
    _text("target", primary_key=True),
    _text("action_id", primary_key=True),
    _text("action"),
    _text("incident"),
    _big("at"),
    _text("outcome"),
    _blob("plan"),
    Index("target_write_recent", "tenant", "env", "target", "at"),
    Index("target_write_of_action", "tenant", "action_id"),
)
"""Each write on a target and what verification found of it, empty until then; ``plan`` is what it was, and its undoing."""

incident_trace = Table(
    "incident_trace",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _text("fingerprint"),
    _text("service"),
    _text("env"),
    _text("fault"),
    _text("component"),
    _text("outcome"),
    _blob("trace"),
    _big("at"),
    Index("incident_trace_of_fingerprint", "tenant", "fingerprint", "at"),
    Index("incident_trace_of_service", "tenant", "service", "at"),
)
"""How an incident was solved, under the incident's id; the next investigation reads it."""

login = Table(
    "login",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _text("issuer"),
    _text("subject"),
    _text("sid"),
    _blob("principal"),
    _big("opened_at"),
    _big("used_at"),
    _big("expires_at"),
    Column("closed_at", BigInteger),
    Index("login_id", "id", unique=True),
    Index("login_of_subject", "issuer", "subject"),
    Index("login_of_sid", "issuer", "sid"),
    Index("login_over", "expires_at"),
)
"""Who is signed in to the console. ``id`` is the SHA-256 of the cookie's value; ``sid`` the provider's session, or empty."""

limit_counter = Table(
    "limit_counter",
    metadata,
    _text("tenant", primary_key=True),
    _text("key", primary_key=True),
    _big("tat_ns"),
)

session_use = Table(
    "session_use",
    metadata,
    _text("tenant", primary_key=True),
    _text("session", primary_key=True),
    _big("actions"),
    _big("writes"),
    _big("tokens"),
)

usage_counter = Table(
    "usage_counter",
    metadata,
    _text("tenant", primary_key=True),
    _text("party", primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    _big("actions"),
    _big("writes"),
)
