"""The two ceremonies of WebAuthn level 2 (sections 7.1 and 7.2): bytes from outside in, what they prove out.

``webauthn`` has the last word. What has a code of its own is looked at before, since the library tells its refusals
apart by prose only; and a page inside another site's frame is refused, which it does not do. It is loaded with the first
ceremony: it brings the formats of every maker, and few starts of a gate see one.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker import strictjson
from broker.errors import BadRequest, BrokerError, Denied
from broker.model import Json
from broker.store import Connection
from broker.store.authenticators import Authenticator

ALGORITHMS: Final = (-8, -7)
"""EdDSA and ES256, as COSE numbers them (RFC 9053)."""
CREDENTIAL_BYTES_MAX: Final = 255
CLIENT_DATA_BYTES_MAX: Final = 1_024
AUTHENTICATOR_DATA_BYTES_MAX: Final = 1_024
SIGNATURE_BYTES_MAX: Final = 128
REGISTRATION_BYTES_MAX: Final = 8_192
_TRANSPORTS: Final = frozenset({"ble", "cable", "hybrid", "internal", "nfc", "smart-card", "usb"})
# What the library lets through beside its own exceptions, on input that it did not expect.
_ODD: Final = (ValueError, KeyError, TypeError, AttributeError, IndexError, UnsupportedAlgorithm)


@dataclass(frozen=True, slots=True)
class Site:
    """Whom authenticators sign for: ``rp_id`` is the host of ``origin``, the gate's public address."""

    rp_id: str
    origin: str

    @classmethod
    def of(cls, url: str) -> "Site":
        """The site of a public address."""
        parts = urlsplit(url)
        return cls(rp_id=parts.hostname or "", origin=f"{parts.scheme}://{parts.netloc}")

    @property
    def why_not(self) -> str:
        """Why no browser asks an authenticator here; empty where they do.

        WebAuthn level 2: an RP ID is a domain (section 5.1.2), and the page a secure context (W3C Secure Contexts 3.1).
        """
        if _is_address(self.rp_id):
            return f"gate.url {self.origin} names a bare IP address, and security keys sign for a domain name only"
        if not (self.origin.startswith("https:") or self.rp_id == "localhost" or self.rp_id.endswith(".localhost")):
            return f"gate.url {self.origin} is not https, and browsers ask security keys on https pages only"
        return ""

    @property
    def fault(self) -> BadRequest | None:
        """The same with what to do about it."""
        if not self.why_not:
            return None
        return BadRequest(
            self.why_not,
            code="authenticator.site",
            remedy="give gate.url as https:// and a domain name that leads to the gate, and start it again",
        )


@dataclass(frozen=True, slots=True)
class Signed:
    """A checked assertion: what the record keeps (base64url), and what makes it count once, inside a transaction."""

    record: Mapping[str, str]
    redeem: Callable[[Connection], None]

    @property
    def text(self) -> str:
        """As the review's row keeps it; empty for no signature."""
        return orjson.dumps(dict(self.record), option=orjson.OPT_SORT_KEYS).decode() if self.record else ""


