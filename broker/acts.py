"""The gate's own acts, as the connector ``gate``: opening, reviewing, activating, reading, resuming.

Each is an action that was decided and whose intent is on record before it comes here; nothing else calls these
functions. Two answers need no decision and stand beside them: the requester's own action, and the pulling of the kill
switch, which needs a configured role and the log only.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

import orjson

from broker.answers import Past, action_of_observation, answer_of, brief, full, listed, receipt_body
from broker.approvals import Answer as Review
from broker.approvals import Approvals, Proposal
from broker.authenticator_acts import Signing
from broker.authenticators import UNSIGNED
from broker.catalog import Action
from broker.clock import Clock, seconds
from broker.connectors.base import EffectStatus
from broker.errors import BadRequest, Conflict, Denied, NotFound, Reason, Receipt, StoreUnavailable
from broker.kept import result_status
from broker.killswitch import KillSwitch
from broker.leaves import receipt_of
from broker.model import ActionRequest, Grant, Intent, Json, PartyKind, Plan, Principal, Resource, Result, ResultStatus
from broker.policy.activations import Activation, ActivationRows
from broker.policy.pdp import PolicyDecisionPoint
from broker.reading import opened_session
from broker.records import Records
from broker.redaction.plain import redact_text
from broker.reviews import Reviews
from broker.sessions import Opening, Sessions
from broker.store import Store
from broker.store import approvals as proposal_rows

FOR_EVERY_TENANT = ("gate.policy.activate", "gate.policy.rollback")
CLIENT = "client"
"""Intent that a program states of itself, whoever's token it carries: never trusted."""
OPEN_STATES = ("waiting", "approved", "executing")
Act = Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]
Beside = Callable[[Principal, Proposal], Awaitable[dict[str, Json]]]
"""What a reviewer is shown beside the proposal."""


