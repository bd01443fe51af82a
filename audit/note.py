"""C2SP signed note (c2sp.org/signed-note) with Ed25519 keys, and its verifier-key text.

A note is text that ends in a newline, an empty line, and one or more lines `— NAME BASE64(key id || signature)`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.errors import Malformed

ED25519: Final = 0x01
_PREFIX: Final = "\u2014 "
_MAX_BYTES: Final = 1_000_000
_MAX_SIGNATURES: Final = 100


@dataclass(frozen=True, slots=True)
class Verifier:
    """One trusted key: its name, four-byte id and 32-byte Ed25519 public key."""

    name: str
    key_id: bytes
    public: bytes

    def __str__(self) -> str:
        """Return the vkey: NAME+HEX(key id)+BASE64(0x01 || public key)."""
        return f"{self.name}+{self.key_id.hex()}+{_b64(bytes([ED25519]) + self.public)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line; `key_id` is the first four bytes of its base64, `value` the rest."""

    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        """Return the line without its newline."""
        return f"{_PREFIX}{self.name} {_b64(self.key_id + self.value)}"


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note; `text` ends in a newline and is what the signatures cover."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        """Return the whole note."""
        return self.text + "\n" + "".join(f"{s}\n" for s in self.signatures)


def verifier(name: str, public: bytes) -> Verifier:
    """Name a public key; the id binds name, algorithm and key."""
    _check_name(name)
    if len(public) != 32:
        raise Malformed(f"an Ed25519 public key has 32 bytes, not {len(public)}")
    key_id = sha256(name.encode() + b"\n" + bytes([ED25519]) + public).digest()[:4]
    return Verifier(name, key_id, public)


def parse_vkey(text: str) -> Verifier:
    """Parse `NAME+HASH+KEY`, one optional newline at the end.

    Raises:
        Malformed: wrong shape, wrong algorithm, or an id that is not that of the key.
    """
    parts = text.removesuffix("\n").split("+", 2)
    if len(parts) != 3:
        raise Malformed("a vkey has the form NAME+HASH+KEY")
    key = unb64(parts[2], "vkey")
    if not key or key[0] != ED25519:
        raise Malformed("the vkey is not for Ed25519 (type 1)")
    found = verifier(parts[0], key[1:])
    if found.key_id.hex() != parts[1]:
        raise Malformed(f"vkey id {parts[1]} is not that of its key ({found.key_id.hex()})")
    return found


def parse(encoded: bytes) -> Note:
    """Split a note into text and signature lines, strictly.

    Raises:
        Malformed: not exactly the specified form.
    """
    if len(encoded) > _MAX_BYTES:
        raise Malformed("the note is too long")
    try:
        whole = encoded.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("the note is not UTF-8") from None
    if any(ord(c) < 0x20 and c != "\n" for c in whole):
        raise Malformed("the note contains control characters")
    cut = whole.rfind("\n\n")
    if cut < 0 or not whole.endswith("\n"):
        raise Malformed("the note lacks its empty line or final newline")
    lines = whole[cut + 2 : -1].split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise Malformed("the note has too many signatures")
    return Note(whole[: cut + 1], tuple(_signature(line) for line in lines))


def signed_by(note: Note, key: Verifier) -> bool:
    """Whether the note carries a valid signature of `key`. Signatures of other keys are ignored.

    Raises:
        Malformed: a line names `key` and its signature is wrong (the specification demands rejection).
    """
    found = False
    for signature in note.signatures:
        if (signature.name, signature.key_id) != (key.name, key.key_id):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature.value, note.text.encode())
        except (InvalidSignature, ValueError):
            raise Malformed(f"the signature of {key.name} does not verify") from None
        found = True
    return found


def unb64(text: str, what: str) -> bytes:
    """Decode standard base64 that is exactly what encoding would give (no stray bits, no white space)."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(f"{what}: not base64") from None
    if _b64(raw) != text:
        raise Malformed(f"{what}: base64 is not canonical")
    return raw


def _signature(line: str) -> Signature:
    if not line.startswith(_PREFIX):
        raise Malformed("a signature line does not start with an em dash")
    name, space, encoded = line[len(_PREFIX) :].partition(" ")
    raw = unb64(encoded, "signature")
    if not space or len(raw) < 5:
        raise Malformed("a signature line lacks name, key id or signature")
    _check_name(name)
    return Signature(name, raw[:4], raw[4:])


def _check_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() for c in name):
        raise Malformed(f"key name {name!r} is empty or has white space or a plus")


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
