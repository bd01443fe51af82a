"""Everything the audit log may refuse, as one tree.

AuditError
├── RecordInvalid        the draft or the bytes do not fit the record format; names the field
├── DuplicateEvent       the event id is in the log already; carries the first receipt
├── LogUnavailable       nothing was promised: the caller must not act
│   └── GuardsMissing    the database lacks a uniqueness guard or a trigger; the log does not start
├── HistoryConflict      the store contradicts something signed before (rollback or fork)
├── KeyRefused           a key file is missing, readable by others, or of the wrong shape
├── Malformed            a note, checkpoint, proof, tile or vkey that does not parse strictly
└── PayloadCorrupt       a stored payload does not open under its key, or misses its commitment
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a record stands: the log's origin, its sequence number, and its RFC 6962 leaf hash in hex."""

    log: str
    seq: int
    leaf: str


class AuditError(Exception):
    """Base of all refusals of the audit log."""


class RecordInvalid(AuditError):
    """A record breaks the profile or the field table. `field` is a dotted path, `remedy` what to do."""

    def __init__(self, field: str, reason: str, remedy: str = "") -> None:
        self.field, self.reason, self.remedy = field, reason, remedy
        super().__init__(f"{field}: {reason}" + (f"; {remedy}" if remedy else ""))


class DuplicateEvent(AuditError):
    """The event id was appended before; `receipt` is that of the first record."""

    def __init__(self, event_id: str, receipt: Receipt) -> None:
        self.event_id, self.receipt = event_id, receipt
        super().__init__(f"event {event_id} is record {receipt.seq} of {receipt.log} already")


class LogUnavailable(AuditError):
    """The log could not promise durability. The record may or may not exist: act as if it does not."""


class GuardsMissing(LogUnavailable):
    """A constraint or trigger that keeps the chain linear is absent or altered."""


class HistoryConflict(AuditError):
    """The store holds less than, or something other than, what was signed or published before."""


class KeyRefused(AuditError):
    """A key file cannot be used as it is."""


class Malformed(AuditError):
    """Text or bytes of a published artefact do not have exactly the specified form."""


class PayloadCorrupt(AuditError):
    """A payload's ciphertext or plaintext is not what the leaf commits to."""
