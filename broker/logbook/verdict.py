"""What can be said of one record, or of two checkpoints, and what was not checked. Pure: the log's own pure files judge.

The gate judges its own log here, for convenience: whoever does not trust the gate takes the proof elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from audit import merkle
from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.errors import Malformed
from audit.note import Verifier, signed_by
from audit.verify import verify_proof
from broker.errors import BadRequest
from broker.model import Json
from broker.records import Entry

OK, FAILED, NOT_CHECKED = "ok", "failed", "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One property: what it is called, its verdict, and why."""

    name: str
    verdict: str
    detail: str

    def as_json(self) -> dict[str, Json]:
        """As answers carry it."""
        return {"property": self.name, "verdict": self.verdict, "detail": self.detail}


def of_entry(entry: Entry, proof: str, key: Verifier) -> list[Check]:
    """Recompute the leaf, follow the proof to the signed root, and say what nobody looked at."""
    leaf = merkle.leaf_hash(entry.encoded).hex()
    same = leaf == entry.leaf
    detail = f"SHA-256(0x00 || {len(entry.encoded)} bytes) is {leaf}"
    checks = [Check("leaf", OK if same else FAILED, detail if same else f"{detail}, stored is {entry.leaf}")]
    report = verify_proof(proof.encode(), entry.encoded, key)
    checks += [Check(one.name, one.verdict.value, one.detail) for one in report.checks]
    return [
        *checks,
        Check("signing key", NOT_CHECKED, "the key is the gate's own: compare it with the one that you were given"),
        Check("append-only", NOT_CHECKED, "compare a checkpoint that you kept (consistency)"),
        Check("completeness", NOT_CHECKED, "one record says nothing of others: verify the published log"),
        Check("payload", NOT_CHECKED, "only its commitment is in the leaf; the text is sealed under its session's key"),
    ]


def checkpoint_of(text: str, field: str, key: Verifier) -> tuple[Checkpoint, Check]:
    """A pasted checkpoint of this log. Raises ``BadRequest`` where it is none."""
    encoded = (text.replace("\r\n", "\n").strip("\n") + "\n").encode()
    try:
        checkpoint, note = parse_checkpoint(encoded)
    except Malformed as error:
        raise BadRequest(f"field `{field}` is no checkpoint: {error}", code="audit.checkpoint") from None
    if checkpoint.origin != key.name:
        raise BadRequest(f"field `{field}` is a checkpoint of another log", code="audit.checkpoint")
    try:
        signed = signed_by(note, key)
    except Malformed:  # a signature under the key's name that does not hold
        signed = False
    detail = "signed with this log's key" if signed else "no signature of this log's key that holds"
    return checkpoint, Check(f"{field} checkpoint", OK if signed else FAILED, f"{checkpoint.size} records, {detail}")


def of_two(old: Checkpoint, new: Checkpoint, path: Sequence[bytes]) -> list[Check]:
    """Whether the older tree is the beginning of the newer one."""
    holds = merkle.verify_consistency(old.size, new.size, old.root, new.root, path)
    words = "is the beginning of" if holds else "is NOT the beginning of"
    return [
        Check("append-only", OK if holds else FAILED, f"the tree of {old.size} records {words} that of {new.size}"),
        Check("signing key", NOT_CHECKED, "the key is the gate's own: compare it with the one that you were given"),
    ]
