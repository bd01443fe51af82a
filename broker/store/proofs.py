"""Rows of ``proof_use``: proofs of possession that counted, for as long as they could be shown again."""

from sqlalchemy import Connection, delete

from broker.store.rows import upsert
from broker.store.strongtables import proof_use

LEFT_S = 60
"""A row stays so much longer than it is needed, so that no two transactions have to clear the same ones at once."""


def use(connection: Connection, tenant: str, proof: str, *, until: int, now_s: int) -> bool:
    """Note that a proof counted; False where it did before, in another transaction too. ``proof`` is its SHA-256, in hex."""
    if proof.startswith("00"):
        connection.execute(delete(proof_use).where(proof_use.c.until < now_s - LEFT_S))
    row = upsert(connection, proof_use).values(tenant=tenant, id=proof, until=until)
    added = row.on_conflict_do_nothing().returning(proof_use.c.id)
    return connection.execute(added).one_or_none() is not None
