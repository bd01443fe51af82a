"""Signs checkpoints and remembers what it signed.

The memory is the point: a store that was rolled back, or rewritten by whoever administers it, cannot get a new
signature, because the signer demands a consistency proof from the last tree that it signed.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import merkle
from audit.checkpoint import Checkpoint
from audit.errors import HistoryConflict
from audit.keyfile import create_key, read_key, replace
from audit.note import Note, Signature, Verifier, verifier

Prove = Callable[[int, int], Sequence[bytes]]


class Signer(Protocol):
    """Whoever holds the log key: this process, another one, a KMS."""

    def verifier(self, origin: str) -> Verifier:
        """Return the public key under the log's name."""
        ...

    def sign(self, checkpoint: Checkpoint, prove: Prove) -> Note:
        """Sign a checkpoint that is consistent with the latest one signed for its origin.

        `prove(old, new)` returns an RFC 6962 consistency proof out of the store. Raises HistoryConflict.
        """
        ...

    def remembered(self, origin: str) -> Checkpoint | None:
        """Return the largest checkpoint signed for `origin`."""
        ...

    def origins(self) -> list[str]:
        """Return the logs that it signed for."""
        ...


class FileSigner:
    """An Ed25519 key in a 0600 file of 32 bytes; the memory is a JSON file beside it, written before signing."""

    def __init__(self, key: bytes, memory: Path) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self._public = self._key.public_key().public_bytes_raw()
        self._memory = memory

    @classmethod
    def from_file(cls, path: Path) -> FileSigner:
        """Open the key at `path`; the memory is `<path>.memory`. Raises KeyRefused."""
        return cls(read_key(path, 32), path.with_name(path.name + ".memory"))

    @classmethod
    def create(cls, path: Path, seed: bytes) -> FileSigner:
        """Write a new key file from 32 random bytes and open it. Raises KeyRefused when it exists."""
        create_key(path, seed)
        return cls.from_file(path)

    def verifier(self, origin: str) -> Verifier:
        """See Signer."""
        return verifier(origin, self._public)

    def remembered(self, origin: str) -> Checkpoint | None:
        """See Signer."""
        found = self._recall().get(origin)
        return None if found is None else Checkpoint(origin, found[0], bytes.fromhex(found[1]))

    def origins(self) -> list[str]:
        """See Signer."""
        return sorted(self._recall())

    def sign(self, checkpoint: Checkpoint, prove: Prove) -> Note:
        """See Signer."""
        with self._alone():
            last = self.remembered(checkpoint.origin)
            if last is not None:
                require_consistent(last, checkpoint, prove)
            if last is None or checkpoint.size > last.size:
                known = self._recall() | {checkpoint.origin: [checkpoint.size, checkpoint.root.hex()]}
                replace(self._memory, json.dumps(known, sort_keys=True).encode(), mode=0o600)
        text = checkpoint.text()
        name = self.verifier(checkpoint.origin)
        return Note(text, (Signature(name.name, name.key_id, self._key.sign(text.encode())),))

    def _recall(self) -> dict[str, list]:  # type: ignore[type-arg]
        try:
            return dict(json.loads(self._memory.read_bytes()))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise HistoryConflict(f"{self._memory}: unreadable; restore it, the last signed sizes are in it") from None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two processes with one key must not forget each other's checkpoint."""
        with self._memory.with_name(self._memory.name + ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def require_consistent(one: Checkpoint, other: Checkpoint, prove: Prove) -> None:
    """Check that one of the two trees is a prefix of the other.

    Raises:
        HistoryConflict: it is not, or the store has too few records to prove it.
    """
    old, new = sorted((one, other), key=lambda checkpoint: checkpoint.size)
    try:
        path = prove(old.size, new.size)
    except ValueError:
        raise HistoryConflict(
            f"{one.origin}: the store has fewer records than the {new.size} signed before; it was rolled back: "
            "restore the missing records, or start a new log and keep both"
        ) from None
    if not merkle.verify_consistency(old.size, new.size, old.root, new.root, path):
        raise HistoryConflict(
            f"{one.origin}: the store's first {old.size} records are not those signed before; history was "
            "rewritten or forked: stop, keep every copy and investigate"
        )
