"""Agents: who acts here, everything about one, and the kill switch in two steps.

Stopping needs a role and the log, no answer of policy. A form counts once: sent again, it says how things stand.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BadRequest, Denied
from broker.model import Json, Principal
from broker.web.console import words
from broker.web.console.desk import Desk
from broker.web.console.pages.usage import RoomView, room_of

PAGE = "/console/agents"
READ = "gate.agents.read"
RESUME = "gate.kill.resume"
SCOPES = ("agent", "connector", "tenant", "all")
KINDS = ("", "agent", "human", "workload")
REASON_CHARACTERS = 4_096
TARGET_CHARACTERS = 300
Check = Callable[[Principal, str, str], None]


class Pull(Protocol):
    """The switch: pulled and on record, or the ``BrokerError`` that stopped it."""

    def __call__(
        self, principal: Principal, *, scope: str, target: str, reason: str, key: str
    ) -> Awaitable[Mapping[str, Json]]:
        """Pull the switch; ``changed``: it was not pulled before; ``stopped``: it is now. One ``key`` pulls once."""
        ...


@dataclass(frozen=True, slots=True)
class Stopped:
    """One switch that is pulled."""

    scope: str
    target: str
    at: int


@dataclass(frozen=True, slots=True)
class PartyView:
    """One line of the list. ``stopped`` names what stops it, or is empty; ``stop`` leads to the switch's second step."""

    who: str
    name: str
    kind: str
    roles: list[str]
    last_at: int
    stopped: str
    stop: str


@dataclass(frozen=True, slots=True)
class AgentsView:
    """Who acts here and what is stopped; ``why_not`` says why this person may stop nothing, or is empty."""

    stopped: list[Stopped]
    parties: list[PartyView]
    kinds: tuple[str, ...]
    kind: str
    newest: str
    older: str
    scopes: tuple[str, ...]
    why_not: str
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AgentView:
    """All that is known of one. ``agent`` is the act's answer; ``grants`` stand by connector."""

    agent: Mapping[str, Any]
    key: tuple[str, str]
    """How its token is bound, and the key's thumbprint; empty where it is not."""
    grants: list[tuple[str, list[Mapping[str, Any]]]]
    rooms: list[RoomView]
    stopped: str
    stop: str
    why_not: str
    log: str
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StopView:
    """The second step: what would be stopped, and what that does."""

    scope: str
    target: str
    already: bool
    why_not: str
    receipt: Mapping[str, Any]


