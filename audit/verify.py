"""Verifies a published log offline. Shares only the pure files with the program that wrote it.

 1. `checkpoint` parses, strictly.                                                       integrity
 2. It carries a valid signature of the key in --vkey, and its origin is the key's name.  signer
 3. Each known checkpoint parses, names the same log, carries the same key's signature.   append-only
 4. Every entry bundle holds exactly its entries; every entry hashes to its tile's hash.  integrity
 5. Every higher tile follows from the one below.                                         integrity
 6. The root over all entries is the checkpoint's.                                        integrity
 7. The root over the first n entries is that of the known checkpoint of size n.          append-only
 8. Every record has the one form of its profile and only known fields.                   canonical
 9. Every record carries its number, its log and the hash of the record before it.        chain
10. Every stream (session, incident) is numbered without a gap.                           streams
11. Every intent has an outcome.                                                          intents
12. Every approval that policy wants signed is signed, by an authenticator in force, and every action that
    rests on one has as many before it begins as its proposal says.                       signatures
13. Every payload given fits its commitment; erased ones are named.                       payloads

A property for which nothing was given from outside says `not checked`: a log's own key cannot prove that nobody
with that key rewrote it, and only an older checkpoint shows that records were removed. It always ends: each file
is read at most twice, bounded in size, and the first missing file ends step 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from audit import merkle, tiles
from audit.checkpoint import Checkpoint, parse_checkpoint, parse_proof
from audit.errors import Malformed
from audit.ledger import Check, Ledger, Verdict
from audit.note import Verifier, signed_by
from audit.payload import Opened
from audit.source import Source, bundle, tile

__all__ = ["Check", "Known", "Report", "Verdict", "verify", "verify_proof"]


_NAMES: Final = ("signer", "append-only", "canonical", "chain", "streams", "intents", "signatures", "payloads")


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint that somebody kept: where it came from and its bytes."""

    name: str
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """Verdicts by property; `checkpoint` is None when there is none to read."""

    checkpoint: Checkpoint | None
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(check.verdict is not Verdict.FAILED for check in self.checks)

    def as_json(self) -> dict[str, object]:
        """Return one JSON object: stable names for programs."""
        log = self.checkpoint
        place = {"origin": log.origin, "size": log.size, "root": log.root.hex()} if log else {}
        checks = [
            {"property": c.name, "verdict": c.verdict.value, "detail": c.detail}
            | ({} if c.record is None else {"record": c.record})
            for c in self.checks
        ]
        return {"verdict": self.verdict, **place, "checks": checks}

    def as_text(self) -> str:
        """Return lines for a person; what was not checked stands in capitals."""
        log = self.checkpoint
        lines = [f"log {log.origin}, {log.size} records, root {log.root.hex()}" if log else "no readable checkpoint"]
        for check in self.checks:
            word = "NOT CHECKED" if check.verdict is Verdict.NOT_CHECKED else check.verdict.value
            if check.name == "signer" and check.verdict is Verdict.NOT_CHECKED:
                word = check.verdict.value  # other programs look for exactly `signer: not checked`
            lines.append(f"{check.name}: {word} - {check.detail}")
        return "\n".join([*lines, f"verdict: {self.verdict}"])

    @property
    def verdict(self) -> str:
        """Return `ok` or `failed`."""
        return "ok" if self.ok else "failed"


def verify(
    source: Source,
    vkey: Verifier | None = None,
    known: Sequence[Known] = (),
    payloads: Mapping[str, Opened] | None = None,
) -> Report:
    """Run all steps; never raises for what it reads."""
    try:
        encoded, checkpoint = _checkpoint(source)
    except Malformed as error:
        return Report(None, (Check("integrity", Verdict.FAILED, str(error)), *_unread(_NAMES)))
    walk = _Walk(source, checkpoint, Ledger(checkpoint.origin, payloads))
    remembered = [_known(checkpoint, vkey, one) for one in known]
    walk.run({one.size for one in remembered if isinstance(one, Checkpoint)})
    append_only = _append_only(checkpoint, remembered, walk, signed=vkey is not None)
    records = walk.ledger.checks() if walk.complete else _unread(_NAMES[2:])
    return Report(checkpoint, (walk.check(), _signer(checkpoint, encoded, vkey), append_only, *records))