class Acts:
    """Connector ``gate``."""

    name = "gate"

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        sessions: Sessions,
        approvals: Approvals,
        kills: KillSwitch,
        policy: PolicyDecisionPoint,
        bundles: ActivationRows,
        records: Records,
        store: Store,
        inventory: Callable[[str, str, str, str], Resource | None],
        clock: Clock,
        session_seconds: int,
        budgets: Mapping[str, int],
        reviews: Reviews,
        beside: Beside,
        signing: Signing,
        more: Mapping[str, Act] = MappingProxyType({}),
    ) -> None:
        """``more`` are acts of other rooms."""
        self._sessions = sessions
        self._approvals = approvals
        self._kills = kills
        self._policy = policy
        self._bundles = bundles
        self._records = records
        self._store = store
        self._inventory = inventory
        self._clock = clock
        self._session_seconds = session_seconds
        self._budgets = budgets
        self._reviews = reviews
        self._beside = beside
        self._signing = signing
        self.changed = asyncio.Condition()
        """Notified when an action of this process changed its state."""
        self._leaving = False
        self._acts: Mapping[str, Act] = {
            "gate.session.open": self._open,
            "gate.session.close": self._close,
            "gate.observation.read": self._observation,
            "gate.approvals.read": self._read_approvals,
            "gate.review.create": self._review,
            "gate.policy.activate": self._activate,
            "gate.policy.rollback": self._rollback,
            "gate.kill.resume": self._resume,
            **more,
        }

    # -- connector --------------------------------------------------------------------------------------------------

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:
        """The gate itself."""
        return {"region": request.resource.region, "provider": "gate"}

    async def plan(self, request: ActionRequest, action: Action) -> Plan:
        """What the act would change; for policies, from which digest to which."""
        if action.name in FOR_EVERY_TENANT:
            self._kills.check_operator(request.tenant)
        active = self._policy.active
        before = {"digest": active.digest, "revision": active.revision} if active else None
        shown = {key: value for key, value in request.arguments.items() if isinstance(value, (str, int, bool))}
        state = orjson.dumps([action.name, before])
        return Plan(
            f"{action.title}", hashlib.sha256(state).hexdigest(), before=before, after=shown, affected=("gate",)
        )

    async def execute(self, grant: Grant, action: Action) -> Result:
        """Do the act for the principal of ``grant``."""
        act = self._acts.get(action.name)
        if act is None or grant.principal is None:
            raise NotFound("the gate has no such act", code="gate.unknown_act")
        # Redacted before, like every argument.
        said = {"reason": grant.request.reason, "action_id": grant.id, "in_session": grant.request.session}
        value = await act(grant.principal, {**grant.arguments, **said})
        return Result(ResultStatus.OK if value else ResultStatus.EMPTY, value)

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:  # noqa: ARG002 - the contract's
        """The gate's acts are rows of its own database: nobody else can be asked."""
        return EffectStatus("unknown", "look at the gate's own state")

    async def aclose(self) -> None:
        """Nothing is held."""

    # -- without a decision -----------------------------------------------------------------------------------------

    async def own_action(self, principal: Principal, action_id: str, *, wait: float) -> dict[str, Json]:
        """State of one's own action as the API answers it; waits up to ``wait`` seconds for it to end.

        Delivers again what is on record already, so it leaves no record. Raises ``NotFound`` for anybody else's.
        """
        body = await self._own(principal, action_id)
        if wait and body["status"] in ("waiting", "running"):
            try:
                async with asyncio.timeout(wait):
                    while body["status"] in ("waiting", "running") and not self._leaving:
                        await self._some_change()
                        body = await self._own(principal, action_id)
            except TimeoutError:
                pass
        if principal.acting.kind is not PartyKind.HUMAN and body.get("result", {}).get("untrusted"):
            await self._sessions.taint(principal.tenant, party=principal.acting.id)
        return body

    async def kill(
        self, principal: Principal, *, scope: str, target: str, reason: str, key: str = ""
    ) -> dict[str, Json]:
        """Who may, then the record, then the switch: nothing is stopped off the record, and no refusal either.

        The same ``key`` again is the same pull: whoever resumed since is not undone by it. ``stopped`` says how it stands.
        """
        # Without policy there is no profile: the standard one needs none, and what it took away nobody gets back.
        reason, _ = redact_text(reason)
        told = {"scope": scope, "target": target or scope, "reason": reason}
        event = f"kill.{_event_of(principal, scope, target, key)}"
        try:
            self._kills.check(principal, scope, target)
            again = await self._records.told(principal.tenant, event) if key else None
            if again is not None:
                stands = await self._kills.since(principal, scope, target, again[0].time_ns // 10**9)
                if stands is not None:
                    receipt = receipt_of(again[0].receipt)
                    return _pulled(scope, target, receipt, changed=False, stopped=stands)
            receipt = await self._records.kill(principal, "kill", event=event, **told)
            pulled = await self._kills.pull(principal, scope, target, reason)
        except (BadRequest, Denied, StoreUnavailable) as error:
            refused, code = f"{event}.refusal", error.error_code
            error.receipt = await self._records.kill(principal, "refusal", event=refused, error=code, **told)
            raise
        return _pulled(scope, target, receipt, changed=pulled, stopped=True)

    async def notify(self) -> None:
        """Wake everybody who waits for an action."""
        async with self.changed:
            self.changed.notify_all()

    def let_go(self) -> None:
        """The process ends: who waits for an action is told within a second how it stands."""
        self._leaving = True

    async def stage(self, archive: bytes, signature: str) -> tuple[str, str]:
        """Keep a bundle whose signature holds; (digest, revision). It decides nothing until it is activated."""
        bundle = self._policy.verify(archive, signature)
        await self._bundles.keep_bundle(bundle.digest, archive, signature)
        return bundle.digest, bundle.revision

    async def _some_change(self) -> None:
        """Until this process or, after a second, another replica may have changed something."""
        async with self.changed:
            try:
                async with asyncio.timeout(1):
                    await self.changed.wait()
            except TimeoutError:
                return

    async def _own(self, principal: Principal, action_id: str) -> dict[str, Json]:
        """One look at the action's proposal and records."""
        proposal = await self._store.glance(lambda c: proposal_rows.of_action(c, principal.tenant, action_id))
        past = await self._records.past(principal.tenant, action_id)
        if past is not None and self._records.owns(principal, past):
            return answer_of(action_id, past) if past.outcome else {"action_id": action_id, "status": "running"}
        if proposal is None or proposal.requester != principal.acting.id or proposal.subject != principal.subject.id:
            raise NotFound("there is no such action of yours", code="action.not_found")
        now = proposal.at(seconds(self._clock))
        if now.state == "denied":
            reasons = [Reason("approval.denied", "propose something else") for _ in now.reviews[:1]]
            raise Denied(
                "a person denied this request",
                code="approval.denied",
                remedy="read the review's reason; propose something else",
                reasons=reasons,
            )
        if now.state in ("expired", "cancelled"):
            raise Denied(
                f"the request is {now.state}",
                code=f"approval.{now.state}",
                remedy="send the request again under a fresh Idempotency-Key",
            )
        return {
            "action_id": action_id,
            "status": "waiting" if now.state == "waiting" else "running",
            "approval": brief(now),
        }

    # -- acts -------------------------------------------------------------------------------------------------------

    async def _open(self, principal: Principal, arguments: Mapping[str, Any]) -> Json:
        """What a person's own token said is trusted; what an agent's token supplies, or a program says of itself, is not."""
        in_person = principal.actor is None and principal.subject.kind is PartyKind.HUMAN
        intent = [
            Intent(
                kind=piece["kind"],
                text=piece["text"],
                source=piece.get("source", ""),
                author=principal.acting.id,
                trusted=in_person and piece["kind"] != CLIENT,
            )
            for piece in arguments["intent"]
        ]
        opening = Opening(
            id=opened_session(arguments["action_id"]),
            intent=intent,
            lifetime_s=self._session_seconds,
            agent=arguments.get("agent", ""),
            incident=arguments.get("incident", ""),
            labels=arguments.get("labels", {}),
            budgets=self._budgets,
        )
        session = await self._sessions.open(principal, opening)
        return {"session": session.id, "expires_at": session.expires_at, "budgets": dict(session.budgets)}

    async def _close(self, principal: Principal, arguments: Mapping[str, Any]) -> Json:
        await self._sessions.close(principal, arguments["session"])
        return {"session": arguments["session"], "closed": True}

    async def _observation(self, principal: Principal, arguments: Mapping[str, Any]) -> Json:
        """The whole redacted result: for the principal whose action it was, and for people where it is an incident's."""
        action_id = action_of_observation(arguments["observation"])
        past = await self._records.past(principal.tenant, action_id)
        if past is None or past.outcome is None or not await self._may_see(principal, past):
            raise NotFound("there is no such observation of yours", code="observation.not_found")
        if past.payload is None:
            raise NotFound("the observation was erased", code="observation.erased")
        if "result" not in past.payload:
            raise NotFound("a crash cut the action off before its result was kept", code="observation.none")
        status = result_status(past.payload) or ResultStatus.ERROR
        return {"observation": arguments["observation"], "status": status.value, "value": past.payload["result"]}

    async def _may_see(self, principal: Principal, past: Past) -> bool:
        """Whoever asked for it; and a person, who answers for what agents do in an incident."""
        if self._records.owns(principal, past):
            return True
        person = principal.acting.kind is PartyKind.HUMAN
        return person and bool(await self._sessions.incident_of(principal.tenant, past.session))

    async def _read_approvals(self, principal: Principal, arguments: Mapping[str, Any]) -> Json:
        if arguments.get("approval"):
            found = await self._approvals.get(principal.tenant, arguments["approval"])
            more = await self._beside(principal, found) if arguments.get("detail") else {}
            return full(found) | more | {"signing": await self._signing.wanted(principal, found)}
        states = OPEN_STATES if arguments.get("state") in (None, "", "open") else (arguments["state"],)
        page = await self._approvals.page(principal.tenant, states, after=arguments.get("after", ""))
        return {"approvals": [listed(one) for one in page.items], "after": page.after}

    async def _review(self, principal: Principal, arguments: Mapping[str, Any]) -> Json:
        """Store one person's answer and put it on record; at quorum the request is decided again, elsewhere and afresh."""
        signed, groups = await self._signing.given(principal, arguments) or (UNSIGNED, {})
        answer = Review(
            verdict=arguments["verdict"],
            digest=arguments["digest"],
            reason=arguments["reason"],
            narrow=arguments.get("narrow") or None,
            signature=signed.text,
            proven=groups,
            redeem=signed.redeem,
        )
        try:
            proposal = await self._reviews.give(principal, arguments["approval"], answer, self._rebind)
        finally:
            await self.notify()  # also of a denial that holds and is not on record yet
        return {"approval": brief(proposal)}

    def _rebind(self, proposal: Proposal, arguments: Mapping[str, Json]) -> str:
        """Digest that the waiting request has with other arguments."""
        stored = proposal.request
        claimed = stored["resource"]
        resource = self._inventory(proposal.tenant, claimed["type"], claimed["id"], claimed["env"]) or Resource(
            claimed["type"], claimed["id"], claimed["env"]
        )
        complete = self._policy.catalog.complete(stored["action"], resource, arguments)
        request = self._policy.catalog.request(
            action_id=proposal.action_id,
            tenant=proposal.tenant,
            requester=proposal.requester,
            session=stored["session"],
            action=stored["action"],
            resource=resource,
            arguments=complete,
            diagnosis=stored["diagnosis"],
        )
        return request.digest

    async def _activate(self, principal: Principal, arguments: Mapping[str, Any]) -> Json:
        """Put a staged bundle into force, for every tenant, through the load gate."""
        self._kills.check_operator(principal.tenant)
        previous = self._policy.active.digest if self._policy.active else ""
        archive, signature = await self._bundles.bundle(arguments["digest"])
        done = await self._policy.activate(archive, signature, by=principal.acting.id)
        return await self._policy_changed(principal, "activate", done, previous)

    async def _rollback(self, principal: Principal, arguments: Mapping[str, Any]) -> Json:
        self._kills.check_operator(principal.tenant)
        previous = self._policy.active.digest if self._policy.active else ""
        done = await self._policy.rollback(arguments["digest"], by=principal.acting.id)
        return await self._policy_changed(principal, "rollback", done, previous)

    async def _policy_changed(self, principal: Principal, verb: str, done: Activation, previous: str) -> Json:
        """Put a change of policy on record under its place in the history, in the log of everybody whom it concerns."""
        change = {"verb": verb, "digest": done.digest, "previous": previous, "revision": done.revision}
        event = f"policy.{done.seq}.{done.digest[:16]}"
        receipt = await self._records.policy(principal.tenant, event=event, **change)
        for tenant in await self._records.tenants():
            await self._records.policy(tenant, event=event, **change)
        return {"digest": done.digest, "revision": done.revision, "seq": done.seq, "record": receipt_body(receipt)}

    async def _resume(self, principal: Principal, arguments: Mapping[str, Any]) -> Json:
        scope, target = arguments["scope"], arguments.get("target", "")
        event = f"resume.{arguments['action_id'].removeprefix('act_')}"
        if not await self._kills.resuming(principal, scope, target, event):
            return {"scope": scope, "target": target, "changed": False}  # nobody pulled it
        told = {"scope": scope, "target": target or scope, "reason": arguments["reason"]}
        # On record before anything runs again: nothing goes on off the record.
        await self._records.kill(principal, "resume", event=event, **told)
        try:
            changed = await self._kills.resume(principal, scope, target, event)
        except (Conflict, StoreUnavailable) as error:
            if isinstance(error, StoreUnavailable) and not await self._kills.stands(principal, scope, target):
                return {"scope": scope, "target": target, "changed": True}
            await self._records.kill(principal, "refusal", event=f"{event}.refusal", error=error.error_code, **told)
            raise
        return {"scope": scope, "target": target, "changed": changed}


def _pulled(scope: str, target: str, receipt: Receipt, *, changed: bool, stopped: bool) -> dict[str, Json]:
    """The answer to a pull."""
    return {"scope": scope, "target": target, "changed": changed, "stopped": stopped, "receipt": receipt_body(receipt)}


def _event_of(principal: Principal, scope: str, target: str, key: str) -> str:
    """A fresh event, or the one that this person's key stands for."""
    if not key:
        return secrets.token_hex(13)
    bound = f"{principal.tenant}\x00{principal.acting.id}\x00{scope}\x00{target}\x00{key}"
    return hashlib.sha256(bound.encode("utf-8", "surrogatepass")).hexdigest()[:26]
