"""Tables of what needs more than a sign-in: people's authenticators, break-glass, and the turns of models.

The rules of ``tables.py`` hold here, too. A time of 0 has not come.
"""

from sqlalchemy import CheckConstraint, Index, Table, text

from broker.store.columns import big as _big
from broker.store.columns import blob as _blob
from broker.store.columns import metadata
from broker.store.columns import one_of as _one_of
from broker.store.columns import words as _text

BREAKGLASS_STATES = ("waiting", "open", "over", "reviewed", "dropped")
LIVE_BREAKGLASS_SQL = "state IN ('waiting', 'open')"
"""A tenant has at most one break-glass for which this holds."""
OWED_BREAKGLASS_SQL = "state IN ('waiting', 'open', 'over')"
"""Those of which something is still to come: a second person, an end, a review."""

authenticator = Table(
    "authenticator",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _text("party"),
    _blob("public_key"),
    _big("sign_count"),
    _text("aaguid"),
    _blob("transports"),
    _big("created_at"),
    _text("confirmed_by"),
    _big("confirmed_at"),
    _big("used_at"),
    _text("removed_by"),
    _big("removed_at"),
    CheckConstraint("sign_count >= 0", name="authenticator_sign_count"),
    CheckConstraint("confirmed_by <> party", name="authenticator_two_people"),
    Index("authenticator_of_party", "tenant", "party"),
)
"""A person's authenticator (WebAuthn): ``id`` is the credential's, base64url; ``public_key`` a COSE key."""

signature_use = Table(
    "signature_use",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _text("authenticator"),
    _text("approval"),
    _big("at"),
)
"""What was signed counts once: ``id`` is the SHA-256 of the signed bytes."""

relayed_turn = Table(
    "relayed_turn",
    metadata,
    _text("tenant", primary_key=True),
    _text("session", primary_key=True),
    _text("party", primary_key=True),
    _text("id", primary_key=True),
    _text("tool"),
    _text("arguments"),
    _big("at"),
    _big("until"),
    _text("used_by"),
    Index("relayed_turn_over", "until"),
)
"""A tool use of a model's answer that went to ``party``: ``id`` is the provider's, ``arguments`` their SHA-256 as they
went out, ``used_by`` the one action that it serves, empty before."""

proof_use = Table(
    "proof_use",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _big("until"),
    Index("proof_use_over", "until"),
)
"""A proof of possession (RFC 9449) counts once: ``id`` is the SHA-256 of key and ``jti``."""

breakglass = Table(
    "breakglass",
    metadata,
    _text("tenant", primary_key=True),
    _text("id", primary_key=True),
    _text("state"),
    _blob("reason"),
    _blob("actions"),
    _blob("targets"),
    _blob("people"),
    _big("seconds"),
    _text("opened_by"),
    _big("opened_at"),
    _big("confirm_until"),
    _text("confirmed_by"),
    _big("until"),
    _text("ended_by"),
    _big("ended_at"),
    _big("review_due"),
    _text("reviewed_by"),
    _big("reviewed_at"),
    _blob("review"),
    _one_of("state", BREAKGLASS_STATES, "breakglass_state"),
    CheckConstraint("confirmed_by <> opened_by", name="breakglass_two_people"),
    CheckConstraint("reviewed_by <> opened_by", name="breakglass_reviewed_by_another"),
    Index("breakglass_page", "tenant", "opened_at", "id"),
    Index(
        "breakglass_live",
        "tenant",
        unique=True,
        sqlite_where=text(LIVE_BREAKGLASS_SQL),
        postgresql_where=text(LIVE_BREAKGLASS_SQL),
    ),
    Index(
        "breakglass_owed", "tenant", sqlite_where=text(OWED_BREAKGLASS_SQL), postgresql_where=text(OWED_BREAKGLASS_SQL)
    ),
)
"""What two people opened for a while. Of a tenant one waits or is open at a time."""
