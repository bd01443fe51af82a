"""Tables about the log: its index, people's saved views of it, exports. See `tables.py`."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, text

from broker.store.columns import big, blob, metadata, words

INDEXED_OF_LINES = ("who", "behalf", "action", "resource", "effect", "tier", "kind", "session", "incident")
NO_LOOK_SQL = "NOT own"
"""Records that are no looks at the gate itself; the database finds its index by exactly these words."""

log_line = Table(
    "log_line",
    metadata,
    words("tenant", primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    words("kind"),
    words("who"),
    words("behalf"),
    words("action"),
    words("resource"),
    words("effect"),
    words("session"),
    words("incident"),
    big("placed_at"),
    blob("line"),
    Column("tier", Integer, nullable=False),
    Column("own", Boolean, nullable=False),
    Index("log_line_placed_at", "tenant", "placed_at", "seq"),
    *(Index(f"log_line_{name}", "tenant", name, "seq") for name in INDEXED_OF_LINES),
    Index("log_line_acts", "tenant", "seq", sqlite_where=text(NO_LOOK_SQL), postgresql_where=text(NO_LOOK_SQL)),
)
"""The log's records for searching, made from the log and no evidence. ``placed_at`` is the latest time that any record up
to this one says: it never goes back, so a window of time is a range of ``seq``. ``line`` is what lists show."""

log_code = Table(
    "log_code",
    metadata,
    words("tenant", primary_key=True),
    words("code", primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
)
"""Which records name a reason, an error or an outcome's code."""

log_tail = Table("log_tail", metadata, words("tenant", primary_key=True), big("next"), big("placed_at"))
"""How far the index has come."""

log_use = Table(
    "log_use",
    metadata,
    words("tenant", primary_key=True),
    Column("size", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    words("who", primary_key=True),
    words("model", primary_key=True),
    big("actions"),
    big("writes"),
    big("refusals"),
    big("calls"),
    big("uncounted"),
    big("tokens_in"),
    big("tokens_out"),
)
"""What the records of a stretch of time (``at``, ``size`` seconds long) add up to, for one party; with a model, its calls."""

log_party = Table(
    "log_party",
    metadata,
    words("tenant", primary_key=True),
    words("who", primary_key=True),
    words("name"),
    words("kind"),
    words("issuer"),
    words("roles"),
    big("first_at"),
    big("last_at"),
    big("last_seq"),
    Index("log_party_page", "tenant", "last_seq"),
    Index("log_party_of_kind", "tenant", "kind", "last_seq"),
)
"""Whom the log is about, as the newest record of each says; ``name`` is the party's id once it is known."""

saved_view = Table(
    "saved_view",
    metadata,
    words("tenant", primary_key=True),
    words("party", primary_key=True),
    words("page", primary_key=True),
    words("name", primary_key=True),
    big("at"),
    blob("query"),
)
"""A person's own filters of a page of the console."""

log_export = Table(
    "log_export",
    metadata,
    words("tenant", primary_key=True),
    words("id", primary_key=True),
    words("party"),
    words("form"),
    words("state"),
    words("error"),
    words("digest"),
    blob("query"),
    big("seen"),
    big("entries"),
    big("last"),
    big("bytes"),
    big("created_at"),
    big("changed_at"),
    big("expires_at"),
    Index("log_export_page", "tenant", "created_at", "id"),
    Index("log_export_over", "state", "expires_at"),
)
"""An export of the log: what was asked, how far it is (``seen`` of ``last``), and until when it can be fetched."""

log_export_part = Table(
    "log_export_part",
    metadata,
    words("tenant", primary_key=True),
    words("export", primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    blob("content"),
)
