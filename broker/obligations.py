"""One discharge function a kind of obligation; the only place that mints a ``Grant``.

``before`` runs between decision and intent and ends in a ``Grant``, a ``Pending`` (people must answer first), a
``Planned`` (dry run) or a refusal. ``after`` runs on the raw result. A kind without a case is a type error here and a
refusal at run time: policy cannot ask for something that silently does not happen.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import orjson

from broker import modelwire, provenance
from broker.approvals import Approvals, Proposal
from broker.breakglass import BreakGlass
from broker.catalog import Action
from broker.clock import Clock, seconds
from broker.connectors.base import Connector
from broker.errors import BrokerError, Conflict, Denied, ObligationFailed, Reason
from broker.leases import Held, Leases
from broker.limits import Limits, key_of
from broker.model import (
    ActionRequest,
    Cap,
    Constrain,
    Decision,
    DryRun,
    Effect,
    Grant,
    Json,
    Lease,
    Limit,
    Plan,
    Principal,
    Redact,
    Redacted,
    RequireApproval,
    Residency,
    Result,
    Session,
)
from broker.redaction import Redactor, Scope
from broker.remedies import digest_of, is_own
from broker.sessions import Sessions
from broker.store import Query

GRANT_SECONDS = 60
OWN_CONNECTOR = "gate"
BYTES_PER_TOKEN = 4
"""Rough size of a token; budgets bound spending, the provider's count is in the records."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request with everything the steps before found out about it."""

    principal: Principal
    session: Session | None
    request: ActionRequest
    action: Action
    decision: Decision
    connector: Connector
    endpoint: Mapping[str, str]
    """Where the data goes: ``region`` and ``provider`` of the routed endpoint."""
    scope: Scope
    proposal: Proposal | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """All duties that come first are done."""

    grant: Grant
    profile: str
    """Redaction profile of the result."""
    held: Held | None
    undo: Mapping[str, Json] | None = None
    """The request that undoes a write of an incident, as it was planned."""
    run: str = field(default_factory=lambda: secrets.token_hex(8))
    """Names this run of the action: two replicas may run the same one, and the log lets one of them through."""


@dataclass(frozen=True, slots=True)
class Pending:
    """People must answer first."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Planned:
    """Policy allows a dry run only: this is what would happen."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Shown:
    """A result after the duties that follow: ``whole`` is kept as the observation, ``value`` is answered."""

    whole: Redacted[Json]
    value: Json
    capped: bool
    taints: bool

    def answer(self, action: Action, result: Result) -> dict[str, Json]:
        """The ``result`` of the API's answer; ``untrusted`` names the paths that an outsider can write."""
        return {
            "status": result.status.value,
            "value": self.value,
            "capped": self.capped,
            "untrusted": list(action.attacker_writable) if self.taints else [],
        }


