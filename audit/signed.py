"""Approvals that a person signed with an authenticator (WebAuthn level 2): what was signed, and whether it holds.

The challenge is `SHA-256("wicketgate approval 1" || 0x00 || statement)`, the statement being the canonical object of
what is decided, by whom and how. Every part of it stands in the review's own record, and the public key in the record
of the authenticator's registration, so the log alone shows who approved exactly what. With other tools: the signature is
over `authenticator_data || SHA-256(client_data)`, and the key is a DER SubjectPublicKeyInfo:

    openssl dgst -sha256 -verify key.pem -signature value signed.bin        (ES256)
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from audit.canonical import JSON, Plain, encode

DOMAIN: Final = b"wicketgate approval 1\x00"
_PRESENT, _VERIFIED = 0x01, 0x04
_HEAD: Final = 37  # rpIdHash, flags, counter
STATEMENT: Final = ("approval", "plan", "policy", "request", "reviewer", "revision", "rollback", "tenant", "verdict")


def challenge(statement: Mapping[str, JSON]) -> bytes:
    """Return what the authenticator signs for this decision.

    `statement` has exactly the texts `approval` (id), `request` (digest), `policy` (bundle digest), `revision`,
    `plan` (SHA-256 of the plan's fingerprint), `rollback` (digest or empty), `verdict`, `reviewer` (keyed pseudonym)
    and `tenant`.
    """
    if set(statement) != set(STATEMENT):
        raise ValueError("a statement has its nine texts and nothing else")
    return sha256(DOMAIN + encode(statement)).digest()


def statement_of(record: Mapping[str, Plain]) -> dict[str, JSON]:
    """Return the statement that a review's record tells; raises KeyError where it lacks a part."""
    body = _group(record["body"])
    approval, policy, plan = _group(body["approval"]), _group(body["policy"]), _group(body["plan"])
    [reviewer] = approval["reviewers"] if isinstance(approval["reviewers"], list) else []
    return {
        "approval": str(approval["id"]),
        "plan": str(plan["fingerprint"]),
        "policy": str(policy["digest"]),
        "request": str(approval["digest"]),
        "reviewer": str(reviewer),
        "revision": str(policy["revision"]),
        "rollback": str(plan.get("rollback_digest", "")),
        "tenant": str(record["tenant"]),
        "verdict": str(approval["verdict"]),
    }


def holds(key: bytes, authenticator_data: bytes, client_data: bytes, value: bytes) -> bool:
    """Whether `value` is the signature of the key (DER) over these bytes: ES256 or EdDSA, as the key is."""
    signed = authenticator_data + sha256(client_data).digest()
    try:
        public = load_der_public_key(key)
        if isinstance(public, EllipticCurvePublicKey):
            public.verify(value, signed, ECDSA(SHA256()))
        elif isinstance(public, Ed25519PublicKey):
            public.verify(value, signed)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


@dataclass(slots=True)
class Signatures:
    """State over the records of one log: keys as they came and went, and what is wrong with a signed review or without it."""

    count: int = 0
    unproposed: int = 0
    """Actions whose approval was never proposed in this log."""
    spared: int = 0
    """Actions that lack signed approvals of their proposal, and say why: a break-glass, or another policy."""
    wrong: tuple[int, str] | None = None
    _keys: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    """Credential -> public key and owner, of those registered."""
    _ready: set[str] = field(default_factory=set)
    _wanted: dict[str, tuple[int, object]] = field(default_factory=dict)
    """Approval -> how many signed approvals policy wants, and which policy."""
    _given: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """Approval and request digest -> who approved with a signature."""

    def take(self, index: int, record: Mapping[str, Plain]) -> None:
        """Read the next record."""
        body = _group(record["body"])
        approval = _group(body.get("approval"))
        if record["kind"] == "authenticator":
            self._authenticator(index, _group(body["authenticator"]), _group(body["actor"]))
        elif record["kind"] == "proposal":
            quorum = approval.get("quorum")
            signed = max(1, quorum if isinstance(quorum, int) else 1) if approval.get("signature") is True else 0
            self._wanted[str(approval.get("id"))] = signed, _policy(body)
        elif record["kind"] == "review":
            if "signature" in body:
                self.count += 1
                self._review(index, record, _group(body["signature"]))
            elif approval.get("verdict") == "approve" and self._wanted.get(str(approval.get("id")), (0, ""))[0]:
                self._note(index, "approves without the signature that policy wants")
        elif record["kind"] == "intent" and "id" in approval:
            self._intent(index, body, approval)

    def _authenticator(self, index: int, told: Mapping[str, Plain], actor: Mapping[str, Plain]) -> None:
        credential, verb = str(told["credential"]), str(told["verb"])
        if verb == "registered":
            if credential in self._keys:
                self._note(index, "registers a credential that is registered already")
                return
            self._keys[credential] = (_bytes(told.get("key")), str(told.get("owner")))
        elif verb == "confirmed":
            if credential in self._keys and self._keys[credential][1] == actor.get("ref"):
                self._note(index, "its owner confirmed this authenticator")
                return
            self._ready.add(credential)
        elif verb == "removed":
            self._ready.discard(credential)

    def _intent(self, index: int, body: Mapping[str, Plain], approval: Mapping[str, Plain]) -> None:
        """An action begins with as many signed approvals of exactly this request as its proposal wants."""
        name = str(approval["id"])
        if name not in self._wanted:
            self.unproposed += 1
            return
        wanted, policy = self._wanted[name]
        given = len(self._given.get((name, str(approval.get("digest"))), ()))
        if given >= wanted:
            return
        if "breakglass" in body or _policy(body) != policy:
            self.spared += 1
        else:
            self._note(index, f"begins with {given} of {wanted} signed approvals that policy wants")

    def _review(self, index: int, record: Mapping[str, Plain], told: Mapping[str, Plain]) -> None:
        credential = str(told.get("credential"))
        known = self._keys.get(credential)
        if known is None or credential not in self._ready:
            self._note(index, "its authenticator was not in force")
            return
        try:
            statement = statement_of(record)
        except (KeyError, ValueError):
            self._note(index, "does not tell what was signed")
            return
        other = "its authenticator is another person's" if known[1] != statement["reviewer"] else ""
        self._note(index, other or _problem(known[0], told, challenge(statement)))
        if statement["verdict"] == "approve":
            answered = str(statement["approval"]), str(statement["request"])
            self._given.setdefault(answered, set()).add(str(statement["reviewer"]))

    def _note(self, index: int, problem: str) -> None:
        if problem and self.wrong is None:
            self.wrong = index, problem


def _problem(key: bytes, told: Mapping[str, Plain], expected: bytes) -> str:
    """What is wrong with an assertion, or empty."""
    data, client = _bytes(told.get("authenticator_data")), _bytes(told.get("client_data"))
    try:
        said = json.loads(client)
        signed, kind, host = _bytes(said["challenge"]), said["type"], urlsplit(said["origin"]).hostname or ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its client data cannot be read"
    if kind != "webauthn.get" or signed != expected:
        return "what was signed is another decision"
    if len(data) < _HEAD or data[:32] != sha256(host.encode()).digest():
        return "it was signed for another site"
    if data[32] & (_PRESENT | _VERIFIED) != _PRESENT | _VERIFIED:
        return "the authenticator did not verify its user"
    return "" if holds(key, data, client, _bytes(told.get("value"))) else "its signature does not hold"


def _policy(body: Mapping[str, Plain]) -> object:
    """Digest of the policy that a record's decision rests on."""
    return _group(body.get("decision")).get("policy_digest")


def _group(value: object) -> dict[str, Plain]:
    return value if isinstance(value, dict) else {}


def _bytes(text: object) -> bytes:
    """Bytes of base64url without padding; empty for anything else."""
    try:
        return base64.urlsafe_b64decode(str(text) + "=" * (-len(str(text)) % 4))
    except (ValueError, binascii.Error):
        return b""
