"""``tools/call``: one call is one action, and goes down the one path like any other request.

A name that no tool has, and a tool that policy could never permit the caller, get the same answer.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any, cast

import mcp_types as types
import orjson
from mcp.shared.exceptions import MCPError
from pydantic import Field
from starlette.requests import Request

from broker import strictjson
from broker.answers import Answer
from broker.approvals import Approvals
from broker.catalog import Action
from broker.errors import BadRequest, BrokerError, Denied, NotFound
from broker.identity import Credential
from broker.model import Effect, Principal, Resource
from broker.offers import Offers
from broker.pipeline import Pipeline
from broker.policy.pdp import PolicyDecisionPoint
from broker.reading import GATE, Ask
from broker.records import Records
from broker.turns import Named
from broker.web import schemas
from broker.web.mcp import tools
from broker.web.mcp.answers import refusal, result
from broker.web.mcp.belonging import MCP_HEADER, OWN_HEADER, Belonging
from broker.web.mcp.waiting import Context, Held, Waiting, is_modern, read_state

TOOL_USE = "claudecode/toolUseId"
"""In ``_meta``: which block of which model turn a coding agent's call comes from."""
KEY, DIAGNOSIS, WORK = "wicketgate/idempotencyKey", "wicketgate/diagnosis", "wicketgate/work"
"""In ``_meta``, for programs that know the gate: the fields of POST /v1/actions that no model fills in."""
CREDENTIAL, PRINCIPAL = "wicketgate.credential", "wicketgate.principal"
"""Where a request's ASGI scope keeps them."""
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{3,128}")


class CallBody(schemas.Body):
    """``arguments`` of a call."""

    resource: schemas.ResourceBody | None = None
    arguments: dict[str, Any] = Field(default_factory=dict, max_length=64)
    reason: str = Field(default="", max_length=4096)