UNSIGNED: Final = Signed({}, lambda _connection: None)
"""No signature."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """An assertion as it came, taken apart; nothing of it is believed yet."""

    credential: str
    client_data: bytes
    authenticator_data: bytes
    value: bytes

    @property
    def signed(self) -> str:
        """Hex SHA-256 of the bytes that were signed: the same for a repetition, whatever form its signature has."""
        bytes_ = self.authenticator_data + hashlib.sha256(self.client_data).digest()
        return hashlib.sha256(bytes_).hexdigest()

    @property
    def record(self) -> dict[str, str]:
        """What a record keeps: enough to check it again."""
        return {
            "credential": self.credential,
            "authenticator_data": bytes_to_base64url(self.authenticator_data),
            "client_data": bytes_to_base64url(self.client_data),
            "value": bytes_to_base64url(self.value),
        }


@dataclass(frozen=True, slots=True)
class Registration:
    """A proven registration."""

    credential: str
    public_key: bytes
    sign_count: int
    aaguid: str
    transports: tuple[str, ...]


def assertion_of(said: Json) -> Assertion:
    """Take an ``AuthenticationResponseJSON`` apart; raises ``BadRequest`` (``signature.malformed``)."""
    response = _object(_object(said).get("response"))
    read = Assertion(
        credential=bytes_to_base64url(_bytes(_object(said).get("rawId"), CREDENTIAL_BYTES_MAX)),
        client_data=_bytes(response.get("clientDataJSON"), CLIENT_DATA_BYTES_MAX),
        authenticator_data=_bytes(response.get("authenticatorData"), AUTHENTICATOR_DATA_BYTES_MAX),
        value=_bytes(response.get("signature"), SIGNATURE_BYTES_MAX),
    )
    if said.get("type") != "public-key" or said.get("id") != read.credential:
        raise malformed()
    return read


def prove(said: Assertion, known: Authenticator, site: Site, challenge: bytes) -> int:
    """Check that ``known`` signed ``challenge`` for ``site``, its user verified; returns the new counter.

    Raises ``Denied`` (``signature.*``), ``BadRequest`` (``signature.malformed``).
    """
    client = _client_data(said.client_data)
    if client.get("type") != "webauthn.get":
        raise malformed()
    if client.get("origin") != site.origin or client.get("crossOrigin", False) is not False or "topOrigin" in client:
        raise Denied(
            "it was signed on another page than the gate's",
            code="signature.origin",
            remedy="sign on the gate's own approval page",
        )
    if client.get("challenge") != bytes_to_base64url(challenge):
        raise Denied(
            "it was signed for another decision or by somebody else's leave",
            code="signature.other_decision",
            remedy="open the approval again and sign what it shows now",
        )
    from webauthn import verify_authentication_response
    from webauthn.helpers import parse_authenticator_data
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        data = parse_authenticator_data(said.authenticator_data)
    except (WebAuthnException, *_ODD):
        raise malformed() from None
    if data.rp_id_hash != hashlib.sha256(site.rp_id.encode()).digest():
        raise Denied(
            "it was signed for another site", code="signature.site", remedy="sign on the gate's own approval page"
        )
    if not (data.flags.up and data.flags.uv):
        raise Denied(
            "the authenticator did not verify its user",
            code="signature.not_verified",
            remedy="use an authenticator with a PIN, a fingerprint or the like, and answer it",
        )
    if max(data.sign_count, known.sign_count) > 0 and data.sign_count <= known.sign_count:
        raise count_back()
    try:
        verified = verify_authentication_response(
            credential=_as_json(said),
            expected_challenge=challenge,
            expected_rp_id=site.rp_id,
            expected_origin=site.origin,
            credential_public_key=known.public_key,
            credential_current_sign_count=known.sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, *_ODD):
        raise Denied(
            "the signature does not hold", code="signature.invalid", remedy="sign again with your own authenticator"
        ) from None
    return verified.new_sign_count


def register(said: Json, site: Site, challenge: bytes) -> Registration:
    """Check a ``RegistrationResponseJSON``; raises ``BadRequest`` (``authenticator.invalid``, ``signature.malformed``)."""
    response = _object(_object(said).get("response"))
    client = _client_data(_bytes(response.get("clientDataJSON"), CLIENT_DATA_BYTES_MAX))
    _bytes(response.get("attestationObject"), REGISTRATION_BYTES_MAX)
    if client.get("crossOrigin", False) is not False or "topOrigin" in client:
        raise _not_new()
    from webauthn import verify_registration_response
    from webauthn.helpers.cose import COSEAlgorithmIdentifier
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        verified = verify_registration_response(
            credential=dict(said),
            expected_challenge=challenge,
            expected_rp_id=site.rp_id,
            expected_origin=site.origin,
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(one) for one in ALGORITHMS],
        )
    except (WebAuthnException, *_ODD):
        raise _not_new() from None
    if len(verified.credential_id) > CREDENTIAL_BYTES_MAX:
        raise _not_new()
    listed = response.get("transports")
    transports = {one for one in listed if one in _TRANSPORTS} if isinstance(listed, list) else set()
    return Registration(
        credential=bytes_to_base64url(verified.credential_id),
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        aaguid=verified.aaguid,
        transports=tuple(sorted(transports)),
    )


def public_key_text(cose: bytes) -> str:
    """A COSE key as DER SubjectPublicKeyInfo, which every tool reads, in base64url."""
    from webauthn.helpers import decode_credential_public_key, decoded_public_key_to_cryptography

    key: Any = decoded_public_key_to_cryptography(decode_credential_public_key(cose))
    return bytes_to_base64url(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def bytes_to_base64url(content: bytes) -> str:
    """Base64url without padding, as WebAuthn writes bytes."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def malformed() -> BadRequest:
    """What came is no assertion."""
    return BadRequest(
        "field `assertion` is not the answer of an authenticator",
        code="signature.malformed",
        remedy="send what navigator.credentials.get() gave, as its toJSON() writes it",
    )


def count_back() -> Denied:
    """The counter did not rise."""
    return Denied(
        "the authenticator's counter did not rise: there may be a copy of it",
        code="signature.count_back",
        remedy="remove this authenticator, tell the security team, and register another",
    )


def _not_new() -> BadRequest:
    return BadRequest(
        "the authenticator's answer does not prove a new key for this gate",
        code="authenticator.invalid",
        remedy="open the page again and register it there, with its PIN, fingerprint or the like",
    )


def _as_json(said: Assertion) -> dict[str, Json]:
    record = said.record
    return {
        "id": said.credential,
        "rawId": said.credential,
        "type": "public-key",
        "response": {
            "clientDataJSON": record["client_data"],
            "authenticatorData": record["authenticator_data"],
            "signature": record["value"],
        },
    }


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _object(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise malformed()
    return value


def _client_data(encoded: bytes) -> Mapping[str, Json]:
    """Client data, read once and strictly: two readers would be two opinions."""
    try:
        return strictjson.read_object(encoded)
    except BrokerError:
        raise malformed() from None


def _bytes(text: Json, most: int) -> bytes:
    """Bytes of base64url in its one spelling."""
    if not isinstance(text, str) or not 0 < len(text) <= most * 2:
        raise malformed()
    try:
        found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise malformed() from None
    if not 0 < len(found) <= most or bytes_to_base64url(found) != text:
        raise malformed()
    return found
