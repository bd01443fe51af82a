"""Payloads: content that a record commits to but does not hold.

Leaf: `commit = HMAC-SHA256(salt, plaintext)` with a fresh 32-byte salt, so that a short or guessable text cannot
be tested against the leaf. Store: `box = nonce || AES-256-GCM(data key, nonce, salt || plaintext)`, bound to log
and event id; one data key a session, wrapped by the key-encryption key. Destroying the data key destroys text
and salt together, in the database and in every copy of it; the leaf stays, and so does the proof.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from hmac import digest as hmac_digest
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import PayloadCorrupt
from audit.keyfile import read_key

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
NONCE_BYTES: Final = 12

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Erased:
    """The payload is gone: the data key `key` was destroyed. The record and its proof are intact."""

    key: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A payload in clear with the salt that proves it against the leaf."""

    salt: bytes
    plaintext: bytes


class KeyWrap(Protocol):
    """The key-encryption key, wherever it lives (a file, a KMS)."""

    def wrap(self, context: str, data_key: bytes, nonce: bytes) -> bytes:
        """Encrypt a data key for `context` (log and key id)."""
        ...

    def unwrap(self, context: str, wrapped: bytes) -> bytes:
        """Decrypt it; raises PayloadCorrupt when key or context differ."""
        ...


class LocalKey:
    """A key-encryption key held in this program: AES-256-GCM, bound to log and key id."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def from_file(cls, path: Path) -> LocalKey:
        """Read 32 bytes from a 0600 file; raises KeyRefused."""
        return cls(read_key(path, KEY_BYTES))

    def wrap(self, context: str, data_key: bytes, nonce: bytes) -> bytes:
        """See KeyWrap."""
        return nonce + self._cipher.encrypt(nonce, data_key, context.encode())

    def unwrap(self, context: str, wrapped: bytes) -> bytes:
        """See KeyWrap."""
        try:
            return self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context.encode())
        except InvalidTag:
            raise PayloadCorrupt(f"the data key of {context} does not unwrap under this key-encryption key") from None


def commitment(salt: bytes, plaintext: bytes) -> str:
    """Return what the leaf holds (hex)."""
    return hmac_digest(salt, plaintext, "sha256").hex()


def seal(data_key: bytes, context: str, opened: Opened, nonce: bytes) -> bytes:
    """Encrypt a payload for the store."""
    return nonce + AESGCM(data_key).encrypt(nonce, opened.salt + opened.plaintext, context.encode())


def open_box(data_key: bytes, context: str, box: bytes, commit: str) -> Opened:
    """Decrypt a payload and check it against the leaf's commitment.

    Raises:
        PayloadCorrupt: the box was changed or moved, or it is not what the leaf commits to.
    """
    try:
        clear = AESGCM(data_key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError):
        raise PayloadCorrupt(f"the payload of {context} does not open") from None
    opened = Opened(clear[:SALT_BYTES], clear[SALT_BYTES:])
    if not compare_digest(commitment(opened.salt, opened.plaintext), commit):
        raise PayloadCorrupt(f"the payload of {context} is not what its record commits to")
    return opened
