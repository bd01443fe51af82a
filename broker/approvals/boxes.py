"""Time boxes: a proposal whose reviewers stay silent may run by itself, once its end has come and somebody has heard.

Silence is never taken for granted. A box begins when every receiver took the notice; a person on call, other than those
who asked, must acknowledge it before its end; any reviewer ends it by a denial. That it counts is one compare-and-set on
the proposal and its box, after policy has said so on the facts of that moment.
"""

import hmac
from collections.abc import Callable
from dataclasses import replace

from broker.approvals import checks
from broker.clock import Clock, seconds
from broker.errors import Conflict, NotFound
from broker.model import Principal, TimeBox
from broker.store import Connection, Store, timeboxes
from broker.store import approvals as rows
from broker.store import work as work_rows
from broker.store.approvals import Proposal
from broker.store.rows import lock
from broker.store.timeboxes import TimeBoxRow

WORK = "time_box"
"""The kind of the gate's own work that tells people, and comes back at the end."""
SKEW_S = 60
"""As for the redemption of an approval: a clock further back than the proposal's making cannot tell an end."""


def draft(proposal: Proposal, duty: TimeBox) -> TimeBoxRow:
    """Shape the box of a new proposal."""
    return TimeBoxRow(
        tenant=proposal.tenant,
        proposal=proposal.id,
        rule=duty.rule,
        seconds=duty.seconds,
        per_day=duty.per_day,
        acknowledge=tuple(sorted(duty.acknowledge)),
        state="open",
        told=(),
        told_at=0,
        due=0,
        acknowledged_by="",
        acknowledged_roles=(),
        acknowledged_at=0,
        code="",
        opened_at=proposal.created_at,
        changed_at=proposal.created_at,
    )


def put(connection: Connection, proposal: Proposal) -> None:
    """Store the box of a new proposal, if it has one, with the work that is due for it."""
    if proposal.box is None:
        return
    now = proposal.created_at
    timeboxes.add(connection, proposal.box)
    work_rows.put(connection, proposal.tenant, WORK, proposal.id, incident="", body={}, severity=4, now_s=now, due=now)


class Boxes:
    """The boxes of all proposals, for all replicas that share ``store``."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Keep rows in ``store``; a box's end is compared with ``clock`` at every use."""
        self._store = store
        self._clock = clock

    async def may_acknowledge(self, person: Principal, proposal_id: str, digest: str) -> Proposal:
        """Check that ``person`` may say that they have seen the notice; nothing is stored.

        Raises as ``Approvals.review`` for who may, here nobody who asked nor the person behind them; ``NotFound``;
        ``Conflict``: ``approval.closed``, ``approval.digest``, ``approval.no_time_box`` where silence counts for
        nothing, ``approval.box_not_begun``, ``approval.box_over``, ``approval.reviewed`` for the same person again.
        """
        now = seconds(self._clock)
        found = await self._store.read(lambda c: rows.find(c, person.tenant, proposal_id))
        return _acknowledgeable(found, person, digest, now)[0]

    async def acknowledge(self, person: Principal, proposal_id: str, digest: str) -> Proposal:
        """Store that ``person`` has seen the notice, which the log has; returns the proposal as it stands then.

        Raises as ``may_acknowledge``.
        """
        now = seconds(self._clock)

        def store(connection: Connection) -> Proposal:
            waiting = rows.find(connection, person.tenant, proposal_id, lock=True)
            found, box = _acknowledgeable(waiting, person, digest, now)
            held = sorted(person.subject.roles)
            said = {"acknowledged_by": person.subject.id, "acknowledged_roles": held, "acknowledged_at": now}
            timeboxes.change(connection, box, now, **said)
            after = rows.find(connection, found.tenant, found.id)
            assert after is not None
            return after

        return await self._store.write(store)

    async def told(self, proposal: Proposal, receiver: str, *, last: bool) -> None:
        """Store that ``receiver`` took the notice; with the ``last`` of them the box begins."""
        now = seconds(self._clock)

        def store(connection: Connection, box: TimeBoxRow) -> None:
            begun = {"told_at": now, "due": now + box.seconds} if last else {}
            timeboxes.change(connection, box, now, told=(*box.told, receiver), **begun)

        await self._change(proposal, store)

    async def void(self, proposal: Proposal, code: str) -> None:
        """Store that silence does not count here, and why; the proposal goes on waiting for people."""
        now = seconds(self._clock)

        def store(connection: Connection, box: TimeBoxRow) -> None:
            timeboxes.change(connection, box, now, state="void", code=code)

        await self._change(proposal, store)

    async def count(self, proposal: Proposal, per_day: int) -> str:
        """Let silence count for ``proposal`` as it was decided; returns why not, or an empty code.

        One transaction: of all replicas one succeeds, a denial that came first wins, and a tenant has at most ``per_day``.
        It is the approval from ``approve`` on, once the log has it.
        """
        now = seconds(self._clock)

        def count(connection: Connection) -> str:
            lock(connection, WORK, proposal.tenant)
            found = rows.find(connection, proposal.tenant, proposal.id, lock=True)
            code = _why_not(found, proposal, now)
            if code or found is None or found.box is None:
                return code
            if timeboxes.counted_today(connection, proposal.tenant, now) >= per_day:
                return "timebox.used_up"
            if not timeboxes.change(connection, found.box, now, state="counted"):
                return "approval.no_time_box"
            return ""

        return await self._store.write(count)

    async def approve(self, proposal: Proposal) -> Proposal:
        """Let silence that counted, and is on record for ``proposal``'s digest, be the approval; again is the same.

        A denial that came between wins.
        """
        now = seconds(self._clock)

        def approve(connection: Connection) -> Proposal:
            found = rows.find(connection, proposal.tenant, proposal.id, lock=True)
            if found is None:
                raise NotFound("there is no such proposal", code="approval.not_found")
            silent = found.box is not None and found.box.state == "counted" and found.digest == proposal.digest
            if (
                silent
                and found.at(now).state == "waiting"
                and rows.move(connection, found.tenant, found.id, "approved", now)
            ):
                return replace(found, state="approved", changed_at=now)
            return found.at(now)

        return await self._store.write(approve)

    async def _change(self, proposal: Proposal, change: Callable[[Connection, TimeBoxRow], None]) -> None:
        """Change the box as it stands, if it is still open."""

        def changed(connection: Connection) -> None:
            found = rows.find(connection, proposal.tenant, proposal.id, lock=True)
            if found is not None and found.box is not None and found.box.state == "open":
                change(connection, found.box)

        await self._store.write(changed)