class Obligations:
    """Discharges what a permit asks for."""

    def __init__(  # noqa: PLR0913 - each duty has its own
        self,
        *,
        limits: Limits,
        approvals: Approvals,
        leases: Leases,
        sessions: Sessions,
        redactor: Redactor,
        breakglass: BreakGlass,
        clock: Clock,
        unsigned: str,
    ) -> None:
        """Each collaborator owns one kind of duty; ``unsigned``: why nobody can sign at this gate, or empty."""
        self._limits = limits
        self._approvals = approvals
        self._leases = leases
        self._sessions = sessions
        self._redactor = redactor
        self._breakglass = breakglass
        self._clock = clock
        self._unsigned = unsigned

    async def before(self, asked: Asked) -> Granted | Pending | Planned:  # noqa: C901, PLR0912 - one case a kind
        """Discharge in a fixed order, cheapest and most final first; raises the refusal that stops it."""
        approval: RequireApproval | None = None
        redact: Redact | None = None
        cap: Cap | None = None
        limits: list[Limit] = []
        lease: Lease | None = None
        dry_run = False
        for duty in asked.decision.obligations:
            match duty:
                case Constrain():
                    _constrain(duty, asked.request)
                case Residency():
                    _residency(duty, asked.endpoint)
                case Limit():
                    limits.append(duty)
                case RequireApproval():
                    approval = duty
                case Redact():
                    redact = duty
                case Cap():
                    cap = duty
                case Lease():
                    lease = duty
                case DryRun():
                    dry_run = True
        if redact is None:
            raise ObligationFailed(
                "the permit names no redaction profile",
                code="obligation.redact_missing",
                remedy="the policy must return obligations.redact",
            )
        if dry_run:
            return Planned(await self._plan(asked, redact))
        if asked.proposal is None:
            # A waiting action spent its limits and budgets when it was proposed.
            await self._spend(limits, asked)
        plan: Plan | None = None
        if approval is not None:
            answer = await self._approval(approval, asked, redact)
            if isinstance(answer, Pending):
                return answer
            plan = answer
        elif _remedies(asked) and asked.action.rollback is not None:
            # Nobody approves it, but it must be known how it is undone before it is done.
            plan = await self._plan(asked, redact)
        tenant, holder = asked.request.tenant, asked.request.id
        held = await self._leases.acquire(tenant, lease.keys, holder, lease.seconds) if lease else None
        try:
            grant = await self._grant(asked, redact, cap, plan)
            if asked.proposal is not None:
                # Last of all: of everybody who comes this far with one approval, one goes on.
                await self._approvals.begin_execution(
                    tenant, asked.proposal.id, asked.request.digest, seconds(self._clock)
                )
        except BrokerError:
            if held is not None:
                await self._leases.give_back(held)
            raise
        return Granted(grant, redact.profile, held, _undoing(asked, plan))

    async def undo(self, asked: Asked, granted: Granted) -> None:
        """The intent could not be recorded, so nothing will happen: free what is held, close the approval."""
        if granted.held is not None:
            await self._leases.give_back(granted.held)
        if asked.proposal is not None:
            await self._approvals.finish(asked.proposal.tenant, asked.proposal.id, "cancelled")

    async def _spend(self, limits: list[Limit], asked: Asked) -> None:
        """Charge every limit and the session's budgets at once, or nothing."""
        tenant, acting = asked.request.tenant, asked.principal.acting.id
        also: list[Query[None]] = []
        if asked.session is not None and not is_own(asked.principal):
            # What the gate itself looks at is not on the agent's account.
            also.append(self._sessions.spending(asked.session, _units(asked)))
        if asked.action.effect is Effect.WRITE:
            also.append(self._limits.use(tenant, acting, seconds(self._clock), write=True))
        await self._limits.take(tenant, _keyed(limits, asked), now_ns=self._clock.now_ns(), also=also)

    async def charge(self, asked: Asked) -> None:
        """Charge policy's limits for having been asked; nothing else of ``asked`` is spent."""
        limits = [duty for duty in asked.decision.obligations if isinstance(duty, Limit)]
        await self._limits.take(asked.request.tenant, _keyed(limits, asked), now_ns=self._clock.now_ns())

    async def after(self, asked: Asked, granted: Granted, result: Result) -> Shown:
        """Redact, look for taint, keep the whole and cap what is answered."""
        if asked.action.connector == OWN_CONNECTOR:
            # Made of what was redacted before, in the scope of its own session: a second pass would read those
            # pseudonyms as forged.
            whole: Redacted[Json] = Redacted(result.value, granted.profile, {})
            value, capped = whole.value, False  # the acts have pages of their own
        else:
            bare, kept = (
                modelwire.take_wire(result.value) if asked.action.name.startswith("llm.") else (result.value, {})
            )
            whole = await self._redactor.redact(bare, profile=granted.profile, scope=asked.scope)
            if kept:
                whole = replace(whole, value=modelwire.put_back(whole.value, kept))
            value, capped = _cap(whole.value, granted.grant.caps)
        return Shown(whole, value, capped, provenance.taints(asked.action.attacker_writable, result.value))

    async def release(self, granted: Granted) -> None:
        """Give back what was held while the action ran."""
        if granted.held is not None:
            await self._leases.release(granted.held.tenant, granted.held.holder, granted.held.fences)

    async def let_go(self, tenant: str, action_id: str) -> None:
        """Give back what a run of this action held that is known to be over."""
        await self._leases.release(tenant, action_id)

    async def _approval(self, duty: RequireApproval, asked: Asked, redact: Redact) -> Pending | Plan:
        """Propose, wait, or use an approval: bound to digest, policy revision and the state the plan saw; once."""
        if asked.request.content is not None:
            raise ObligationFailed(
                "a model call cannot wait for approval",
                code="approval.not_possible",
                remedy="change the call so that policy permits it outright",
            )
        if duty.signature and self._unsigned:
            raise ObligationFailed(
                f"policy wants this signed, and nobody can sign here: {self._unsigned}",
                code="approval.unsignable",
                remedy="ask whoever runs the gate to give gate.url as https:// and a domain name",
            )
        proposal = asked.proposal
        if proposal is None:
            plan = await self._plan(asked, redact)
            proposal = await self._approvals.propose(
                principal=asked.principal,
                request=asked.request,
                decision=asked.decision,
                duty=duty,
                plan=plan,
                rollback_digest=digest_of(plan.rollback),
                schema=asked.action.schema,
            )
            return Pending(proposal)
        if proposal.policy_digest != asked.decision.policy_digest:
            raise Denied(
                "the policy changed after this was proposed",
                code="approval.policy_changed",
                remedy="propose the action again under the current policy",
            )
        if proposal.state == "waiting":
            return Pending(proposal)
        if proposal.state not in ("approved", "denied"):
            raise Conflict(
                f"the request is {proposal.state} already",
                code="approval.used",
                remedy="ask GET /v1/actions/{id} for its outcome",
            )
        if _by_silence(asked) and duty.time_box is None:
            raise Denied(
                "policy does not let silence count for this any more",
                code="approval.time_box_withdrawn",
                remedy="propose the action again and have a person approve it",
            )
        if proposal.state == "denied":
            raise Denied(
                "a person denied this request",
                code="approval.denied",
                remedy="read the review's reason; propose something else",
            )
        plan = await self._plan(asked, redact)
        if proposal.plan_fingerprint != plan.fingerprint:
            raise Conflict(
                "the target changed after the plan was approved",
                code="approval.plan_drifted",
                remedy="propose the action again and have the new plan approved",
            )
        return plan

    async def _plan(self, asked: Asked, redact: Redact) -> Plan:
        """What would happen, as people and records may see it: a plan holds what stands in the target.

        A request that undoes it is kept only where redaction took nothing from it that cannot be brought back.
        """
        plan = await asked.connector.plan(asked.request, asked.action)
        said = {
            "summary": plan.summary,
            "before": plan.before,
            "after": plan.after,
            "affected": list(plan.affected),
            "rollback": plan.rollback,
        }
        shown = (await self._redactor.redact(said, profile=redact.profile, scope=asked.scope)).value
        if plan.rollback is not None and not await self._whole(plan.rollback, shown["rollback"], asked, redact):
            shown["rollback"] = None
        return replace(plan, **{**shown, "affected": tuple(shown["affected"])})

    async def _whole(self, raw: Mapping[str, Json], shown: Mapping[str, Json], asked: Asked, redact: Redact) -> bool:
        """Whether ``shown`` becomes ``raw`` again once policy's pseudonyms are real values in it."""
        if shown == raw:
            return True
        allow = redact.restore if raw["action"] == asked.request.action else {}
        try:
            arguments = await self._redactor.restore(dict(shown["arguments"]), allow=allow, scope=asked.scope)
        except ObligationFailed:
            return False
        return {**shown, "arguments": arguments} == raw

    async def _ends(self, asked: Asked) -> int:
        """Until when the grant may be used: for a minute, and no longer than the break-glass that it rests on."""
        until = seconds(self._clock) + GRANT_SECONDS
        used = asked.decision.breakglass
        return min(until, await self._breakglass.until(asked.request.tenant, used)) if used else until

    async def _grant(self, asked: Asked, redact: Redact, cap: Cap | None, plan: Plan | None) -> Grant:
        """Mint the grant; only here do pseudonyms become real values, in arguments that policy named."""
        arguments: dict[str, Json] = dict(asked.request.arguments)
        if redact.restore:
            arguments = await self._redactor.restore(arguments, allow=redact.restore, scope=asked.scope)
        if asked.request.content is not None:
            arguments["body"] = asked.request.content
        return Grant(
            id=asked.request.id,
            request=asked.request,
            policy_revision=asked.decision.policy_revision,
            expires_at=await self._ends(asked),
            plan_fingerprint=plan.fingerprint if plan else "",
            approval=asked.proposal.id if asked.proposal else "",
            rule=_by_silence(asked),
            region=asked.endpoint.get("region", ""),
            caps=cap,
            arguments=arguments,
            principal=asked.principal,
        )


