"""C2SP checkpoint (c2sp.org/tlog-checkpoint) and offline proof (c2sp.org/tlog-proof@v1)."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audit import merkle
from audit.errors import Malformed
from audit.note import Note, parse, unb64

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_PROOF: Final = "c2sp.org/tlog-proof@v1"
_MAX_PATH: Final = 63


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's state: origin line, number of records, 32-byte RFC 6962 root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note text that gets signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"


@dataclass(frozen=True, slots=True)
class Proof:
    """A record's place in a checkpointed tree: `path` are sibling hashes, lowest first."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint
    note: Note

    def __str__(self) -> str:
        """Return the `.tlog-proof` text."""
        path = "".join(f"{base64.b64encode(h).decode('ascii')}\n" for h in self.path)
        return f"{_PROOF}\nindex {self.index}\n{path}\n{self.note}"

    def holds(self, entry: bytes) -> bool:
        """Whether `entry` is the record at `index` in the checkpointed tree (the signature is not looked at)."""
        leaf, at = merkle.leaf_hash(entry), self.checkpoint
        return merkle.verify_inclusion(leaf, self.index, at.size, self.path, at.root)


def parse_checkpoint(encoded: bytes) -> tuple[Checkpoint, Note]:
    """Parse a signed checkpoint strictly; extension lines are refused.

    Raises:
        Malformed: not exactly three lines of the specified form, then signatures.
    """
    note = parse(encoded)
    lines = note.text[:-1].split("\n")
    if len(lines) != 3 or not lines[0]:
        raise Malformed("a checkpoint has exactly three lines: origin, size, root")
    root = unb64(lines[2], "root")
    if len(root) != merkle.HASH_BYTES:
        raise Malformed("the root hash has not 32 bytes")
    return Checkpoint(lines[0], _decimal(lines[1], "size"), root), note


def parse_proof(encoded: bytes) -> Proof:
    """Parse a `.tlog-proof`; an `extra` line is accepted and ignored.

    Raises:
        Malformed: not exactly the specified form.
    """
    head, blank, rest = encoded.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed("the proof is not ASCII") from None
    if not blank or lines[0] != _PROOF:
        raise Malformed(f"the proof does not start with {_PROOF}")
    fields = lines[2:] if len(lines) > 1 and lines[1].startswith("extra ") else lines[1:]
    if not fields or not fields[0].startswith("index ") or len(fields) - 1 > _MAX_PATH:
        raise Malformed("the proof lacks its index line or is too long")
    path = tuple(unb64(line, "proof hash") for line in fields[1:])
    if any(len(h) != merkle.HASH_BYTES for h in path):
        raise Malformed("a proof hash has not 32 bytes")
    checkpoint, note = parse_checkpoint(rest)
    return Proof(_decimal(fields[0].removeprefix("index "), "index"), path, checkpoint, note)


def prove(index: int, read: merkle.Read, signed: bytes) -> Proof:
    """Build the proof of record `index` under the signed checkpoint `signed`."""
    checkpoint, note = parse_checkpoint(signed)
    path: Sequence[bytes] = merkle.inclusion(index, checkpoint.size, read)
    return Proof(index, tuple(path), checkpoint, note)


def _decimal(text: str, what: str) -> int:
    if not _DECIMAL.fullmatch(text):
        raise Malformed(f"{what}: {text!r} is not a plain decimal number")
    return int(text)
