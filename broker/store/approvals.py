"""Rows of ``proposal`` and ``review``.

A proposal's state moves only along ``tables.TRANSITIONS``; every change is one statement that names the states it may
start from, so that of all replicas one wins. What a proposal binds never changes, but for ``digest`` and ``narrowed``
while it waits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    insert,
    literal,
    literal_column,
    select,
    tuple_,
    update,
)

from broker.model import Json
from broker.store import timeboxes
from broker.store.hot import Hot
from broker.store.rows import Page, cursor, pack, place, unpack
from broker.store.tables import LIVE_SQL, STATES, TRANSITIONS, proposal, review, review_owed
from broker.store.timeboxes import TimeBoxRow

DUE = ("waiting", "approved")
"""States that end by time."""
NEVER = b"null"
"""Is owed of an answer that can never be put on record: nothing, and it never counts."""
JSON_COLUMNS = ("resource", "request", "plan", "bounds", "principal", "roles")


@dataclass(frozen=True, slots=True)
class Review:
    """One person's answer to exactly ``digest``."""

    reviewer: str
    kind: str
    roles: tuple[str, ...]
    acr: str
    verdict: str
    digest: str
    reason: str
    signature: str
    same_actor: bool
    same_subject: bool
    at: int
    owed: bytes = b""
    """What its record says beside this, while the log does not have the record; ``NEVER`` where it cannot have it; empty once it has."""

    @property
    def counts(self) -> bool:
        """Whether it is on record."""
        return not self.owed

    @property
    def owes(self) -> bool:
        """Whether its record is still to be written."""
        return self.owed not in {b"", NEVER}


@dataclass(frozen=True, slots=True)
class Proposal:
    """A request that waits, and everything that an approval of it binds."""

    id: str
    tenant: str
    action_id: str
    session: str
    action: str
    resource: Mapping[str, Json]
    request: Mapping[str, Json]
    """The request as stored: ``session, action, resource, arguments, reason, diagnosis``; redacted before."""
    request_digest: str
    """Digest of the request as it was proposed; never changes."""
    digest: str
    """Digest of what an approval approves now: differs once somebody narrowed the arguments."""
    narrowed: Mapping[str, Json] | None
    """All arguments after narrowing, or None."""
    bounds: Mapping[str, Mapping[str, Json]]
    """Rules by argument that order its values, for narrowing."""
    plan: Mapping[str, Json]
    plan_fingerprint: str
    rollback_digest: str
    policy_revision: str
    policy_digest: str
    subject: str
    actor: str
    """Party id of the agent that acts for ``subject``, or empty."""
    principal: Mapping[str, Json]
    token_expires_at: int
    quorum: int
    roles: tuple[str, ...]
    separation: str
    signature: bool
    tier: int
    created_at: int
    expires_at: int
    changed_at: int
    state: str
    reviews: tuple[Review, ...] = ()
    box: TimeBoxRow | None = None
    """When silence counts as the answer, where policy lets it."""

    @property
    def requester(self) -> str:
        """Party id of the requester: the acting party."""
        return self.actor or self.subject

    def at(self, now_s: int) -> "Proposal":
        """Return the proposal as it stands at ``now_s``: past its expiry it is expired, whether that is stored or not."""
        return replace(self, state="expired") if self.state in DUE and now_s >= self.expires_at else self


def add(connection: Connection, draft: Proposal) -> None:
    """Insert a new proposal, in the state ``waiting``."""
    connection.execute(
        insert(proposal).values(
            {
                column.name: getattr(draft, column.name)
                for column in proposal.columns
                if column.name not in (*JSON_COLUMNS, "narrowed")
            }
            | {name: pack(_plain(getattr(draft, name))) for name in JSON_COLUMNS}
            | {"narrowed": b""}
        )
    )


OwedKey = tuple[str, ...]
"""Names an answer: tenant, proposal, reviewer, digest, verdict."""
_OWED = tuple(review_owed.primary_key.columns)
TO_RECORD = review_owed.c.said != NEVER


def find(connection: Connection, tenant: str, proposal_id: str, *, lock: bool = False) -> Proposal | None:
    """Return the proposal with its reviews; ``lock`` holds its row until the transaction ends."""
    statement = select(proposal).where(proposal.c.tenant == tenant, proposal.c.id == proposal_id)
    row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
    return _with_reviews(connection, row) if row else None


