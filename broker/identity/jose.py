"""Strict JWS compact serialization (RFC 7515, RFC 8725) over joserfc's algorithms.

Parsing is ours, so that exactly one reading of a token exists; only the mathematics is joserfc's. What its parser
lets through and this refuses: non-canonical base64url, white space, empty segments, duplicate JSON keys, ``b64`` and
``crit``, keys carried in the header, symmetric algorithms, a key whose curve, ``use`` or ``alg`` does not fit.
"""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from broker import strictjson
from broker.errors import BadRequest, Unauthenticated
from broker.model import Json

TOKEN_BYTES_MAX = 16_384
HEADER_BYTES_MAX = 2_048

ALGORITHMS: Mapping[str, tuple[str, str]] = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "Ed25519": ("OKP", "Ed25519"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Every algorithm an issuer may be configured with: asymmetric only. ``EdDSA`` is read as Ed25519 (RFC 9864)."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\Z")
_REFUSED_HEADERS = frozenset({"crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc"})
_registry = JWSRegistry(algorithms=sorted({"Ed25519"} | (set(ALGORITHMS) - {"EdDSA"})))

Key = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True)
class Compact:
    """One token taken apart. Nothing in it is verified yet; ``signing_input`` are the exact bytes received."""

    header: Mapping[str, Json]
    payload: bytes
    signing_input: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        """The header's ``alg``: only ever compared with the issuer's own list."""
        return str(self.header["alg"])


def malformed(why: str) -> Unauthenticated:
    """The refusal of a credential that is no proper token; ``why`` names the rule, never a part of the token."""
    return Unauthenticated(
        f"the token is malformed: {why}",
        code="identity.malformed",
        remedy="send the access token exactly as the identity provider issued it",
    )


def bad_signature(why: str) -> Unauthenticated:
    """The refusal of a token whose signature does not hold."""
    return Unauthenticated(
        f"the token's signature does not hold: {why}",
        code="identity.bad_signature",
        remedy="get a fresh token from the configured identity provider",
    )


def decode_segment(segment: str) -> bytes:
    """Base64url without padding, canonical only: the one spelling that encodes back to itself."""
    try:
        raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except (binascii.Error, ValueError):
        raise malformed("a segment is not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != segment.encode():
        raise malformed("a segment is not canonical base64url")
    return raw


def read_json_object(raw: bytes, what: str) -> dict[str, Json]:
    """A JSON object by the gate's strict reader; raises ``identity.malformed`` naming ``what``."""
    try:
        return strictjson.read_object(raw, bytes_max=TOKEN_BYTES_MAX, floats=True)
    except BadRequest as error:
        raise malformed(f"{what}: {error.error_code}") from None


def take_apart(token: str, *, embedded_key: bool = False) -> Compact:
    """Split and decode a compact JWS; raises ``identity.malformed``.

    ``embedded_key`` allows the header ``jwk``, which only a DPoP proof has.
    """
    if len(token) > TOKEN_BYTES_MAX:
        raise malformed(f"it is longer than {TOKEN_BYTES_MAX} characters")
    match = _COMPACT.match(token)
    if match is None:
        raise malformed("it is not three base64url segments")
    first, second, third = match.groups()
    if len(first) > HEADER_BYTES_MAX:
        raise malformed(f"its header is longer than {HEADER_BYTES_MAX} characters")
    header = read_json_object(decode_segment(first), "header")
    refused = _REFUSED_HEADERS.intersection(header) - ({"jwk"} if embedded_key else set())
    if refused:
        raise malformed(f"its header carries `{min(refused)}`")
    for name in ("alg", "typ", "kid"):
        if name in header and not isinstance(header[name], str):
            raise malformed(f"its header `{name}` is not a string")
    if "alg" not in header:
        raise malformed("its header has no `alg`")
    return Compact(header, decode_segment(second), f"{first}.{second}".encode(), decode_segment(third))


def verify(compact: Compact, key: Key, algorithms: Collection[str]) -> None:
    """Check the signature with ``key`` under one of ``algorithms``; returns only if it holds.

    Raises ``identity.bad_signature`` for an algorithm outside the list, a key that does not fit it, or a signature
    that does not verify. The list is the issuer's configuration; the token's ``alg`` can only pick from it.
    """
    name = compact.algorithm
    if name not in algorithms or name not in ALGORITHMS:
        raise bad_signature("its algorithm is not one this issuer may use")
    kty, curve = ALGORITHMS[name]
    if key.key_type != kty or (curve and _curve(key) != curve):
        raise bad_signature("its algorithm does not fit the key")
    model: Any = _registry.get_alg("Ed25519" if name == "EdDSA" else name)
    try:
        if key.alg not in (None, name, "Ed25519" if name == "EdDSA" else "EdDSA" if name == "Ed25519" else name):
            raise bad_signature("the key is for another algorithm")
        key.check_use("sig")
        holds = model.verify(compact.signing_input, compact.signature, key)
    except (JoseError, ValueError):
        raise bad_signature("it cannot be checked with the issuer's key") from None
    if not holds:
        raise bad_signature("it was not made by the issuer's key over this content")


def _curve(key: Key) -> str:
    return "" if isinstance(key, RSAKey) else key.curve_name
