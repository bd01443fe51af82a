"""The hot path's one query: everything of the gate's own state that a decision needs, from one snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, bindparam, exists, literal, select

from broker.model import Json, Session
from broker.store import approvals, breakglass, kills
from broker.store.approvals import Proposal
from broker.store.counters import DAY_S
from broker.store.hot import Hot
from broker.store.sessions import session_of
from broker.store.tables import kill_switch, session, usage_counter


@dataclass(frozen=True, slots=True)
class Gathered:
    """Session (open or not, anybody's in the tenant: the caller checks), kill state, usage and proposal."""

    session: Session | None
    killed: bool
    usage: Mapping[str, int]
    """``actions_today`` and ``writes_today`` of the acting party; advisory."""
    proposal: Proposal | None
    """The live proposal of the action, else its newest, as it stands now."""
    breakglass: Mapping[str, Json] = field(default_factory=lambda: breakglass.facts((), 0))
    """``breakglass.facts`` of the tenant."""


_asked = select(literal(1).label("one")).subquery()
_FACTS = Hot(
    select(
        session,
        exists(
            select(kill_switch.c.scope).where(
                kills.stops(
                    bindparam("tenant_"),
                    (bindparam("acting_"), bindparam("subject_"), session.c.opened_by),
                    bindparam("connector_"),
                )
            )
        ).label("killed"),
        breakglass.some_owed(bindparam("tenant_")).label("breakglass"),
        usage_counter.c.actions,
        usage_counter.c.writes,
    )
    .select_from(_asked)
    .outerjoin(session, and_(session.c.tenant == bindparam("tenant_"), session.c.id == bindparam("session_")))
    .outerjoin(
        usage_counter,
        and_(
            usage_counter.c.tenant == bindparam("tenant_"),
            usage_counter.c.party == bindparam("acting_"),
            usage_counter.c.day == bindparam("day_"),
        ),
    )
)


def gather(  # noqa: PLR0913 - one argument a fact
    connection: Connection,
    *,
    tenant: str,
    session_id: str,
    acting: str,
    subject: str,
    connector: str,
    action_id: str,
    now_s: int,
) -> Gathered:
    """Read session, kill state, usage and the action's proposal; an empty ``session_id`` or ``action_id`` finds none."""
    asked = {
        "tenant_": tenant,
        "session_": session_id,
        "acting_": acting,
        "subject_": subject,
        "connector_": connector,
        "day_": now_s // DAY_S,
    }
    [row] = _FACTS(connection, asked)
    *found, killed, broken, actions, writes = row
    proposal = approvals.of_action(connection, tenant, action_id) if action_id else None
    return Gathered(
        session=session_of(found) if found[0] is not None else None,
        killed=bool(killed),
        usage={"actions_today": actions or 0, "writes_today": writes or 0},
        proposal=proposal.at(now_s) if proposal else None,
        breakglass=breakglass.facts(breakglass.owed(connection, tenant, now_s) if broken else (), now_s),
    )