def _acknowledgeable(found: Proposal | None, person: Principal, digest: str, now: int) -> tuple[Proposal, TimeBoxRow]:
    """Return the proposal and its box where ``person`` may acknowledge its notice now."""
    if found is None:
        raise NotFound("there is no such proposal", code="approval.not_found")
    found = found.at(now)
    box = _open(found)
    checks.may_review(replace(found, separation="subject", roles=box.acknowledge), person, now)
    _may_still(found, box, person, digest, now)
    return found, box


def _open(found: Proposal) -> TimeBoxRow:
    """The box of ``found`` while silence may still count."""
    if found.box is None or found.box.state == "void":
        raise Conflict(
            "silence counts for nothing here, so there is nothing to acknowledge",
            code="approval.no_time_box",
            remedy="approve or deny the request",
        )
    return found.box


def _may_still(found: Proposal, box: TimeBoxRow, person: Principal, digest: str, now: int) -> None:
    """Check that an acknowledgement fits the proposal and comes in time."""
    if found.state != "waiting":
        raise Conflict(f"the proposal is {found.state} already", code="approval.closed")
    if not hmac.compare_digest(found.digest.encode(), digest.encode()):
        raise Conflict(
            "the digest is not that of the proposal as it stands",
            code="approval.digest",
            remedy="read the proposal again and acknowledge what it shows now",
        )
    if not box.told_at:
        raise Conflict(
            "not everybody was told yet",
            code="approval.box_not_begun",
            remedy="wait for the notice, or approve or deny the request",
        )
    if now >= box.due:
        raise Conflict(
            "the time box is over and nobody had acknowledged its notice",
            code="approval.box_over",
            remedy="approve or deny the request",
        )
    if box.acknowledged_by == person.subject.id:
        raise Conflict("you have answered this already", code="approval.reviewed")


def _why_not(found: Proposal | None, asked: Proposal, now: int) -> str:
    """Why silence cannot count for what was decided; empty where it can."""
    if found is None or found.at(now).state != "waiting" or (found.box is not None and found.box.state == "counted"):
        return "approval.closed"
    if not hmac.compare_digest(found.digest.encode(), asked.digest.encode()):
        return "approval.digest"
    if found.box is None or found.box.state != "open":
        return "approval.no_time_box"
    return "approval.clock" if now < found.created_at - SKEW_S else _unheard(found.box, now)


def _unheard(box: TimeBoxRow, now: int) -> str:
    """Why the silence was none: nobody had heard, or there is time left."""
    if not box.told_at:
        return "timebox.not_told"
    if not box.acknowledged_by:
        return "timebox.not_acknowledged"
    return "" if now >= box.due else "timebox.not_over"
