"""The table of a record's fields: type, and how each treats people's privacy; and the kinds of records.

One table names every field. What is not in it is refused, so no content reaches a leaf that nobody classified.
Nothing here holds free text: text belongs in the payload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

VERSION: Final = "audit-record/1"


class Class(StrEnum):
    """Who can learn what from a field's value."""

    PUBLIC = "public"  # words of catalog, policy and configuration, counts, times: the same for any person
    PSEUDONYM = "pseudonym"  # an opaque id that the gate minted; means nothing outside its database
    COMMITMENT = "commitment"  # a digest of content that is kept elsewhere
    KEYED = "keyed"  # HMAC of a name under the tenant's key: linkable inside the log, nameable by the key's holder


TEXT: Final = {
    "code": r"[A-Za-z0-9_*-][A-Za-z0-9_.:/+*-]{0,127}",
    "model": r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,127}",
    "id": r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}",
    "keyed": r"[a-z0-9]{1,16}_[0-9a-f]{32}",
    "digest": r"(?:[a-z0-9]{1,12}:)?[0-9a-f]{64}",
    "stamp": r"0|[1-9][0-9]{0,18}",
    "hex16": r"[0-9a-f]{16}",
    "hex32": r"[0-9a-f]{32}",
    "tenant": r"[a-z0-9][a-z0-9-]{0,62}",
    "origin": r"[a-z0-9][a-z0-9.-]*(?:/[a-z0-9][a-z0-9.-]*)*",
    "b64": r"[A-Za-z0-9_-]{1,2048}",
    "version": re.escape(VERSION),
}
PATTERNS: Final = {name: re.compile(pattern, re.ASCII) for name, pattern in TEXT.items()}
HINTS: Final = {
    "code": "a short word of catalog, policy or configuration; free text belongs in the payload",
    "keyed": "pass names through audit.record.pseudonym",
    "stamp": "nanoseconds as a decimal string",
    "b64": "base64url without padding, of bytes that a machine made",
}


@dataclass(frozen=True, slots=True)
class Field:
    """Type and class of one field; `many` makes it a list of that type (at most 64)."""

    type: str
    privacy: Class
    many: bool = False


