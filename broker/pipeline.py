"""The one path of every query, model call and action (README.md holds the same list with the files).

::

    (1) authenticate      credential -> Principal
    (2) read strictly     ask -> ActionRequest, digest
    (3) gather facts      session, provenance, usage, approvals, kill switches
    (4) decide            facts -> Decision
    (5) discharge before  limits, residency, lease, approval -> Granted | Pending | Planned, or a refusal
    (6) record intent     durable before any byte leaves; redeems the grant
    (7) execute once      Grant -> raw result
    (8) discharge after   redact, taint, keep the observation, cap the answer
    (9) record outcome    durable before the answer; the answer carries the receipt

REST, the model endpoint, webhooks, the CLI and resumed work all come through ``Pipeline``; nothing else holds a
connector. Steps 6 to 9 run detached from the request: a client that hangs up leaves no effect unrecorded.
"""

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from broker import patience
from broker.answers import (
    BEFORE_SENDING,
    FAILED_HERE,
    Answer,
    End,
    again,
    decision_body,
    done_body,
    finished,
    planned_body,
    refused,
    waiting_body,
)
from broker.approvals import Approvals, Proposal, stored_principal
from broker.attempts import Attempts
from broker.clock import Clock, seconds
from broker.connectors.base import Connector
from broker.errors import (
    AuditUnavailable,
    BrokerError,
    Conflict,
    Denied,
    LimitExceeded,
    OutcomeOwed,
    Receipt,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
)
from broker.identity import Credential, Verifier
from broker.killswitch import KillSwitch, Watch
from broker.model import ActionRequest, Decision, Effect, Json, PartyKind, Principal, Redacted, Result, ResultStatus
from broker.obligations import Asked, Granted, Obligations, Pending, Planned, Shown
from broker.parties import Parties
from broker.policy.engine import NOT_LOADED, unavailable
from broker.policy.facts import build as build_input
from broker.policy.pdp import PolicyDecisionPoint
from broker.reading import GATE, Ask, Place, Reader
from broker.records import Records
from broker.remedies import Asking, Situations, is_own
from broker.sessions import Sessions
from broker.telemetry import Telemetry

RETRY_SECONDS = 1.0
RETRIES = 60


@dataclass(frozen=True, slots=True)
class Opened:
    """A model call whose intent is durable; ``streams`` does steps 7 to 9 as its bytes go by."""

    place: Place
    asked: Asked
    granted: Granted
    receipt: Receipt  # of the intent


