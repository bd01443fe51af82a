"""What a record may say: kinds, fields, and how each field treats people's privacy.

One table, `FIELDS`, names every field with its type and class. A field that is not in it is refused, so no
content reaches a leaf that nobody classified. Nothing here holds free text: text belongs in the payload.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Final

from audit import canonical
from audit.canonical import JSON, Plain
from audit.errors import Receipt, RecordInvalid

__all__ = ["FIELDS", "KINDS", "Class", "Draft", "Placed", "Prepared", "Receipt", "check", "pseudonym"]

VERSION: Final = "audit-record/1"
FIRST_PREV: Final = sha256(b"").hexdigest()
MAX_STREAMS: Final = 4


class Class(StrEnum):
    """Who can learn what from a field's value."""

    PUBLIC = "public"  # words of catalog, policy and configuration, counts, times: the same for any person
    PSEUDONYM = "pseudonym"  # an opaque id that the gate minted; means nothing outside its database
    COMMITMENT = "commitment"  # a digest of content that is kept elsewhere
    KEYED = "keyed"  # HMAC of a name under the tenant's key: linkable inside the log, nameable by the key's holder


_TEXT: Final = {
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
    "version": re.escape(VERSION),
}
_PATTERNS: Final = {name: re.compile(pattern, re.ASCII) for name, pattern in _TEXT.items()}
_HINTS: Final = {
    "code": "a short word of catalog, policy or configuration; free text belongs in the payload",
    "keyed": "pass names through audit.record.pseudonym",
    "stamp": "nanoseconds as a decimal string",
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
    "session_open": Kind(("body.actor", "body.session")),
    "session_close": Kind(("body.session",)),
    "policy": Kind(("body.policy.digest", "body.policy.verb")),
    "kill": Kind(("body.actor", "body.kill.scope")),
    "resume": Kind(("body.actor", "body.kill.scope")),
    "erasure": Kind(("body.erasure.key",)),
    "key_change": Kind(("body.key.purpose", "body.key.fingerprint")),
    "export": Kind(("body.export.digest", "body.export.entries")),
    "config": Kind(("body.config.digest",)),
}
CLOSING: Final = frozenset(name for name, kind in KINDS.items() if kind.closes)


@dataclass(frozen=True, slots=True)
class Draft:
    """A record before it has a place.

    `id` is the event id, unique in its log: appending it twice is refused, which makes an append a redemption.
    `stream` (a session id) and `streams` (an incident id, …) number the records of that id, so that an export
    of one of them can be proven complete. `about` is the event id that this record answers. `payload` is
    encrypted under the data key that `payload_key` (a session id) names; the leaf holds a commitment to it.
    """

    kind: str
    id: str
    time_ns: int
    body: Mapping[str, JSON] = field(default_factory=dict)
    stream: str | None = None
    about: str | None = None
    payload: bytes | None = None
    payload_key: str | None = None
    streams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """Position of a record in one of its streams; `prev` is the leaf hash (hex) of the stream's previous record."""

    id: str
    seq: int
    prev: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked draft: `fields` lacks only what the place decides (`seq`, `prev`, `streams`)."""

    fields: dict[str, Plain]
    streams: tuple[str, ...]

    def at(self, seq: int, prev: str, placed: Sequence[Placed]) -> dict[str, Plain]:
        """Return the whole record for this place."""
        record: dict[str, Plain] = {**self.fields, "seq": seq, "prev": prev}
        if placed:
            record["streams"] = [{"id": p.id, "seq": p.seq, "prev": p.prev} for p in placed]
        return record


def prepare(log: str, tenant: str, draft: Draft, payload: Mapping[str, JSON] | None = None) -> Prepared:
    """Check a draft against the table, the profile and the size limit.

    `payload` is the commitment object of the leaf, for a draft that carries one.

    Raises:
        RecordInvalid: names the field and the remedy.
    """
    streams = tuple(dict.fromkeys((*((draft.stream,) if draft.stream else ()), *draft.streams)))
    if len(streams) > MAX_STREAMS:
        raise RecordInvalid("streams", f"{len(streams)} streams exceed {MAX_STREAMS}")
    fields: dict[str, JSON] = {"v": VERSION, "log": log, "tenant": tenant, "id": draft.id, "kind": draft.kind}
    fields |= {"time_ns": str(draft.time_ns), "body": draft.body}
    if draft.about is not None:
        fields["about"] = draft.about
    if payload is not None:
        fields["payload"] = payload
    plain = canonical.plain(fields, "record", 1)
    assert isinstance(plain, dict)
    prepared = Prepared(plain, streams)
    largest = [Placed(stream, canonical.MAX_INT, FIRST_PREV) for stream in streams]
    record = prepared.at(canonical.MAX_INT, FIRST_PREV, largest)
    check(record)
    canonical.encode_plain(record)
    return prepared


def check(record: Mapping[str, Plain]) -> None:
    """Check a whole record, as written to a leaf, against kinds and fields.

    Raises:
        RecordInvalid: an unknown, missing or ill-typed field.
    """
    for name in ("v", "log", "tenant", "seq", "prev", "id", "time_ns", "kind", "body"):
        if name not in record:
            raise RecordInvalid(name, "is missing")
    for name, value in record.items():
        _check_value(name, value)
    _check_whole(record)
    kind = KINDS.get(str(record["kind"]))
    if kind is None:
        raise RecordInvalid("kind", f"{record['kind']!r} is unknown", f"use one of {', '.join(sorted(KINDS))}")
    for path in kind.needs:
        if not _has(record, path):
            raise RecordInvalid(path, f"is missing; a record of kind {record['kind']} needs it")


def pseudonym(key: bytes, tenant: str, domain: str, name: str) -> str:
    """Return a keyed pseudonym `<domain>_<32 hex>` of a person, agent or resource.

    HMAC-SHA256 under the tenant's key, over tenant, domain and name; equal names give equal pseudonyms inside
    a tenant, and nobody without the key can test a guess.
    """
    message = b"\x00".join((b"wicketgate pseudonym 1", tenant.encode(), domain.encode(), name.encode()))
    return f"{domain}_{hmac_digest(key, message, 'sha256').hex()[:32]}"


def is_tenant(name: str) -> bool:
    """Whether `name` can be a tenant: it becomes a line of a checkpoint and a folder."""
    return _PATTERNS["tenant"].fullmatch(name) is not None


def is_origin(name: str) -> bool:
    """Whether `name` can be a log's origin."""
    return _PATTERNS["origin"].fullmatch(name) is not None


