"""The ASGI application: the route table bound to its handlers, inside the guard."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from broker.clock import Clock
from broker.config import Settings
from broker.errors import BadRequest, BrokerError, NotFound
from broker.telemetry import Telemetry
from broker.web.api import Api, json_response
from broker.web.guard import App, Guard, GuardSettings
from broker.web.llm import ModelApi
from broker.web.problem import problem
from broker.web.routes import ROUTES, Route

Ready = Callable[[], Awaitable[dict[str, str]]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


class Health:
    """The three routes that say how the process is."""

    def __init__(self, ready: Ready, telemetry: Telemetry) -> None:
        """``ready()`` names what is missing, by part; empty means ready."""
        self._ready = ready
        self._telemetry = telemetry

    async def livez(self, _: Request) -> Response:
        """GET /livez."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        """GET /readyz."""
        missing = await self._ready()
        return json_response({"ready": not missing, "missing": missing}, 503 if missing else 200)

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(self._telemetry.exposition(), media_type="text/plain; version=0.0.4")


def build(  # noqa: PLR0913 - the composition root names each part once
    *, settings: Settings, api: Api, models: ModelApi, health: Health, telemetry: Telemetry, lifespan: Lifespan, clock: Clock, mounts: dict[str, ASGIApp] | None = None
) -> App:
    """The guarded application. ``mounts`` are sub-applications by path, such as the development identity provider."""
    app = FastAPI(
        title="Wicketgate",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={Exception: _crashed, BrokerError: _refused, 404: _absent, 405: _method},
    )
    for route in ROUTES:
        owner = next(part for part in (health, models, api) if hasattr(part, route.handler))
        endpoint = _timed(getattr(owner, route.handler), route, telemetry, clock)
        if route.hot:
            app.add_route(route.path, endpoint, methods=[route.method])
        # A hot route is answered above; this entry describes it in the OpenAPI document.
        app.add_api_route(route.path, endpoint, methods=[route.method], **_described(route))
    for path, mounted in (mounts or {}).items():
        app.mount(path, mounted)
    return Guard(app, GuardSettings(settings.web, hosts_of(settings)), telemetry)


def hosts_of(settings: Settings) -> frozenset[bytes]:
    """Host values that are this gate: configured ones, else the public address and the listener's own."""
    if settings.gate.allowed_hosts:
        return frozenset(host.lower().encode() for host in settings.gate.allowed_hosts)
    port = settings.gate.port
    names = {urlsplit(settings.url).netloc, f"{settings.gate.host}:{port}", f"localhost:{port}", f"127.0.0.1:{port}"}
    return frozenset(name.lower().encode() for name in names)


def _timed(handler: Callable[[Request], Awaitable[Response]], route: Route, telemetry: Telemetry, clock: Clock) -> Callable[[Request], Awaitable[Response]]:
    """``handler`` with its answers counted; errors become problems here, where the route is known."""

    async def endpoint(request: Request) -> Response:
        started = clock.monotonic()
        try:
            response = await handler(request)
        except BrokerError as error:
            telemetry.refused(error.error_code)
            response = problem(error)
        telemetry.answered(route.path, response.status_code, clock.monotonic() - started)
        return response

    return endpoint


def _described(route: Route) -> dict[str, Any]:
    """FastAPI's keywords for the OpenAPI entry of ``route``."""
    extra: dict[str, Any] = {"x-wicketgate-action": route.action, "x-wicketgate-access": route.access}
    if route.access != "public":
        extra["security"] = [{"bearer": []}]
    if route.body is not None:
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.body.model_json_schema()}}}
    problems = {code: {"description": "problem+json"} for code in (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)} if route.access != "public" else {}
    return {"summary": route.summary, "operation_id": route.handler, "openapi_extra": extra, "responses": problems, "response_model": None}


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, BrokerError)
    return problem(error)


async def _absent(_: Request, __: Exception) -> Response:
    return problem(NotFound("there is no such route", code="http.no_route", remedy="see /openapi.json"))


async def _method(_: Request, __: Exception) -> Response:
    return problem(BadRequest("this route does not take this method", code="http.method", remedy="see /openapi.json"))




async def _crashed(_: Request, __: Exception) -> Response:
    """The answer to an unexpected failure; the guard sees the failure itself and reports it."""
    return problem(BrokerError("an unexpected failure; it is in the gate's telemetry", code="gate.failed"))
