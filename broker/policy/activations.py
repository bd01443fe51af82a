"""Which bundle was active when, and the bundles themselves: the PDP's memory across restarts and replicas.

``ActivationRows`` is the contract; ``ActivationFiles`` keeps it in a folder (one replica), ``shared.ActivationTable`` in
the database (several). An activation's ``seq`` is its place in the history, from 1: whoever appends second with the same ``seq`` is refused,
so two replicas never activate past each other.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from broker.errors import Conflict, NotFound
from broker.policy.archive import unpack
from broker.policy.content import parse

KEEP = 5
LISTED_MAX = 200


@dataclass(frozen=True, slots=True)
class Activation:
    """One change of the active bundle. ``kind`` is ``activate``, ``rollback`` or ``offline``; ``by`` is a party id."""

    seq: int
    digest: str
    revision: str
    kind: str
    by: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A bundle that is kept here, active or not; ``signer`` is the id of the key that signed it."""

    digest: str
    revision: str
    signer: str


class ActivationRows(Protocol):
    """Where activations and bundles are kept."""

    async def history(self) -> Sequence[Activation]:
        """All activations, oldest first."""

    async def latest(self) -> Activation | None:
        """The newest activation."""

    async def keep_bundle(self, digest: str, archive: bytes, signature: str) -> None:
        """Store a bundle durably before it is activated; idempotent."""

    async def bundle(self, digest: str) -> tuple[bytes, str]:
        """Archive and detached signature of a kept bundle; raises ``NotFound``."""

    async def kept(self) -> Sequence[Kept]:
        """The bundles that are kept, at most ``LISTED_MAX`` of them, in no order that means anything."""

    async def append(self, activation: Activation) -> None:
        """Add the next activation durably; raises ``Conflict`` when its ``seq`` is taken."""


class ActivationFiles:
    """``ActivationRows`` in a folder: ``history.jsonl``, ``active`` (a digest), ``<digest>.tar.gz`` and ``.sig``.

    The bundles of the newest five distinct digests stay; older ones are deleted.
    """

    def __init__(self, folder: Path) -> None:
        """Make ``folder`` (mode 0700) if it is missing."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._revisions: dict[str, str] = {}
        """By digest. To learn one, a whole bundle is unpacked; no bundle changes under its digest."""

    async def history(self) -> Sequence[Activation]:
        """All activations, oldest first; a line cut off by a crash was never active and is not read."""
        path = self._folder / "history.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [Activation(**json.loads(line)) for line in lines]

    async def latest(self) -> Activation | None:
        """The newest activation."""
        history = await self.history()
        return history[-1] if history else None

    async def keep_bundle(self, digest: str, archive: bytes, signature: str) -> None:
        """Write both files durably."""
        _write(self._folder / f"{digest}.sig", signature.encode())
        _write(self._folder / f"{digest}.tar.gz", archive)

    async def bundle(self, digest: str) -> tuple[bytes, str]:
        """Read a kept bundle; raises ``NotFound``."""
        archive, signature = self._folder / f"{digest}.tar.gz", self._folder / f"{digest}.sig"
        if not archive.exists() or not signature.exists():
            raise NotFound(
                "no bundle with this digest is kept here",
                code="policy.unknown_digest",
                remedy=f"the newest {KEEP} active bundles are kept; activate an older one from its file",
            )
        return archive.read_bytes(), signature.read_text()

    async def kept(self) -> Sequence[Kept]:
        """Each archive of the folder that has its signature."""
        found = []
        for path in sorted(self._folder.glob("*.tar.gz"))[:LISTED_MAX]:
            digest = path.name.removesuffix(".tar.gz")
            if digest not in self._revisions:
                archive, _ = await self.bundle(digest)
                self._revisions[digest] = parse(unpack(archive)).revision
            signer = path.with_name(f"{digest}.sig").read_text().partition(" ")[0]
            found.append(Kept(digest, self._revisions[digest], signer))
        return found

    async def append(self, activation: Activation) -> None:
        """Append one line durably, then move the pointer and delete what is no longer kept."""
        history = await self.history()
        if activation.seq != len(history) + 1:
            raise Conflict("another activation came first", code="policy.activation_conflict", remedy="try again")
        path = self._folder / "history.jsonl"
        whole = path.read_bytes()[: _whole_lines(path)] if path.exists() else b""
        _write(path, whole + json.dumps(asdict(activation), sort_keys=True).encode() + b"\n")
        _write(self._folder / "active", activation.digest.encode() + b"\n")
        self._prune([*history, activation])

    def _prune(self, history: Sequence[Activation]) -> None:
        kept = list(dict.fromkeys(each.digest for each in reversed(history)))[:KEEP]
        known = {each.digest for each in history}
        for path in self._folder.iterdir():
            digest = path.name.partition(".")[0]
            if digest in known and digest not in kept:
                path.unlink()


def _whole_lines(path: Path) -> int:
    """Length of the file up to its last complete line."""
    return path.read_bytes().rfind(b"\n") + 1


def _write(path: Path, content: bytes) -> None:
    """Replace a file atomically and durably."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