_FIELD_TABLE: Final = """
v version public
log origin public
tenant tenant public
seq count public
prev digest commitment
id id pseudonym
time_ns stamp public
kind code public
about id pseudonym
streams.id id pseudonym
streams.seq count public
streams.prev digest commitment
payload.key id pseudonym
payload.bytes count public
payload.commit digest commitment
follows.log origin public
follows.size count public
follows.root digest commitment
body.session id pseudonym
body.incident id pseudonym
body.event.kind code public
body.event.seq count public
body.event.from code public
body.event.to code public
body.event.by keyed keyed
body.error code public
body.request_digest digest commitment
body.argument_commit digest commitment
body.reason_commit digest commitment
body.actor.ref keyed keyed
body.actor.kind code public
body.actor.on_behalf_of keyed keyed
body.actor.client code public
body.actor.issuer code public
body.actor.roles code* public
body.action.id id pseudonym
body.action.name code public
body.action.connector code public
body.action.effect code public
body.action.idempotent flag public
body.action.reversible flag public
body.resource.type code public
body.resource.ref keyed keyed
body.resource.id code public
body.resource.env code public
body.resource.region code public
body.decision.id id pseudonym
body.decision.effect code public
body.decision.tier count public
body.decision.reasons code* public
body.decision.obligations code* public
body.decision.policy_revision code public
body.decision.policy_digest digest commitment
body.decision.engine code public
body.decision.input_digest digest commitment
body.approval.id id pseudonym
body.approval.digest digest commitment
body.approval.verdict code public
body.approval.reviewers keyed* keyed
body.approval.quorum count public
body.approval.given count public
body.approval.expires_ns stamp public
body.approval.rule code public
body.approval.signature flag public
body.signature.credential b64 pseudonym
body.signature.authenticator_data b64 public
body.signature.client_data b64 public
body.signature.value b64 public
body.authenticator.verb code public
body.authenticator.credential b64 pseudonym
body.authenticator.key b64 pseudonym
body.authenticator.model code public
body.authenticator.owner keyed keyed
body.breakglass.id id pseudonym
body.breakglass.verb code public
body.breakglass.actions code* public
body.breakglass.targets count public
body.breakglass.people keyed* keyed
body.breakglass.until_ns stamp public
body.breakglass.review_due_ns stamp public
body.turn.relayed flag public
body.turn.matches flag public
body.grant.id id pseudonym
body.grant.digest digest commitment
body.grant.expires_ns stamp public
body.plan.fingerprint digest commitment
body.plan.digest digest commitment
body.plan.rollback_digest digest commitment
body.lease.id id pseudonym
body.lease.expires_ns stamp public
body.redaction.profile code public
body.redaction.engine code public
body.redaction.counts counts public
body.redaction.input_commit digest commitment
body.redaction.output_commit digest commitment
body.provenance.counts counts public
body.provenance.digest digest commitment
body.evidence.diagnosis id pseudonym
body.evidence.counts counts public
body.evidence.digest digest commitment
body.llm.provider code public
body.llm.model model public
body.llm.region code public
body.llm.stop code public
body.llm.tokens_in count public
body.llm.tokens_out count public
body.llm.tokens_cached count public
body.llm.tools count public
body.outcome.status code public
body.outcome.code code public
body.outcome.http count public
body.outcome.bytes count public
body.outcome.rows count public
body.outcome.truncated flag public
body.outcome.duration_ns stamp public
body.outcome.observation id pseudonym
body.outcome.result_commit digest commitment
body.outcome.verified flag public
body.limits counts public
body.counts counts public
body.trace.trace_id hex32 pseudonym
body.trace.span_id hex16 pseudonym
body.work.id id pseudonym
body.work.kind code public
body.work.fence count public
body.policy.revision code public
body.policy.digest digest commitment
body.policy.previous digest commitment
body.policy.verb code public
body.policy.signers code* public
body.kill.scope code public
body.kill.target code public
body.kill.target_ref keyed keyed
body.key.id id pseudonym
body.key.purpose code public
body.key.name code public
body.key.fingerprint digest commitment
body.key.previous digest commitment
body.erasure.key id pseudonym
body.erasure.payloads count public
body.erasure.basis code public
body.export.id id pseudonym
body.export.digest digest commitment
body.export.entries count public
body.export.first count public
body.export.last count public
body.export.kinds code* public
body.export.session id pseudonym
body.config.digest digest commitment
body.config.version code public
"""


def _table(text: str) -> dict[str, Field]:
    rows = (line.split() for line in text.strip().splitlines())
    return {path: Field(kind.rstrip("*"), Class(privacy), kind.endswith("*")) for path, kind, privacy in rows}


FIELDS: Final[Mapping[str, Field]] = _table(_FIELD_TABLE)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of record must carry: dotted field paths or groups; it may carry every other field of the table."""

    needs: tuple[str, ...] = ()
    closes: bool = False  # names in `about` an intent that it closes


KINDS: Final[Mapping[str, Kind]] = {
    "intent": Kind(("body.actor", "body.action.name", "body.request_digest", "body.decision.effect")),
    "outcome": Kind(("about", "body.outcome.status"), closes=True),
    "recovery": Kind(("about", "body.outcome.status"), closes=True),
    "refusal": Kind(("body.error",)),
    "proposal": Kind(("body.actor", "body.approval.id", "body.approval.digest")),
    "review": Kind(("about", "body.actor", "body.approval.id", "body.approval.verdict")),
    "incident": Kind(("body.incident", "body.event.kind")),
    "session_open": Kind(("body.actor", "body.session")),
    "session_close": Kind(("body.session",)),
    "policy": Kind(("body.policy.digest", "body.policy.verb")),
    "authenticator": Kind(("body.actor", "body.authenticator.verb", "body.authenticator.credential")),
    "breakglass": Kind(("body.breakglass.id", "body.breakglass.verb")),
    "kill": Kind(("body.actor", "body.kill.scope")),
    "resume": Kind(("body.actor", "body.kill.scope")),
    "erasure": Kind(("body.erasure.key",)),
    "key_change": Kind(("body.key.purpose", "body.key.fingerprint")),
    "export": Kind(("body.export.digest", "body.export.entries")),
    "config": Kind(("body.config.digest",)),
}
CLOSING: Final = frozenset(name for name, kind in KINDS.items() if kind.closes)