def verify_proof(encoded: bytes, entry: bytes, vkey: Verifier | None = None) -> Report:
    """Verify a `.tlog-proof` about the record `entry` (leaf bytes); never raises for what it reads."""
    try:
        proof = parse_proof(encoded)
    except Malformed as error:
        return Report(None, (Check("inclusion", Verdict.FAILED, str(error)),))
    signer = _signer(proof.checkpoint, str(proof.note).encode(), vkey)
    if proof.holds(entry):
        inclusion = Check("inclusion", Verdict.OK, f"the record is number {proof.index}")
    else:
        inclusion = Check("inclusion", Verdict.FAILED, f"the record is not number {proof.index}", proof.index)
    return Report(proof.checkpoint, (inclusion, signer))


def _checkpoint(source: Source) -> tuple[bytes, Checkpoint]:
    encoded = source.read(tiles.CHECKPOINT_PATH)
    if encoded is None:
        raise Malformed("checkpoint is missing")
    return encoded, parse_checkpoint(encoded)[0]


@dataclass(slots=True)
class _Walk:
    """One pass over all entries and tiles."""

    source: Source
    checkpoint: Checkpoint
    ledger: Ledger
    complete: bool = False
    roots: dict[int, bytes] = field(default_factory=dict)
    bad: Check | None = None

    def run(self, sizes: set[int]) -> None:
        """Read everything; keep the root at each of `sizes`."""
        tree = merkle.CompactRange()
        self.roots[0] = merkle.EMPTY_ROOT
        nodes: list[bytes] = []
        try:
            for index, width in tiles.spans(0, 0, self.checkpoint.size):
                leaves = self._bundle(index, width)
                for leaf in leaves:
                    tree.add(leaf)
                    if tree.size in sizes:
                        self.roots[tree.size] = tree.root()
                if width == merkle.TILE_WIDTH:
                    nodes.append(merkle.fold(leaves))
            self._higher(nodes)
        except Malformed as error:
            self._note(str(error), tree.size)
            return
        self.complete = True
        if tree.root() != self.checkpoint.root:
            self._note("the root over all entries is not the checkpoint's", None)

    def _bundle(self, index: int, width: int) -> list[bytes]:
        """Check one bundle against its tile; return the hashes of its entries."""
        entries = bundle(self.source, index, width)
        stated = tile(self.source, 0, index, width)
        leaves = [merkle.leaf_hash(entry) for entry in entries]
        for offset, (entry, leaf) in enumerate(zip(entries, leaves, strict=True)):
            number = index * merkle.TILE_WIDTH + offset
            if leaf != stated[offset]:
                self._note(f"record {number}: the entry and its hash tile disagree", number)
            self.ledger.take(number, entry, leaf)
        self._earlier(tiles.bundle_path(index), tiles.join_bundle, entries, index * merkle.TILE_WIDTH)
        self._earlier(tiles.tile_path(0, index), tiles.join_tile, stated, index * merkle.TILE_WIDTH)
        return leaves

    def _earlier(
        self, path: str, join: Callable[[Sequence[bytes]], bytes], pieces: Sequence[bytes], first: int
    ) -> None:
        """Partial forms that an earlier checkpoint covered must say what the present one says."""
        for width in self.source.partials(path):
            if width < len(pieces) and self.source.read(f"{path}.p/{width}") != join(pieces[:width]):
                self._note(f"{path}.p/{width} is not the beginning of what the checkpoint covers", first)

    def _higher(self, nodes: list[bytes]) -> None:
        level = 1
        while nodes:
            for index, width in tiles.spans(level, 0, self.checkpoint.size):
                start = index * merkle.TILE_WIDTH
                stated = tile(self.source, level, index, width)
                self._earlier(
                    tiles.tile_path(level, index), tiles.join_tile, stated, start << (merkle.TILE_HEIGHT * level)
                )
                for offset, (ours, theirs) in enumerate(zip(nodes[start : start + width], stated, strict=True)):
                    if ours != theirs:
                        first = (start + offset) << (merkle.TILE_HEIGHT * level)
                        self._note(
                            f"{tiles.tile_path(level, index, width)} does not follow from the tiles below", first
                        )
            full = len(nodes) // merkle.TILE_WIDTH
            width = merkle.TILE_WIDTH
            nodes = [merkle.fold(nodes[i * width : (i + 1) * width]) for i in range(full)]
            level += 1

    def _note(self, detail: str, record: int | None) -> None:
        if self.bad is None:
            self.bad = Check("integrity", Verdict.FAILED, detail, record)

    def check(self) -> Check:
        """Return the verdict on integrity."""
        return self.bad or Check(
            "integrity", Verdict.OK, f"{self.checkpoint.size} records hash to the checkpoint's root"
        )


