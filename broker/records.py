"""From redacted facts to audit records: the only caller of the log.

Leaves hold no free text and no names: people and agents stand as keyed pseudonyms, arguments and results only in the
encrypted payload, and only after redaction. The event id decides what can happen once: an intent's id is its action's
id, so a second append of it is refused by the log itself, whichever replica asks.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import orjson

from audit import errors as log_errors
from audit.log import Entry, Log
from audit.note import Verifier
from audit.record import Draft, pseudonym
from broker.answers import Past, observation_id
from broker.catalog import Action
from broker.clock import Clock
from broker.errors import AuditUnavailable, BrokerError, Conflict, NotFound, Receipt
from broker.leaves import breakglass_group, decision_group, model_group, receipt_of, ruled, turn_group, word
from broker.model import ActionRequest, Decision, Grant, Json, Principal, Redacted, RequireApproval, Result

__all__ = ["Entry", "Records"]

_OBSERVATION_BYTES_MAX = 8_388_608


class Records:
    """Writes what happened, before and after it happens; reads it back for replays of an idempotency key."""

    def __init__(self, log: Log, *, clock: Clock, pseudonym_key: bytes, is_action: Callable[[str], bool]) -> None:
        """``pseudonym_key`` keys the names in leaves; ``is_action`` knows the catalog's words from a caller's."""
        self._is_action = is_action
        self._log = log
        self._clock = clock
        self._key = pseudonym_key

    def ref(self, tenant: str, domain: str, name: str) -> str:
        """Keyed pseudonym of ``name`` as leaves carry it."""
        return pseudonym(self._key, tenant, domain, name)

    async def intent(  # noqa: PLR0913 - one keyword a group of fields
        self,
        principal: Principal,
        request: ActionRequest,
        decision: Decision,
        grant: Grant,
        *,
        declared: Action,
        redacted: Redacted[Json],
    ) -> Receipt:
        """Redeem ``grant``: durable before any byte leaves. Raises ``Conflict`` when this action began before."""
        body = self._request_body(principal, request) | {
            "decision": decision_group(decision),
            "grant": {"id": grant.id, "expires_ns": str(grant.expires_at * 1_000_000_000)},
            "redaction": {"profile": redacted.profile, "counts": dict(redacted.counts)},
            **breakglass_group(decision.breakglass),
        }
        body["action"] |= {
            "connector": declared.connector,
            "effect": declared.effect.value,
            "idempotent": declared.idempotent,
        }
        if grant.approval:
            body["approval"] = {"id": grant.approval, "digest": request.digest} | ruled(grant.rule)
        if grant.plan_fingerprint:
            body["plan"] = {"fingerprint": hashlib.sha256(grant.plan_fingerprint.encode()).hexdigest()}
        if request.action.startswith("llm."):
            body["llm"] = model_group(request, grant)
        payload = {
            "who": [party.id for party in principal.parties],
            "resource": request.resource.id,
            "arguments": redacted.value,
            "reason": request.reason,
        }
        draft = self._draft("intent", grant.id, body, request.session, payload=payload, keyed=principal)
        try:
            return await self._append(principal.tenant, draft)
        except log_errors.DuplicateEvent:
            raise Conflict(
                "this action was begun before",
                code="action.begun",
                remedy="read its state with GET /v1/actions/{id}; it is never repeated by itself",
            ) from None

    async def outcome(  # noqa: PLR0913 - one keyword a group of fields
        self,
        principal: Principal,
        request: ActionRequest,
        *,
        status: str,
        redacted: Redacted[Json],
        result: Result | None = None,
        code: str = "",
        answer: Mapping[str, Json] | None = None,
    ) -> Receipt:
        """Close the intent: durable before the answer. The payload is the observation, redacted and whole."""
        shown = orjson.dumps(redacted.value)
        outcome: dict[str, Json] = {"status": status, "bytes": len(shown), "observation": observation_id(request.id)}
        if code:
            outcome["code"] = code
        if result is not None:
            outcome["truncated"] = result.status == "truncated"
        body: dict[str, Any] = {
            "session": request.session or None,
            "action": {"id": request.id, "name": self._action_word(request.action)},
            "outcome": outcome,
            "redaction": {"profile": redacted.profile, "counts": dict(redacted.counts)},
        }
        body |= breakglass_group((answer or {}).get("decision", {}).get("breakglass", ""))
        if result is not None and "tokens_in" in result.units:
            body["llm"] = {name: result.units[name] for name in ("tokens_in", "tokens_out") if name in result.units}
        kept = (
            redacted.value
            if len(shown) <= _OBSERVATION_BYTES_MAX
            else {"withheld": "larger than an observation may be"}
        )
        payload = {"result": kept, "answer": dict(answer or {})}
        draft = self._draft(
            "outcome",
            f"{request.id}.outcome",
            body,
            request.session,
            about=request.id,
            payload=payload,
            keyed=principal,
        )
        try:
            return await self._append(principal.tenant, draft)
        except log_errors.DuplicateEvent:
            # Somebody gave this action up and closed its intent; what really happened follows.
            late = replace(draft, id=f"{request.id}.outcome.late")
        return await self._once(principal.tenant, late)

    async def refusal(
        self, principal: Principal, request: ActionRequest, error: BrokerError, decision: Decision | None = None
    ) -> Receipt:
        """Say no on the record; a refused request has no effect and may be sent again."""
        body = self._request_body(principal, request) | {"error": error.error_code}
        if decision is not None:
            body |= {"decision": decision_group(decision), **breakglass_group(decision.breakglass)}
        stamp = secrets.token_hex(8)
        payload = {"who": [party.id for party in principal.parties], "detail": error.detail, "reason": request.reason}
        draft = self._draft(
            "refusal", f"{request.id}.refusal.{stamp}", body, request.session, payload=payload, keyed=principal
        )
        return receipt_of(await self._raw_append(principal.tenant, draft))

    async def proposal(  # noqa: PLR0913 - one keyword a group of fields
        self,
        principal: Principal,
        request: ActionRequest,
        decision: Decision,
        *,
        approval: Mapping[str, Any],
        plan: Mapping[str, str],
        redacted: Redacted[Json],
    ) -> Receipt:
        """Put on record that an action waits for people.

        ``approval`` = id, digest, quorum, expires_at; ``plan`` = summary, rollback_digest (empty: nothing undoes it).
        """
        body = self._request_body(principal, request) | {
            "decision": decision_group(decision),
            "approval": {
                "id": approval["id"],
                "digest": approval["digest"],
                "quorum": approval["quorum"],
                "expires_ns": str(approval["expires_at"] * 1_000_000_000),
                "signature": any(isinstance(one, RequireApproval) and one.signature for one in decision.obligations),
            },
        }
        if plan["rollback_digest"]:
            body["plan"] = {"rollback_digest": plan["rollback_digest"]}
        payload = {
            "who": [party.id for party in principal.parties],
            "arguments": redacted.value,
            "reason": request.reason,
            "plan": plan["summary"],
        }
        draft = self._draft(
            "proposal", f"{approval['id']}.proposal", body, request.session, payload=payload, keyed=principal
        )
        return await self._once(principal.tenant, draft)

    async def review(  # noqa: PLR0913 - one keyword a group of fields
        self,
        principal: Principal,
        *,
        approval: str,
        about: str,
        digest: str,
        verdict: str,
        given: int,
        quorum: int,
        session: str,
        reason: str,
        rule: str = "",
        decision: Decision | None = None,
        signed: Mapping[str, Json] = MappingProxyType({}),
    ) -> Receipt:
        """One person's answer to a proposal; ``signed`` = the groups ``policy``, ``plan`` and ``signature`` of a signed one."""
        body: dict[str, Any] = {
            "actor": self._actor(principal),
            "session": session or None,
            "approval": {
                "id": approval,
                "digest": digest,
                "verdict": verdict,
                "given": given,
                "quorum": quorum,
                "reviewers": [self.ref(principal.tenant, "per", principal.subject.id)],
            }
            | ruled(rule),
            "decision": decision_group(decision) if decision else None,
            **signed,
        }
        event = f"{approval}.review.{self.ref(principal.tenant, 'per', principal.subject.id)}.{digest[:12]}.{verdict}"
        draft = self._draft(
            "review",
            event,
            body,
            session,
            about=about,
            payload={"who": [principal.subject.id], "reason": reason},
            keyed=principal,
        )
        return await self._once(principal.tenant, draft)

    async def kill(  # noqa: PLR0913 - one keyword a field
        self, principal: Principal, kind: str, *, scope: str, target: str, reason: str, event: str, error: str = ""
    ) -> Receipt:
        """A kill switch pulled or resumed (``kind`` is ``kill`` or ``resume``), or a ``refusal`` to, by ``error``. Again is the same record."""
        body: dict[str, Any] = {
            "actor": self._actor(principal),
            "kill": {"scope": word(scope), "target_ref": self.ref(principal.tenant, "tgt", target)},
            "error": error or None,
        }
        if scope != "agent":
            body["kill"]["target"] = word(target)
        whole = {"who": [principal.subject.id], "target": target, "reason": reason}
        draft = self._draft(kind, event, body, "", payload=whole, keyed=principal)
        return await self._once(principal.tenant, draft)

    async def of_person(
        self, principal: Principal, kind: str, told: Mapping[str, Json], *, event: str, **said: Json
    ) -> Receipt:
        """What a person did with an authenticator or a break-glass (``kind``), once an ``event``; ``said`` is the payload."""
        body: dict[str, Json] = {"actor": self._actor(principal), kind: dict(told)}
        whole = {"who": [principal.subject.id], **said}
        draft = self._draft(kind, event, body, "", payload=whole, keyed=principal)
        return await self._once(principal.tenant, draft)

    async def incident(  # noqa: PLR0913 - one keyword a field
        self,
        tenant: str,
        *,
        event: str,
        incident: str,
        session: str,
        kind: str,
        seq: int,
        by: str,
        at: int,
        states: tuple[str, str] = ("", ""),
        body: Mapping[str, Json],
    ) -> Receipt:
        """Put one event of an incident on record, under its own id: again is the same record.

        ``by`` is a party's id or the gate; ``at`` in seconds; ``states`` are those before and after, or empty; ``body``
        was redacted when it came in.
        """
        told: dict[str, Json] = {"kind": word(kind), "seq": seq, "by": self.ref(tenant, "per", by)}
        told |= {name: word(state) for name, state in zip(("from", "to"), states, strict=True) if state}
        draft = Draft(
            kind="incident",
            id=event,
            time_ns=at * 10**9,
            body={"incident": incident, "event": told},
            stream=session or None,
            streams=(incident,),
            payload=orjson.dumps({"who": [by], "body": dict(body)}),
            payload_key=session or incident,
        )
        return await self._once(tenant, draft)

    async def recovery(self, tenant: str, action_id: str, *, status: str, detail: str) -> Receipt:
        """Close an intent that a crash left open: ``status`` is ``unknown``, ``done`` or ``not_done``."""
        body = {"action": {"id": action_id}, "outcome": {"status": status, "code": "recovery.after_restart"}}
        draft = Draft(
            kind="recovery",
            id=f"{action_id}.outcome",
            time_ns=self._clock.now_ns(),
            body=body,
            about=action_id,
            payload=orjson.dumps({"detail": detail}),
            payload_key="gate",
        )
        return await self._once(tenant, draft)

    async def policy(  # noqa: PLR0913 - one keyword a field
        self, tenant: str, *, verb: str, digest: str, previous: str, revision: str, event: str
    ) -> Receipt:
        """A bundle activated or rolled back."""
        policy: dict[str, Json] = {"verb": verb, "digest": digest, "revision": revision}
        if previous:
            policy["previous"] = previous
        draft = Draft(kind="policy", id=event, time_ns=self._clock.now_ns(), body={"policy": policy})
        return await self._once(tenant, draft)

    async def export(self, tenant: str, *, export: str, digest: str, session: str, **facts: Json) -> Receipt:
        """An export was made; ``facts`` = entries, first, last, kinds. Again is the same record."""
        told = {"id": export, "digest": digest, **facts} | ({"session": session} if session else {})
        draft = Draft(
            kind="export", id=f"{export}.made.{digest[:16]}", time_ns=self._clock.now_ns(), body={"export": told}
        )
        return await self._once(tenant, draft)

    async def past(self, tenant: str, action_id: str) -> Past | None:
        """What the log knows of ``action_id``; None when it never began."""
        intent = await self._guard(self._log.find(tenant, action_id))
        if intent is None:
            return None
        outcome = await self._guard(self._log.find(tenant, f"{action_id}.outcome"))
        if outcome is not None and outcome.kind == "recovery":
            outcome = await self._guard(self._log.find(tenant, f"{action_id}.outcome.late")) or outcome
        payload = None
        if outcome is not None:
            raw = await self._guard(self._log.payload(tenant, outcome))
            payload = orjson.loads(raw) if isinstance(raw, bytes) else None
        body = intent.body
        return Past(
            request_digest=body["request_digest"],
            actor=body["actor"]["ref"],
            on_behalf_of=body["actor"].get("on_behalf_of", ""),
            intent=receipt_of(intent.receipt),
            outcome=receipt_of(outcome.receipt) if outcome else None,
            status=outcome.body["outcome"]["status"] if outcome else "",
            payload=payload,
            session=body.get("session") or "",
            granted_until=int(body["grant"]["expires_ns"]) // 10**9,
        )

    async def told(self, tenant: str, event: str) -> tuple[Entry, Json] | None:
        """One record and its payload (None where that was erased); None where the log has no such event."""
        entry = await self._guard(self._log.find(tenant, event))
        if entry is None:
            return None
        raw = await self._guard(self._log.payload(tenant, entry))
        return entry, orjson.loads(raw) if isinstance(raw, bytes) else None

    async def has(self, tenant: str, event: str) -> bool:
        """Whether the log has this event; what it holds is not opened."""
        return await self._guard(self._log.find(tenant, event)) is not None

    def owns(self, principal: Principal, past: Past) -> bool:
        """Whether the action was this principal's: the same acting party, for the same person or for nobody."""
        behind = self.ref(principal.tenant, "per", principal.subject.id) if principal.actor else ""
        return (past.actor, past.on_behalf_of) == (self.ref(principal.tenant, "per", principal.acting.id), behind)

    async def tenants(self) -> list[str]:
        """Tenants that have a log."""
        return list(await self._guard(self._log.tenants()))

    async def open_intents(self, tenant: str) -> list[Entry]:
        """Intents without an outcome."""
        return list(await self._guard(self._log.open_intents(tenant)))

    async def entries(
        self, tenant: str, *, after: int, limit: int, kinds: list[str] | None = None, stream: str | None = None
    ) -> list[Entry]:
        """Records of the tenant's log in order, after the sequence number ``after``."""
        return list(await self._guard(self._log.read(tenant, after=after, limit=limit, kinds=kinds, stream=stream)))

    async def checkpoint(self, tenant: str) -> str:
        """The signed checkpoint of this moment (C2SP tlog-checkpoint)."""
        return str(await self._guard(self._log.checkpoint(tenant)))

    async def proof(self, tenant: str, seq: int) -> str:
        """Inclusion proof of one record (C2SP tlog-proof); raises ``NotFound`` beyond the end."""
        try:
            return str(await self._guard(self._log.prove(tenant, seq)))
        except (log_errors.RecordInvalid, IndexError, LookupError):
            raise NotFound("the log has no such record", code="audit.no_record") from None

    async def inclusions(self, tenant: str, seqs: list[int], size: int) -> list[list[bytes]]:
        """Audit path of each record in the tree of the first ``size``; raises ``NotFound`` beyond the end."""
        try:
            return list(await self._guard(self._log.inclusions(tenant, seqs, size)))
        except log_errors.RecordInvalid:
            raise NotFound("the log has no such record", code="audit.no_record") from None

    async def consistency(self, tenant: str, old: int, new: int) -> list[bytes]:
        """Proof that the tree of ``old`` records is the beginning of that of ``new``; raises ``NotFound`` beyond the end."""
        try:
            return list(await self._guard(self._log.consistency(tenant, old, new)))
        except log_errors.RecordInvalid:
            raise NotFound("the log has not so many records", code="audit.no_record") from None

    async def size(self, tenant: str) -> int:
        """How many records the tenant's log has."""
        return int(await self._guard(self._log.size(tenant)))

    def verifier(self, tenant: str) -> Verifier:
        """The public key under the name of the tenant's log."""
        return self._log.verifier(tenant)

    def _request_body(self, principal: Principal, request: ActionRequest) -> dict[str, Any]:
        """What every record about a request carries."""
        resource: dict[str, Json] = {"ref": self.ref(principal.tenant, "res", request.resource.id)}
        if request.resource.region:
            # Only what the inventory knows has a region: its words are the operator's, not the caller's.
            resource |= {name: word(getattr(request.resource, name)) for name in ("type", "id", "env", "region")}
        return {
            "actor": self._actor(principal),
            "session": request.session or None,
            "action": {"id": request.id, "name": self._action_word(request.action)},
            "resource": resource,
            "request_digest": request.digest,
            **turn_group(request.turn),
        }

    def _action_word(self, name: str) -> str:
        """The action's name where the catalog knows it: a caller's own word never enters a leaf."""
        return word(name) if self._is_action(name) else "other"

    def _actor(self, principal: Principal) -> dict[str, Json]:
        """The acting party, and the person it acts for."""
        acting = principal.acting
        actor: dict[str, Json] = {
            "ref": self.ref(principal.tenant, "per", acting.id),
            "kind": acting.kind.value,
            "issuer": word(principal.issuer.split("://", 1)[-1]),
            "roles": sorted(acting.roles)[:16],
        }
        if principal.actor is not None:
            actor["on_behalf_of"] = self.ref(principal.tenant, "per", principal.subject.id)
        return actor

    def _draft(  # noqa: PLR0913 - one keyword a part of the record
        self,
        kind: str,
        event: str,
        body: Mapping[str, Any],
        session: str,
        *,
        about: str | None = None,
        payload: Mapping[str, Json],
        keyed: Principal,
    ) -> Draft:
        """A draft whose payload is sealed under the session's key, or under the person's own where there is no session."""
        key = session or self.ref(keyed.tenant, "per", keyed.subject.id)
        return Draft(
            kind=kind,
            id=event,
            time_ns=self._clock.now_ns(),
            body={name: value for name, value in body.items() if value is not None},
            stream=session or None,
            about=about,
            payload=orjson.dumps(payload),
            payload_key=key,
            streams=(body["breakglass"]["id"],) if "breakglass" in body else (),
        )

    async def _append(self, tenant: str, draft: Draft) -> Receipt:
        """Append, detached from the request's cancellation: a client that hangs up does not leave an effect unrecorded."""
        return receipt_of(await self._raw_append(tenant, draft))

    async def _once(self, tenant: str, draft: Draft) -> Receipt:
        """Append what may come again: the second time it is the same record."""
        try:
            return await self._append(tenant, draft)
        except log_errors.DuplicateEvent as already:
            return receipt_of(already.receipt)

    async def _raw_append(self, tenant: str, draft: Draft) -> Any:
        try:
            return await self._log.append(tenant, draft, detached=True)
        except log_errors.LogUnavailable as error:
            raise AuditUnavailable(retry_after=1) from error
        except log_errors.RecordInvalid as error:
            raise AuditUnavailable(
                f"the record's field `{error.field}` {error.reason}", code="audit.record_invalid"
            ) from None

    async def _guard(self, awaitable: Awaitable[Any]) -> Any:
        """A log that cannot be read, or that contradicts what was signed, answers nothing."""
        try:
            return await awaitable
        except (log_errors.LogUnavailable, log_errors.HistoryConflict, log_errors.PayloadCorrupt) as error:
            raise AuditUnavailable(f"the audit log cannot be read: {type(error).__name__}", retry_after=1) from None