_OF_ACTION = (
    select(proposal)
    .where(proposal.c.tenant == bindparam("t"), proposal.c.action_id == bindparam("a"))
    .order_by(literal_column(LIVE_SQL).desc(), proposal.c.created_at.desc(), proposal.c.id)
    .limit(1)
)
_IS_ACTION = Hot(
    select(proposal.c.id).where(proposal.c.tenant == bindparam("t"), proposal.c.action_id == bindparam("a")).limit(1)
)
SAME_ANSWER = and_(
    *(review.c[name] == review_owed.c[name] for name in ("tenant", "proposal", "reviewer", "digest", "verdict"))
)
_REVIEWS = (
    select(review, review_owed.c.said)
    .outerjoin(review_owed, SAME_ANSWER)
    .where(review.c.tenant == bindparam("t"), review.c.proposal == bindparam("p"))
    .order_by(review.c.at, review.c.reviewer, review.c.verdict)
)


def of_action(connection: Connection, tenant: str, action_id: str) -> Proposal | None:
    """Return the live proposal of this action, else its newest."""
    asked = {"t": tenant, "a": action_id}
    if not _IS_ACTION(connection, asked):  # nearly always
        return None
    return _with_reviews(connection, connection.execute(_OF_ACTION, asked).one())


def add_review(connection: Connection, tenant: str, proposal_id: str, answer: Review) -> None:
    """Insert one answer, and before it what its record is to say of it: the database takes none without."""
    connection.execute(insert(review_owed).values(_key_of(tenant, proposal_id, answer) | {"said": answer.owed}))
    connection.execute(
        insert(review).values(
            tenant=tenant,
            proposal=proposal_id,
            reviewer=answer.reviewer,
            digest=answer.digest,
            verdict=answer.verdict,
            kind=answer.kind,
            roles=pack(list(answer.roles)),
            acr=answer.acr,
            reason=answer.reason.encode(),
            signature=answer.signature,
            same_actor=answer.same_actor,
            same_subject=answer.same_subject,
            at=answer.at,
        )
    )


def recorded(connection: Connection, tenant: str, proposal_id: str, answer: Review) -> bool:
    """Let an answer count: its record is in the log. False where it counted already."""
    done = connection.execute(delete(review_owed).where(_is(_key_of(tenant, proposal_id, answer))))
    return done.rowcount == 1


def drop(connection: Connection, tenant: str, answer: OwedKey) -> bool:
    """Let an answer that can never be put on record be owed no longer; it never counts. False where nothing is owed of it.

    ``answer`` is its name behind the tenant: proposal, reviewer, digest, verdict.
    """
    same = _is({column.name: value for column, value in zip(_OWED, (tenant, *answer), strict=True)})
    return connection.execute(update(review_owed).where(same, TO_RECORD).values(said=NEVER)).rowcount == 1


def owed(connection: Connection, after: OwedKey, most: int) -> tuple[OwedKey, ...]:
    """Return the names of answers of any tenant that are not on record, in their order, behind ``after``."""
    behind = tuple_(*_OWED) > tuple_(*map(literal, after))
    rows = connection.execute(select(*_OWED).where(behind, TO_RECORD).order_by(*_OWED).limit(most))
    return tuple(tuple(row) for row in rows)


def owed_by(connection: Connection, tenant: str, reviewer: str, most: int) -> tuple[OwedKey, ...]:
    """Return the names of one person's answers that are not on record, in their order."""
    theirs = (review_owed.c.tenant == tenant, review_owed.c.reviewer == reviewer, TO_RECORD)
    rows = connection.execute(select(*_OWED).where(*theirs).order_by(*_OWED).limit(most))
    return tuple(tuple(row) for row in rows)


def _is(key: Mapping[str, str]) -> ColumnElement[bool]:
    """Match what is owed of one answer."""
    return and_(*(review_owed.c[name] == value for name, value in key.items()))


def _key_of(tenant: str, proposal_id: str, answer: Review) -> dict[str, str]:
    """Name an answer."""
    said = {"reviewer": answer.reviewer, "digest": answer.digest, "verdict": answer.verdict}
    return {"tenant": tenant, "proposal": proposal_id, **said}


def narrow(  # noqa: PLR0913 - one argument a column
    connection: Connection,
    tenant: str,
    proposal_id: str,
    *,
    old: str,
    new: str,
    arguments: Mapping[str, Json],
    now_s: int,
) -> bool:
    """Bind narrowed arguments under a new digest; False unless it still waits under the old one."""
    changed = connection.execute(
        update(proposal)
        .where(
            proposal.c.tenant == tenant,
            proposal.c.id == proposal_id,
            proposal.c.state == "waiting",
            proposal.c.digest == old,
        )
        .values(digest=new, narrowed=pack(dict(arguments)), changed_at=now_s)
    )
    return changed.rowcount == 1


def move(connection: Connection, tenant: str, proposal_id: str, to: str, now_s: int) -> bool:
    """Change the state to ``to`` if the transition table allows it from where it stands; False if not."""
    changed = connection.execute(
        update(proposal)
        .where(proposal.c.tenant == tenant, proposal.c.id == proposal_id, proposal.c.state.in_(_before(to)))
        .values(state=to, changed_at=now_s)
    )
    return changed.rowcount == 1


