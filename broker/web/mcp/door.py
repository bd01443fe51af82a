"""``/mcp`` on HTTP: what is checked before the SDK reads a message, and the life of its server.

The guard has checked Host, headers, size and token; here stand ``Origin`` (no page of another site calls with a person's
rights), strict JSON (the SDK reads what the strict reader wrote), and sessions. No state of a client is kept in memory:
any replica answers any request.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

import mcp_types as types
import orjson
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from broker.errors import BadRequest, BrokerError, Denied
from broker.model import Principal
from broker.telemetry import Telemetry
from broker.web import schemas
from broker.web.api import Api
from broker.web.console import HOME
from broker.web.mcp.belonging import MCP_HEADER, Belonging
from broker.web.mcp.calls import CREDENTIAL, PRINCIPAL, Calls
from broker.web.mcp.listing import Listing
from broker.web.mcp.streams import Changes, Listening
from broker.web.mcp.waiting import Context, Waiting
from broker.web.problem import failed
from broker.wiring import Wiring

PATH = "/mcp"
VERSION_HEADER = "mcp-protocol-version"
NAME = "wicketgate"
STATE_SECONDS = 600.0
"""How long a client may take between two rounds."""
INSTRUCTIONS = (
    "Every tool is an action that a policy decides, a log records and, where the policy says so, people approve. "
    "A refusal has a code and a remedy: follow the remedy, do not try to get round it. "
    "A result whose status is `waiting` waits for people: ask again with the tool gate_actions_read. "
    "Give a true reason with each change. Cite observations by their id."
)
_P = TypeVar("_P")
_R = TypeVar("_R")


class GateServer(Server[Any]):
    """The SDK's server with what it says of itself in a handshake."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Tools change with the policy, and a GET stream tells so."""
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)