class Pipeline:
    """Nine steps, one home. Every collaborator comes by constructor."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        identity: Verifier,
        attempts: Attempts,
        parties: Parties,
        reader: Reader,
        sessions: Sessions,
        kills: KillSwitch,
        approvals: Approvals,
        policy: PolicyDecisionPoint,
        obligations: Obligations,
        records: Records,
        connectors: Mapping[str, Connector],
        clock: Clock,
        telemetry: Telemetry,
        approval_grace_seconds: int,
        situations: Situations,
    ) -> None:
        """``connectors`` by name; a waiting request may run until its token's expiry plus the grace."""
        self._identity = identity
        self._attempts = attempts
        self._parties = parties
        self._reader = reader
        self._sessions = sessions
        self._kills = kills
        self._approvals = approvals
        self._policy = policy
        self._obligations = obligations
        self._records = records
        self._connectors = connectors
        self._clock = clock
        self._telemetry = telemetry
        self._grace = approval_grace_seconds
        self._situations = situations
        self._running: set[asyncio.Task[Any]] = set()

    async def act(self, credential: Credential, ask: Ask) -> Answer:
        """Take one request through all nine steps; raises the ``BrokerError`` that stopped it, its receipt attached."""
        principal = await self._telemetry.step("authenticate", self._authenticate(credential))  # (1)
        place = await self._telemetry.step("read", self._read(principal, ask))  # (2)
        return await self._go_on(place)

    async def still(self, credential: Credential, ask: Ask, *, charged: bool = False) -> None:
        """Steps 2 to 4 once more, or 1 to 4 and policy's limits if ``charged``: raises on record; a yes begins nothing."""
        # What is charged is a request of its own: it uses its proof up and counts as an attempt.
        who = await (self._authenticate if charged else self._identity.recognise)(credential)
        place = await self._read(await self._parties.bounded(who), ask)
        try:
            if place.problem is not None:
                raise place.problem
            asked = self._permitted(place, await self._decide(place))
            if charged:
                await self._obligations.charge(asked)
        except BrokerError as error:
            error.receipt = await self._records.refusal(place.principal, place.request, error)
            raise

    async def resume(self, proposal: Proposal) -> Answer:
        """Decide a waiting request again, now that people answered; raises as ``requester``."""
        return await self._go_on(await self._reader.proposal(await self.requester(proposal), proposal))

    async def foresee(self, proposal: Proposal) -> Decision:
        """Steps 3 and 4 as if nobody's answer were an answer, too; nothing begins. Raises what stands against it."""
        place = await self._reader.proposal(await self.requester(proposal), proposal)
        if place.problem is not None:
            raise place.problem
        return await self._decide(replace(place, asking=Asking(resumed=True, silent=True)))

    async def requester(self, proposal: Proposal) -> Principal:
        """Who asked for a waiting request; raises ``Unauthenticated`` where their stored identity does not hold any more."""
        principal = await self._parties.bounded(stored_principal(proposal))
        if seconds(self._clock) > principal.expires_at + self._grace:
            raise Unauthenticated(
                "the requester's sign-in is too old to act on",
                code="identity.approval_grace_over",
                remedy="the requester sends the same request again",
            )
        return principal

    async def own(self, principal: Principal, ask: Ask, *, undoes: str = "") -> Answer:
        """Steps 2 to 9 for the gate's own workload: it looks, it tells, and it undoes the action ``undoes``."""
        if not is_own(principal):
            raise Unauthenticated("only the gate itself comes this way", code="identity.not_own")
        return await self._go_on(replace(await self._read(principal, ask), asking=Asking(undoes=undoes)))

    async def _look(self, principal: Principal, **asked: Any) -> Mapping[str, Json]:
        """One read of the gate's own."""
        return (await self.own(principal, Ask(**asked))).body

    async def open(self, credential: Credential, ask: Ask) -> Answer | Opened:
        """Steps 1 to 6 of a model call that will be streamed."""
        principal = await self._telemetry.step("authenticate", self._authenticate(credential))  # (1)
        place = await self._telemetry.step("read", self._read(principal, ask))  # (2)
        return await self._telemetry.action(place.request.id, self._until_intent(place))  # (3) to (6)

    async def _go_on(self, place: Place) -> Answer:
        """Steps 3 to 9, detached: from the intent on, the outcome is owed, even when the caller goes away."""
        task = asyncio.create_task(self._telemetry.action(place.request.id, self._through(place)))
        self.keep(task)
        return await asyncio.shield(task)

    async def _through(self, place: Place) -> Answer:
        opened = await self._until_intent(place)
        return opened if isinstance(opened, Answer) else await self._effect(opened.asked, opened.granted)

    async def _until_intent(self, place: Place) -> Answer | Opened:
        """Steps 3 to 6; whatever refuses here is on record before it is answered."""
        if place.past is not None:
            return again(place.request.id, place.past)
        decision: Decision | None = None
        try:
            if place.problem is not None:
                raise place.problem  # noqa: TRY301 - refused where everything is refused
            decision = await self._telemetry.deciding(self._decide(place))  # (3) (4)
            asked = self._permitted(place, decision)
            match await self._telemetry.step("discharge", self._obligations.before(asked)):  # (5)
                case Pending() as pending:
                    return await self._waiting(place, asked, pending)
                case Planned() as planned:
                    return await self._planned(place, asked, planned)
                case Granted() as granted:
                    intent = self._intent(place, asked, granted)
                    return Opened(place, asked, granted, await self._telemetry.step("record_intent", intent))  # (6)
        except Exception as raised:  # noqa: BLE001 - a defect of ours refuses too, and on record
            error = self._named(raised)
            await self._reader.give_back(place, decision)
            error.decision_id = decision.id if decision else ""
            error.receipt = await self._records.refusal(place.principal, place.request, error, decision)
            raise error from None

    async def _effect(self, asked: Asked, granted: Granted) -> Answer:
        """Execution and outcome: straight down, and every exit leads through the outcome."""
        failure: BrokerError | None = None
        end = FAILED_HERE
        try:
            try:
                if asked.action.effect is Effect.WRITE:
                    await self._situations.intended(asked.principal, asked.session, asked.request, granted.run)
                execution = patience.aside(asked.connector.execute(granted.grant, asked.action))
                result = await self._telemetry.executing(asked, execution)  # (7)
            except BrokerError as error:
                failure, result = error, Result(ResultStatus.ERROR, None, error.error_code)
            status = "done" if result.status is not ResultStatus.ERROR else await self._what_happened(asked, failure)
            shown = await self._telemetry.step("discharge_after", self._after(asked, granted, result))  # (8)
            answer: dict[str, Json] = {
                "result": shown.answer(asked.action, result),
                "decision": decision_body(asked.decision),
            }
            if failure is not None:
                answer["error"] = {"kind": type(failure).__name__, "code": failure.error_code, "detail": failure.detail}
            end = End(status, shown.whole, result, failure.error_code if failure else "", answer)
        finally:
            receipt = await self._telemetry.step("record_outcome", self.close(asked, end))  # (9), whatever went wrong
        if failure is not None:
            failure.receipt, failure.decision_id = receipt, asked.decision.id
            raise failure
        return Answer("done", done_body(asked.request.id, end.status, end.answer, receipt))

    async def close(self, asked: Asked, end: End) -> Receipt:
        """(9) Put the outcome on record, now or later; raises ``OutcomeOwed``: nothing is said of the effect before it."""
        try:
            return await self._close(asked, end)
        except AuditUnavailable:
            self.keep(asyncio.create_task(self._close_later(asked, end)))
            raise OutcomeOwed(retry_after=RETRY_SECONDS) from None

    async def _close(self, asked: Asked, end: End) -> Receipt:
        receipt = await self._records.outcome(
            asked.principal,
            asked.request,
            status=end.status,
            redacted=end.whole,
            result=end.result,
            code=end.code,
            answer=end.answer,
        )
        self._telemetry.acted(asked, end.status, end.result)
        if end.status == "failed":
            await self._not_done(asked)
        if asked.proposal is not None:
            # The record counts; a row that cannot be written now is settled by the background.
            with suppress(BrokerError):
                await self._approvals.finish(asked.proposal.tenant, asked.proposal.id, finished(end.status))
        return receipt

    async def _not_done(self, asked: Asked, run: str = "") -> None:
        """A write in an incident that did not happen counts neither for caps nor for what helps."""
        with suppress(BrokerError):
            await self._situations.close(asked.session, asked.request, run)

    async def _close_later(self, asked: Asked, end: End) -> None:
        """Until the log takes it. A process that ends before leaves an open intent, which the next start closes."""
        for _ in range(RETRIES):
            await asyncio.sleep(RETRY_SECONDS)
            with suppress(BrokerError):
                await self._close(asked, end)
                return

    async def _intent(self, place: Place, asked: Asked, granted: Granted) -> Receipt:
        """The append redeems the grant: the log takes one intent an action, whoever asks."""
        try:
            patience.check()
            await self._still(place, asked, granted)
            if asked.action.effect is Effect.WRITE:
                await self._situations.begin(asked.principal, asked.session, asked.request, granted.undo, granted.run)
            return await self._records.intent(
                place.principal,
                asked.request,
                asked.decision,
                granted.grant,
                declared=asked.action,
                redacted=place.redacted,
            )
        except (Unavailable, Denied, Conflict) as error:
            if isinstance(error, Conflict) and error.retry_after is None:
                raise  # begun before: what is held is that run's
            await self._obligations.undo(asked, granted)
            await self._not_done(asked, granted.run)
            raise

    async def _still(self, place: Place, asked: Asked, granted: Granted) -> None:
        """Plans, leases and approvals take their time: what was stopped meanwhile, or ran out, does not begin."""
        if asked.action.effect is Effect.READ and asked.proposal is None:
            return
        if seconds(self._clock) >= granted.grant.expires_at:
            raise Denied("the grant ran out before it was used", code="grant.expired", remedy="send the request again")
        if not place.gathered.killed and await self._kills.is_killed(
            asked.principal, asked.action.connector, asked.session
        ):
            raise Denied(
                "a person stopped this before it began",
                code="kill.stopped",
                remedy="wait until a person resumes; wicketgate agents list shows what is stopped",
            )

    def watch(self, asked: Asked) -> Watch:
        """Whether a call that is under way must end."""
        return self._kills.watch(asked.principal, asked.action.connector, asked.session)

    async def _authenticate(self, credential: Credential) -> Principal:
        """(1) Who asks; what their token says now also bounds what of theirs still waits."""
        principal = await self._identity.authenticate(credential)
        if self._policy.active is None:
            # What cannot be decided cannot be redacted either, so it is refused before anything of it is kept.
            raise unavailable(NOT_LOADED, "no verified policy bundle is loaded")
        await self._bounded(principal)
        await self._parties.note(principal)
        return principal

    async def _bounded(self, principal: Principal) -> None:
        """Refuse who asks too often, before anything is read: one record a minute stands for all of it."""
        if (over := self._attempts.take(principal.tenant, principal.acting.id)) is None:
            return
        error = LimitExceeded(
            f"you ask too often; {over.unrecorded} more were refused since this was last recorded",
            code="limit.attempts",
            retry_after=over.retry_after,
        )
        if over.for_record:
            error.receipt = await self._records.refusal(principal, self._unread(principal, "*"), error)
        raise error

    async def _read(self, principal: Principal, ask: Ask) -> Place:
        """(2) The ask as a request."""
        try:
            return await self._reader.ask(principal, ask)
        except Exception as raised:  # noqa: BLE001 - a defect of ours refuses too, and on record
            error = self._named(raised)
            if isinstance(error, Unavailable) or error is not raised:  # not the caller's own mistake in writing
                error.receipt = await self._records.refusal(principal, self._unread(principal, ask.action), error)
            raise error from None

    def _unread(self, principal: Principal, action: str) -> ActionRequest:
        """What stands on record for a request that was not read: who asked, and for which action at most."""
        return self._policy.catalog.request(
            action_id="act_" + secrets.token_hex(13),
            tenant=principal.tenant,
            requester=principal.acting.id,
            session="",
            action=action,
            resource=GATE,
            arguments={},
        )

    def _named(self, raised: Exception) -> BrokerError:
        """A failure that is no refusal has a class and a place in telemetry; its text never leaves."""
        if isinstance(raised, BrokerError):
            return raised
        self._telemetry.crash("pipeline", raised)
        return BrokerError("an unexpected failure; it is in the gate's telemetry", code="gate.failed")

    async def _decide(self, place: Place) -> Decision:
        """(3) Policy's input from trusted state only, (4) and its answer."""
        declared = self._policy.catalog.find(place.request.action)
        situation = await self._situations.of(
            place.principal, place.gathered.session, place.request, declared, asking=place.asking, look=self._look
        )
        sheet = build_input(
            principal=place.principal,
            session=place.gathered.session,
            request=place.request,
            action=declared,
            endpoint=self._endpoint(place),
            breakglass=place.gathered.breakglass,
            killed=place.gathered.killed,
            usage=place.gathered.usage,
            approvals=await self._reviews(place),
            now=seconds(self._clock),
            situation=situation,
        )
        return await self._policy.decide(sheet)

    async def _reviews(self, place: Place) -> list[dict[str, Json]]:
        """What people answered, with the roles that they still have."""
        if place.proposal is None:
            return []
        facts = self._approvals.facts(place.proposal, place.principal)
        return await self._parties.bounded_reviews(place.principal.tenant, facts)

    def _permitted(self, place: Place, decision: Decision) -> Asked:
        """The request with all that is known of it; raises ``Denied`` with policy's first reason as its code."""
        if not decision.permitted:
            raise refused(decision)
        declared = self._policy.catalog.action(place.request.action)
        connector = self._connectors.get(declared.connector)
        if connector is None:
            raise Denied(
                "no connector serves this action here",
                code="connector.not_configured",
                remedy="ask the operator to configure the connector",
            )
        return Asked(
            principal=place.principal,
            session=place.gathered.session,
            request=place.request,
            action=declared,
            decision=decision,
            connector=connector,
            endpoint=self._endpoint(place),
            scope=place.scope,
            proposal=place.proposal,
        )

    async def _after(self, asked: Asked, granted: Granted, result: Result) -> Shown:
        """(8) What could not be redacted, or whose taint not be kept, is withheld; the effect and its outcome stand."""
        try:
            shown = await self._obligations.after(asked, granted, result)
            if shown.taints:
                acting = asked.principal.acting
                machine = acting.id if acting.kind is not PartyKind.HUMAN else ""
                await self._sessions.taint(asked.request.tenant, asked.request.session, party=machine)
        except BrokerError as error:
            withheld: Redacted[Json] = Redacted({"withheld": error.error_code}, granted.profile, {}, withheld=1)
            shown = Shown(withheld, withheld.value, capped=False, taints=False)
        with suppress(BrokerError):
            # A lease that cannot be given back runs out.
            await self._obligations.release(granted)
        return shown

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold ``task``, which owes an outcome, until it has ended; ``drain`` waits for it."""
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def let_go(self, tenant: str, action_id: str) -> None:
        """Free the targets of a run that a crash cut off and whose end is known; an unknown one may still go on."""
        await self._obligations.let_go(tenant, action_id)

    async def drain(self, seconds_max: float | None = None) -> None:
        """Wait until every effect under way has its outcome on record; what takes longer gets the outcome ``unknown``."""
        if self._running and seconds_max is not None:
            for late in (await asyncio.wait(set(self._running), timeout=seconds_max))[1]:
                late.cancel()
        while self._running:
            await asyncio.wait(set(self._running))

    async def _what_happened(self, asked: Asked, failure: BrokerError | None) -> str:
        """After a failure of a write: nothing was sent, or the target is asked, or ``unknown``; never guessed."""
        unsent = isinstance(failure, BEFORE_SENDING) or (isinstance(failure, UpstreamFailed) and not failure.sent)
        if asked.action.effect is Effect.READ or unsent:
            return "failed"
        try:
            known = await asked.connector.status_of(asked.request.id, asked.action)
        except BrokerError:
            return "unknown"
        return {"done": "done", "not_done": "failed"}.get(known.status, "unknown")

    async def _waiting(self, place: Place, asked: Asked, pending: Pending) -> Answer:
        """People must answer first: the proposal is on record, the caller learns where to look.

        What cannot be put on record takes no answers; the same key puts it there, or it is withdrawn after a while.
        """
        waits, shown = pending.proposal, place.redacted
        approval = {"id": waits.id, "digest": waits.digest, "quorum": waits.quorum, "expires_at": waits.expires_at}
        plan = {"summary": waits.plan["summary"], "rollback_digest": waits.rollback_digest}
        receipt = await self._records.proposal(
            place.principal, asked.request, asked.decision, approval=approval, plan=plan, redacted=shown
        )
        return Answer("waiting", waiting_body(asked.request.id, approval, asked.decision, receipt))

    async def _planned(self, place: Place, asked: Asked, planned: Planned) -> Answer:
        """A dry run: the plan is answered, and the record says that nothing was executed."""
        dry = Denied("dry run only; nothing was executed", code="obligation.dry_run")
        receipt = await self._records.refusal(place.principal, asked.request, dry, asked.decision)
        return Answer("planned", planned_body(asked.request.id, planned.plan, asked.decision, receipt))

    def _endpoint(self, place: Place) -> Mapping[str, str]:
        """Region and provider that the request's data would go to."""
        declared = self._policy.catalog.find(place.request.action)
        connector = self._connectors.get(declared.connector) if declared else None
        return connector.endpoint(place.request) if connector else {"region": "", "provider": ""}
