"""A software authenticator with real keys: CTAP's bytes as a security key makes them (WebAuthn level 2, sections 5.8, 6).

ES256 (P-256, DER) and EdDSA (Ed25519) with COSE keys in CBOR; attestation `none`. What a hardware key would never do
(leave out its user, sign for another page) is a keyword, so that a test can be the attacker.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40
AAGUID = bytes.fromhex("00112233445566778899aabbccddeeff")
Kind = Literal["ES256", "EdDSA"]


def text(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def raw(encoded: str) -> bytes:
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


@dataclass
class SoftwareKey:
    """One credential. ``counts``: it has a signature counter, as security keys do; passkeys have none."""

    kind: Kind = "ES256"
    counts: bool = True
    origin: str = "http://localhost:8480"
    rp_id: str = "localhost"
    credential: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    count: int = 0

    def __post_init__(self) -> None:
        made: EllipticCurvePrivateKey | Ed25519PrivateKey
        made = generate_private_key(SECP256R1()) if self.kind == "ES256" else Ed25519PrivateKey.generate()
        self.private = made

    @property
    def id(self) -> str:
        return text(self.credential)

    def create(self, options: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """Answer ``navigator.credentials.create()``."""
        client = self._client("webauthn.create", options["challenge"], **changes)
        flags = changes.get("flags", PRESENT | VERIFIED) | ATTESTED
        attested = AAGUID + len(self.credential).to_bytes(2, "big") + self.credential + cbor2.dumps(self._cose())
        data = self._head(flags, changes.get("rp_id", self.rp_id), 0) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        response = {"clientDataJSON": text(client), "attestationObject": text(attestation), "transports": ["usb"]}
        return {"id": self.id, "rawId": self.id, "type": "public-key", "response": response}

    def get(self, options: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """Answer ``navigator.credentials.get()``; ``count`` sets the counter, ``flags``, ``origin``, ``rp_id`` lie."""
        self.count = changes.get("count", self.count + 1 if self.counts else 0)
        client = self._client("webauthn.get", options["challenge"], **changes)
        data = self._head(changes.get("flags", PRESENT | VERIFIED), changes.get("rp_id", self.rp_id), self.count)
        response = {
            "clientDataJSON": text(client),
            "authenticatorData": text(data),
            "signature": text(self._sign(data + hashlib.sha256(client).digest())),
        }
        return {"id": self.id, "rawId": self.id, "type": "public-key", "response": response}

    def _client(self, kind: str, challenge: str, **changes: Any) -> bytes:
        said = {"type": changes.get("type", kind), "challenge": challenge, "origin": changes.get("origin", self.origin)}
        return json.dumps({**said, "crossOrigin": changes.get("framed", False)}, separators=(",", ":")).encode()

    def _head(self, flags: int, rp_id: str, count: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + count.to_bytes(4, "big")

    def _sign(self, message: bytes) -> bytes:
        if isinstance(self.private, Ed25519PrivateKey):
            return self.private.sign(message)
        return self.private.sign(message, ECDSA(SHA256()))

    def _cose(self) -> dict[int, Any]:
        """The public key as a COSE_Key (RFC 9053)."""
        if isinstance(self.private, Ed25519PrivateKey):
            return {1: 1, 3: -8, -1: 6, -2: self.private.public_key().public_bytes_raw()}
        numbers = self.private.public_key().public_numbers()
        return {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