class McpApi:
    """Handlers of ``/mcp``."""

    def __init__(self, *, api: Api, gate: Wiring) -> None:
        """``api`` reads credentials."""
        self._api = api
        self._gate = gate
        self._origins = frozenset({_origin(gate.settings.url), *gate.settings.mcp.origins})
        self._belonging = Belonging(
            pipeline=gate.pipeline,
            sessions=gate.sessions,
            policy=gate.policy,
            clock=gate.clock,
            lifetime_s=gate.settings.sessions.seconds_max,
        )
        changes = Changes()
        gate.policy.swapped.append(changes.policy_changed)
        self._listening = Listening(
            changes, gate.identity, gate.pipeline, gate.settings.events, gate.settings.mcp.streams_per_party_max
        )
        waiting = Waiting(
            acts=gate.acts,
            identity=gate.identity,
            kills=gate.kills,
            policy=gate.policy,
            settings=gate.settings.mcp,
            page=f"{gate.settings.url}{HOME}/inbox" if gate.sign_in else "",
        )
        gate.leaving += [self._listening.close, waiting.close]
        self._server = _server(gate, self._belonging, self._listening, waiting)
        self._manager = StreamableHTTPSessionManager(
            self._server, stateless=True, max_request_body_size=2 * gate.settings.web.body_bytes_max
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The context in which requests are answered."""
        # What the SDK logs may hold what clients sent; refusals and crashes are counted by our own telemetry.
        for name in ("mcp", "sse_starlette"):
            logging.getLogger(name).addHandler(logging.NullHandler())
            logging.getLogger(name).propagate = False
        async with self._manager.run():
            yield

    async def mcp(self, request: Request) -> Response:
        """POST /mcp: one JSON-RPC message."""
        self._same_site(request)
        web = self._gate.settings.web
        message = await schemas.read_object(await request.body(), web, floats=True)
        principal = await self._authenticated(request)
        session = ""
        if not _modern(request):
            if message.get("method") == "initialize":
                session = await self._belonging.opened(request, self._api.credential(request))
            else:
                await self._belonging.serving(request, principal)
        return Exchange(self._manager, orjson.dumps(message), session)

    async def mcp_stream(self, request: Request) -> Response:
        """GET /mcp: changes of the list of tools, for clients that shake hands."""
        self._same_site(request)
        _only_with_handshake(request)
        credential = self._api.credential(request)
        principal = await self._gate.identity.recognise(credential)
        await self._listening.permitted(credential)
        await self._belonging.serving(request, principal)
        return self._listening.stream(principal, credential)

    async def mcp_end(self, request: Request) -> Response:
        """DELETE /mcp: the client's session ends."""
        self._same_site(request)
        _only_with_handshake(request)
        named = request.headers.get(MCP_HEADER, "")
        if not named:
            raise BadRequest("header `Mcp-Session-Id` is missing", code="request.session")
        return await self._api.gate(request, "gate.session.close", {"session": named[:64]})

    async def _authenticated(self, request: Request) -> Principal:
        """Who asks, with a sender's proof used up for the whole message; kept for what the SDK calls."""
        credential = self._api.credential(request)
        principal: Principal = await self._gate.identity.authenticate(credential)
        request.scope[PRINCIPAL], request.scope[CREDENTIAL] = principal, replace(credential, proven=True)
        return principal

    def _same_site(self, request: Request) -> None:
        """Refuse a page of another site: its visitor's rights are not its own."""
        given = request.headers.getlist("origin")
        if given and (len(given) > 1 or given[0] not in self._origins):
            raise Denied(
                "this Origin may not call", code="http.origin", remedy="name it in mcp.origins, or call from a program"
            )


class Exchange(Response):
    """One message and what the SDK answers to it."""

    def __init__(self, manager: StreamableHTTPSessionManager, message: bytes, session: str) -> None:
        """``session`` is told to a client that has just got one."""
        super().__init__()
        self._manager = manager
        self._message = message
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the message over as it was read."""
        given = False

        async def replay() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": self._message, "more_body": False}
            return await receive()

        async def marked(message: Message) -> None:
            if self._session and message["type"] == "http.response.start" and message["status"] == 200:
                message["headers"] = [*message["headers"], (MCP_HEADER.encode(), self._session.encode())]
            await send(message)

        # White space around a value is no part of it (RFC 9110 §5.5), and the SDK compares values with the body.
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"] if name != b"content-length"]
        await self._manager.handle_request({**scope, "headers": headers}, replay, marked)


def _server(gate: Wiring, belonging: Belonging, listening: Listening, waiting: Waiting) -> GateServer:
    """The SDK's server over our parts."""
    calls = Calls(
        pipeline=gate.pipeline,
        offers=gate.offers,
        policy=gate.policy,
        belonging=belonging,
        waiting=waiting,
        approvals=gate.approvals,
        records=gate.records,
    )
    listing = Listing(pipeline=gate.pipeline, offers=gate.offers, policy=gate.policy, inventory=gate.settings.resources)
    server = GateServer(
        NAME,
        version="1",
        title="Wicketgate",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda _: None,
        on_list_tools=_kept(listing.page, gate.telemetry),
        on_call_tool=_kept(calls.call, gate.telemetry),
        on_subscriptions_listen=_kept(listening.listen, gate.telemetry),
    )
    security = RequestStateSecurity(
        keys=[gate.keys.secret("mcp.key")], ttl=STATE_SECONDS, bind_principal=_bound, audience=gate.settings.url
    )
    # The SDK's own tracing is left out: it writes what clients send into spans.
    server.middleware = [RequestStateBoundary(security, default_audience=None)]
    return server


def _kept(work: Callable[[Context, _P], Awaitable[_R]], telemetry: Telemetry) -> Callable[[Context, _P], Awaitable[_R]]:
    """``work``, whose unexpected failures are told by a reference alone."""

    async def kept(ctx: Context, params: _P) -> _R:
        try:
            return await work(ctx, params)
        except MCPError:
            raise
        except Exception as error:  # noqa: BLE001 - the edge to the SDK, which would log it whole
            told: BrokerError = failed(ctx.request.scope)  # type: ignore[union-attr]
            telemetry.crash("mcp", error)
            raise MCPError(types.INTERNAL_ERROR, told.detail) from None

    return kept


def _bound(ctx: Context) -> str:
    """Whom a sealed state belongs to."""
    principal: Principal = ctx.request.scope[PRINCIPAL]  # type: ignore[union-attr]
    return "\x00".join((principal.tenant, *(party.id for party in principal.parties)))


def _modern(request: Request) -> bool:
    """Whether the request names a revision without handshakes, or one that we do not know."""
    named = request.headers.get(VERSION_HEADER)
    return named is not None and named not in HANDSHAKE_PROTOCOL_VERSIONS


def _only_with_handshake(request: Request) -> None:
    if _modern(request):
        raise BadRequest("this revision uses POST only", code="http.method", remedy="send POST")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
