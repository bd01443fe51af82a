"""Rows of ``target_write``, and what stands around a target: other incidents that meet it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Update, and_, exists, insert, literal_column, select, update

from broker.model import Json
from broker.store.rows import lock, pack, unpack
from broker.store.tables import (
    LIVE_INCIDENT_SQL,
    LIVE_SQL,
    diagnosis,
    incident,
    proposal,
    session,
    target_write,
)

UNJUDGED = ("diagnosed", "proposed", "awaiting_approval", "auto_ok", "leased", "executing", "verifying", "rolling_back")
"""States of an incident in which a write without an outcome is still to be judged."""
LONGEST_S = 86_400
"""No verification lasts longer."""
HOLD_S = 300
"""After so long no run can be on the way to its intent any more: its grant ran out long before."""
MOST = 100
"""Rows that one question reads."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write on a target, and what verification found of it (empty until then).

    ``plan``: ``{"resource": {"type","id","env"}, "session", "undo": request or null, "digest": of undo or ""}``, and of
    the run that has it ``"run"`` and whether its intent is on record (``"intended"``). The states of a write, and who moves it:

    ===========  ==================================  =======================================================
    state        what it means                       what may come next
    ===========  ==================================  =======================================================
    (no row)     nobody asked                        held, by ``begin``
    held         a run is on the way to its intent   intended, by that run; cancelled, by that run, or by the
                                                     gate once no run can be on the way; held by another run
                                                     after ``HOLD_S``
    cancelled    nothing happened                    held, by a later run of the same action
    intended     the log has the intent              failed, by the outcome or the recovery of that intent;
                                                     improved, unchanged, worse, unknown, by verification
    the others   judged                              nothing
    ===========  ==================================  =======================================================
    """

    tenant: str
    env: str
    target: str
    action_id: str
    action: str
    incident: str
    at: int
    outcome: str
    plan: Mapping[str, Json]

    @property
    def run(self) -> str:
        """The run that has it."""
        return str(self.plan.get("run", ""))

    @property
    def state(self) -> str:
        """Where it stands in the table above; one without a run was put down before runs were told apart."""
        return self.outcome or ("held" if self.plan.get("intended") is False else "intended")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another live incident: what it is about, and what its diagnosis names."""

    id: str
    state: str
    severity: int
    opened_at: int
    service: str
    component: str
    written: bool = False
    """It has written to a target, and that is not judged yet."""


def begin(connection: Connection, write: Write, near: Collection[str] = ()) -> str:
    """Hold one write for the run that ``write`` names, before its intent; empty, or why not, and nothing is changed.

    ``near`` while the same incident has another write, or another live incident has written to one of ``near``, and
    nobody has judged it; ``held`` while another run of the same action may be on the way to its intent. What is held
    afterwards is the latest run's, with its undoing; of an action whose intent is on record nothing changes any more.
    """
    lock(connection, "target_write", write.tenant, write.env)
    if near and (_again(connection, write) or _meets(connection, write, near)):
        return "near"
    there = find(connection, write.tenant, write.action_id)
    if there is None:
        values = {column.name: getattr(write, column.name) for column in target_write.columns}
        connection.execute(insert(target_write).values(values | {"plan": pack(_planned(write, intended=False))}))
    elif there.state == "held" and there.run != write.run and write.at - there.at < HOLD_S:
        return "held"
    elif there.state in {"held", "cancelled"}:
        plan = pack(_planned(write, intended=False))
        connection.execute(_rows_of(write.tenant, write.action_id).values(at=write.at, outcome="", plan=plan))
    return ""


def intend(connection: Connection, tenant: str, env: str, action_id: str, run: str) -> bool:
    """The intent of ``run`` is on record: from now on the write is its own. False where another run took it over meanwhile."""
    lock(connection, "target_write", tenant, env)
    there = find(connection, tenant, action_id)
    if there is None or there.run != run or there.state not in {"held", "intended"}:
        return False
    connection.execute(_rows_of(tenant, action_id).values(plan=pack(_planned(there, intended=True))))
    return True


def let_go(connection: Connection, tenant: str, env: str, action_id: str, run: str) -> None:
    """``run`` goes no further, and has no intent on record; what another run holds stays."""
    lock(connection, "target_write", tenant, env)
    there = find(connection, tenant, action_id)
    if there is not None and there.run == run and there.state == "held":
        close(connection, tenant, action_id, "cancelled")


def close(connection: Connection, tenant: str, action_id: str, outcome: str) -> None:
    """Put down what became of a write that has no outcome yet."""
    connection.execute(_rows_of(tenant, action_id).where(target_write.c.outcome == "").values(outcome=outcome))