def _by_silence(asked: Asked) -> str:
    """The rule by which silence counted as the approval; empty where people approved, or nobody had to."""
    box = asked.proposal.box if asked.proposal else None
    return box.rule if box is not None and box.state == "counted" else ""


def _undoing(asked: Asked, plan: Plan | None) -> Mapping[str, Json] | None:
    """The request that undoes this write; of an approved one only the very one that people saw."""
    if plan is None or plan.rollback is None:
        return None
    if asked.proposal is not None and asked.proposal.rollback_digest != digest_of(plan.rollback):
        return None
    return plan.rollback


def _remedies(asked: Asked) -> bool:
    """Whether this is a write in an incident that its verification may have to undo."""
    inside = asked.session is not None and bool(asked.session.incident)
    return inside and asked.action.effect is Effect.WRITE and not is_own(asked.principal)


def _keyed(limits: list[Limit], asked: Asked) -> list[tuple[Limit, str]]:
    """Each limit with its counter."""
    return [(limit, key_of(limit, asked.principal, asked.request)) for limit in limits]


def _units(asked: Asked) -> dict[str, int]:
    """What a request takes from its session's budgets. A model call pays for the output it may use and its input's size."""
    units = {"actions": 1}
    if asked.action.effect is Effect.WRITE:
        units["writes"] = 1
    if asked.request.content is not None:
        units["tokens"] = (
            int(asked.request.arguments["max_tokens"]) + len(orjson.dumps(asked.request.content)) // BYTES_PER_TOKEN
        )
    return units


