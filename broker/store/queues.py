"""How much waits of everything that can wait, and since when: a few indexed counts."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from broker.store.approvals import SAME_ANSWER, TO_RECORD
from broker.store.tables import (
    LIVE_INCIDENT_STATES,
    incident,
    kill_switch,
    login,
    proposal,
    review,
    review_owed,
    work,
)


@dataclass(frozen=True, slots=True)
class Queue:
    """``oldest`` in seconds since the epoch; 0 where nothing waits."""

    name: str
    length: int
    oldest: int


def lengths(connection: Connection, tenant: str, now_s: int) -> list[Queue]:
    """The queues of ``tenant``."""
    live, due = incident.c.state.in_(LIVE_INCIDENT_STATES), (work.c.state == "due") & (work.c.due <= now_s)
    asked: list[tuple[str, ColumnElement[int], ColumnElement[bool], ColumnElement[str]]] = [
        ("approvals", proposal.c.created_at, proposal.c.state == "waiting", proposal.c.tenant),
        ("approved", proposal.c.changed_at, proposal.c.state == "approved", proposal.c.tenant),
        ("incidents", incident.c.opened_at, live, incident.c.tenant),
        ("work_due", work.c.due, due & (work.c.until <= now_s), work.c.tenant),
        ("work_held", work.c.created_at, (work.c.state == "due") & (work.c.until > now_s), work.c.tenant),
        ("work_aside", work.c.created_at, work.c.state == "aside", work.c.tenant),
        ("logins", login.c.opened_at, login.c.closed_at.is_(None) & (login.c.expires_at > now_s), login.c.tenant),
    ]
    found = []
    for name, since, which, owner in asked:
        length, oldest = connection.execute(select(func.count(), func.min(since)).where(owner == tenant, which)).one()
        found.append(Queue(name, int(length), int(oldest or 0)))
    return found


def totals(connection: Connection, now_s: int) -> dict[tuple[str, str], Queue]:
    """What waits, by what it is and its state, over all tenants: for metrics, which name no tenant."""
    held = (work.c.state == "due") & (work.c.until > now_s)
    asked: list[tuple[str, str, ColumnElement[int], ColumnElement[bool]]] = [
        *(("approvals", state, proposal.c.created_at, proposal.c.state == state) for state in ("waiting", "approved")),
        ("work", "due", work.c.due, (work.c.state == "due") & (work.c.due <= now_s) & (work.c.until <= now_s)),
        ("work", "held", work.c.created_at, held),
        ("work", "aside", work.c.created_at, work.c.state == "aside"),
    ]
    found = {}
    for about, state, since, which in asked:
        length, oldest = connection.execute(select(func.count(), func.min(since)).where(which)).one()
        found[about, state] = Queue(about, int(length), int(oldest or 0))
    owed = (
        select(func.count(), func.min(review.c.at)).select_from(review_owed).join(review, SAME_ANSWER).where(TO_RECORD)
    )
    length, oldest = connection.execute(owed).one()
    found["approvals", "unrecorded"] = Queue("approvals", int(length), int(oldest or 0))
    for about, by, which in (
        ("incidents", incident.c.state, incident.c.state.in_(LIVE_INCIDENT_STATES)),
        ("kill_switches", kill_switch.c.scope, kill_switch.c.active),
    ):
        for state, length in connection.execute(select(by, func.count()).where(which).group_by(by)):
            found[about, str(state)] = Queue(about, int(length), 0)
    return found
