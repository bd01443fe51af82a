"""Every route, with the action that it is: the table that the app is built from and the access matrix is tested against.

``access`` says who answers for it: ``pipeline`` (decided and recorded), ``owner`` (delivers again to its requester what
is on record), ``role`` (the kill switch: a configured role and the log), ``public`` (says nothing about anybody), or
``token`` (a configured service token), or ``console`` (a person's login, read by the console's routes alone; the page is an
action like any other). ``lane``, ``wire``, ``large`` and ``form`` are what the guard must know of a route
before it reads a body.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from starlette.routing import compile_path

from broker.web import schemas
from broker.web.resource import PATH as PROTECTED_RESOURCE


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    handler: str
    action: str
    access: str
    summary: str
    body: type[schemas.Body] | None = None
    hot: bool = False
    """Answered before the router; the path has no parameters."""
    lane: Literal["work", "control"] = "work"
    """``control`` gets in when everything else is turned away: health, the kill switch, reviews."""
    wire: Literal["gate", "provider", "authzen"] = "gate"
    """``provider``: refusals are in the model provider's form, and the answer may be a stream without a deadline.
    ``authzen``: refusals and the asker's own name of a request are as AuthZEN has them."""
    large: bool = False
    """The body may be as large as a model call's."""
    long: bool = False
    """A control whose body may be as long as that of other work; it is read only while there is room for it."""
    stream: bool = False
    """The answer goes on as long as its reader stays: no deadline."""
    form: bool = False
    """The body may be a form."""


def _authzen(where: str, act: str, summary: str, body: type[schemas.Body]) -> Route:
    """A question of an enforcement point elsewhere."""
    name, action = f"authzen_{where.replace('/', '_')}", f"gate.decision.{act}"
    return Route("POST", f"/access/v1/{where}", name, action, "pipeline", summary, body, wire="authzen")


def _console(  # noqa: PLR0913, PLR0917 - one argument a column
    method: str, path: str, handler: str, action: str, summary: str, access: str = "console"
) -> Route:
    """A page of the console, or what a form or a fragment of it asks for."""
    lane: Literal["work", "control"] = "control" if path.startswith(("/console/inbox", "/console/agents")) else "work"
    return Route(method, path, handler, action, access, summary, lane=lane, form=method == "POST")


MODEL_PATHS = "/llm/"
"""Where the model's routes are: a token may come there as providers' clients send their keys, in ``x-api-key``."""
AUTHZEN_METADATA = "/.well-known/authzen-configuration"


