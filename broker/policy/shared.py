"""``ActivationRows`` in the gate's database: what one replica activates, every other picks up at its next poll.

The kept bytes are the detached signature's line, a line feed, and the archive: what is read back is verified like a
bundle from outside. That an activation is a rollback shows in the history itself: its bundle was active before.
"""

from collections.abc import Sequence

from broker.errors import NotFound
from broker.policy.activations import LISTED_MAX, Activation, Kept
from broker.policy.archive import unpack
from broker.policy.content import parse
from broker.store import activations as rows
from broker.store.engine import Store

_HISTORY_MAX = 10_000
_SECOND = 1_000_000_000


class ActivationTable:
    """One database's activations; nothing is ever deleted from them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def history(self) -> Sequence[Activation]:
        """All activations, oldest first."""
        found = await self._store.read(lambda connection: rows.history(connection, _HISTORY_MAX))
        seen: set[str] = set()
        activations = []
        for row in reversed(found):
            activations.append(_activation(row, again=row.digest in seen))
            seen.add(row.digest)
        return activations

    async def latest(self) -> Activation | None:
        """The newest activation; its ``kind`` is not looked up."""
        row = await self._store.glance(rows.active)
        return _activation(row, again=False) if row else None

    async def keep_bundle(self, digest: str, archive: bytes, signature: str) -> None:
        """Store a bundle durably; one that is kept already stays as it is."""
        revision, key_id = parse(unpack(archive)).revision, signature.partition(" ")[0]
        whole = signature.strip().encode() + b"\n" + archive
        await self._store.write(
            lambda connection: rows.keep(connection, digest=digest, revision=revision, signer=key_id, bundle=whole)
        )

    async def bundle(self, digest: str) -> tuple[bytes, str]:
        """Archive and detached signature; raises ``NotFound``."""
        whole = await self._store.read(lambda connection: rows.bundle(connection, digest))
        if whole is None:
            raise NotFound("no bundle with this digest is kept here", code="policy.unknown_digest")
        signature, _, archive = bytes(whole).partition(b"\n")
        return archive, signature.decode()

    async def kept(self) -> Sequence[Kept]:
        """The bundles that are kept, the active ones among them."""
        found = await self._store.read(lambda connection: rows.kept(connection, LISTED_MAX))
        return [Kept(*one) for one in found]

    async def append(self, activation: Activation) -> None:
        """Add the next activation; raises ``Conflict`` (``policy.activation_raced``) when another came first."""
        await self._store.write(
            lambda connection: rows.activate(
                connection,
                digest=activation.digest,
                by=activation.by,
                now_s=activation.at_ns // _SECOND,
                after=activation.seq - 1,
            )
        )


def _activation(row: rows.Activation, *, again: bool) -> Activation:
    kind = "rollback" if again else "activate"
    return Activation(row.seq, row.digest, row.revision, kind, row.activated_by, row.at * _SECOND)
