"""Policy's input ``broker.input/v1``, built from trusted state only (schema: ``policies/schemas/input.v1.schema.json``).

Every field is always present, because an undefined operand reads differently on the two engines. What the agent says
stands under ``action.properties`` and nowhere else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.catalog import Action
from broker.model import ActionRequest, Json, Principal, Session

NO_MODEL = {"provider": "", "name": "", "region": "", "tools": [], "max_tokens": 0}
NO_REMEDY = {"known": False, "faults": [], "derived": False, "ready": False, "cooldown_s": 0, "per_hour_max": 0}
NO_EVIDENCE = {
    "diagnosis": "",
    "verdict": "",
    "verified": 0,
    "refuted": 0,
    "sources": 0,
    "signals": 0,
    "confidence_milli": 0,
    "component": "",
    "fault": "",
    "matches": False,
    "about": 0,
    "independent": 0,
}
NO_INCIDENT = {"id": "", "state": "", "severity": 0, "env": "", "others": []}
NO_TARGET = {"dependents": [], "writes_hour": 0, "last_write_s": -1, "ineffective": 0, "oscillating": False}
NO_BREAKGLASS = {"id": "", "actions": [], "targets": [], "people": [], "until_s": 0, "overdue": False}
NO_WORK = {"given": False, "valid": False}
NO_ROLLBACK = {"of": "", "valid": False}
NO_TIME_BOX = {"counts": False, "told": False, "acknowledged": [], "over": False, "today": 0}


@dataclass(frozen=True, slots=True)
class Situation:
    """What the gate's own rows say of an incident's request: parts of the input, each in its empty form elsewhere.

    What the agent cites stands under ``action.properties``; ``evidence`` is what the gate itself verified of it.
    """

    remedy: Mapping[str, Json] = field(default_factory=lambda: NO_REMEDY)
    evidence: Mapping[str, Json] = field(default_factory=lambda: NO_EVIDENCE)
    incident: Mapping[str, Json] = field(default_factory=lambda: NO_INCIDENT)
    target: Mapping[str, Json] = field(default_factory=lambda: NO_TARGET)
    work: Mapping[str, Json] = field(default_factory=lambda: NO_WORK)
    rollback: Mapping[str, Json] = field(default_factory=lambda: NO_ROLLBACK)
    time_box: Mapping[str, Json] = field(default_factory=lambda: NO_TIME_BOX)


CALM = Situation()
"""No incident."""


def build(  # noqa: PLR0913 - one keyword per source of facts
    *,
    principal: Principal,
    session: Session | None,
    request: ActionRequest,
    action: Action | None,
    endpoint: Mapping[str, str],
    killed: bool,
    usage: Mapping[str, int],
    approvals: Sequence[Mapping[str, Json]],
    now: int,
    dry_run: bool = False,
    situation: Situation = CALM,
    breakglass: Mapping[str, Json] = NO_BREAKGLASS,
) -> dict[str, Any]:
    """One input document. ``now`` in seconds; ``approvals`` as ``approvals.facts`` gives them."""
    return {
        "schema": "broker.input/v1",
        "request_id": request.id,
        "subject": _subject(principal, request, now),
        "action": {**_action(request, action), "remedy": situation.remedy},
        "resource": {
            "type": request.resource.type,
            "id": request.resource.id,
            "env": request.resource.env,
            "region": request.resource.region,
            "tenant": principal.tenant,
            "labels": dict(request.resource.labels),
            "known": bool(request.resource.region),
        },
        "context": {
            "now_s": now,
            "dry_run": dry_run,
            "tainted": session.tainted if session else False,
            "session_labels": dict(session.labels) if session and _trusted(session) else {},
            "intent_kinds": sorted({intent.kind for intent in session.intent if intent.trusted}) if session else [],
            "provenance": {path: label.value for path, label in request.labels.items()},
            "evidence": situation.evidence,
            "incident": situation.incident,
            "target": situation.target,
            "work": situation.work,
            "rollback": situation.rollback,
            "breakglass": breakglass,
            "time_box": situation.time_box,
            "turn": dict(request.turn),
            "usage": {"actions_today": usage.get("actions_today", 0), "writes_today": usage.get("writes_today", 0)},
            "approvals": list(approvals),
            "killed": killed,
            "model": _model(request, endpoint),
            "endpoint": {"region": endpoint.get("region", ""), "provider": endpoint.get("provider", "")},
        },
    }


def _trusted(session: Session) -> bool:
    """Whether a person opened the session in their own words: only then are its labels facts."""
    return bool(session.intent) and all(intent.trusted for intent in session.intent)


def _subject(principal: Principal, request: ActionRequest, now: int) -> dict[str, Any]:
    """All parties whose rights bound the request: the subject, then the actor."""
    acting = principal.acting
    return {
        "id": principal.subject.id,
        "type": principal.subject.kind.value,
        "tenant": principal.tenant,
        "session": request.session,
        "parties": [
            {"id": party.id, "type": party.kind.value, "roles": sorted(party.roles)} for party in principal.parties
        ],
        "acting": {"id": acting.id, "type": acting.kind.value},
        "scopes": sorted(principal.scopes),
        "acr": principal.acr,
        "auth_age_s": -1 if principal.auth_time is None else max(0, now - principal.auth_time),
    }


def _action(request: ActionRequest, action: Action | None) -> dict[str, Any]:
    """The catalog's word on the action, and the agent's under ``properties``."""
    said = {"arguments": dict(request.arguments), "reason": request.reason, "diagnosis": request.diagnosis}
    if action is None:
        unknown = {
            "connector": "",
            "known": False,
            "effect": "write",
            "reversibility": "irreversible",
            "idempotent": False,
        }
        return {
            "name": request.action,
            **unknown,
            "cost": 1,
            "destinations": [],
            "data_classes": [],
            "untrusted_result": True,
            "properties": said,
        }
    return {
        "name": action.name,
        "connector": action.connector,
        "known": True,
        "effect": action.effect.value,
        "reversibility": action.reversibility,
        "idempotent": action.idempotent,
        "cost": action.cost_of(request.arguments),
        "destinations": list(action.destinations),
        "data_classes": list(action.data_classes),
        "untrusted_result": bool(action.attacker_writable),
        "properties": said,
    }


def _model(request: ActionRequest, endpoint: Mapping[str, str]) -> dict[str, Any]:
    """Facts about a model call; the empty form for every other action."""
    if request.content is None:
        return dict(NO_MODEL)
    arguments = request.arguments
    return {
        "provider": endpoint.get("provider", ""),
        "name": arguments["model"],
        "region": endpoint.get("region", ""),
        "tools": arguments["tools"],
        "max_tokens": arguments["max_tokens"],
    }
