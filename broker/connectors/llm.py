"""The gate's relay to a model provider on Anthropic's wire (``/v1/messages`` and its two companions).

The grant's ``arguments["body"]`` is sent as canonical bytes (sorted keys, so the bytes hashed are the bytes sent, and a
provider's prompt cache sees the same prefix each time); replies come back byte for byte. The provider's key is read
here and sent from here. ``anthropic-version`` and ``anthropic-beta`` are passed on as the caller wrote them
(``arguments["headers"]``); nothing else of the caller's is. Error replies are rewritten to the provider's error type
with our own sentence, because a provider may quote what it was sent.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import orjson
from pydantic import with_config

from broker.catalog import Action
from broker.connectors.base import STRICT, EffectStatus, ModelReply
from broker.connectors.llm_sse import StreamFacts
from broker.connectors.server import credential_headers
from broker.egress import Egress, Streamed, Upstream, UpstreamSettings
from broker.errors import BadRequest, Denied, TooLarge, UpstreamFailed
from broker.model import ActionRequest, Grant, Json, Plan, Result, ResultStatus

DEFAULT_VERSION: Final = "2023-06-01"
ANY_MODEL: Final = "any"
"""The inventory's entry for what concerns no single model, such as listing them."""
FORWARDED: Final = ("anthropic-version", "anthropic-beta")
RELAYED: Final = ("content-type", "request-id", "retry-after", "retry-after-ms", "x-should-retry")
"""Reply headers that a client of the provider reads; the provider's rate-limit headers speak of the shared key."""
ERROR_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_SAFE_MESSAGES: Final = (
    re.compile(r"prompt is too long: \d+ tokens > \d+ maximum"),
    re.compile(
        r"input length and `max_tokens` exceed context limit: \d+ \+ \d+ > \d+, decrease input length or `max_tokens` and try again"
    ),
    re.compile(r"max_tokens: \d+ > \d+, which is the maximum allowed number of output tokens for [a-z0-9.-]+"),
)
"""What clients act on (they compact, or ask for less): numbers only."""
_GATES_KEY: Final = frozenset({401, 402, 403})
"""About the gate's own credential: the caller cannot mend it and must not think that its own is wrong."""
_ERROR_BYTES_MAX: Final = 65_536


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class LlmEndpoint:
    """One address of the provider, and the models (names or ``claude-*`` patterns) that it serves from ``region``."""

    region: str
    base_url: str
    models: tuple[str, ...] = ("*",)


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class LlmSettings:
    """One provider. The first endpoint that serves the model, in the resource's region where it has one, is taken."""

    name: str = "llm"
    provider: str = "anthropic"
    endpoints: tuple[LlmEndpoint, ...]
    credential_file: str = ""
    credential: Literal["x-api-key", "bearer", "none"] = "x-api-key"
    allow_networks: tuple[str, ...] = ()
    ca_file: str = ""
    proxy_url: str = ""
    timeout_seconds: float = 600.0
    idle_seconds: float = 120.0
    """Longest silence inside a stream; the provider sends pings."""
    concurrency: int = 64
    body_bytes_max: int = 33_554_432
    answer_bytes_max: int = 33_554_432


