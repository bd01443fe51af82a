"""The model endpoint on Anthropic's wire: a model call is an action like any other.

Clients point their SDK's base address here and give the gate's token as their key. Refusals are answered in the
provider's error form, so that an unmodified client shows them, with the gate's code and receipt beside it.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from broker import modelmessage, modelwire
from broker.answers import Answer, receipt_body
from broker.config import Settings
from broker.errors import BrokerError, Conflict
from broker.identity import Credential, Verifier
from broker.model import Json, Principal
from broker.pipeline import Pipeline
from broker.reading import Ask
from broker.streams import Relay, Streams
from broker.turns import Turns
from broker.web import schemas
from broker.web.api import Api
from broker.web.mcp.belonging import Belonging, Place
from broker.web.problem import status_of

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_FORWARDED = ("anthropic-version", "anthropic-beta")
_SESSION_HEADER, _RUN_HEADER = "wicketgate-session", "x-claude-code-session-id"
"""The gate's own name of a session, and a coding agent's name of its run, which is no session of the gate."""


class ModelApi:
    """Handlers of ``/llm/anthropic``."""

    def __init__(  # noqa: PLR0913 - the composition names each part once
        self,
        *,
        api: Api,
        pipeline: Pipeline,
        streams: Streams,
        belonging: Belonging,
        identity: Verifier,
        settings: Settings,
        turns: Turns,
    ) -> None:
        """``api`` reads credentials; streams and single answers go down the same path.

        ``belonging`` finds the session of an agent that names only its own run: the one that its MCP calls have.
        """
        self._api = api
        self._belonging = belonging
        self._identity = identity
        self._pipeline = pipeline
        self._streams = streams
        self._settings = settings
        self._turns = turns

    async def messages(self, request: Request) -> Response:
        """POST /llm/anthropic/v1/messages."""
        credential, ask = await self._ask(request, "llm.messages.create")
        if not ask.arguments["stream"]:
            # Before the call: a token may run out while the model thinks, and the answer is paid for.
            principal = await self._identity.recognise(credential)
            answer = await self._pipeline.act(credential, ask)
            await self._note(principal, ask.session, answer)
            return _message(answer)
        relay = await self._streams.open(credential, ask)
        if isinstance(relay, Answer):
            return _stream(relay)
        return Relayed(relay)

    async def _note(self, principal: Principal, session: str, answer: Answer) -> None:
        """What tools the model asks for is remembered, if it can be, before it goes out; nothing of a stored answer is again."""
        value = answer.body["result"]["value"]
        content = value.get("content") if isinstance(value, dict) else None
        if isinstance(content, list) and not answer.again:
            await self._turns.note(principal, session, [one for one in content if isinstance(one, dict)])

    async def count(self, request: Request) -> Response:
        """POST /llm/anthropic/v1/messages/count_tokens."""
        credential, ask = await self._ask(request, "llm.tokens.count")
        return _message(await self._pipeline.act(credential, ask))

    async def models(self, request: Request) -> Response:
        """GET /llm/anthropic/v1/models."""
        resource = {"type": "model", "id": "any", "env": "prod"}
        place = await self._place(request)
        ask = Ask("llm.models.list", resource, {"headers": _headers(request)}, session=place.session)
        return _message(await self._pipeline.act(place.credential, ask))

    async def _place(self, request: Request) -> Place:
        """The call's session: the one it names, that of the agent's other calls, or none."""
        credential = self._api.credential(request)
        if request.headers.get(_SESSION_HEADER, "") or request.headers.get(_RUN_HEADER, ""):
            principal = await self._identity.recognise(credential)
            return await self._belonging.of(request, principal, credential, {})
        return Place("", credential)

    async def _ask(self, request: Request, action: str) -> tuple[Credential, Ask]:
        """The call's facts as arguments, its body as content."""
        body = await schemas.read_object(await request.body(), self._settings.web, model_call=True)
        facts = modelwire.facts(body)
        resource = {"type": "model", "id": facts["model"], "env": "prod"}
        place = await self._place(request)
        return place.credential, Ask(
            action,
            resource,
            {**facts, "headers": _headers(request)},
            session=place.session,
            reason="model call",
            idempotency_key=request.headers.get("idempotency-key", ""),
            content=body,
        )


class Relayed(StreamingResponse):
    """A relayed stream; however the response ends, also before its first byte, the call gets its outcome."""

    def __init__(self, relay: Relay) -> None:
        """Status and headers are the provider's."""
        headers = {name: value for name, value in relay.headers.items() if name != "content-length"}
        super().__init__(relay.chunks(), relay.status, headers)
        self._relay = relay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._relay.aclose()


def provider_error(error: BrokerError, challenge: str = "") -> Response:
    """``error`` in the provider's form, with the gate's own code, remedy and receipt; ``challenge`` as of a problem."""
    status = status_of(error)
    shown: dict[str, Any] = {
        "type": "error",
        "error": {
            "type": _ERROR_TYPES.get(status, "api_error"),
            "message": f"{error.detail} [{error.error_code}]; {error.error_remedy}",
        },
        "wicketgate": {"code": error.error_code, "remedy": error.error_remedy, "decision_id": error.decision_id},
    }
    if error.receipt is not None:
        shown["wicketgate"]["receipt"] = receipt_body(error.receipt)
    # A refusal repeats itself: the provider's SDKs would otherwise retry it with growing delays.
    headers = {"x-should-retry": "true" if status in (429, 503) else "false"}
    if challenge:
        headers["www-authenticate"] = challenge
    if status in (429, 503):
        headers["retry-after"] = str(max(1, round(error.retry_after or 1)))
    return Response(orjson.dumps(shown), status, headers, media_type="application/json")


def _message(answer: Answer) -> Response:
    """The provider's JSON out of an answer."""
    result: Mapping[str, Json] = answer.body["result"]
    value = _there(result["value"])
    if result["status"] == "error" and "status" in value:
        return Response(orjson.dumps(value["body"]), value["status"], _marks(answer), media_type="application/json")
    return Response(orjson.dumps(value), 200, _marks(answer), media_type="application/json")


def _stream(answer: Answer) -> Response:
    """The stored answer of a streamed call, once more: its stream, or the provider's refusal."""
    kept = _there(answer.body["result"]["value"])
    if "message" not in kept:
        return _message(answer)
    events = b"".join(modelwire.written(event) for event in modelmessage.replay(kept))
    return Response(events, 200, _marks(answer), media_type="text/event-stream; charset=utf-8")


def _there(value: Json) -> Mapping[str, Any]:
    """A stored answer; raises ``Conflict`` where there is none to give again."""
    if isinstance(value, dict):
        return value
    raise Conflict(
        "this call was made before, and its answer is not there",
        code="model.answer_gone",
        remedy="ask again under a fresh key: what the provider said is not known",
    )


def _marks(answer: Answer) -> dict[str, str]:
    """Action and receipt, as headers."""
    return {
        "wicketgate-action": str(answer.body["action_id"]),
        "wicketgate-receipt": str(answer.body["receipt"]["seq"]),
    }


def _headers(request: Request) -> dict[str, Json]:
    """Protocol headers that the provider must see; one that came twice is joined, as HTTP joins it."""
    given = {name: ", ".join(request.headers.getlist(name)) for name in _FORWARDED}
    return {name: value for name, value in given.items() if value}
