"""Which of the gate's sessions a client's calls belong to.

In this order: the header ``Wicketgate-Session``; ``Mcp-Session-Id``, which is a session of the gate, too (so any replica
knows it, and only its own principal has it); ``_meta["wicketgate/session"]``; and else the principal's own running session
of this door. A session that the door opens is opened by the action ``gate.session.open`` like any other, with an intent
that is not trusted: what a client is for, nobody said.
"""

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request

from broker.acts import CLIENT
from broker.clock import Clock, seconds
from broker.errors import BadRequest, Denied, NotFound
from broker.identity import Credential
from broker.model import Json, Principal
from broker.offers import KEPT_SECONDS, stands
from broker.pipeline import Pipeline
from broker.policy.pdp import PolicyDecisionPoint
from broker.reading import GATE, OPENING, Ask
from broker.sessions import Sessions

META = "wicketgate/session"
MCP_HEADER = "mcp-session-id"
OWN_HEADER = "wicketgate-session"
ENDED_MAX = 64
"""So many sessions of its own a principal may close before the door's next window begins."""
PRINCIPALS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """The session of one call, and the credential that the rest of the request goes on with."""

    session: str
    credential: Credential


@dataclass(frozen=True, slots=True)
class _Known:
    """What was opened last for a principal; an empty session where policy lets them open none, which is looked at anew."""

    window: int
    number: int
    session: str
    policy: str
    until: float = 0.0


class Belonging:
    """Finds or opens the session of a call."""

    def __init__(
        self, *, pipeline: Pipeline, sessions: Sessions, policy: PolicyDecisionPoint, clock: Clock, lifetime_s: int
    ) -> None:
        """``lifetime_s`` is how long a session lives; the door opens one a principal in so many seconds."""
        self._pipeline = pipeline
        self._sessions = sessions
        self._policy = policy
        self._clock = clock
        self._lifetime = lifetime_s
        self._known: OrderedDict[tuple[Json, ...], _Known] = OrderedDict()

    async def of(
        self, request: Request, principal: Principal, credential: Credential, meta: Mapping[str, Any]
    ) -> Place:
        """The call's session; whether one that was named serves the caller is for the pipeline, on record."""
        named = request.headers.get(OWN_HEADER, "") or request.headers.get(MCP_HEADER, "") or meta.get(META, "")
        if named:
            return Place(_form(named), credential)
        return await self._own(principal, credential)

    async def opened(self, request: Request, credential: Credential) -> str:
        """The session of a client that shakes hands: the one it names, else a new one, else none by policy's word."""
        if named := request.headers.get(OWN_HEADER, ""):
            return _form(named)
        try:
            return await self._open(credential, f"mcp-{secrets.token_hex(13)}")
        except Denied:
            return ""  # on record; what needs no session is still there for them

    async def serving(self, request: Request, principal: Principal) -> None:
        """Raise ``NotFound`` where the client's ``Mcp-Session-Id`` is no open session of theirs."""
        if named := request.headers.get(MCP_HEADER, ""):
            await self._sessions.get(principal, _form(named))

    async def _own(self, principal: Principal, credential: Credential) -> Place:
        """The running session of this principal: the same on every replica, because its opening's key is derived."""
        who = (principal.tenant, principal.parties, principal.scopes, principal.acr)
        window, policy = seconds(self._clock) // self._lifetime, self._policy.active
        revision = policy.digest if policy else ""
        known = self._known.get(who)
        if known is None or known.window != window:
            known = _Known(window, 0, "", "")
        elif not known.session and known.policy == revision and self._clock.monotonic() < known.until:
            return Place("", credential)
        # A sender's proof counts once; it is looked at for the opening in this very request.
        proven = replace(credential, proven=True)
        for number in range(known.number, ENDED_MAX):
            session = known.session if number == known.number else ""
            if not session:
                try:
                    session = await self._open(credential, f"mcp-{window}-{number}")
                except Denied as error:
                    # A no of this moment, as of a kill switch, may be a yes at the next call.
                    if stands(error.reasons, policy):
                        until = self._clock.monotonic() + KEPT_SECONDS
                        self._keep(who, _Known(window, number, "", revision, until))
                    return Place("", proven)
                credential = proven
            try:
                await self._sessions.get(principal, session)
            except NotFound:
                continue
            self._keep(who, _Known(window, number, session, revision))
            return Place(session, credential)
        raise NotFound("there is no open session of yours", code="session.not_found", remedy="open one and name it")

    def _keep(self, who: tuple[Json, ...], known: _Known) -> None:
        self._known[who] = known
        self._known.move_to_end(who)
        if len(self._known) > PRINCIPALS_MAX:
            self._known.popitem(last=False)

    async def _open(self, credential: Credential, key: str) -> str:
        intent = [{"kind": CLIENT, "text": "calls of an MCP client", "source": "mcp"}]
        ask = Ask(OPENING, {"type": GATE.type, "id": GATE.id, "env": GATE.env}, {"intent": intent}, idempotency_key=key)
        answer = await self._pipeline.act(credential, ask)
        return str(answer.body["result"]["value"]["session"])


def _form(named: Any) -> str:
    """A session's id as far as its form goes; raises ``BadRequest``."""
    if not (isinstance(named, str) and len(named) <= 64 and named.isascii() and named.isprintable()):
        raise BadRequest("this is not the id of a session", code="request.session")
    return named