_GROUPS: Final = frozenset(path.rsplit(".", 1)[0] for path in FIELDS if "." in path) | {"body"}


def _check_value(path: str, value: Plain) -> None:
    found = FIELDS.get(path)
    if found is not None:
        _check_field(path, found, value)
    elif path == "streams" and isinstance(value, list) and 0 < len(value) <= MAX_STREAMS:
        for item in value:
            _check_group(path, item)
    elif path in _GROUPS and path != "streams":
        _check_group(path, value)
    else:
        raise RecordInvalid(path, "is not a field of the record", "add it to audit/record.py with its class")


def _check_whole(record: Mapping[str, Plain]) -> None:
    """Refuse a stream place or a payload commitment that lacks one of its three fields."""
    streams, committed = record.get("streams", []), record.get("payload")
    places = [("streams", place) for place in streams] if isinstance(streams, list) else []
    for path, group in [*places, *((("payload", committed),) if committed is not None else ())]:
        if isinstance(group, dict) and len(group) != 3:
            raise RecordInvalid(path, "lacks a field")


def _check_group(path: str, value: Plain) -> None:
    if not isinstance(value, dict):
        raise RecordInvalid(path, "is not an object")
    for name, inner in value.items():
        _check_value(f"{path}.{name}", inner)


def _check_field(path: str, found: Field, value: Plain) -> None:
    fits = _FITS[found.type]
    good = isinstance(value, list) and len(value) <= 64 and all(map(fits, value)) if found.many else fits(value)
    if not good:
        kind = f"a list of {found.type}" if found.many else found.type
        raise RecordInvalid(path, f"is not {kind}", _HINTS.get(found.type, ""))


def _fits_text(pattern: re.Pattern[str]) -> Callable[[Plain], bool]:
    match = pattern.fullmatch
    return lambda value: type(value) is str and match(value) is not None


def _is_count(value: Plain) -> bool:
    return type(value) is int and value >= 0


def _is_counts(value: Plain) -> bool:
    return isinstance(value, dict) and len(value) <= 64 and all(map(_is_count, value.values()))


_FITS: Final[Mapping[str, Callable[[Plain], bool]]] = {
    **{name: _fits_text(pattern) for name, pattern in _PATTERNS.items()},
    "count": _is_count,
    "flag": lambda value: type(value) is bool,
    "counts": _is_counts,
}


def _has(record: Mapping[str, Plain], path: str) -> bool:
    at: Plain | None = dict(record)
    for name in path.split("."):
        at = at.get(name) if isinstance(at, dict) else None
    return at is not None
