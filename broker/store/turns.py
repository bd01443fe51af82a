"""Rows of ``relayed_turn``: tool uses of model answers that went to one party in one session, each for one action."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from broker.store.rows import upsert
from broker.store.strongtables import relayed_turn as turn

KEPT_MAX = 512
"""So many rows a party has in a session; the oldest go first."""
LEFT_S = 60
"""A row stays so much longer than it counts, so that no two transactions have to clear the same ones at once."""


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom an answer went."""

    tenant: str
    session: str
    party: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One tool use: the provider's ``id``, the tool's name as an MCP server has it, SHA-256 (hex) of its arguments."""

    id: str
    tool: str
    arguments: str


def note(connection: Connection, owner: Owner, uses: Sequence[ToolUse], *, now_s: int, until: int) -> None:
    """Insert what went out; one that is known stays as it is, used or not."""
    for use in uses:
        row = upsert(connection, turn).values(
            tenant=owner.tenant,
            session=owner.session,
            party=owner.party,
            id=use.id,
            tool=use.tool,
            arguments=use.arguments,
            at=now_s,
            until=until,
            used_by="",
        )
        connection.execute(row.on_conflict_do_nothing())
    newest = select(turn.c.id).where(_of(owner)).order_by(turn.c.at.desc(), turn.c.id).limit(KEPT_MAX)
    connection.execute(delete(turn).where(_of(owner), turn.c.id.not_in(newest)))


def sweep(connection: Connection, now_s: int) -> None:
    """Forget what has run out, of everybody."""
    connection.execute(delete(turn).where(turn.c.until < now_s - LEFT_S))


def spend(connection: Connection, owner: Owner, use: ToolUse, *, action_id: str, now_s: int) -> tuple[bool, bool]:
    """Say whether ``use`` is there for ``action_id``, and whether it is what was said; only then it is spent on it.

    One statement decides, so that of two replicas one gets it; the same action may ask again.
    """
    there = and_(_of(owner), turn.c.id == use.id, turn.c.until > now_s, turn.c.used_by.in_(("", action_id)))
    same = and_(there, turn.c.tool == use.tool, turn.c.arguments == use.arguments)
    if connection.execute(update(turn).where(same).values(used_by=action_id)).rowcount == 1:
        return True, True
    return connection.execute(select(turn.c.id).where(there)).one_or_none() is not None, False


def give_back(connection: Connection, owner: Owner, action_id: str) -> None:
    """Free what was spent on ``action_id``, which is not empty."""
    connection.execute(update(turn).where(_of(owner), turn.c.used_by == action_id).values(used_by=""))


def _of(owner: Owner) -> ColumnElement[bool]:
    return and_(turn.c.tenant == owner.tenant, turn.c.session == owner.session, turn.c.party == owner.party)
