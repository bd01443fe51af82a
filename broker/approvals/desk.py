"""The desk where requests wait: propose, review, redeem, finish, expire.

An approval fits one exact digest. A review is a fact that is stored; the request is then decided again, and policy sees
the facts. ``begin_execution`` redeems the approval by one compare-and-set, so that of all replicas one executes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from broker.approvals import boxes, checks, snapshot
from broker.approvals.checks import Answer
from broker.approvals.narrowing import bounds_of, narrowed
from broker.clock import Clock, seconds
from broker.errors import BadRequest, BrokerError, Conflict, NotFound
from broker.model import ActionRequest, Decision, Json, Plan, Principal, RequireApproval
from broker.store import Connection, Store
from broker.store import approvals as rows
from broker.store.approvals import OwedKey, Proposal, Review
from broker.store.rows import Page, lock

SKEW_S = 60
"""Replicas' clocks may differ by this much; a clock further back than a proposal's making cannot redeem it."""
LONGEST_PAGE = 200
NO_ANSWER: OwedKey = ("",) * 5
"""Before the name of every answer."""
Rebind = Callable[[Proposal, Mapping[str, Json]], str]
"""Digest that the proposal's request has with other arguments; the caller knows the catalog."""


class Approvals:
    """Keeps proposals and reviews, for all replicas that share ``store``."""

    def __init__(self, store: Store, clock: Clock, acr_values: Sequence[str] = ()) -> None:
        """Keep rows in ``store``; expiry is compared with ``clock`` at every use.

        Whoever approves must have signed in by one of ``acr_values``; empty: by any method.
        """
        self._store = store
        self._clock = clock
        self._acr_values = tuple(acr_values)

    async def propose(  # noqa: PLR0913 - one keyword a bound thing
        self,
        *,
        principal: Principal,
        request: ActionRequest,
        decision: Decision,
        duty: RequireApproval,
        plan: Plan,
        rollback_digest: str = "",
        schema: Mapping[str, Json] | None = None,
    ) -> Proposal:
        """Store a request that waits; the same action and digest again return what stands.

        ``request`` is redacted already; ``schema`` is the JSON Schema of the action's arguments, which with the
        decision's ``Constrain`` says what may be narrowed. Raises ``Conflict`` (``approval.closed``) where this action
        was denied or executed, (``approval.other_request``) where it waits with another digest.
        """
        now = seconds(self._clock)
        draft = snapshot.draft(principal, request, decision, duty, plan, now)
        bounds = bounds_of(decision, schema or {})
        box = boxes.draft(draft, duty.time_box) if duty.time_box else None
        draft = replace(draft, rollback_digest=rollback_digest, bounds=bounds, box=box)

        def insert(connection: Connection) -> Proposal:
            lock(connection, "proposal", draft.tenant, draft.action_id)
            known = rows.of_action(connection, draft.tenant, draft.action_id)
            if known is None or known.at(now).state in ("expired", "cancelled"):
                if known is not None:
                    rows.move(connection, known.tenant, known.id, "expired", now)
                rows.add(connection, draft)
                boxes.put(connection, draft)
                return draft
            if known.request_digest != draft.request_digest:
                raise Conflict("this action already waits with another payload", code="approval.other_request")
            if known.state in ("waiting", "approved"):
                return known
            raise Conflict(
                f"this action is {known.state} already",
                code="approval.closed",
                remedy="send a new request under a fresh Idempotency-Key",
            )

        return await self._store.write(insert)

    async def get(self, tenant: str, proposal_id: str) -> Proposal:
        """Return the proposal as it stands now, with its reviews; raises ``NotFound``."""
        found = await self._store.read(lambda c: rows.find(c, tenant, proposal_id))
        if found is None:
            raise _absent()
        return found.at(seconds(self._clock))

    async def alike(self, principal: Principal, session: str, action: str, asked: Mapping[str, Any]) -> Proposal | None:
        """Return what waits already for just this, asked by the same parties in the same session; None where nothing does.

        ``asked`` has ``resource`` (what names it, not all that is known of it), ``arguments`` and ``diagnosis``.

        Arguments in which redaction found something are alike nothing: the asker's are not redacted yet.
        """
        now = seconds(self._clock)
        found = await self._store.read(lambda c: rows.waiting_in(c, principal.tenant, session, action, LONGEST_PAGE))
        actor = principal.actor.id if principal.actor else ""
        for one in found:
            stored, asker = one.request, (one.subject, one.actor)
            same = all(stored["resource"].get(name) == value for name, value in asked["resource"].items())
            same = same and all(stored[name] == asked[name] for name in ("arguments", "diagnosis"))
            if same and asker == (principal.subject.id, actor):
                return one if one.at(now).state == "waiting" else None
        return None

    async def page(self, tenant: str, states: Collection[str], limit: int = 50, after: str = "") -> Page[Proposal]:
        """Return the tenant's proposals in ``states``, newest first; ``after`` is the last page's, else ``BadRequest``."""
        most = max(1, min(limit, LONGEST_PAGE))
        now = seconds(self._clock)
        found = await self._store.read(lambda c: rows.page(c, tenant, states, most, after))
        return Page(tuple(item.at(now) for item in found.items), found.after)

    async def review(
        self, reviewer: Principal, proposal_id: str, answer: Answer, *, rebind: Rebind | None = None
    ) -> Proposal:
        """Store one person's answer and return the proposal as it stands then.

        A no ends the proposal at once. A yes does not count before ``recorded``: it is owed to the log until then.
        Raises ``NotFound``; ``Denied`` for somebody who may not review this (not a person, no role, their own
        request); ``StepUpRequired`` for a sign-in that ran out or is too weak, or a missing signature; ``Conflict`` for another digest,
        an expired or closed proposal or a second answer; ``BadRequest`` for a wrong verdict or an edit that widens;
        and what ``answer.redeem`` raises.
        """
        now = seconds(self._clock)

        def store(connection: Connection) -> Proposal:
            found = rows.find(connection, reviewer.tenant, proposal_id, lock=True)
            if found is None:
                raise _absent()
            found = found.at(now)
            checks.may_review(found, reviewer, now)
            checks.strong_enough(reviewer, answer, self._acr_values)
            answer.redeem(connection)
            checks.fits(found, answer)
            digest = _narrow(connection, found, answer, rebind, now)
            checks.answers_once(found, reviewer, answer.verdict, digest)
            rows.add_review(connection, found.tenant, found.id, checks.review_of(found, reviewer, answer, digest, now))
            if answer.verdict == "deny":
                rows.move(connection, found.tenant, found.id, "denied", now)
            return _there(rows.find(connection, found.tenant, found.id))

        return await self._store.write(store)

    async def recorded(self, tenant: str, proposal_id: str, answer: Review) -> Proposal:
        """Let an answer count, now that the log has its record; the last of a quorum approves. Again changes nothing."""
        now = seconds(self._clock)

        def count(connection: Connection) -> Proposal:
            _there(rows.find(connection, tenant, proposal_id, lock=True))
            rows.recorded(connection, tenant, proposal_id, answer)
            found = _there(rows.find(connection, tenant, proposal_id)).at(now)
            if found.state == "waiting" and len(checks.approvers(found, found.digest)) >= found.quorum:
                rows.move(connection, tenant, proposal_id, "approved", now)
            return _there(rows.find(connection, tenant, proposal_id)).at(now)

        return await self._store.write(count)

    async def owed(self, after: OwedKey = NO_ANSWER, most: int = 100) -> tuple[OwedKey, ...]:
        """Return the names of answers that the log does not have, in their order, behind ``after``."""
        return await self._store.read(lambda c: rows.owed(c, after, most))

    async def owed_by(self, tenant: str, reviewer: str, most: int = 100) -> tuple[OwedKey, ...]:
        """Return the names of one person's answers that the log does not have."""
        return await self._store.read(lambda c: rows.owed_by(c, tenant, reviewer, most))

    async def drop(self, tenant: str, *answer: str) -> None:
        """Owe an answer (proposal, reviewer, digest, verdict) to the log no longer: it can never have it, and never counts."""
        await self._store.write(lambda c: rows.drop(c, tenant, answer))

    async def waiting(self, older_than_s: int) -> tuple[tuple[str, str], ...]:
        """Return (tenant, id) of all that waits and was proposed so long ago."""
        before = seconds(self._clock) - older_than_s
        return await self._store.read(lambda c: rows.waiting_since(c, before))

    def facts(self, proposal: Proposal, principal: Principal) -> list[dict[str, Json]]:
        """Return ``context.approvals`` of the policy input: what people answered to exactly this request.

        Empty for anybody but its requester, and once the proposal is expired, cancelled or redeemed.
        """
        current = proposal.at(seconds(self._clock))
        same = (principal.tenant, principal.subject.id) == (current.tenant, current.subject)
        if not same or principal.acting.id != current.requester:
            return []
        if current.state not in ("waiting", "approved", "denied"):
            return []
        answers = [
            one for one in current.reviews if one.verdict == "deny" or (one.digest == current.digest and one.counts)
        ]
        return [
            {
                "id": current.id,
                "digest": current.digest,
                "policy_revision": current.policy_revision,
                "reviews": [
                    {
                        "reviewer": one.reviewer,
                        "type": one.kind,
                        "roles": list(one.roles),
                        "verdict": one.verdict,
                        "same_actor": one.same_actor,
                        "same_subject": one.same_subject,
                        "acr": one.acr,
                    }
                    for one in answers
                ],
            }
        ]

    async def facts_for(self, principal: Principal, action_id: str) -> list[dict[str, Json]]:
        """Return ``facts`` of the proposal that this action has, if any."""
        found = await self._store.read(lambda c: rows.of_action(c, principal.tenant, action_id))
        return self.facts(found, principal) if found else []

    async def begin_execution(self, tenant: str, proposal_id: str, digest: str, now: int) -> None:
        """Redeem the approval of exactly ``digest``; returns for one caller only, on whatever replica.

        ``now`` is in seconds. Raises ``NotFound``, or ``Conflict`` (``approval.digest``, ``approval.expired``,
        ``approval.waiting``, ``approval.used``). A loss of power may forget it; the log's intent does not, and its
        unique event id refuses the second redemption.
        """

        def redeem(connection: Connection) -> BrokerError | None:
            if rows.begin(connection, tenant, proposal_id, digest, now, SKEW_S):
                return None
            found = rows.find(connection, tenant, proposal_id)
            return _absent() if found is None else checks.unredeemable(found, digest, now)

        problem = await self._store.write(redeem, durable=False)
        if problem is not None:
            raise problem

    async def finish(self, tenant: str, proposal_id: str, status: str) -> None:
        """Close a redeemed approval: ``done``, ``failed``, ``unknown``, or ``cancelled`` where nothing was sent.

        ``unknown`` may later become ``done`` or ``failed``. The same status again changes nothing; any other step is a
        ``Conflict`` (``approval.state``).
        """
        if status not in ("done", "failed", "unknown", "cancelled"):
            raise BadRequest("field `status` is not an end of an execution", code="approval.status")
        now = seconds(self._clock)

        def close(connection: Connection) -> BrokerError | None:
            found = rows.find(connection, tenant, proposal_id, lock=True)
            if found is None:
                return _absent()
            if found.state == status:
                return None
            running = found.state in ("executing", "unknown")
            if not running or not rows.move(connection, tenant, proposal_id, status, now):
                return Conflict(f"the proposal is {found.state}, not executing", code="approval.state")
            return None

        problem = await self._store.write(close, durable=False)
        if problem is not None:
            raise problem

    async def cancel(self, tenant: str, proposal_id: str) -> None:
        """Withdraw a proposal that was not redeemed; ``NotFound``, or ``Conflict`` (``approval.state``) if it was."""
        now = seconds(self._clock)

        def withdraw(connection: Connection) -> BrokerError | None:
            found = rows.find(connection, tenant, proposal_id, lock=True)
            if found is None:
                return _absent()
            if found.state == "executing" or not rows.move(connection, tenant, proposal_id, "cancelled", now):
                return Conflict(f"the proposal is {found.state} already", code="approval.state")
            return None

        problem = await self._store.write(withdraw)
        if problem is not None:
            raise problem

    async def expire(self, most: int = 100) -> tuple[tuple[str, str], ...]:
        """Store the expiry of proposals whose time is over; returns their (tenant, id), for records and notices."""
        now = seconds(self._clock)
        return await self._store.write(lambda c: rows.expire(c, now, most))