class Calls:
    """Takes calls down the one path."""

    def __init__(  # noqa: PLR0913 - the door names each part once
        self,
        *,
        pipeline: Pipeline,
        offers: Offers,
        policy: PolicyDecisionPoint,
        belonging: Belonging,
        waiting: Waiting,
        approvals: Approvals,
        records: Records,
    ) -> None:
        """``waiting`` holds what people have to decide about."""
        self._pipeline = pipeline
        self._offers = offers
        self._policy = policy
        self._belonging = belonging
        self._waiting = waiting
        self._approvals = approvals
        self._records = records

    async def call(
        self, ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        """Answer one call. Raises ``MCPError`` (-32602) for a tool that does not exist for the caller."""
        principal: Principal = ctx.request.scope[PRINCIPAL]  # type: ignore[union-attr]
        credential: Credential = ctx.request.scope[CREDENTIAL]  # type: ignore[union-attr]
        name = tools.names(self._policy.catalog).get(params.name, "")
        try:
            action = self._policy.catalog.find(name)
            if action is None:
                return await self._nothing(credential, params.name)
            if params.request_state is not None:
                return _shown(await self._waiting.again(ctx, read_state(params.request_state, principal, credential)))
            return _shown(await self._asked(ctx, action, params, (principal, credential)))
        except BrokerError as error:
            hidden = isinstance(error, (BadRequest, Denied, NotFound)) and not await self._offered(principal, name)
            refused = await self._noted(credential, params.name, error) if hidden else error
        if hidden and isinstance(refused, (BadRequest, Denied, NotFound)):
            raise _unknown(params.name)
        return refusal(refused)

    async def _asked(
        self, ctx: Context, action: Action, params: types.CallToolRequestParams, who: tuple[Principal, Credential]
    ) -> Mapping[str, Any] | types.InputRequiredResult:
        """The answer's body, or the end of a round."""
        principal, credential = who
        body = _body(action, params.arguments or {})
        if action.name == tools.STATUS:
            named = str(body.arguments.get("action", ""))
            return await self._waiting.again(ctx, Held(principal, credential, named))
        request = cast("Request", ctx.request)
        meta: Mapping[str, Any] = ctx.meta or {}
        place = await self._belonging.of(request, principal, credential, meta)
        if action.effect is Effect.WRITE and place.session and KEY not in meta:
            known = await self._waits(principal, place.session, action, body, _text(meta, DIAGNOSIS, 64))
            if known:
                return await self._waiting.again(ctx, Held(principal, credential, known))
        ask = Ask(
            action=action.name,
            resource=_resource(body),
            arguments=body.arguments,
            session=place.session,
            reason=body.reason,
            diagnosis=_text(meta, DIAGNOSIS, 64),
            work=_work(meta),
            idempotency_key=_key(ctx, action, place.session, meta),
            turn=Named(_text(meta, TOOL_USE, 128), params.name, params.arguments or {}),
        )
        answer: Answer = await self._pipeline.act(place.credential, ask)
        if answer.status == "waiting":
            held = Held(principal, credential, str(answer.body["action_id"]))
            return await self._waiting.begin(ctx, held, answer.body)
        return answer.body

    async def _waits(self, principal: Principal, session: str, action: Action, body: CallBody, diagnosis: str) -> str:
        """The action that waits already for just this: a model that asks again means it, and people are asked once."""
        resource = _resource(body)
        there = Resource(resource["type"], resource["id"], resource["env"])
        try:
            arguments = self._policy.catalog.complete(action.name, there, body.arguments)
        except BadRequest:
            return ""  # the pipeline refuses it, on record
        asked = {"resource": resource, "arguments": arguments, "diagnosis": diagnosis}
        found = await self._approvals.alike(principal, session, action.name, asked)
        if found is None or not await self._records.has(found.tenant, f"{found.id}.proposal"):
            return ""  # what is not on record asks nobody
        return found.action_id

    async def _nothing(self, credential: Credential, name: str) -> types.CallToolResult:
        """Refuse a name that no tool has, on record as far as it could be one."""
        if _PLAIN.fullmatch(name):
            gate = {"type": GATE.type, "id": GATE.id, "env": GATE.env}
            await self._pipeline.act(credential, Ask(f"mcp.{name}"[:128], gate, {}))
        raise NotFound("there is no such tool", code="mcp.no_tool", remedy="list the tools with tools/list")

    async def _noted(self, credential: Credential, name: str, refused: BrokerError) -> BrokerError:
        """The refusal of a tool that is not there for the caller; one that is on record nowhere goes a missing name's way."""
        if refused.receipt is not None:
            return refused
        try:
            await self._nothing(credential, name)
        except BrokerError as error:
            return error
        return refused

    async def _offered(self, principal: Principal, action: str) -> bool:
        """Whether the tool exists for the caller; where that cannot be found out, it does."""
        try:
            return any(one.action == action for one in await self._offers.of(principal))
        except BrokerError:
            return bool(action)


def _unknown(name: str) -> MCPError:
    shown = name if _PLAIN.fullmatch(name) else "?"
    return MCPError(types.INVALID_PARAMS, f"Unknown tool: {shown}", {"code": "mcp.no_tool", "remedy": "list the tools"})


def _shown(answered: Mapping[str, Any] | types.InputRequiredResult) -> types.CallToolResult | types.InputRequiredResult:
    return answered if isinstance(answered, types.InputRequiredResult) else result(answered)


def _body(action: Action, arguments: Mapping[str, Any]) -> CallBody:
    """The call's own shape; what stands in ``arguments.arguments`` is for the catalog. Raises ``BadRequest``."""
    # The envelope may hold fractions; what is asked for may not, as at every other door.
    strictjson.read(orjson.dumps(arguments))
    body: CallBody = schemas.check(CallBody, arguments)
    if body.resource is None and action.resource_types != (GATE.type,):
        raise BadRequest(
            "field `resource` is required",
            code="request.field",
            remedy="send `resource` with `type`, `id` and `env`, as the tool's schema says",
        )
    if body.resource is not None and action.resource_types == (GATE.type,):
        raise BadRequest("field `resource`: this tool takes none", code="request.field", remedy="leave it out")
    return body


def _resource(body: CallBody) -> dict[str, str]:
    if body.resource is None:
        return {"type": GATE.type, "id": GATE.id, "env": GATE.env}
    return {"type": body.resource.type, "id": body.resource.id, "env": body.resource.env}


def _text(meta: Mapping[str, Any], name: str, longest: int) -> str:
    value = meta.get(name, "")
    if not (isinstance(value, str) and len(value) <= longest and value.isascii() and value.isprintable()):
        raise BadRequest(
            f"field `_meta.{name}` must be at most {longest} visible ASCII characters", code="request.field"
        )
    return value


def _work(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    if WORK not in meta:
        return None
    work: schemas.WorkBody = schemas.check(schemas.WorkBody, meta[WORK])
    return work.model_dump()


def _key(ctx: Context, action: Action, session: str, meta: Mapping[str, Any]) -> str:
    """The idempotency key of a write: what makes a repetition of this very call known.

    A caller's own key; the model's tool use, which is one of one turn; or, in a session that a handshake opened for this
    client alone, the request's id, which the specification lets nobody use twice there. In every other case ids begin
    anew with each connection and say nothing, so the call gets a fresh key.
    """
    if action.effect is Effect.READ:
        return ""
    if own := _text(meta, KEY, 128):
        return own
    headers: Any = ctx.request.headers if ctx.request else {}
    if use := _text(meta, TOOL_USE, 128):
        said = f"tool-use\x00{session}\x00{action.name}\x00{use}"
    elif not is_modern(ctx) and MCP_HEADER in headers and OWN_HEADER not in headers:
        said = f"request\x00{session}\x00{type(ctx.request_id).__name__}\x00{ctx.request_id}"
    else:
        return f"mcp-{secrets.token_hex(16)}"
    return f"mcp-{hashlib.sha256(said.encode()).hexdigest()[:40]}"
