"""Incidents: the list, one with everything that is known of it, what people do in it, and its post-mortem."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BadRequest
from broker.web.console import words
from broker.web.console.desk import Desk
from broker.web.console.pages.chart import Chart, chart
from broker.web.routes import ROUTES

PAGE = "/console/incidents"
READ = "gate.incidents.read"
DIRECT = "gate.incidents.direct"
KINDS = ("rule_out", "correct", "take_over", "hand_back", "outside_change", "close")
LINES = 200
"""Entries of the timeline on one page."""
_STATE_LOOKS = {
    "mitigated": "good",
    "closed": "plain",
    "linked": "plain",
    "noise": "plain",
    "escalated": "bad",
    "human_hold": "warn",
    "awaiting_approval": "warn",
}
_CLAIM_LOOKS = {"verified": "good", "refuted": "bad", "unverifiable": "warn"}
_OUTCOME_LOOKS = {"improved": "good", "worse": "bad", "unchanged": "warn", "unknown": "warn"}
_EXPORTS = "/console/exports"
_INBOX = "/console/inbox"


@dataclass(frozen=True, slots=True)
class Row:
    """An incident on one line."""

    path: str
    id: str
    title: str
    service: str
    env: str
    severity: str
    state: str
    look: str
    since: int
    changed: int
    holder: str

    @classmethod
    def of(cls, one: Mapping[str, Any]) -> "Row":
        """From an incident as answers carry it."""
        return cls(
            path=f"{PAGE}/{quote(one['id'], safe='')}",
            id=one["id"],
            title=one["title"],
            service=one["service"],
            env=one["env"],
            severity=words.incidents.severities.get(one["severity"], str(one["severity"])),
            state=one["state"],
            look=_STATE_LOOKS.get(one["state"], "warn"),
            since=one["since"],
            changed=one["changed_at"],
            holder=one["holder"],
        )


@dataclass(frozen=True, slots=True)
class ListView:
    """The list and its filter."""

    rows: list[Row]
    state: str
    states: list[str]
    older: str
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Level:
    """One service level before and after; figures are decimal text, None where none could be measured."""

    name: str
    component: str
    dependent: bool
    before: str | None
    after: list[str | None]
    chart: Chart | None


@dataclass(frozen=True, slots=True)
class Measured:
    """One verification."""

    at: int
    verdict: str
    look: str
    action: str
    levels: list[Level]


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the agent, and what the gate found."""

    text: str
    role: str
    observation: str
    test: str
    actual: str
    verdict: str
    look: str
    reason: str


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """A diagnosis with its claims."""

    id: str
    at: int
    verdict: str
    look: str
    held: bool
    component: str
    fault: str
    summary: str
    confidence: str
    claims: list[Claim]
    ruled_out: list[Mapping[str, Any]]
    missing: list[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Done:
    """A read or a write on record."""

    at: int
    action: str
    resource: str
    arguments: list[tuple[str, str]]
    status: str
    by: str
    action_id: str
    observation: str


@dataclass(frozen=True, slots=True)
class IncidentView:
    """What an incident's page shows."""

    row: Row
    session: str
    until: int
    alerts: int
    labels: list[tuple[str, str]]
    asked: str
    """The action that waits, runs, or is not judged yet; or empty."""
    approval: str
    """Page of the request that waits for a decision, or empty."""
    lines: list[Mapping[str, Any]]
    """A part of the timeline, of ``total``; ``earlier`` and ``later`` are pages, empty where there are none."""
    total: int
    earlier: str
    later: str
    older_diagnoses: int
    """How many are not shown."""
    diagnoses: list[Diagnosed]
    reads: list[Done]
    writes: list[Done]
    measured: list[Measured]
    linked: list[Row]
    kinds: tuple[str, ...]
    over: bool
    audit: str
    exports: str
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RelatedView:
    """What is affected, and who knows."""

    path: str
    impact: Mapping[str, Any]
    experts: Sequence[Mapping[str, Any]]
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoryView:
    """The post-mortem, as Markdown that nobody renders."""

    path: str
    markdown: str
    receipt: Mapping[str, Any]


class IncidentPages:
    """``/console/incidents`` and below."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_incidents(self, request: Request) -> Response:
        """GET /console/incidents."""
        state, after = (request.query_params.get(name, "") for name in ("state", "after"))
        told = await self._desk.ask(request, READ, {"what": "page", "state": state, "after": after})
        older = {name: one for name, one in (("state", state), ("after", told.value["after"])) if one}
        view = ListView(
            rows=[Row.of(one) for one in told.value["incidents"]],
            state=state,
            states=list(words.incidents.states),
            older=f"{PAGE}?{urlencode(older)}" if told.value["after"] else "",
            receipt=told.receipt,
        )
        return await self._desk.render(request, "incidents.html", view, title=words.incidents.title)

    async def console_incident(self, request: Request) -> Response:
        """GET /console/incidents/{id}."""
        whole = (await self._read(request, "whole")).value
        found = (await self._read(request, "events", only="verdicts")).value
        edges = {name: request.query_params.get(name, "") for name in ("before", "after")}
        told = await self._read(request, "timeline", limit=LINES, **edges)
        view = _whole(whole, found["events"], told.value, told.receipt)
        return await self._desk.render(request, "incident.html", view, title=words.incidents.one)

    async def console_incident_related(self, request: Request) -> Response:
        """GET /console/incidents/{id}/related."""
        impact = (await self._read(request, "impact")).value
        told = await self._read(request, "experts")
        view = RelatedView(_path(request), impact, told.value["experts"], told.receipt)
        return await self._desk.render(request, "incident_related.html", view, title=words.incidents.related)

    async def console_postmortem(self, request: Request) -> Response:
        """GET /console/incidents/{id}/postmortem."""
        told = await self._read(request, "postmortem")
        view = StoryView(_path(request), told.value["markdown"], told.receipt)
        return await self._desk.render(request, "postmortem.html", view, title=words.incidents.postmortem)

    async def console_postmortem_file(self, request: Request) -> Response:
        """GET /console/incidents/{id}/postmortem/file: the same as a file."""
        told = await self._read(request, "postmortem")
        headers = {
            "Content-Disposition": 'attachment; filename="postmortem.md"',
            "Content-Security-Policy": "default-src 'none'",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(told.value["markdown"].encode(), headers=headers, media_type="application/octet-stream")

    async def console_incident_note(self, request: Request) -> Response:
        """POST /console/incidents/{id}/notes."""
        form = await self._desk.form(request)
        said = {"incident": request.path_params["id"], "text": form.get("text", "")}
        return await self._done(request, "gate.incidents.note", said, form)

    async def console_incident_step(self, request: Request) -> Response:
        """POST /console/incidents/{id}/steps: rule out, correct, take over, hand back, outside change, close."""
        form = await self._desk.form(request)
        if form.get("kind") not in KINDS:
            raise BadRequest(words.incidents.no_kind, code="request.parameter", remedy=words.incidents.no_kind_remedy)
        said = {name: form.get(name, "").strip() for name in ("text", "component", "fault")}
        return await self._done(
            request, DIRECT, {"incident": request.path_params["id"], "kind": form["kind"], **said}, form
        )

    async def _done(self, request: Request, action: str, said: Mapping[str, Any], form: Mapping[str, str]) -> Response:
        told = await self._desk.ask(request, action, said, key=form.get("key", ""))
        return self._desk.see_other(
            _path(request), told=words.incidents.done if told.status == "done" else words.common.waiting
        )

    async def _read(self, request: Request, what: str, **said: Any) -> Any:
        return await self._desk.ask(request, READ, {"incident": request.path_params["id"], "what": what, **said})


def _path(request: Request) -> str:
    return f"{PAGE}/{quote(request.path_params['id'], safe='')}"


def _whole(
    whole: Mapping[str, Any],
    verdicts: Sequence[Mapping[str, Any]],
    told: Mapping[str, Any],
    receipt: Mapping[str, Any],
) -> IncidentView:
    stands, actions = whole["incident"], told["actions"]
    path = Row.of(stands).path
    state, exports = stands["state"], any(route.path == _EXPORTS for route in ROUTES)
    return IncidentView(
        row=Row.of(stands),
        session=stands["session"],
        until=stands["until"] or 0,
        alerts=stands["alerts"],
        labels=_pairs(stands["alert"]),
        asked=whole["asked"],
        approval=_waiting(state, whole["events"]),
        lines=told["entries"],
        total=told["total"],
        earlier=f"{path}?{urlencode({'before': told['before']})}#timeline" if told["before"] else "",
        later=f"{path}?{urlencode({'after': told['after']})}#timeline" if told["after"] else "",
        older_diagnoses=max(0, whole["diagnoses_part"]["total"] - len(whole["diagnoses"])),
        diagnoses=[_diagnosed(one, stands["diagnosis"]) for one in whole["diagnoses"]],
        reads=[_act(one) for one in actions if one["effect"] != "write"],
        writes=[_act(one) for one in actions if one["effect"] == "write"],
        measured=_measured(verdicts),
        linked=[Row.of(one) for one in whole["linked"]],
        kinds=tuple(one for one in KINDS if one != ("take_over" if state == "human_hold" else "hand_back")),
        over=state in {"linked", "closed"},
        audit="/console/audit?" + urlencode({"incident": stands["id"], "own": "1"}),
        exports=f"{_EXPORTS}?{urlencode({'incident': stands['id']})}" if exports else "",
        receipt=receipt,
    )


def _waiting(state: str, events: Iterable[Mapping[str, Any]]) -> str:
    """The page on which the incident's request is decided, while it waits."""
    if state != "awaiting_approval":
        return ""
    asked = [str(event["body"]["approval"]) for event in events if event["body"].get("approval")]
    return f"{_INBOX}/{quote(asked[-1], safe='')}" if asked else ""


def _measured(events: Iterable[Mapping[str, Any]]) -> list[Measured]:
    """Every verdict on a remedy, with what was measured for it."""
    return [
        Measured(
            at=event["at"],
            verdict=event["body"]["verdict"],
            look=_OUTCOME_LOOKS.get(event["body"]["verdict"], "warn"),
            action=event["body"].get("action", ""),
            levels=[
                Level(
                    **{name: one[name] for name in ("name", "component", "dependent", "before", "after")}, chart=drawn
                )
                for one in event["body"]["levels"]
                for drawn in (chart(one["before"], one["after"]),)
            ],
        )
        for event in events
        if event["from_state"] == "verifying" and event["actor"] == "gate" and "levels" in event["body"]
    ]


def _diagnosed(one: Mapping[str, Any], stands_on: str) -> Diagnosed:
    cause = one["cause"]
    return Diagnosed(
        id=one["id"],
        at=one["at"],
        verdict=one["verdict"],
        look="good" if one["verdict"] == "diagnosed" else "warn",
        held=one["id"] == stands_on,
        component=cause["component"],
        fault=cause["fault"],
        summary=cause["summary"],
        confidence=f"{one['confidence_milli'] / 10:.1f} %",
        claims=[_claim(claim) for claim in one["claims"]],
        ruled_out=one["ruled_out"],
        missing=one["missing"],
    )


def _claim(one: Mapping[str, Any]) -> Claim:
    return Claim(
        text=one.get("text", ""),
        role=one["role"],
        observation=one["observation"],
        test=f"{one['selector']} {one['op']} {_text(one['value']) if 'value' in one else ''}".rstrip(),
        actual="" if one["actual"] is None else _text(one["actual"]),
        verdict=one["verdict"],
        look=_CLAIM_LOOKS.get(one["verdict"], "warn"),
        reason=one["reason"] or "",
    )


def _act(one: Mapping[str, Any]) -> Done:
    resource = one["resource"]
    return Done(
        at=one["at"],
        action=one["action"],
        resource=" ".join(str(resource[name]) for name in ("type", "id", "env") if name in resource),
        arguments=_pairs(one["arguments"]),
        status=one["status"],
        by=one["by"],
        action_id=one["action_id"],
        observation=one["observation"],
    )


def _pairs(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A table of values as lines."""
    return [(str(name), _text(value)) for name, value in sorted(told.items())]


def _text(value: Any) -> str:
    """A value as it stands on record: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