class AgentsPage:
    """``/console/agents`` and below."""

    def __init__(self, desk: Desk, check: Check, pull: Pull) -> None:
        """``check`` raises where somebody may not pull a switch; ``pull`` does it."""
        self._desk = desk
        self._check = check
        self._pull = pull

    async def console_agents(self, request: Request) -> Response:
        """GET /console/agents."""
        query = request.query_params
        kind = query.get("kind", "")
        said: dict[str, Json] = {"what": "page", "kind": kind, "after": query.get("after", "")}
        told = await self._desk.ask(request, READ, said)
        principal = (await self._desk.visit(request)).principal
        stopped, after = _stopped(told.value), told.value["after"]
        view = AgentsView(
            stopped=stopped,
            parties=[_party(one, stopped) for one in told.value["agents"]],
            kinds=KINDS,
            kind=kind,
            newest=f"{PAGE}?" + urlencode({"kind": kind}) if query.get("after") else "",
            older=f"{PAGE}?" + urlencode({"kind": kind, "after": after}) if after else "",
            scopes=SCOPES,
            why_not=self._why_not(principal, "tenant", ""),
            receipt=told.receipt,
        )
        return await self._desk.render(request, "agents.html", view, title=words.agents.title)

    async def console_agent(self, request: Request) -> Response:
        """GET /console/agents/one: by its pseudonym or its id."""
        named = request.query_params.get("agent", "")
        if not named or len(named) > TARGET_CHARACTERS:
            raise BadRequest(words.agents.no_name, code="request.parameter", remedy=words.agents.no_name_remedy)
        told = await self._desk.ask(request, READ, {"what": "one", "agent": named})
        principal = (await self._desk.visit(request)).principal
        agent = told.value["agent"]
        line = _party(agent, _stopped(told.value))
        bound, _, thumbprint = agent["key"].partition(":")
        by_connector: dict[str, list[Mapping[str, Any]]] = {}
        for one in agent["grants"]:
            by_connector.setdefault(one["connector"], []).append(one)
        view = AgentView(
            agent=agent,
            key=(words.agents.bindings.get(bound, bound), thumbprint) if bound else ("", ""),
            grants=sorted(by_connector.items()),
            rooms=[room_of(one) for one in agent["rooms"]],
            stopped=line.stopped,
            stop=line.stop,
            why_not=self._why_not(principal, "agent", agent["name"]) if agent["name"] else words.agents.nameless,
            log="/console/audit?" + urlencode({"principal": agent["who"], "own": "1"}),
            receipt=told.receipt,
        )
        return await self._desk.render(request, "agent.html", view, title=agent["name"] or words.agents.one)

    async def console_agents_stop(self, request: Request) -> Response:
        """GET /console/agents/stop: the second step; it stops nothing."""
        scope, target = _named(request.query_params.get("scope", ""), request.query_params.get("target", ""))
        told = await self._desk.ask(request, READ)
        principal = (await self._desk.visit(request)).principal
        already = any((one.scope, one.target) == (scope, target) for one in _stopped(told.value))
        view = StopView(scope, target, already, self._why_not(principal, scope, target), told.receipt)
        return await self._desk.render(request, "agents_stop.html", view, title=words.agents.stop)

    async def console_agents_kill(self, request: Request) -> Response:
        """POST /console/agents/kill."""
        form = await self._desk.form(request)
        scope, target = _named(form.get("scope", ""), form.get("target", ""))
        principal = (await self._desk.visit(request)).principal
        done = await self._pull(principal, scope=scope, target=target, reason=_reason(form), key=form.get("key", ""))
        again = words.agents.was_pulled if done["stopped"] else words.agents.runs_since
        return self._desk.see_other(PAGE, told=words.agents.pulled if done["changed"] else again)

    async def console_agents_resume(self, request: Request) -> Response:
        """POST /console/agents/resume."""
        form = await self._desk.form(request)
        scope, target = _named(form.get("scope", ""), form.get("target", ""))
        said = {"scope": scope, "target": target}
        told = await self._desk.ask(request, RESUME, said, reason=_reason(form), key=form.get("key", ""))
        return self._desk.see_other(PAGE, told=words.agents.resumed if told.status == "done" else words.common.waiting)

    def _why_not(self, principal: Principal, scope: str, target: str) -> str:
        """Why this person may not pull the switch, or empty."""
        try:
            self._check(principal, scope, target)
        except Denied as denied:
            return denied.detail
        return ""


def _stopped(value: Mapping[str, Any]) -> list[Stopped]:
    return [Stopped(one["scope"], one["target"], one["at"]) for one in value["stopped"]]


def _party(one: Mapping[str, Any], stopped: list[Stopped]) -> PartyView:
    """A party as a line, with whatever stops it."""
    stops = [each.scope for each in stopped if each.scope != "connector" and each.target in ("", one["name"])]
    return PartyView(
        who=one["who"],
        name=one["name"],
        kind=words.agents.kinds.get(one["kind"], one["kind"]),
        roles=one["roles"],
        last_at=one["last_at"],
        stopped=words.agents.scopes[stops[0]] if stops else "",
        stop=f"{PAGE}/stop?" + urlencode({"scope": "agent", "target": one["name"]}) if one["name"] else "",
    )


def _named(scope: str, target: str) -> tuple[str, str]:
    """Scope and target that belong together; raises ``BadRequest``."""
    target = target.strip()
    if scope not in SCOPES or bool(target) != (scope in ("agent", "connector")) or len(target) > TARGET_CHARACTERS:
        raise BadRequest(words.agents.form, code="kill.target", remedy=words.agents.form_remedy)
    return scope, target


def _reason(form: Mapping[str, str]) -> str:
    """Why; people are told it, so it is not left out."""
    reason = form.get("reason", "").strip()
    if not reason or len(reason) > REASON_CHARACTERS:
        raise BadRequest(words.agents.no_reason, code="request.parameter", remedy=words.agents.no_reason_remedy)
    return reason