class Table:
    """Finds the route of a request as the router behind it does: the same patterns, in the same order."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """A method ``*`` is any method: a mounted application."""
        self._routes: list[tuple[re.Pattern[str], Route]] = [(compile_path(one.path)[0], one) for one in routes]
        plain = [route for _, route in self._routes if "{" not in route.path]
        self._plain = {(one.method, one.path): self._search(one.method, one.path) for one in plain}

    def find(self, method: str, path: str) -> tuple[Route | None, tuple[str, ...]]:
        """The route, and the methods that the path takes; both are empty where there is no such path."""
        return self._plain.get((method, path)) or self._search(method, path)

    def _search(self, method: str, path: str) -> tuple[Route | None, tuple[str, ...]]:
        matching = [route for pattern, route in self._routes if pattern.match(path)]
        route = next((one for one in matching if one.method in (method, "*")), None)
        return route, tuple(sorted({one.method for one in matching}))


ROUTES: tuple[Route, ...] = (
    Route("GET", "/livez", "livez", "-", "public", "the process runs", lane="control"),
    Route(
        "GET",
        "/readyz",
        "readyz",
        "-",
        "public",
        "a verified policy, the log and the key sets are there",
        lane="control",
    ),
    Route("GET", "/metrics", "metrics", "-", "public", "counts for Prometheus, without content"),
    Route("GET", PROTECTED_RESOURCE, "protected_resource", "-", "public", "whose tokens are believed (RFC 9728)"),
    Route("GET", PROTECTED_RESOURCE + "/{path}", "protected_path", "-", "public", "the same, for one path of the gate"),
    Route("GET", "/bundles/broker.tar.gz", "bundle", "-", "token", "the verified policy bundle, for OPA"),
    Route(
        "POST",
        "/v1/sessions",
        "open_session",
        "gate.session.open",
        "pipeline",
        "open a session",
        schemas.SessionBody,
        hot=True,
    ),
    Route("DELETE", "/v1/sessions/{id}", "close_session", "gate.session.close", "pipeline", "close a session"),
    Route("GET", "/v1/actions", "actions", "gate.catalog.read", "pipeline", "list the actions that exist"),
    Route("POST", "/v1/actions", "act", "*", "pipeline", "ask for one action", schemas.ActionBody, hot=True),
    Route("GET", "/v1/actions/{id}", "action", "gate.actions.read", "owner", "state of one's own action"),
    Route(
        "GET",
        "/v1/observations/{id}",
        "observation",
        "gate.observation.read",
        "pipeline",
        "a kept result, redacted and whole",
    ),
    Route(
        "GET", "/v1/approvals", "approvals", "gate.approvals.read", "pipeline", "what waits for people", lane="control"
    ),
    Route(
        "GET",
        "/v1/approvals/{id}",
        "approval",
        "gate.approvals.read",
        "pipeline",
        "everything a reviewer must see",
        lane="control",
    ),
    Route(
        "POST",
        "/v1/approvals/{id}/reviews",
        "review",
        "gate.review.create",
        "pipeline",
        "approve or deny",
        schemas.ReviewBody,
        lane="control",
    ),
    Route(
        "POST",
        "/v1/approvals/{id}/acknowledgements",
        "acknowledge",
        "gate.review.acknowledge",
        "pipeline",
        "say that one has seen that it may run by itself",
        schemas.AcknowledgementBody,
        lane="control",
    ),
    Route("GET", "/v1/policies", "policies", "gate.policy.read", "pipeline", "the active policy and its history"),
    Route(
        "POST",
        "/v1/policies/simulate",
        "simulate",
        "gate.policy.simulate",
        "pipeline",
        "what policy would decide",
        schemas.SimulateBody,
    ),
    Route(
        "POST",
        "/v1/policies/activate",
        "activate",
        "gate.policy.activate",
        "pipeline",
        "activate a signed bundle",
        schemas.ActivateBody,
    ),
    Route(
        "POST",
        "/v1/policies/rollback",
        "rollback",
        "gate.policy.rollback",
        "pipeline",
        "go back to an earlier bundle",
        schemas.RollbackBody,
    ),
    Route("GET", "/v1/audit/entries", "entries", "gate.audit.read", "pipeline", "records of the log"),
    Route("GET", "/v1/audit/entries/{seq}", "entry", "gate.audit.read", "pipeline", "one record and what holds of it"),
    Route("GET", "/v1/audit/search", "search", "gate.audit.search", "pipeline", "records by who, what, when and why"),
    Route("GET", "/v1/audit/consistency", "consistency", "gate.audit.read", "pipeline", "one checkpoint after another"),
    Route("GET", "/v1/audit/checkpoint", "checkpoint", "gate.audit.read", "pipeline", "the signed checkpoint"),
    Route("GET", "/v1/audit/proof/{seq}", "proof", "gate.audit.read", "pipeline", "inclusion proof of one record"),
    Route("GET", "/v1/audit/export", "export", "gate.audit.export", "pipeline", "exact leaf bytes, a page at a time"),
    Route("GET", "/v1/events", "events", "gate.events.read", "pipeline", "the log as it grows (SSE)", stream=True),
    Route(
        "POST",
        "/v1/exports",
        "exports_create",
        "gate.exports.create",
        "pipeline",
        "make an export of the log",
        schemas.ExportBody,
    ),
    Route("GET", "/v1/exports", "exports", "gate.exports.read", "pipeline", "exports and how far they are"),
    Route("GET", "/v1/exports/{export}", "export_one", "gate.exports.read", "pipeline", "one export"),
    Route("GET", "/v1/exports/{export}/file", "export_file", "gate.exports.fetch", "pipeline", "its bytes"),
    Route(
        "POST",
        "/v1/redactions",
        "redact",
        "gate.redaction.run",
        "pipeline",
        "what redaction makes of a text; nothing of it is kept",
        schemas.RedactionBody,
    ),
    Route("GET", "/v1/agents", "agents", "gate.agents.read", "pipeline", "who and what is stopped, and who acts here"),
    Route("GET", "/v1/usage", "usage", "gate.usage.read", "pipeline", "tokens, money, and what is left of limits"),
    Route("GET", "/v1/breakglass", "breakglass", "gate.breakglass.read", "pipeline", "what was opened", lane="control"),
    Route(
        "POST",
        "/v1/breakglass",
        "breakglass_open",
        "gate.breakglass.open",
        "pipeline",
        "ask for it",
        schemas.BreakglassBody,
        lane="control",
    ),
    Route(
        "POST",
        "/v1/breakglass/{id}/confirm",
        "breakglass_confirm",
        "gate.breakglass.confirm",
        "pipeline",
        "open it as the second person",
        schemas.ReasonBody,
        lane="control",
    ),
    Route(
        "POST",
        "/v1/breakglass/{id}/end",
        "breakglass_end",
        "gate.breakglass.end",
        "pipeline",
        "end it before its time",
        schemas.ReasonBody,
        lane="control",
    ),
    Route(
        "POST",
        "/v1/breakglass/{id}/review",
        "breakglass_review",
        "gate.breakglass.review",
        "pipeline",
        "look back at it",
        schemas.ReasonBody,
        lane="control",
    ),
    Route(
        "POST",
        "/v1/kill",
        "kill",
        "-",
        "role",
        "stop an agent, a connector, a tenant or all",
        schemas.KillBody,
        lane="control",
    ),
    Route(
        "POST",
        "/v1/kill/resume",
        "resume",
        "gate.kill.resume",
        "pipeline",
        "let it run again",
        schemas.KillBody,
        lane="control",
    ),
    Route(
        "POST",
        "/v1/webhooks/alertmanager",
        "alertmanager",
        "gate.incidents.receive",
        "pipeline",
        "alerts of Prometheus' Alertmanager (v4)",
        lane="control",
        long=True,
    ),
    Route(
        "POST",
        "/v1/incidents",
        "report",
        "gate.incidents.receive",
        "pipeline",
        "report an alert",
        schemas.IncidentBody,
        lane="control",
        long=True,
    ),
    Route("GET", "/v1/incidents", "incidents", "gate.incidents.read", "pipeline", "incidents, the newest first"),
    Route("GET", "/v1/incidents/{id}", "incident", "gate.incidents.read", "pipeline", "all that is known of one"),
    Route("GET", "/v1/incidents/{id}/events", "events_of", "gate.incidents.read", "pipeline", "its events, in parts"),
    Route("GET", "/v1/incidents/{id}/diagnoses", "diagnoses_of", "gate.incidents.read", "pipeline", "in parts"),
    Route(
        "GET", "/v1/incidents/{id}/timeline", "timeline", "gate.incidents.read", "pipeline", "what happened, in order"
    ),
    Route("GET", "/v1/incidents/{id}/postmortem", "postmortem", "gate.incidents.read", "pipeline", "from records only"),
    Route("GET", "/v1/incidents/{id}/impact", "impact", "gate.incidents.read", "pipeline", "what all is affected"),
    Route("GET", "/v1/incidents/{id}/experts", "experts", "gate.incidents.read", "pipeline", "who knows about this"),
    Route(
        "POST",
        "/v1/incidents/{id}/events",
        "event",
        "gate.incidents.direct",
        "pipeline",
        "add a note (gate.incidents.note), or take part as a person",
        schemas.EventBody,
    ),
    Route(
        "POST",
        "/v1/incidents/{id}/diagnoses",
        "diagnose",
        "gate.incidents.diagnose",
        "pipeline",
        "submit claims; the answer is the gate's verdict on each",
        schemas.DiagnosisBody,
    ),
    Route(
        "POST",
        "/v1/work/claim",
        "claim",
        "gate.work.claim",
        "pipeline",
        "claim what is due; 204 where nothing is",
        schemas.ClaimWorkBody,
    ),
    Route(
        "POST",
        "/v1/work/{id}/renew",
        "renew",
        "gate.work.renew",
        "pipeline",
        "hold it for longer",
        schemas.RenewWorkBody,
    ),
    Route(
        "POST", "/v1/work/{id}/finish", "finish", "gate.work.finish", "pipeline", "end the step", schemas.FinishWorkBody
    ),
    # -- AuthZEN: decisions for those who enforce them elsewhere; about oneself it is gate.decision.own… -----------------
    Route("GET", AUTHZEN_METADATA, "authzen_metadata", "-", "public", "where decisions are asked for", wire="authzen"),
    _authzen("evaluation", "evaluate", "what somebody may do", schemas.EvaluationBody),
    _authzen("evaluations", "evaluate", "several such questions", schemas.EvaluationsBody),
    _authzen("search/subject", "search", "who may do something", schemas.SubjectSearchBody),
    _authzen("search/resource", "search", "to what somebody may do it", schemas.ResourceSearchBody),
    _authzen("search/action", "search", "what somebody may do to something", schemas.ActionSearchBody),
    Route(
        "POST",
        "/llm/anthropic/v1/messages",
        "messages",
        "llm.messages.create",
        "pipeline",
        "a model call on the provider's wire",
        hot=True,
        wire="provider",
        large=True,
    ),
    Route(
        "POST",
        "/llm/anthropic/v1/messages/count_tokens",
        "count",
        "llm.tokens.count",
        "pipeline",
        "count tokens",
        hot=True,
        wire="provider",
        large=True,
    ),
    Route(
        "GET",
        "/llm/anthropic/v1/models",
        "models",
        "llm.models.list",
        "pipeline",
        "models of the provider",
        hot=True,
        wire="provider",
    ),
    # -- the Model Context Protocol ---------------------------------------------------------------------------------------
    Route("POST", "/mcp", "mcp", "*", "pipeline", "one message of an MCP client", hot=True, stream=True),
    Route("GET", "/mcp", "mcp_stream", "gate.catalog.read", "pipeline", "that the tools changed (SSE)", stream=True),
    Route("DELETE", "/mcp", "mcp_end", "gate.session.close", "pipeline", "an MCP client's session ends"),
    # -- the console: sign-in, then one row a page and one a form -------------------------------------------------------
    _console("GET", "/console/static/{name}", "console_static", "-", "stylesheet and script", "public"),
    _console("GET", "/console/static/vendor/{name}", "console_vendor", "-", "htmx", "public"),
    _console("GET", "/console/signin", "console_signin", "-", "to the identity provider", "public"),
    _console("GET", "/console/callback", "console_callback", "-", "back from the identity provider", "public"),
    _console("GET", "/console/signedout", "console_signedout", "-", "after a sign-out", "public"),
    _console("POST", "/console/backchannel", "console_backchannel", "-", "the provider's logout token", "public"),
    _console("POST", "/console/signout", "console_signout", "-", "sign out"),
    _console("GET", "/console", "console_home", "-", "the first page that one may open"),
    _console("GET", "/console/live", "console_live", "gate.events.read", "the log as it grows"),
    replace(
        _console("GET", "/console/live/stream", "console_live_stream", "gate.events.read", "its rows (SSE)"),
        stream=True,
    ),
    _console("GET", "/console/audit", "console_audit", "gate.audit.search", "search the log"),
    _console("POST", "/console/audit/views", "console_audit_view", "gate.views.write", "keep or forget filters"),
    _console("GET", "/console/audit/consistency", "console_audit_consistency", "gate.audit.read", "two checkpoints"),
    _console("GET", "/console/audit/{seq}", "console_audit_entry", "gate.audit.read", "one record"),
    _console("GET", "/console/audit/{seq}/proof", "console_audit_proof", "gate.audit.read", "its proof as a file"),
    _console("GET", "/console/audit/{seq}/leaf", "console_audit_leaf", "gate.audit.read", "its bytes as a file"),
    _console("GET", "/console/inbox", "console_inbox", "gate.approvals.read", "what waits for people"),
    _console("GET", "/console/inbox/{id}", "console_approval", "gate.approvals.read", "all of one waiting request"),
    _console("POST", "/console/inbox/{id}/reviews", "console_review", "gate.review.create", "approve or deny"),
    _console(
        "POST", "/console/inbox/{id}/acknowledgements", "console_acknowledge", "gate.review.acknowledge", "acknowledge"
    ),
    _console("GET", "/console/agents", "console_agents", "gate.agents.read", "what is stopped"),
    _console("GET", "/console/agents/one", "console_agent", "gate.agents.read", "all that is known of one"),
    _console("GET", "/console/agents/stop", "console_agents_stop", "gate.agents.read", "what stopping would do"),
    _console("POST", "/console/agents/kill", "console_agents_kill", "-", "stop an agent, a connector, or all", "role"),
    _console(
        "GET", "/console/agents/breakglass", "console_breakglass", "gate.breakglass.read", "what two people opened"
    ),
    _console("POST", "/console/agents/breakglass", "console_breakglass_open", "gate.breakglass.open", "ask for it"),
    _console(
        "POST",
        "/console/agents/breakglass/{id}/confirm",
        "console_breakglass_confirm",
        "gate.breakglass.confirm",
        "open it as the second person",
    ),
    _console("POST", "/console/agents/breakglass/{id}/end", "console_breakglass_end", "gate.breakglass.end", "end it"),
    _console(
        "POST",
        "/console/agents/breakglass/{id}/review",
        "console_breakglass_review",
        "gate.breakglass.review",
        "look back",
    ),
    _console("POST", "/console/agents/resume", "console_agents_resume", "gate.kill.resume", "let it run again"),
    _console("GET", "/console/incidents", "console_incidents", "gate.incidents.read", "incidents, the newest first"),
    _console("GET", "/console/incidents/{id}", "console_incident", "gate.incidents.read", "all that is known of one"),
    _console(
        "GET", "/console/incidents/{id}/related", "console_incident_related", "gate.incidents.read", "who and what"
    ),
    _console("GET", "/console/incidents/{id}/postmortem", "console_postmortem", "gate.incidents.read", "from records"),
    _console(
        "GET", "/console/incidents/{id}/postmortem/file", "console_postmortem_file", "gate.incidents.read", "as a file"
    ),
    _console("POST", "/console/incidents/{id}/notes", "console_incident_note", "gate.incidents.note", "add a note"),
    _console("POST", "/console/incidents/{id}/steps", "console_incident_step", "gate.incidents.direct", "take part"),
    _console("GET", "/console/observations/{id}", "console_observation", "gate.observation.read", "a kept result"),
    _console("GET", "/console/exports", "console_exports", "gate.exports.read", "exports of the log"),
    _console("POST", "/console/exports", "console_exports_create", "gate.exports.create", "make one"),
    _console("GET", "/console/exports/{export}/file", "console_exports_file", "gate.exports.fetch", "its bytes"),
    _console("GET", "/console/usage", "console_usage", "gate.usage.read", "tokens, money and limits"),
    _console("GET", "/console/redaction", "console_redaction", "gate.redaction.run", "a text to be looked at"),
    _console("POST", "/console/redaction", "console_redaction_look", "gate.redaction.run", "what a model would see"),
    _console("GET", "/console/keys", "console_keys", "gate.authenticators.read", "with what people sign"),
    _console("POST", "/console/keys", "console_keys_register", "gate.authenticators.register", "register one's own"),
    _console("POST", "/console/keys/confirm", "console_keys_confirm", "gate.authenticators.confirm", "another's"),
    _console("POST", "/console/keys/remove", "console_keys_remove", "gate.authenticators.remove", "take one away"),
    _console("GET", "/console/policies", "console_policies", "gate.policy.read", "revisions of the policy"),
    _console("GET", "/console/policies/{digest}", "console_policy", "gate.policy.read", "what one says"),
    _console(
        "POST", "/console/policies/{digest}", "console_policy_change", "gate.policy.activate", "put it into force"
    ),
    _console(
        "GET", "/console/policies/{digest}/source", "console_policy_source", "gate.policy.read", "one of its files"
    ),
    _console(
        "GET", "/console/policies/{digest}/results", "console_policy_results", "gate.policy.test", "its tests, run"
    ),
    _console(
        "GET",
        "/console/policies/{digest}/difference",
        "console_policy_difference",
        "gate.policy.read",
        "what it changes",
    ),
    _console("GET", "/console/simulate", "console_simulate", "gate.policy.simulate", "a request to be explained"),
    _console("POST", "/console/simulate", "console_simulate_ask", "gate.policy.simulate", "what policy would decide"),
    _console("GET", "/console/health", "console_health", "gate.health.read", "health and settings"),
)