class LlmConnector:
    """The adapter; one instance a provider."""

    def __init__(self, settings: LlmSettings, egress: Egress) -> None:
        """Read the provider's key; raises ``BadRequest`` (``config.secret``) where it is not there."""
        self.name = settings.name
        self._settings = settings
        kind, header = ("header", "x-api-key") if settings.credential == "x-api-key" else (settings.credential, "")
        self._credential = credential_headers(settings.name, kind, settings.credential_file, header)
        self._upstreams = [(endpoint, egress.upstream(self._upstream(endpoint))) for endpoint in settings.endpoints]

    def endpoint(self, request: ActionRequest) -> Mapping[str, str]:
        """Region and provider of the endpoint that would be taken; empty where none serves the model there."""
        route = self._route(request.resource.id, request.resource.region)
        return {"region": route[0].region if route else "", "provider": self._settings.provider if route else ""}

    async def plan(self, request: ActionRequest, action: Action) -> Plan:
        """Return where it would go; a model call has no state to compare and nothing to undo."""
        where = self.endpoint(request)
        return Plan(
            summary=f"{action.name} of {request.resource.id} at {where['provider']} in {where['region']}",
            fingerprint=request.digest,
            affected=(request.resource.id,),
        )

    async def execute(self, grant: Grant, action: Action) -> Result:
        """Send one call that answers with one JSON document. Raises ``UpstreamFailed``, ``Denied``, ``BadRequest``."""
        reply = await self.open(grant, action)
        try:
            body = b"".join([chunk async for chunk in reply.chunks])
        finally:
            await reply.aclose()
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise UpstreamFailed(
                f"`{self.name}` answered with something that is not JSON", code="upstream.garbage"
            ) from None
        facts = StreamFacts(bytes=len(body))
        facts.take(value)
        if reply.status != 200:
            return Result(
                ResultStatus.ERROR, {"status": reply.status, "body": value}, value["error"]["type"], facts.units()
            )
        if action.name.endswith(".tokens.count"):
            return Result(ResultStatus.OK, value, "", {"bytes": len(body)})
        return Result(ResultStatus.OK, value, facts.stop_reason, facts.units())

    async def open(self, grant: Grant, action: Action) -> ModelReply:
        """Send the call once; the reply's chunks come as the provider sends them."""
        method, target, body = self._wire(grant, action)
        upstream = self._routed(grant)
        stack = AsyncExitStack()
        try:
            answer = await stack.enter_async_context(
                upstream.stream(
                    method,
                    target,
                    headers=self._headers(grant),
                    body=body,
                    timeout_seconds=self._settings.timeout_seconds,
                    idle_seconds=self._settings.idle_seconds,
                )
            )
            headers = {name: answer.headers[name] for name in RELAYED if name in answer.headers}
            if answer.status == 200:
                return ModelReply(200, headers, answer.chunks(), stack.aclose)
            status, shown = await _error(answer)
            headers["content-type"] = "application/json"
            return ModelReply(status, headers, _one(shown), stack.aclose)
        except BaseException:
            await stack.aclose()
            raise

    async def status_of(self, action_id: str, action: Action | None = None) -> EffectStatus:  # noqa: ARG002
        """A provider keeps no record that we could ask for."""
        return EffectStatus("unknown", "a model call leaves no trace to ask for")

    async def aclose(self) -> None:
        """Give back connections."""
        for _, upstream in self._upstreams:
            await upstream.aclose()

    def _route(self, model: str, region: str) -> tuple[LlmEndpoint, Upstream] | None:
        for endpoint, upstream in self._upstreams:
            served = model == ANY_MODEL or any(fnmatchcase(model, pattern) for pattern in endpoint.models)
            if region in {"", endpoint.region} and served:
                return endpoint, upstream
        return None

    def _routed(self, grant: Grant) -> Upstream:
        """Return the endpoint that policy judged; another one, or none, refuses."""
        route = self._route(grant.request.resource.id, grant.request.resource.region)
        body = grant.arguments.get("body")
        geo = body.get("inference_geo") if isinstance(body, dict) else None
        if route is not None and geo not in {None, "", route[0].region}:
            raise Denied(
                "field `inference_geo` names another region than the permitted one; nothing was sent",
                code="llm.other_geo",
                remedy="leave `inference_geo` out: the gate routes by region",
            )
        if route is None or (grant.region and route[0].region != grant.region):
            raise Denied(
                "no endpoint of this provider serves the model in the permitted region; nothing was sent",
                code="llm.no_endpoint",
                remedy="use a model that the settings list for this region",
            )
        return route[1]

    def _wire(self, grant: Grant, action: Action) -> tuple[str, str, bytes | None]:
        verb = action.name.partition(".")[2]
        if verb == "models.list":
            return "GET", "/v1/models?limit=1000", None
        if verb not in {"messages.create", "tokens.count"}:
            raise BadRequest(f"connector `{self.name}` has no action `{action.name}`", code="connector.unknown_action")
        body = grant.arguments.get("body")
        if not isinstance(body, dict) or body.get("model") != grant.request.resource.id:
            raise BadRequest(
                "field `body.model` is not the model that was decided on",
                code="llm.model_mismatch",
                remedy="send a body whose `model` is the resource's id",
            )
        sent = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        if len(sent) > self._settings.body_bytes_max:
            raise TooLarge(f"the body is larger than {self._settings.body_bytes_max} bytes")
        return "POST", "/v1/messages" if verb == "messages.create" else "/v1/messages/count_tokens", sent

    def _headers(self, grant: Grant) -> dict[str, str]:
        given: Any = grant.arguments.get("headers") or {}
        headers = {name: str(given[name]) for name in FORWARDED if given.get(name)}
        headers.setdefault("anthropic-version", DEFAULT_VERSION)
        return {**headers, "content-type": "application/json", **self._credential}

    def _upstream(self, endpoint: LlmEndpoint) -> UpstreamSettings:
        settings = self._settings
        return UpstreamSettings(
            name=settings.name,
            base_url=endpoint.base_url,
            allow_networks=tuple(settings.allow_networks),
            ca_file=settings.ca_file,
            proxy_url=settings.proxy_url,
            timeout_seconds=settings.timeout_seconds,
            concurrency=settings.concurrency,
            answer_bytes_max=settings.answer_bytes_max,
        )


async def _error(answer: Streamed) -> tuple[int, bytes]:
    """(status, body) of a refusal for the caller: the provider's error type, and a sentence that quotes nothing."""
    status = answer.status if answer.status >= 400 else 502
    kind, message = "", ""
    try:
        seen = b""
        async for chunk in answer.chunks():
            seen += chunk
            if len(seen) > _ERROR_BYTES_MAX:
                break
        error: Json = orjson.loads(seen)["error"]
        kind, message = str(error["type"]), str(error["message"])
    except (UpstreamFailed, orjson.JSONDecodeError, KeyError, TypeError):
        message = ""
    if status in _GATES_KEY:
        status, kind = 502, "api_error"
    if kind not in ERROR_TYPES.values():
        kind = ERROR_TYPES.get(status, "api_error")
    if not any(pattern.fullmatch(message) for pattern in _SAFE_MESSAGES):
        message = f"the model provider refused the call with status {answer.status}"
    return status, orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body
