"""What policy would decide about one request, and why: asked of any kept revision, beside the active one.

Nothing is executed, counted or reserved, no session is opened and no approval is used: a request here is an input of
policy and nothing else. What somebody made up stands under the asker's own tenant, so nobody learns of another's facts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from broker import provenance
from broker.answers import decision_body
from broker.catalog import Action, Catalog
from broker.clock import Clock, seconds
from broker.connectors.base import Connector
from broker.errors import BadRequest, BrokerError, NotFound, PolicyUnavailable
from broker.killswitch import KillSwitch
from broker.model import ActionRequest, Decision, Json, Limit, Party, PartyKind, Principal, Resource, Session
from broker.policy.bundle import Bundle
from broker.policy.engine import BAD_INPUT
from broker.policy.explain import Simulation
from broker.policy.facts import build as build_input
from broker.policy.pdp import PolicyDecisionPoint
from broker.reading import GATE
from broker.records import Entry, Records
from broker.sessions import Sessions

Act = Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]
ACTION_ID = "act_simulated"
SESSION_ID = "ses_simulated"
PRESENT_S = 60
"""How long ago a person who is made up signed in, where nothing else is said."""
AT_ONCE = 2
"""Simulations that run at the same time in one process; the next ones wait."""
LOOKED_AT = 4_000
"""Records, the newest first, among which a decision is looked for by its id."""
_PAGE = 500
_VALUE_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Supposed:
    """A request that nobody sent: it is decided and never goes further."""

    principal: Principal
    session: Session | None
    request: ActionRequest
    action: Action | None
    """None: the catalog does not know it."""

    def connector(self, connectors: Mapping[str, Connector]) -> Connector | None:
        """Who would do it here."""
        return connectors.get(self.action.connector) if self.action else None

    def endpoint(self, connectors: Mapping[str, Connector]) -> Mapping[str, str]:
        """Where its data would go."""
        connector = self.connector(connectors)
        return connector.endpoint(self.request) if connector else {}

    def input(self, connectors: Mapping[str, Connector], **facts: Any) -> dict[str, Any]:
        """Policy's input about it, with nothing approved; ``facts`` as ``policy.facts.build`` names them."""
        return build_input(
            principal=self.principal,
            session=self.session,
            request=self.request,
            action=self.action,
            endpoint=self.endpoint(connectors),
            approvals=[],
            **facts,
        )


def suppose(  # noqa: PLR0913 - one argument a part of the request
    catalog: Catalog,
    who: Principal,
    name: str,
    resource: Resource,
    arguments: Mapping[str, Json],
    *,
    session: Session | None = None,
    reason: str = "",
) -> Supposed:
    """What ``who`` would ask for; ``arguments`` are as ``Catalog.complete`` returned them."""
    declared = catalog.find(name)
    model_call = declared is not None and declared.connector == "llm" and "model" in arguments
    request = catalog.request(
        action_id=ACTION_ID,
        tenant=who.tenant,
        requester=who.acting.id,
        session=session.id if session else "",
        action=name,
        resource=resource,
        arguments=arguments,
        reason=reason,
        labels=provenance.label_arguments(arguments, session=session, resource=resource),
        content={} if model_call else None,
    )
    return Supposed(who, session, request, declared)


