"""Step 2 of the life of one action: from what a caller wants to a request with a digest.

Arguments are redacted before they are bound, so the bytes hashed are the bytes decided, stored, recorded and executed;
real values come back only inside a grant. An idempotency key that has an answer gets it here, before any decision.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from broker import modelwire, provenance
from broker.answers import Past
from broker.approvals import Proposal
from broker.catalog import Catalog
from broker.clock import Clock, seconds
from broker.errors import BadRequest, BrokerError, Conflict, KeyReused, NotFound
from broker.model import (
    NO_TURN,
    ActionRequest,
    Decision,
    Effect,
    Json,
    Principal,
    Redacted,
    RequireApproval,
    Resource,
    Session,
)
from broker.records import Records
from broker.redaction import Redactor, Scope
from broker.remedies import Asking, is_own
from broker.sessions import Sessions
from broker.store import Store
from broker.store.gather import Gathered, gather
from broker.turns import Named, Turns

GATE = Resource(type="gate", id="gate", env="prod", region="local")
PROFILE = "default"
OPENING = "gate.session.open"
CALLED, RESUMED = Asking(), Asking(resumed=True)
PROSE = frozenset(
    {
        "annotations",
        "body",
        "claims",
        "intent",
        "labels",
        "narrow",
        "properties",
        "request",
        "ruled_out",
        "summary",
        "text",
        "title",
    }
)
"""Arguments of the gate's own acts in which somebody writes; the others are identifiers and are not rewritten."""
NAMES = frozenset({"component", "env", "fault", "fingerprint", "service", "source", "to"})
"""Identifiers that somebody outside chose, and may have put anything into: kept where nothing is found in them."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants, as the strict JSON reader saw it; nothing in it is believed yet."""

    action: str
    resource: Mapping[str, str]
    arguments: Mapping[str, Json]
    session: str = ""
    reason: str = ""
    diagnosis: str = ""
    idempotency_key: str = ""
    content: Json = None
    """A model call's body."""
    work: Mapping[str, Json] | None = None
    """In an incident: the piece of work it belongs to (``id``, ``fence``). It proves who acts and is no part of what is
    done, so the digest leaves it out: a step done again under a new fence is the same request."""
    turn: Named | None = None
    """Of a call of an MCP client: the model's tool use that it names. No part of what is done, either."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one request stands once it is read: bound, but not decided."""

    principal: Principal
    request: ActionRequest
    redacted: Redacted[Json]
    """What the records may show of arguments or content."""
    scope: Scope
    gathered: Gathered
    past: Past | None = None
    problem: BrokerError | None = None
    """What is wrong with the request; refused on record by the pipeline."""
    asking: Asking = CALLED

    @property
    def proposal(self) -> Proposal | None:
        """The proposal that waits under this action's id."""
        return self.gathered.proposal


def opened_session(action_id: str) -> str:
    """The id of the session that this action opens; unguessable as the action's own, and the same at a repetition."""
    return "ses_" + action_id.removeprefix("act_")


