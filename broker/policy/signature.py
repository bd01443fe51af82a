"""The two signatures of a bundle, made with one secret.

*Detached*: Ed25519 over the archive's bytes, written as one line ``<key id> <base64>``; the gate checks it before it
unpacks anything. *Inside*: ``.signatures.json``, OPA's bundle signing (JWT, ``ES256``, SHA-256 of every file, scope),
so that an OPA server refuses what the gate would refuse; the gate holds no P-256 key and checks only that the listing
fits the files, because the detached signature covers both. Structured files (``data.json``, ``.manifest``) are hashed
over their canonical JSON, the others over their bytes, as OPA does (v1/bundle/hash.go).
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from broker.errors import BadRequest
from broker.model import Json
from broker.policy.keys import SigningKey

SCOPE = "broker"
SIGNATURES_FILE = ".signatures.json"
_STRUCTURED = {"data.json", ".manifest"}


def canonical(value: Json) -> bytes:
    """JSON as OPA hashes it: sorted keys, no spaces, U+2028 and U+2029 escaped as Go escapes them."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return text.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")


def file_hash(name: str, content: bytes) -> str:
    """Hex SHA-256 of one file by OPA's rule. Raises ``BadRequest`` when a structured file is not JSON."""
    if name.rpartition("/")[2] in _STRUCTURED:
        try:
            content = canonical(orjson.loads(content))
        except ValueError:
            raise _untrusted(f"`{name}` is not JSON") from None
    return hashlib.sha256(content).hexdigest()


def sign_files(files: Mapping[str, bytes], key: SigningKey) -> bytes:
    """The content of ``.signatures.json`` for ``files``. No time claim: equal files give equal bytes."""
    listed = [{"name": n, "hash": file_hash(n, files[n]), "algorithm": "SHA-256"} for n in sorted(files)]
    header = _b64(canonical({"alg": "ES256", "kid": key.id, "typ": "JWT"}))
    payload = _b64(canonical({"files": listed, "keyid": key.id, "scope": SCOPE}))
    token = f"{header}.{payload}"
    der = key.for_opa.sign(token.encode(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    raw = b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(der))
    return canonical({"signatures": [f"{token}.{_b64(raw)}"]})


def check_listing(files: Mapping[str, bytes], key_id: str) -> None:
    """Check that ``.signatures.json`` lists exactly the other files as they are; raises ``BadRequest``."""
    if SIGNATURES_FILE not in files:
        raise _untrusted(f"{SIGNATURES_FILE} is missing")
    try:
        (token,) = orjson.loads(files[SIGNATURES_FILE])["signatures"]
        header, payload = (orjson.loads(_unb64(part)) for part in token.split(".")[:2])
        listed = {entry["name"]: (entry["algorithm"], entry["hash"]) for entry in payload["files"]}
        claims = (header["alg"], header["kid"], payload["keyid"], payload["scope"])
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        raise _untrusted(f"{SIGNATURES_FILE} is not OPA's form") from None
    if claims != ("ES256", key_id, key_id, SCOPE):
        raise _untrusted(f"{SIGNATURES_FILE} names another key, algorithm or scope")
    found = {n: ("SHA-256", file_hash(n, content)) for n, content in files.items() if n != SIGNATURES_FILE}
    if listed != found:
        changed = sorted(n for n in listed.keys() | found.keys() if listed.get(n) != found.get(n))
        raise _untrusted(f"`{changed[0]}` is not the file that was signed")


def sign_archive(archive: bytes, key: SigningKey) -> str:
    """The detached signature line ``<key id> <base64>``."""
    return f"{key.id} {base64.b64encode(key.private.sign(archive)).decode()}"


def verify_archive(archive: bytes, signature: str, signers: Mapping[str, Ed25519PublicKey]) -> str:
    """Check the detached signature and return the signer's key id; raises ``BadRequest`` (``policy.untrusted``)."""
    key_id, _, encoded = signature.strip().partition(" ")
    if not encoded:
        raise _untrusted("it carries no detached signature")
    if key_id not in signers:
        raise _untrusted("its signer is not configured")
    try:
        signers[key_id].verify(base64.b64decode(encoded, validate=True), archive)
    except (InvalidSignature, binascii.Error, ValueError):
        raise _untrusted("its detached signature does not verify") from None
    return key_id


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _untrusted(what: str) -> BadRequest:
    return BadRequest(
        f"the policy bundle is not trusted: {what}",
        code="policy.untrusted",
        remedy="build and sign it with a key whose public half stands in policy.signers",
    )