class Simulating:
    """Answers ``gate.policy.simulate``."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        policy: PolicyDecisionPoint,
        bundle: Callable[[str], Awaitable[Bundle]],
        kills: KillSwitch,
        records: Records,
        sessions: Sessions,
        inventory: Callable[[str, str, str, str], Resource | None],
        connectors: Callable[[], Mapping[str, Connector]],
        clock: Clock,
    ) -> None:
        """``bundle(digest)`` gives kept ones; ``kills`` knows the operator's tenant; ``connectors`` say where a request's data would go."""
        self._policy = policy
        self._bundle = bundle
        self._kills = kills
        self._records = records
        self._sessions = sessions
        self._inventory = inventory
        self._connectors = connectors
        self._clock = clock
        self._running = asyncio.Semaphore(AT_ONCE)
        self.acts: Mapping[str, Act] = {"gate.policy.simulate": self._simulate}

    async def _simulate(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """What a kept bundle (default: the active one) would decide, the rules that held, and the facts they read."""
        if said["record"]:
            return {"recalled": await self._recall(principal, said["record"])}
        bundle, asked = await self._bundle(said["digest"]), said["request"]
        sheet = self._given(principal, asked["input"]) if asked.get("input") else self._sheet(principal, asked, bundle)
        active = self._policy.active
        others = [active] if said["beside"] and active is not None and active.digest != bundle.digest else []
        try:
            async with self._running:
                found = [await self._policy.simulate(sheet, one) for one in (bundle, *others)]
        except PolicyUnavailable as error:
            if error.error_code != BAD_INPUT:
                raise
            raise BadRequest(error.detail, code="request.simulation", remedy="mend the field that is named") from None
        beside = simulated(found[1]) if others else None
        return {**simulated(found[0]), "input": sheet, "beside": beside}

    def _given(self, principal: Principal, sheet: Mapping[str, Any]) -> Mapping[str, Any]:
        """A whole input; of another tenant's only people of the operator's ask."""
        for part in ("subject", "resource"):
            said = sheet.get(part)
            if isinstance(said, dict) and said.get("tenant") != principal.tenant:
                self._kills.check_operator(principal.tenant)
        return sheet

    def asks(self, principal: Principal, bundle: Bundle) -> dict[str, Mapping[str, Json]]:
        """For each role that a person may hold under ``bundle``: asking for a roll-back, and approving one."""
        roles = bundle.content.config.get("roles", {})
        people = [role for role, one in roles.items() if isinstance(one, dict) and "human" in one.get("holders", ())]
        wanted = {
            "ask": ("gate.policy.rollback", {"digest": bundle.digest}),
            "approve": (
                "gate.review.create",
                {"approval": "apr_simulated", "verdict": "approve", "digest": bundle.digest},
            ),
        }
        made: dict[str, Mapping[str, Json]] = {}
        for role in people:
            for name, (action, arguments) in wanted.items():
                request = {
                    "action": action,
                    "resource": {"type": "gate", "id": "gate", "env": "prod"},
                    "arguments": arguments,
                    "reason": "the way back",
                    "subject": {"type": "human", "id": f"simulated:{role}", "roles": [role]},
                }
                try:
                    made[f"{name}:{role}"] = self._sheet(principal, request, bundle)
                except BrokerError:
                    continue  # the bundle declares the act otherwise: nobody is known to do it
        return made

    def _sheet(self, principal: Principal, asked: Mapping[str, Any], bundle: Bundle) -> dict[str, Any]:
        """Policy's input as if it were asked now, with nothing used up or approved; raises ``BadRequest`` by field."""
        if not asked.get("action") or not asked.get("resource"):
            raise BadRequest("give `input`, or `action` and `resource`", code="request.simulation")
        now, given = seconds(self._clock), asked.get("context", {})
        who = _party(principal, asked, now)
        target, name = asked["resource"], asked["action"]
        catalog = Catalog.from_manifests(bundle.content.manifests)
        resource = self._resource(principal.tenant, target)
        session = supposed_session(who, now, tainted=given.get("tainted", False)) if given.get("session") else None
        supposed = suppose(
            catalog,
            who,
            name,
            resource,
            catalog.complete(name, resource, asked.get("arguments", {})),
            session=session,
            reason=asked.get("reason", ""),
        )
        return supposed.input(
            self._connectors(),
            killed=given.get("killed", False),
            usage={name: given.get(name, 0) for name in ("actions_today", "writes_today")},
            now=now,
            dry_run=given.get("dry_run", False),
        )

    def _resource(self, tenant: str, target: Mapping[str, str]) -> Resource:
        """The gate itself, the inventory's entry, or the bare claim, as a real request would have it."""
        named = (target["type"], target["id"], target["env"])
        if named == (GATE.type, GATE.id, GATE.env):
            return GATE
        return self._inventory(tenant, *named) or Resource(*named)

    # -- from a record ------------------------------------------------------------------------------------------------

    async def _recall(self, principal: Principal, named: str) -> dict[str, Json]:
        """A request as its record has it, in the words of a simulation; ``missing`` names what the record does not say."""
        entry = await self._entry(principal.tenant, named)
        body = entry.body
        if "action" not in body or "actor" not in body:
            raise BadRequest("this record is not about a request", code="request.simulation")
        session, actor, resource = body.get("session") or "", body["actor"], body.get("resource", {})
        payload = await self._payload(principal, entry, body, session)
        behalf = "on_behalf_of" in actor
        who = list(payload.get("who", ()))
        decision = body.get("decision", {})
        missing = [
            *(["arguments"] if "arguments" not in payload else []),
            *(["behalf_roles"] if behalf else []),
            *(["resource"] if "id" not in resource else []),
            *(["decision"] if not decision else []),
        ]
        return {
            "seq": entry.seq,
            "at": entry.time_ns // 10**9,
            "action": "" if body["action"]["name"] == "other" else body["action"]["name"],
            "resource": {part: resource.get(part, "") for part in ("type", "id", "env")},
            "arguments": payload.get("arguments", {}),
            "reason": payload.get("reason", ""),
            "subject": {"type": actor["kind"], "id": who[-1] if who else "", "roles": list(actor.get("roles", ()))},
            "behalf": {"id": who[0] if len(who) > 1 else "", "roles": []} if behalf else None,
            "session": bool(session),
            "decision": {name: decision[name] for name in _DECIDED if name in decision} or None,
            "missing": missing,
        }

    async def _payload(
        self, principal: Principal, entry: Entry, body: Mapping[str, Any], session: str
    ) -> Mapping[str, Any]:
        """What is encrypted of the record: for whom it was done, and for people where it is an incident's."""
        actor, behind = body["actor"], principal.subject.id if principal.actor else ""
        mine = (
            actor["ref"] == self._records.ref(principal.tenant, "per", principal.acting.id)
            and actor.get("on_behalf_of", "") == (behind and self._records.ref(principal.tenant, "per", behind))
        )  # fmt: skip
        person = principal.acting.kind is PartyKind.HUMAN
        if not mine and not (person and await self._sessions.incident_of(principal.tenant, session)):
            return {}
        told = await self._records.told(principal.tenant, entry.id)
        payload: Mapping[str, Any] = told[1] if told and isinstance(told[1], dict) else {}
        return payload

    async def _entry(self, tenant: str, named: str) -> Entry:
        """The record that ``named`` means: a number, an action, an approval or a decision; of an answer, what it answers."""
        if named.isdecimal():
            found = await self._records.entries(tenant, after=int(named) - 1, limit=1)
            entry = found[0] if found and found[0].seq == int(named) else None
        elif named.startswith("dec_"):
            entry = await self._decided(tenant, named)
        else:
            told = await self._records.told(tenant, f"{named}.proposal" if named.startswith("apr_") else named)
            entry = told[0] if told else None
        if entry is not None and (about := str(entry.record.get("about", ""))):
            told = await self._records.told(tenant, about)
            entry = told[0] if told else None
        if entry is None:
            raise NotFound(
                "the log shows no such record here",
                code="audit.no_record",
                remedy=f"give the record's number; a decision is looked for among the newest {LOOKED_AT} records",
            )
        return entry

    async def _decided(self, tenant: str, decision: str) -> Entry | None:
        """The record of a decision, looked for among the newest."""
        size = await self._records.size(tenant)
        for begin in range(size, max(0, size - LOOKED_AT), -_PAGE):
            page = await self._records.entries(tenant, after=max(0, begin - _PAGE) - 1, limit=min(_PAGE, begin))
            for entry in page:
                if entry.body.get("decision", {}).get("id") == decision:
                    return entry
        return None


