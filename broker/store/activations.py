"""Rows of ``policy_bundle`` and ``policy_activation``: which bundle is active, and every one that ever was.

They belong to the whole gate, not to a tenant. The sequence only grows; neither table takes an update, and an
activation is never deleted.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, func, literal, select

from broker.errors import Conflict
from broker.store.rows import upsert
from broker.store.tables import policy_activation, policy_bundle


@dataclass(frozen=True, slots=True)
class Activation:
    """One activation; ``digest`` is the bundle's (hex SHA-256), ``signer`` the name of the key that signed it."""

    seq: int
    revision: str
    digest: str
    signer: str
    activated_by: str
    at: int


_JOINED = (
    select(
        policy_activation.c.seq,
        policy_bundle.c.revision,
        policy_activation.c.digest,
        policy_bundle.c.signer,
        policy_activation.c.activated_by,
        policy_activation.c.at,
    )
    .join_from(policy_activation, policy_bundle, policy_activation.c.digest == policy_bundle.c.digest)
    .order_by(policy_activation.c.seq.desc())
)


def keep(connection: Connection, *, digest: str, revision: str, signer: str, bundle: bytes) -> None:
    """Keep a verified bundle; one that is kept already stays as it is."""
    connection.execute(
        upsert(connection, policy_bundle)
        .values(digest=digest, revision=revision, signer=signer, bundle=bundle)
        .on_conflict_do_nothing()
    )


def activate(connection: Connection, *, digest: str, by: str, now_s: int, after: int) -> int:
    """Make a kept bundle the active one; returns its sequence number.

    ``after`` is the sequence that the caller saw as active (0 for none): where another replica was faster it raises
    ``Conflict`` (``policy.activation_raced``), and the caller looks again.
    """
    newest = select(func.coalesce(func.max(policy_activation.c.seq), 0)).scalar_subquery()
    row = select(literal(after + 1), literal(digest), literal(by), literal(now_s)).where(newest == after)
    # Two replicas at once: the second breaks the primary key, or finds a newer row.
    statement = upsert(connection, policy_activation).from_select(["seq", "digest", "activated_by", "at"], row)
    added = statement.on_conflict_do_nothing().returning(policy_activation.c.seq)
    if connection.execute(added).one_or_none() is None:
        raise Conflict(
            "another policy was activated meanwhile",
            code="policy.activation_raced",
            remedy="look at the active policy and activate again",
        )
    return after + 1


def active(connection: Connection) -> Activation | None:
    """Return the newest activation."""
    row = connection.execute(_JOINED.limit(1)).one_or_none()
    return Activation(*row) if row else None


def history(connection: Connection, most: int) -> tuple[Activation, ...]:
    """Return the newest activations, newest first."""
    return tuple(Activation(*row) for row in connection.execute(_JOINED.limit(most)))


def was_active(connection: Connection, digest: str) -> bool:
    """Say whether this bundle was ever active: only such a one may be rolled back to."""
    found = connection.execute(select(literal(1)).where(policy_activation.c.digest == digest).limit(1))
    return found.first() is not None


def kept(connection: Connection, most: int) -> tuple[tuple[str, str, str], ...]:
    """Return digest, revision and signer of kept bundles: those never active first, then the latest active ones."""
    newest = (
        select(policy_activation.c.digest, func.max(policy_activation.c.seq).label("seq"))
        .group_by(policy_activation.c.digest)
        .subquery()
    )
    rows = connection.execute(
        select(policy_bundle.c.digest, policy_bundle.c.revision, policy_bundle.c.signer)
        .outerjoin(newest, newest.c.digest == policy_bundle.c.digest)
        .order_by(func.coalesce(newest.c.seq, literal(2**62)).desc(), policy_bundle.c.digest)
        .limit(most)
    )
    return tuple((digest, revision, signer) for digest, revision, signer in rows)


def bundle(connection: Connection, digest: str) -> bytes | None:
    """Return the bytes of a kept bundle."""
    return connection.execute(
        select(policy_bundle.c.bundle).where(policy_bundle.c.digest == digest)
    ).scalar_one_or_none()