def _rows_of(tenant: str, action_id: str) -> Update:
    return update(target_write).where(target_write.c.tenant == tenant, target_write.c.action_id == action_id)


def _planned(write: Write, *, intended: bool) -> dict[str, Json]:
    return {**write.plan, "run": write.run, "intended": intended}


def find(connection: Connection, tenant: str, action_id: str) -> Write | None:
    """The write that this action was."""
    row = connection.execute(
        select(target_write).where(target_write.c.tenant == tenant, target_write.c.action_id == action_id)
    ).first()
    return _write_of(row) if row else None


def recent(connection: Connection, tenant: str, env: str, target: str, since: int) -> list[Write]:
    """Writes on one target since ``since``, oldest first."""
    rows = connection.execute(
        select(target_write)
        .where(
            target_write.c.tenant == tenant,
            target_write.c.env == env,
            target_write.c.target == target,
            target_write.c.at >= since,
        )
        .order_by(target_write.c.at.desc(), target_write.c.action_id)
        .limit(MOST)
    ).all()
    return [_write_of(row) for row in reversed(rows)]


def neighbours(connection: Connection, tenant: str, env: str, but: str) -> Sequence[Neighbour]:
    """Other live incidents of the environment, the most severe first."""
    rows = connection.execute(
        select(
            incident.c.id,
            incident.c.state,
            incident.c.severity,
            incident.c.opened_at,
            incident.c.service,
            diagnosis.c.component,
            exists(
                select(target_write.c.action_id).where(
                    target_write.c.tenant == incident.c.tenant,
                    target_write.c.env == incident.c.env,
                    target_write.c.incident == incident.c.id,
                    target_write.c.outcome == "",
                )
            ),
        )
        .outerjoin(diagnosis, and_(diagnosis.c.tenant == incident.c.tenant, diagnosis.c.id == incident.c.diagnosis))
        .where(
            incident.c.tenant == tenant,
            incident.c.env == env,
            incident.c.id != but,
            literal_column(f"incident.{LIVE_INCIDENT_SQL}"),
        )
        .order_by(incident.c.severity.desc(), incident.c.opened_at, incident.c.id)
        .limit(MOST)
    ).all()
    return [
        Neighbour(row[0], row[1], row[2], row[3], row[4], component=row[5] or "", written=bool(row[6])) for row in rows
    ]


def asked_in(connection: Connection, tenant: str, incident_id: str) -> list[str]:
    """Actions of an incident that wait for people, run, or are not judged yet."""
    done = select(target_write.c.action_id).where(
        target_write.c.tenant == tenant, target_write.c.incident == incident_id, target_write.c.outcome == ""
    )
    own = select(session.c.id).where(session.c.tenant == tenant, session.c.incident == incident_id)
    live = select(proposal.c.action_id).where(
        proposal.c.tenant == tenant,
        proposal.c.session.in_(own),
        literal_column(f"proposal.{LIVE_SQL}"),
        proposal.c.action.not_like("gate.%"),
    )
    return sorted({row[0] for row in connection.execute(done.union(live))})


def incident_of_session(connection: Connection, tenant: str, session_id: str) -> str:
    """The incident that a session was opened for; empty for none."""
    found = connection.execute(
        select(session.c.incident).where(session.c.tenant == tenant, session.c.id == session_id)
    ).scalar_one_or_none()
    return found or ""


def _again(connection: Connection, write: Write) -> bool:
    """Whether this incident has another write that is under way or being judged."""
    found = connection.execute(
        select(target_write.c.action_id)
        .where(
            target_write.c.tenant == write.tenant,
            target_write.c.incident == write.incident,
            target_write.c.outcome == "",
            target_write.c.action_id != write.action_id,
        )
        .limit(1)
    )
    return found.first() is not None


def _meets(connection: Connection, write: Write, near: Collection[str]) -> bool:
    """Whether a write of another incident near this one is under way or being judged."""
    found = connection.execute(
        select(target_write.c.action_id)
        .join(incident, and_(incident.c.tenant == target_write.c.tenant, incident.c.id == target_write.c.incident))
        .where(
            target_write.c.tenant == write.tenant,
            target_write.c.env == write.env,
            target_write.c.target.in_(sorted(near)),
            target_write.c.outcome == "",
            target_write.c.at >= write.at - LONGEST_S,
            target_write.c.incident != write.incident,
            incident.c.state.in_(UNJUDGED),
        )
        .limit(1)
    )
    return found.first() is not None


def _write_of(row: Row[Any]) -> Write:
    values = dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns
    return Write(**values | {"plan": unpack(values["plan"])})