_DECIDED = (
    "id",
    "effect",
    "tier",
    "reasons",
    "obligations",
    "policy_revision",
    "policy_digest",
    "engine",
    "input_digest",
)


def simulated(found: Simulation) -> dict[str, Json]:
    """A simulation as it is answered: the decision with its duties, each rule that held, and the facts that those read."""
    rules = [
        {
            "rule": one.rule,
            "title": one.title,
            "file": one.file,
            "line": one.line,
            "value": _short(one.value),
            "reads": list(one.reads),
        }
        for one in found.held
    ]
    decision = found.decision
    return {
        "decision": {
            **decision_body(decision),
            "revision": decision.policy_revision,
            "engine": decision.engine,
            "input_digest": decision.input_digest,
            "factors": list(decision.factors),
            "because": [
                {"code": one.code, "rule": one.rule, "params": dict(one.params), "remedy": one.remedy}
                for one in decision.reasons
            ],
            "duties": duties(decision),
            "advice": dict(decision.advice),
        },
        "rules": rules,
        "facts": {path: _short(value) for path, value in found.facts.items()},
        "digest": decision.policy_digest,
    }


def duties(decision: Decision) -> list[Json]:
    """Each obligation by its name, with its fields; limits by theirs."""
    found = []
    for one in decision.obligations:
        fields = asdict(one)
        kind = type(one).__name__.lower()
        found.append({"kind": f"{kind}.{one.name}" if isinstance(one, Limit) else kind, "fields": fields})
    return orjson.loads(orjson.dumps(found, default=list))  # type: ignore[no-any-return]


def _short(value: Json) -> str:
    """A value as canonical JSON; a long one is cut, and says how long it is."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]} … ({len(text)} characters)"


def _party(principal: Principal, asked: Mapping[str, Any], now: int) -> Principal:
    """Who asks in the simulation: the caller, or somebody made up in the caller's tenant."""
    said, given = asked.get("subject"), asked.get("context", {})
    if not said:
        return principal
    kind = PartyKind(said["type"])
    acting = Party(said.get("id") or f"simulated:{kind.value}", kind, frozenset(said.get("roles", ())))
    behind = asked.get("behalf")
    if behind and kind is PartyKind.HUMAN:
        raise BadRequest("field `behalf`: a person acts for nobody", code="request.simulation")
    person = (
        Party(behind.get("id") or "simulated:person", PartyKind.HUMAN, frozenset(behind.get("roles", ())))
        if behind
        else None
    )
    machine = person is None and kind is not PartyKind.HUMAN
    age = given.get("auth_age_s", -1 if machine else PRESENT_S)
    return Principal(
        tenant=principal.tenant,
        subject=person or acting,
        actor=acting if person else None,
        issuer="simulated",
        expires_at=now + 3_600,
        auth_time=None if age < 0 else now - age,
        acr=given.get("acr", ""),
    )


def supposed_session(who: Principal, now: int, *, tainted: bool = False) -> Session:
    """A session of the one who asks, without an intent."""
    return Session(
        id=SESSION_ID,
        tenant=who.tenant,
        opened_by=who.subject.id,
        agent=who.acting.id,
        intent=(),
        opened_at=now,
        expires_at=now + 3_600,
        tainted=tainted,
    )