def _constrain(duty: Constrain, request: ActionRequest) -> None:
    """Every named argument must keep its bounds; a bound that cannot be checked refuses."""
    for name, bounds in duty.arguments.items():
        value = request.arguments.get(name)
        for rule, bound in bounds.items():
            if not _keeps(rule, bound, value):
                raise ObligationFailed(
                    f"argument `{name}` breaks the bound `{rule} {bound}`",
                    code="obligation.constrain",
                    remedy=f"send `{name}` within `{rule} {bound}`",
                    reasons=[
                        Reason(
                            "obligation.constrain",
                            f"send `{name}` within `{rule} {bound}`",
                            {"argument": name, "rule": rule},
                        )
                    ],
                )


def check_bounds(decision: Decision, request: ActionRequest, endpoint: Mapping[str, str]) -> None:
    """The duties that a request keeps or breaks by itself; raises ``ObligationFailed``. Discharges none."""
    for duty in decision.obligations:
        if isinstance(duty, Constrain):
            _constrain(duty, request)
        elif isinstance(duty, Residency):
            _residency(duty, endpoint)


def _keeps(rule: str, bound: Json, value: Json) -> bool:
    """Whether ``value`` keeps one bound; unknown rules and missing values do not."""
    number = isinstance(value, int) and not isinstance(value, bool)
    match rule:
        case "max":
            return number and value <= bound
        case "min":
            return number and value >= bound
        case "one_of":
            return value in bound
        case "max_length":
            return isinstance(value, (str, list)) and len(value) <= bound
        case _:
            return False


def _residency(duty: Residency, endpoint: Mapping[str, str]) -> None:
    """The routed endpoint must lie in an allowed region; an unknown region is none."""
    region = endpoint.get("region", "")
    if region not in duty.regions:
        raise ObligationFailed(
            f"the endpoint's region `{region or 'unknown'}` is not allowed for this data",
            code="residency.region_forbidden",
            remedy=f"use an endpoint in {', '.join(duty.regions)}",
        )


def _cap(value: Json, cap: Cap | None) -> tuple[Json, bool]:
    """Cut lists to ``cap.rows``; what is then still over ``cap.bytes`` becomes a head of its text."""
    if cap is None:
        return value, False
    cut, capped = _cut(value, cap.rows) if _has_longer(value, cap.rows) else (value, False)
    text = orjson.dumps(cut)
    if len(text) <= cap.bytes:
        return cut, capped
    return {"head": text[: cap.bytes].decode(errors="ignore"), "bytes": len(text)}, True


def _has_longer(value: Json, rows: int) -> bool:
    """Whether a list at any depth has more than ``rows`` items: most results have none and stay as they are."""
    inside: list[Json] = [value]
    for one in inside:
        if isinstance(one, list):
            if len(one) > rows:
                return True
            inside += [child for child in one if isinstance(child, (list, dict))]
        elif isinstance(one, Mapping):
            inside += [child for child in one.values() if isinstance(child, (list, dict))]
    return False


def _cut(value: Json, rows: int) -> tuple[Json, bool]:
    """Lists at any depth cut to ``rows``."""
    if isinstance(value, list):
        kept = [_cut(item, rows) for item in value[:rows]]
        return [item for item, _ in kept], len(value) > rows or any(cut for _, cut in kept)
    if isinstance(value, Mapping):
        items = {key: _cut(item, rows) for key, item in value.items()}
        return {key: item for key, (item, _) in items.items()}, any(cut for _, cut in items.values())
    return value, False