def _narrow(connection: Connection, found: Proposal, answer: Answer, rebind: Rebind | None, now: int) -> str:
    """Bind the narrowed arguments, if the answer has any that differ; return the digest that it answers to."""
    if answer.narrow is None:
        return found.digest
    if answer.verdict != "approve" or rebind is None:
        raise BadRequest("field `narrow` belongs to an approval", code="approval.narrow")
    present = found.request["arguments"] if found.narrowed is None else found.narrowed
    arguments = narrowed(present, answer.narrow, found.bounds)
    digest = rebind(found, arguments)
    if digest == found.digest:
        return digest
    if found.box is not None and found.box.state == "counted":
        raise Conflict(
            "silence has counted for the request as it stands",
            code="approval.box_over",
            remedy="approve it as it stands, or deny it and say how it should be smaller",
        )
    if not rows.narrow(
        connection, found.tenant, found.id, old=found.digest, new=digest, arguments=arguments, now_s=now
    ):
        raise Conflict("the proposal changed meanwhile", code="approval.digest")
    return digest


def _there(found: Proposal | None) -> Proposal:
    """Return a proposal that must be there."""
    if found is None:
        raise _absent()
    return found


def _absent() -> NotFound:
    """Build the one answer for a proposal that is not there for the asker."""
    return NotFound("there is no such proposal", code="approval.not_found")