def begin(connection: Connection, tenant: str, proposal_id: str, digest: str, now_s: int, skew_s: int) -> bool:  # noqa: PLR0913, PLR0917
    """Redeem an approval: state, digest and time are compared in the statement that takes it; one caller wins.

    A clock that stands more than ``skew_s`` before the proposal's making was set back; it cannot tell an expiry.
    """
    changed = connection.execute(
        update(proposal)
        .where(
            proposal.c.tenant == tenant,
            proposal.c.id == proposal_id,
            proposal.c.state == "approved",
            proposal.c.digest == digest,
            proposal.c.expires_at > now_s,
            proposal.c.created_at <= now_s + skew_s,
        )
        .values(state="executing", changed_at=now_s)
    )
    return changed.rowcount == 1


def expire(connection: Connection, now_s: int, most: int) -> tuple[tuple[str, str], ...]:
    """Store the expiry of at most ``most`` proposals of any tenant; returns their (tenant, id)."""
    due = connection.execute(
        select(proposal.c.tenant, proposal.c.id)
        .where(proposal.c.state.in_(DUE), proposal.c.expires_at <= now_s)
        .order_by(proposal.c.expires_at, proposal.c.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    return tuple((row.tenant, row.id) for row in due if move(connection, row.tenant, row.id, "expired", now_s))


def page(connection: Connection, tenant: str, states: Iterable[str], limit: int, after: str = "") -> Page[Proposal]:
    """Return one page of the tenant's proposals in ``states``, newest first, with their boxes, without their reviews."""
    table = proposal.c
    statement = select(proposal).where(table.tenant == tenant, table.state.in_(sorted(set(states) & set(STATES))))
    if after:
        statement = statement.where(tuple_(table.created_at, table.id) < tuple_(*map(literal, place(after))))
    rows = connection.execute(statement.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)).all()
    found = [_proposal_of(row) for row in rows[:limit]]
    boxes = timeboxes.of(connection, tenant, [one.id for one in found])
    items = tuple(replace(one, box=boxes.get(one.id)) for one in found)
    return Page(items, cursor(items[-1].created_at, items[-1].id) if len(rows) > limit else "")


def waiting_since(connection: Connection, before_s: int) -> tuple[tuple[str, str], ...]:
    """Return (tenant, id) of what waits, of any tenant, and was proposed before ``before_s``."""
    table = proposal.c
    rows = connection.execute(
        select(table.tenant, table.id).where(table.state == "waiting", table.created_at <= before_s)
    )
    return tuple((row.tenant, row.id) for row in rows)


def waiting_in(connection: Connection, tenant: str, session: str, action: str, limit: int) -> tuple[Proposal, ...]:
    """Return what waits in a session for one action, newest first, without reviews."""
    table = proposal.c
    statement = select(proposal).where(
        table.tenant == tenant, table.state == "waiting", table.session == session, table.action == action
    )
    rows = connection.execute(statement.order_by(table.created_at.desc(), table.id.desc()).limit(limit)).all()
    return tuple(_proposal_of(row) for row in rows)


def _before(to: str) -> Sequence[str]:
    """States from which ``to`` may be reached."""
    return sorted(old for old, new in TRANSITIONS if new == to)


def _with_reviews(connection: Connection, row: Row[Any]) -> Proposal:
    """Build a proposal and read its reviews."""
    found = _proposal_of(row)
    answers = connection.execute(_REVIEWS, {"t": found.tenant, "p": found.id})
    box = timeboxes.of(connection, found.tenant, [found.id]).get(found.id)
    return replace(found, reviews=tuple(_review_of(answer) for answer in answers), box=box)


def _proposal_of(row: Row[Any]) -> Proposal:
    """Build a proposal from a row of its table."""
    values = dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns
    for name in JSON_COLUMNS:
        values[name] = unpack(values[name])
    values["roles"] = tuple(values["roles"])
    values["narrowed"] = unpack(values["narrowed"]) if values["narrowed"] else None
    return Proposal(**values)


def _review_of(row: Row[Any]) -> Review:
    """Build a review from a row of its table."""
    return Review(
        reviewer=row.reviewer,
        kind=row.kind,
        roles=tuple(unpack(row.roles)),
        acr=row.acr,
        verdict=row.verdict,
        digest=row.digest,
        reason=row.reason.decode(),
        signature=row.signature,
        same_actor=bool(row.same_actor),
        same_subject=bool(row.same_subject),
        at=row.at,
        owed=row.said or b"",
    )


def _plain(value: Any) -> Json:
    """Turn a tuple into the list that JSON knows."""
    return list(value) if isinstance(value, tuple) else value
