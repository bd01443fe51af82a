"""Agents: what is stopped, and the kill switch in two steps. Stopping needs a role and the log, no answer of policy."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BadRequest, Denied
from broker.model import Json, Principal
from broker.web.console import words
from broker.web.console.desk import Desk

PAGE = "/console/agents"
READ = "gate.agents.read"
RESUME = "gate.kill.resume"
SCOPES = ("agent", "connector", "tenant", "all")
REASON_CHARACTERS = 4_096
TARGET_CHARACTERS = 300
Check = Callable[[Principal, str, str], None]


class Pull(Protocol):
    """The switch: pulled and on record, or the ``BrokerError`` that stopped it."""

    def __call__(self, principal: Principal, *, scope: str, target: str, reason: str) -> Awaitable[Mapping[str, Json]]:
        """Pull the switch; ``changed`` of the answer says whether it was not pulled before."""
        ...


@dataclass(frozen=True, slots=True)
class Stopped:
    """One switch that is pulled."""

    scope: str
    target: str
    at: int


@dataclass(frozen=True, slots=True)
class AgentsView:
    """What is stopped; ``why_not`` says why this person may stop nothing, or is empty."""

    stopped: list[Stopped]
    scopes: tuple[str, ...]
    why_not: str
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
        told = await self._desk.ask(request, READ)
        principal = (await self._desk.visit(request)).principal
        view = AgentsView(_stopped(told.value), SCOPES, self._why_not(principal, "tenant", ""), told.receipt)
        return await self._desk.render(request, "agents.html", view, title=words.agents.title)

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
        done = await self._pull(principal, scope=scope, target=target, reason=_reason(form))
        return self._desk.see_other(PAGE, told=words.agents.pulled if done["changed"] else words.agents.was_pulled)

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
