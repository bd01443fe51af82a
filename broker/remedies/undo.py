"""The gate's own workload, and the request that undoes a write: what binds the one to the other."""

import hashlib
from collections.abc import Mapping

import orjson

from broker.clock import Clock, seconds
from broker.model import OWN_ISSUER, Json, Party, PartyKind, Principal

VERIFIER = "gate:verifier"
_SECONDS = 600


def verifier(tenant: str, clock: Clock) -> Principal:
    """The workload that looks whether a remedy helped, and undoes one that did not."""
    party = Party(VERIFIER, PartyKind.WORKLOAD, frozenset({"gate"}))
    return Principal(tenant=tenant, subject=party, issuer=OWN_ISSUER, expires_at=seconds(clock) + _SECONDS)


def is_own(principal: Principal) -> bool:
    """Whether the gate itself asks; no token can make such a principal."""
    return principal.issuer == OWN_ISSUER and principal.subject.id == VERIFIER


def digest_of(undo: Mapping[str, Json] | None) -> str:
    """SHA-256 (hex) of the canonical undoing request ``{"action","resource","arguments"}``; empty for none."""
    return hashlib.sha256(orjson.dumps(dict(undo), option=orjson.OPT_SORT_KEYS)).hexdigest() if undo else ""
