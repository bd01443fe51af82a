"""The ASGI application: the route table bound to its handlers, inside the guard."""

import asyncio
import functools
import hmac
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from jinja2 import TemplateError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from broker import patience
from broker.clock import Clock
from broker.config import Settings
from broker.errors import BadRequest, BrokerError, NotFound, Unauthenticated
from broker.model import Effect
from broker.policy.delivery import BundleShelf
from broker.telemetry import Telemetry
from broker.web import authzen
from broker.web.api import Api, json_response
from broker.web.bodies import Whose
from broker.web.breakglass import BreakglassApi
from broker.web.console import HOME, console
from broker.web.description import complete, described
from broker.web.events import EventsApi, Streaming
from broker.web.guard import App, Guard, GuardSettings, Receive, Scope, Send
from broker.web.incidents import IncidentApi
from broker.web.lab import LabApi
from broker.web.llm import ModelApi, provider_error
from broker.web.logbook import LogApi
from broker.web.mcp import McpApi
from broker.web.mcp.belonging import Belonging
from broker.web.problem import REFERENCE, failed, problem
from broker.web.resource import ProtectedResource
from broker.web.routes import ROUTES, Route, Table
from broker.wiring import DEV_PATH, Wiring

Ready = Callable[[], Awaitable[dict[str, str]]]
Endpoint = Callable[[Request], Awaitable[Response]]
Refusal = Callable[[Route | None, BrokerError, Request], Awaitable[Response]]
READY_SECONDS = 1.0
_ACTION = re.compile(rb'"action"\s*:\s*"([a-z0-9_.-]{1,128})"')
DESCRIPTION = Route("GET", "/openapi.json", "openapi", "-", "public", "this table for machines")
PROVIDER = Route("*", DEV_PATH + "/{path:path}", "provider", "-", "public", "development identity provider", form=True)


class Health:
    """The three routes that say how the process is."""

    def __init__(self, ready: Ready, clock: Clock, telemetry: Telemetry) -> None:
        """``ready()`` names what is missing, by part; empty means ready.

        It writes to the log, and anybody may ask: one look serves everybody for ``READY_SECONDS``, one at a time.
        """
        self._ready = ready
        self._clock = clock
        self._telemetry = telemetry
        self._looking = asyncio.Lock()
        self._looked_at = -READY_SECONDS
        self._missing: dict[str, str] = {}

    async def livez(self, _: Request) -> Response:
        """GET /livez."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        """GET /readyz."""
        async with self._looking:
            if self._clock.monotonic() - self._looked_at >= READY_SECONDS:
                self._missing = await self._ready()
                self._looked_at = self._clock.monotonic()
            missing = self._missing
        return json_response({"ready": not missing, "missing": missing}, 503 if missing else 200)

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(self._telemetry.exposition(), media_type="text/plain; version=0.0.4")


class Bundles:
    """Delivery of the verified bundle to OPA, which verifies it again."""

    def __init__(self, shelf: BundleShelf, token_file: Path | None) -> None:
        """Without ``token_file`` nothing is delivered. Raises ``OSError`` for a file that cannot be read."""
        self._shelf = shelf
        self._token = token_file.read_text(encoding="utf-8").strip() if token_file else ""

    async def bundle(self, request: Request) -> Response:
        """GET /bundles/broker.tar.gz: ETag, and long polling by ``Prefer: wait=…``."""
        if not self._token:
            raise NotFound("there is no such route", code="http.no_route", remedy="set policy.bundle_token_file")
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Unauthenticated(
                "the token of bundle delivery is required",
                code="identity.missing",
                remedy="configure OPA's service with the token",
            )
        asked = request.headers.get("if-none-match", ""), request.headers.get("prefer", "")
        answer = await patience.aside(self._shelf.answer(*asked))
        return Response(answer.body, answer.status, dict(answer.headers))


def build(gate: Wiring) -> Guard:
    """The guarded application of a wired gate; its lifespan is the gate's own."""
    settings, telemetry = gate.settings, gate.telemetry
    resource = ProtectedResource(settings.url, gate.identity.profiles)

    async def crashed(request: Request, _: Exception) -> Response:
        """The answer to an unexpected failure; the guard sees the failure itself and reports it."""
        return await refuse(None, failed(request.scope), request)

    app = FastAPI(
        title="Wicketgate",
        version="1",
        lifespan=lambda _: _running(gate, mcp),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={Exception: crashed, BrokerError: _refused, 404: _absent, 405: _method},
    )
    hot: dict[tuple[str, str], Endpoint] = {}
    api, parts = _parts(gate, resource)
    mcp: McpApi = McpApi(api=api, gate=gate)
    desk, pages = console(gate)

    async def refuse(route: Route | None, error: BrokerError, request: Request) -> Response:
        """``error`` as whoever asked reads it: a page, the provider's form, or problem+json."""
        if is_console(request.scope["path"]):
            try:
                return await desk.refusal(request, error)
            except (TemplateError, OSError) as broken:  # where no page can be made, plain words are said
                telemetry.crash("console", broken, request.scope.get(REFERENCE, ""))
                return desk.plainly(error)
        return _refusal(route, error, resource.challenge(error, request.scope["path"]), request)

    for route in ROUTES:
        owner = next(part for part in (mcp, *parts, *pages) if hasattr(part, route.handler))
        endpoint = _timed(getattr(owner, route.handler), route, telemetry, gate.clock, refuse)
        if route.hot:
            hot[route.method, route.path] = endpoint
        # A hot route is answered before the router; this entry describes it in the OpenAPI document.
        app.add_api_route(route.path, endpoint, methods=[route.method], **described(route))
    describing = app.openapi
    app.openapi = lambda: complete(describing(), ROUTES)  # type: ignore[method-assign]
    served = [*ROUTES, DESCRIPTION]
    if gate.provider is not None:
        app.mount(DEV_PATH, gate.provider)
        served.append(PROVIDER)

    async def authenticate(scope: Scope) -> Whose:
        request = Request(scope)
        # Each kind of credential counts on its own routes only: no other site's form has the power of a cookie there.
        if is_console(scope["path"]):
            principal = (await desk.visit(request)).principal
        else:
            principal = await gate.identity.recognise(api.credential(request))
        return Whose(principal.tenant, principal.acting.id)

    guard = Guard(
        _Shortcut(app, hot),
        GuardSettings(settings.web, hosts_of(settings), desk.cookie),
        Table(served),
        authenticate=authenticate,
        refuse=lambda route, error, scope: refuse(route, error, Request(scope)),
        telemetry=telemetry,
        reads=functools.partial(_reads, gate),
        stopping=gate.stopping.is_set,
    )
    telemetry.queue(guard.depths)
    return guard


