"""Ed25519 keys that sign policy bundles: the gate reads public ones, the security team keeps the private one.

OPA 1.20.2 verifies EdDSA only for bundles on its command line, not for those it fetches (v1/keys/keys.go), so the
signature inside a bundle is ES256. Its P-256 key is derived from the Ed25519 seed: one secret file to keep, and two
public keys to hand out, one for the gate and one for OPA.

A key id is the name under which an operator configured a signer; it stands in both signatures of a bundle. The only
private key that the gate ever makes is the development pair, and only where ``--dev`` was said.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broker.errors import BadRequest

DEV_KEY_ID = "policy-dev"
_RAW_BYTES = 32
_OPA_PURPOSE = b"wicketgate policy bundle: ES256 for OPA"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A signer's private key under its configured name."""

    id: str
    private: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> Ed25519PublicKey:
        """The half that the gate verifies with."""
        return self.private.public_key()

    @property
    def for_opa(self) -> ec.EllipticCurvePrivateKey:
        """The P-256 key for OPA's signature: HKDF-SHA256 of the seed, reduced as FIPS 186-5 A.2.1 does."""
        seed = self.private.private_bytes_raw()
        wide = HKDF(algorithm=hashes.SHA256(), length=48, salt=None, info=_OPA_PURPOSE).derive(seed)
        return ec.derive_private_key(int.from_bytes(wide, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1())

    def public_pem(self) -> str:
        """The gate's half, for ``policy.signers`` (SubjectPublicKeyInfo PEM)."""
        return _pem(self.public)

    def opa_public_pem(self) -> str:
        """OPA's half, for ``keys`` in its configuration (SubjectPublicKeyInfo PEM, algorithm ES256)."""
        return _pem(self.for_opa.public_key())


def _pem(key: Ed25519PublicKey | ec.EllipticCurvePublicKey) -> str:
    form, subject = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(form, subject).decode()


def read_public(text: str, key_id: str) -> Ed25519PublicKey:
    """Read one public key: PEM, or base64 of the raw 32 bytes. Raises ``BadRequest`` naming ``key_id``."""
    try:
        if "-----BEGIN" in text:
            key = serialization.load_pem_public_key(text.encode())
            if not isinstance(key, Ed25519PublicKey):
                raise ValueError  # noqa: TRY301 - one refusal for every unusable key
            return key
        raw = base64.b64decode(text.strip(), validate=True)
        if len(raw) != _RAW_BYTES:
            raise ValueError  # noqa: TRY301
        return Ed25519PublicKey.from_public_bytes(raw)
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise BadRequest(
            f"signer `{key_id}` is not an Ed25519 public key",
            code="policy.bad_key",
            remedy="give PEM (openssl pkey -pubout) or base64 of the raw 32 bytes",
        ) from None


def read_signers(texts: Mapping[str, str]) -> dict[str, Ed25519PublicKey]:
    """Key id -> public key, from key id -> PEM or base64. Raises ``BadRequest``."""
    return {key_id: read_public(text, key_id) for key_id, text in texts.items()}


def read_private(path: Path, key_id: str) -> SigningKey:
    """Read a signer's private key (PKCS #8 PEM, unencrypted). Raises ``BadRequest`` naming the file's fault."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadRequest(
            f"the signing key cannot be read ({type(error).__name__})",
            code="policy.bad_key",
            remedy="give a PKCS #8 PEM file: openssl genpkey -algorithm ed25519 -out policy.key",
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadRequest(
            "the signing key is not an Ed25519 key",
            code="policy.bad_key",
            remedy="make one: openssl genpkey -algorithm ed25519 -out policy.key",
        )
    return SigningKey(key_id, key)


def dev_key(folder: Path, *, dev: bool) -> SigningKey:
    """The development pair in ``folder`` (``policy-dev.key``, mode 0600), made on first use; refused without ``dev``."""
    if not dev:
        raise BadRequest(
            "a development signing key is used only with --dev",
            code="policy.dev_key_refused",
            remedy="configure policy.signers with the security team's public key",
        )
    path = folder / f"{DEV_KEY_ID}.key"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # The mode stands at creation, so that no other user can read the file in between.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    return read_private(path, DEV_KEY_ID)