class Reader:
    """Reads asks and stored proposals into places."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        catalog: Callable[[], Catalog],
        store: Store,
        sessions: Sessions,
        records: Records,
        redactor: Redactor,
        inventory: Callable[[str, str, str, str], Resource | None],
        clock: Clock,
        id_key: bytes,
        region: str,
        turns: Turns,
    ) -> None:
        """``catalog()`` is that of the active bundle; ``inventory(tenant, type, id, env)``; ``id_key`` makes action ids."""
        self._catalog = catalog
        self._store = store
        self._sessions = sessions
        self._records = records
        self._redactor = redactor
        self._inventory = inventory
        self._clock = clock
        self._id_key = id_key
        self._region = region
        self._turns = turns

    async def ask(self, principal: Principal, ask: Ask) -> Place:
        """Read a caller's ask; what is wrong with it rides in the place. A session that is not theirs stays out of it."""
        resource = self._resource(principal.tenant, ask.resource)
        action_id = self._action_id(principal, ask.idempotency_key)
        # Without a key the id is new: nothing can wait under it yet.
        known_id = action_id if ask.idempotency_key else ""
        gathered, absent = await self._gather(principal, ask.session, ask.action, known_id)
        session = "" if absent else ask.session
        scope = self._scope(principal, opened_session(action_id) if ask.action == OPENING else session)
        clean = await self._clean(ask, scope)
        content = None if ask.content is None else await self._content(ask.content, scope)
        arguments, problem = self._complete(ask.action, resource, clean.value["arguments"])
        if content is not None:
            arguments["content_sha256"] = hashlib.sha256(
                orjson.dumps(content.value, option=orjson.OPT_SORT_KEYS)
            ).hexdigest()
        request = self._catalog().request(
            action_id=action_id,
            tenant=principal.tenant,
            requester=principal.acting.id,
            session=session,
            action=ask.action,
            resource=resource,
            arguments=arguments,
            reason=clean.value["reason"],
            idempotency_key=ask.idempotency_key,
            diagnosis=ask.diagnosis,
            labels=provenance.label_arguments(arguments, session=gathered.session, resource=resource),
            content=content.value if content is not None else None,
        )
        shown = replace(clean, value=arguments) if content is None else _joined(content, clean)
        wrong = absent or problem or self._keyless(ask)
        place = Place(principal, request, shown, scope, gathered, problem=wrong, asking=Asking(ask.work))
        place = await self._replayed(place) if ask.idempotency_key and place.problem is None else place
        return await self._turned(place, ask.turn)

    async def proposal(self, principal: Principal, proposal: Proposal) -> Place:
        """Put a waiting request back where ``ask`` would have put it; narrowed arguments replace the proposed ones."""
        stored = proposal.request
        session, action = stored["session"], stored["action"]
        gathered, absent = await self._gather(principal, session, action, proposal.action_id, resumed=True)
        resource = self._resource(principal.tenant, stored["resource"])
        said = stored["arguments"] if proposal.narrowed is None else proposal.narrowed
        arguments, problem = self._complete(stored["action"], resource, said)
        request = self._catalog().request(
            action_id=proposal.action_id,
            tenant=principal.tenant,
            requester=principal.acting.id,
            session=stored["session"],
            action=stored["action"],
            resource=resource,
            arguments=arguments,
            reason=stored["reason"],
            diagnosis=stored["diagnosis"],
            labels=provenance.label_arguments(arguments, session=gathered.session, resource=resource),
        )
        request = replace(request, turn=stored.get("turn", NO_TURN))
        scope = self._scope(principal, stored["session"])
        shown: Redacted[Json] = await self._redactor.redact(dict(arguments), profile=PROFILE, scope=scope)
        return Place(principal, request, shown, scope, gathered, problem=absent or problem, asking=RESUMED)

    async def past(self, principal: Principal, key: str) -> Past | None:
        """What came of what ``principal`` began under this idempotency key, whatever it asked for; None if nothing did."""
        return await self._records.past(principal.tenant, self._action_id(principal, key))

    async def _gather(
        self, principal: Principal, session: str, action: str, action_id: str, *, resumed: bool = False
    ) -> tuple[Gathered, NotFound | None]:
        """(3) The gate's own state about this request, from one snapshot; a session that is not theirs is absent.

        What waits was asked for while the session served the asker: an incident's may serve another agent by now.
        """
        declared = self._catalog().find(action)
        connector, acting, now = declared.connector if declared else "", principal.acting.id, seconds(self._clock)
        found = await self._store.glance(
            lambda c: gather(
                c,
                tenant=principal.tenant,
                session_id=session,
                acting=acting,
                subject=principal.subject.id,
                connector=connector,
                action_id=action_id,
                now_s=now,
            )
        )
        if found.proposal is not None:
            found = replace(found, proposal=found.proposal.at(now))
        try:
            # The gate itself works on in an incident's session, whomever that serves, and when it has ended.
            if session and not is_own(principal):
                self._sessions.serving(_as_asked(found.session, principal) if resumed else found.session, principal)
        except NotFound as absent:
            await self._sessions.keep_end(found.session)
            return replace(found, session=None), absent
        return found, None

    async def _clean(self, ask: Ask, scope: Scope) -> Redacted[dict[str, Any]]:
        """Arguments and reason, redacted. Identifiers of the gate's own acts stay: an alias would name nobody."""
        declared = self._catalog().find(ask.action)
        own = declared is not None and declared.connector == GATE.type
        kept = {name: value for name, value in ask.arguments.items() if name not in PROSE | NAMES} if own else {}
        said = {name: value for name, value in ask.arguments.items() if name not in kept}
        spoken: dict[str, Any] = {"arguments": said, "reason": ask.reason}
        clean = await self._redactor.redact(spoken, profile=PROFILE, scope=scope)
        if not own:
            return clean
        found = {**clean.value["arguments"], **kept}
        if found.get("fingerprint") != (mark := ask.arguments.get("fingerprint")):
            # Whoever reports the end of the alert, and whenever, must give the same one.
            bound = f"{scope.tenant}\x00fingerprint\x00{mark}"
            found["fingerprint"] = hmac.new(self._id_key, bound.encode(), hashlib.sha256).hexdigest()[:32]
        return replace(clean, value={**clean.value, "arguments": found})

    async def _content(self, body: Json, scope: Scope) -> Redacted[Json]:
        """A model call's body, redacted; what only the provider can read is looked at as bare text, whatever its key."""
        bare, opaque = modelwire.take_opaque(body)
        redacted = await self._redactor.redact([bare, list(opaque.values())], profile=PROFILE, scope=scope)
        clean, scanned = redacted.value
        return replace(redacted, value=modelwire.put_back(clean, dict(zip(opaque, scanned, strict=True))))

    async def _replayed(self, place: Place) -> Place:
        """Find what this idempotency key already led to; another payload under the same key is refused."""
        past = await self._records.past(place.principal.tenant, place.request.id)
        proposal, digest = place.proposal, place.request.digest
        if proposal is not None:
            if digest not in (proposal.request_digest, proposal.digest):
                return replace(place, problem=KeyReused())
            if await self._never_asked(proposal):
                place = replace(place, gathered=replace(place.gathered, proposal=None))
            elif digest != proposal.digest:
                # A reviewer narrowed what was proposed: the requester's own words now mean the narrowed request.
                place = await self.proposal(place.principal, proposal)
        elif past is not None and past.request_digest != digest:
            return replace(place, problem=KeyReused())
        if past is not None and past.outcome is None:
            return replace(
                place,
                problem=Conflict(
                    "this action is still running, or its outcome is unknown",
                    code="action.running",
                    remedy="ask GET /v1/actions/{id}?wait=10",
                ),
            )
        return replace(place, past=past)

    async def _never_asked(self, proposal: Proposal) -> bool:
        """Whether it was over before the log ever had it: then the same key asks afresh."""
        over = proposal.state in {"cancelled", "expired"}
        return over and not await self._records.has(proposal.tenant, f"{proposal.id}.proposal")

    async def _turned(self, place: Place, named: Named | None) -> Place:
        """Whether the model turn that a call names is one of the gate's; a request that goes on spends it."""
        if named is None or place.past is not None or place.asking.resumed:
            return place
        request, waits = place.request, place.proposal
        sound = named if place.problem is None else replace(named, use="")
        turn: Mapping[str, Json] = NO_TURN
        if place.problem is None and waits is not None and waits.state in {"waiting", "approved"}:
            # What waits keeps the turn that it came from, however long people take.
            turn = waits.request.get("turn", NO_TURN)
        if not turn["matches"]:
            turn = await self._turns.spend(place.principal, request.session, request.id, sound)
        return replace(place, request=replace(request, turn=turn))

    async def give_back(self, place: Place, decision: Decision | None) -> None:
        """Free the turn of what was refused before it began, where it has no key: only another action can repeat it.

        What asks for people keeps its turn: it may wait already.
        """
        request = place.request
        asks = decision is not None and any(isinstance(duty, RequireApproval) for duty in decision.obligations)
        if request.turn["matches"] and not (request.idempotency_key or place.asking.resumed or asks):
            await self._turns.give_back(place.principal, request.session, request.id)

    def _complete(
        self, action: str, resource: Resource, arguments: Mapping[str, Json]
    ) -> tuple[dict[str, Json], BrokerError | None]:
        """Arguments with defaults, or as they came beside what is wrong with them."""
        try:
            return self._catalog().complete(action, resource, arguments), None
        except BadRequest as problem:
            return dict(arguments), problem

    def _keyless(self, ask: Ask) -> BrokerError | None:
        """A write without an idempotency key could run twice by a retry."""
        declared = self._catalog().find(ask.action)
        if declared is None or declared.effect is Effect.READ or declared.idempotent or ask.idempotency_key:
            return None
        return BadRequest(
            "a write needs the header `Idempotency-Key`",
            code="idempotency.key_required",
            remedy="send a fresh key with each new write",
        )

    def _resource(self, tenant: str, claimed: Mapping[str, Any]) -> Resource:
        """The inventory's entry, or the bare claim without a region, which policy treats as unknown."""
        for name in ("type", "id", "env"):
            if not isinstance(claimed.get(name), str) or not claimed[name]:
                raise BadRequest(f"field `resource.{name}` is required and must be text", code="request.resource")
        type_, id_, env = claimed["type"], claimed["id"], claimed["env"]
        if (type_, id_, env) == (GATE.type, GATE.id, GATE.env):
            return GATE
        return self._inventory(tenant, type_, id_, env) or Resource(type=type_, id=id_, env=env)

    def _action_id(self, principal: Principal, key: str) -> str:
        """Derived from tenant, parties and key, so that replicas agree without talking; random without a key."""
        if not key:
            return "act_" + secrets.token_hex(13)
        bound = f"{principal.tenant}\x00{principal.acting.id}\x00{principal.subject.id}\x00{key}"
        return "act_" + hmac.new(self._id_key, bound.encode(), hashlib.sha256).hexdigest()[:26]

    def _scope(self, principal: Principal, session: str) -> Scope:
        """Where pseudonyms hold: the session, or the person's own acts at the gate."""
        return Scope(tenant=principal.tenant, session=session or principal.acting.id, region=self._region)


def _joined(content: Redacted[Json], clean: Redacted[Any]) -> Redacted[Json]:
    """The content's redaction with the counts of the arguments added."""
    counts = dict(content.counts)
    for entity, count in clean.counts.items():
        counts[entity] = counts.get(entity, 0) + count
    return replace(content, counts=counts)


def _as_asked(session: Session | None, principal: Principal) -> Session | None:
    """An incident's session as it was when ``principal`` asked in it."""
    return replace(session, agent=principal.acting.id) if session is not None and session.incident else session
