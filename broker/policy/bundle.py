"""A signed bundle: what the gate and OPA both load, as one immutable value.

The digest is SHA-256 (hex) over the archive's bytes. The revision is ``<number>`` or ``<number>-<suffix>``; the number
orders revisions.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.policy import archive as tar
from broker.policy import signature as sig
from broker.policy.content import Content, parse, read_folder, refusal
from broker.policy.keys import SigningKey

_REVISION = re.compile(r"([0-9]{1,18})(-[A-Za-z0-9._]{1,64})?")


@dataclass(frozen=True, slots=True)
class Bundle:
    """One verified bundle. ``archive`` and ``signature`` are exactly what was verified, to be stored and served."""

    digest: str
    revision: str
    key_id: str
    content: Content = field(repr=False)
    archive: bytes = field(repr=False)
    signature: str = field(repr=False)


def revision_number(revision: str) -> int:
    """Return the number that orders ``revision``; raises ``BadRequest`` when it has none."""
    match = _REVISION.fullmatch(revision)
    if match is None:
        raise refusal(f"revision `{revision}` has no order", "name it `<number>` or `<number>-<suffix>`")
    return int(match.group(1))


def build_bundle(folder: Path, key: SigningKey, revision: str) -> Bundle:
    """Build and sign ``folder``; equal folders, keys and revisions give equal bytes. Raises ``BadRequest``."""
    revision_number(revision)
    return sign_bundle(read_folder(folder, revision), key)


def sign_bundle(files: Mapping[str, bytes], key: SigningKey) -> Bundle:
    """Sign the files of an artefact and pack them."""
    content = parse(files)
    packed = tar.pack({**files, sig.SIGNATURES_FILE: sig.sign_files(files, key)})
    return Bundle(
        digest=hashlib.sha256(packed).hexdigest(),
        revision=content.revision,
        key_id=key.id,
        content=content,
        archive=packed,
        signature=sig.sign_archive(packed, key),
    )


def open_bundle(archive: bytes, signature: str, signers: Mapping[str, Ed25519PublicKey]) -> Bundle:
    """Verify and read a bundle: the bytes' signature first, then unpacking, then the listing that OPA will verify.

    Raises ``BadRequest`` (``policy.untrusted``, ``policy.bad_archive``, ``policy.bad_bundle``) or ``TooLarge``.
    """
    key_id = sig.verify_archive(archive, signature, signers)
    files = tar.unpack(archive)
    sig.check_listing(files, key_id)
    content = parse(files)
    revision_number(content.revision)
    return Bundle(
        digest=hashlib.sha256(archive).hexdigest(),
        revision=content.revision,
        key_id=key_id,
        content=content,
        archive=archive,
        signature=signature.strip(),
    )