def _signer(checkpoint: Checkpoint, encoded: bytes, vkey: Verifier | None) -> Check:
    if vkey is None:
        return Check("signer", Verdict.NOT_CHECKED, "give --vkey FILE, from somewhere other than the log itself")
    reason = _unsigned(checkpoint, encoded, vkey)
    if reason:
        return Check("signer", Verdict.FAILED, reason)
    return Check("signer", Verdict.OK, f"signed by {vkey.name} ({vkey.key_id.hex()})")


def _unsigned(checkpoint: Checkpoint, encoded: bytes, vkey: Verifier) -> str:
    """Return why the checkpoint does not count as signed by `vkey`; empty when it does."""
    if checkpoint.origin != vkey.name:
        return f"the checkpoint is of {checkpoint.origin}, the key of {vkey.name}"
    try:
        found = signed_by(parse_checkpoint(encoded)[1], vkey)
    except Malformed as error:
        return str(error)
    return "" if found else f"no signature of {vkey.name} ({vkey.key_id.hex()})"


def _known(checkpoint: Checkpoint, vkey: Verifier | None, known: Known) -> Checkpoint | str:
    """Parse a known checkpoint, or say why it cannot serve."""
    try:
        older, _note = parse_checkpoint(known.encoded)
    except Malformed as error:
        return f"{known.name}: {error}"
    if older.origin != checkpoint.origin:
        return f"{known.name}: is of {older.origin}, not of {checkpoint.origin}"
    reason = _unsigned(older, known.encoded, vkey) if vkey else ""
    return f"{known.name}: {reason}" if reason else older


def _append_only(checkpoint: Checkpoint, known: Sequence[Checkpoint | str], walk: _Walk, *, signed: bool) -> Check:
    name = "append-only"
    if not known:
        return Check(name, Verdict.NOT_CHECKED, "give --known-checkpoint FILE: one that you kept from an earlier time")
    for one in known:
        if isinstance(one, str):
            return Check(name, Verdict.FAILED, one)
        if one.size > checkpoint.size:
            detail = f"rolled back: {one.size} records were signed before, {checkpoint.size} are left"
            return Check(name, Verdict.FAILED, detail, checkpoint.size)
        if one.size not in walk.roots:
            return Check(name, Verdict.NOT_CHECKED, f"the entries could not be read up to {one.size}")
        if walk.roots[one.size] != one.root:
            detail = f"forked: the first {one.size} records are not those that were signed before"
            return Check(name, Verdict.FAILED, detail)
    largest = max(one.size for one in known if isinstance(one, Checkpoint))
    note = "" if signed else " (their signatures: not checked, give --vkey)"
    return Check(name, Verdict.OK, f"contains {len(known)} known checkpoints, the largest of {largest} records{note}")


def _unread(names: Sequence[str]) -> list[Check]:
    return [Check(name, Verdict.NOT_CHECKED, "not all entries could be read") for name in names]