def _reads(gate: Wiring, body: bytes) -> bool:
    """Whether the body of an action names one that only reads, at a glance: for its lane, and nothing else."""
    named = _ACTION.search(body)
    declared = gate.policy.catalog.find(named[1].decode()) if named else None
    return declared is not None and declared.effect is Effect.READ


@asynccontextmanager
async def _running(gate: Wiring, mcp: McpApi) -> AsyncIterator[None]:
    """While the application is served; streams of MCP clients end before what they tell of."""
    async with gate.running(), mcp.running():
        yield


def _parts(gate: Wiring, resource: ProtectedResource) -> tuple[Api, tuple[object, ...]]:
    """Whatever has handlers of routes but the console; the API's own come last."""
    settings = gate.settings
    api = Api(pipeline=gate.pipeline, acts=gate.acts, identity=gate.identity, settings=settings)
    belonging = Belonging(
        pipeline=gate.pipeline,
        sessions=gate.sessions,
        policy=gate.policy,
        clock=gate.clock,
        lifetime_s=settings.sessions.seconds_max,
    )
    return api, (
        authzen.AuthzenApi(api=api, identity=gate.identity, settings=settings, act=gate.evaluating.act),
        BreakglassApi(api),
        Health(gate.missing, gate.clock, gate.telemetry),
        resource,
        Bundles(gate.shelf, settings.policy.bundle_token_file),
        ModelApi(
            api=api,
            pipeline=gate.pipeline,
            streams=gate.streams,
            belonging=belonging,
            identity=gate.identity,
            settings=settings,
            turns=gate.turns,
        ),
        IncidentApi(api=api, acts=gate.incident_acts, identity=gate.identity, polls=gate.polls, settings=settings),
        EventsApi(api=api, streaming=Streaming.of(gate)),
        LogApi(api=api, identity=gate.identity, content=gate.exports.content),
        LabApi(api=api, lab=gate.lab),
        api,
    )


class _Shortcut:
    """Answers the hot routes itself: the router and what FastAPI wraps around it cost as much as a policy's answer.

    Hot paths have no parameters, and the guard has found the route before; a failure is the guard's to report.
    """

    def __init__(self, app: App, hot: Mapping[tuple[str, str], Endpoint]) -> None:
        self._app = app
        self._hot = hot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI event scope."""
        endpoint = self._hot.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)


def _refusal(route: Route | None, error: BrokerError, challenge: str, request: Request) -> Response:
    """``error`` as programs that use the route read it."""
    match route.wire if route else "gate":
        case "provider":
            return provider_error(error, challenge)
        case "authzen":
            return authzen.refusal(error, challenge, request)
        case _:
            return problem(error, challenge)


def is_console(path: str) -> bool:
    """Whether people's browsers ask, with a cookie."""
    return path == HOME or path.startswith(HOME + "/")


def hosts_of(settings: Settings) -> frozenset[bytes]:
    """Host values that are this gate: configured ones, else the public address and the listener's own."""
    if settings.gate.allowed_hosts:
        return frozenset(host.lower().encode() for host in settings.gate.allowed_hosts)
    port = settings.gate.port
    names = {urlsplit(settings.url).netloc, f"{settings.gate.host}:{port}", f"localhost:{port}", f"127.0.0.1:{port}"}
    return frozenset(name.lower().encode() for name in names)


def _timed(handler: Endpoint, route: Route, telemetry: Telemetry, clock: Clock, refuse: Refusal) -> Endpoint:
    """``handler`` with its answers counted; errors become problems here, where the route is known."""

    async def answered(request: Request) -> Response:
        started = clock.monotonic()
        try:
            response = await handler(request)
        except BrokerError as error:
            telemetry.refused(error.error_code)
            response = await refuse(route, error, request)
        telemetry.answered(route.path, response.status_code, clock.monotonic() - started)
        return response

    async def endpoint(request: Request) -> Response:
        if telemetry.tracing is None:
            return await answered(request)
        attributes = {"http.request.method": route.method, "http.route": route.path}
        caller = request.headers.get("traceparent", "")
        with telemetry.tracing.span(f"{route.method} {route.path}", "server", attributes, caller) as mark:
            response = await answered(request)
            mark.set({"http.response.status_code": response.status_code})
            return response

    return endpoint


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, BrokerError)
    return problem(error)


async def _absent(_: Request, __: Exception) -> Response:
    return problem(NotFound("there is no such route", code="http.no_route", remedy="see /openapi.json"))


async def _method(_: Request, __: Exception) -> Response:
    return problem(BadRequest("this route does not take this method", code="http.method", remedy="see /openapi.json"))
