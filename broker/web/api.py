"""The REST of the gate: each handler turns a request into an ``Ask`` and goes down the one path."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker import patience
from broker.acts import Acts
from broker.answers import Answer
from broker.config import Settings
from broker.errors import BadRequest, NotFound
from broker.identity import Credential, Verifier
from broker.model import Json
from broker.pipeline import Pipeline
from broker.reading import GATE, Ask
from broker.web import schemas
from broker.web.certificates import ClientCertificates
from broker.web.routes import MODEL_PATHS

Handler = Callable[[Request], Awaitable[Response]]
_GATE = {"type": GATE.type, "id": GATE.id, "env": GATE.env}
_PAGE_MAX = 500
_CREDENTIAL = "wicketgate.credential"
"""Where a request's ASGI scope keeps what was read of its credential."""


def json_response(
    body: Mapping[str, Json] | list[Json], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), status_code=status, media_type="application/json", headers=headers)


class Api:
    """Handlers by name; ``web/routes.py`` gives each its path and its action."""

    def __init__(self, *, pipeline: Pipeline, acts: Acts, identity: Verifier, settings: Settings) -> None:
        """``acts`` serves the two answers that need no decision: one's own action, and the kill switch."""
        self._pipeline = pipeline
        self._acts = acts
        self._identity = identity
        self._settings = settings
        self._certificates = ClientCertificates(settings.gate.client_cert_proxies)

    def credential(self, request: Request) -> Credential:
        """What the request shows, with the gate's own public address for proofs; read once a request."""
        scope = request.scope
        known: Credential | None = scope.get(_CREDENTIAL)
        if known is None:
            headers = dict(scope["headers"])  # the guard lets none of these come twice
            authorization = headers.get(b"authorization", b"").decode("latin-1")
            if not authorization and scope["path"].startswith(MODEL_PATHS) and (key := headers.get(b"x-api-key")):
                authorization = f"Bearer {key.decode('latin-1')}"
            known = scope[_CREDENTIAL] = Credential(
                authorization=authorization,
                proof=headers.get(b"dpop", b"").decode("latin-1"),
                method=scope["method"],
                url=self._settings.url + scope["path"],
                certificate=self._certificates.of(scope, headers),
            )
        return known

    async def act(self, request: Request) -> Response:
        """POST /v1/actions."""
        body: schemas.ActionBody = await self.body(request, schemas.ActionBody)
        ask = Ask(
            action=body.action,
            resource={"type": body.resource.type, "id": body.resource.id, "env": body.resource.env},
            arguments=body.arguments,
            session=body.session,
            reason=body.reason,
            diagnosis=body.diagnosis,
            work=body.work.model_dump() if body.work else None,
            idempotency_key=_key(request),
        )
        return answered(await self._pipeline.act(self.credential(request), ask))

    async def action(self, request: Request) -> Response:
        """GET /v1/actions/{id}: the requester's own; with ``wait`` it answers when the state changes."""
        wait = min(_number(request, "wait", 0), round(self._settings.web.wait_seconds_max))
        principal = await self._identity.authenticate(self.credential(request))
        return own(await patience.aside(self._acts.own_action(principal, request.path_params["id"], wait=wait)))

    async def actions(self, request: Request) -> Response:
        """GET /v1/actions: the catalog."""
        return await self.gate(request, "gate.catalog.read", {})

    async def open_session(self, request: Request) -> Response:
        """POST /v1/sessions."""
        body: schemas.SessionBody = await self.body(request, schemas.SessionBody)
        return await self.gate(request, "gate.session.open", body.model_dump(), status=201)

    async def close_session(self, request: Request) -> Response:
        """DELETE /v1/sessions/{id}."""
        return await self.gate(request, "gate.session.close", {"session": request.path_params["id"]})

    async def observation(self, request: Request) -> Response:
        """GET /v1/observations/{id}; an agent says in which ``session`` it reads what an outsider may have written."""
        session = request.query_params.get("session", "")
        arguments = {"observation": request.path_params["id"]}
        return await self.gate(request, "gate.observation.read", arguments, session=session)

    async def approvals(self, request: Request) -> Response:
        """GET /v1/approvals."""
        return await self.gate(
            request,
            "gate.approvals.read",
            {"state": request.query_params.get("state", "waiting"), "after": request.query_params.get("after", "")},
        )

    async def approval(self, request: Request) -> Response:
        """GET /v1/approvals/{id}."""
        return await self.gate(request, "gate.approvals.read", {"approval": request.path_params["id"]})

    async def review(self, request: Request) -> Response:
        """POST /v1/approvals/{id}/reviews."""
        body: schemas.ReviewBody = await self.body(request, schemas.ReviewBody)
        arguments: dict[str, Json] = {
            "approval": request.path_params["id"],
            "verdict": body.verdict,
            "digest": body.digest,
        }
        if body.narrow is not None:
            arguments["narrow"] = body.narrow
        if body.assertion is not None:
            arguments["assertion"] = body.assertion.model_dump(exclude_none=True)
        return await self.gate(request, "gate.review.create", arguments, reason=body.reason)

    async def acknowledge(self, request: Request) -> Response:
        """POST /v1/approvals/{id}/acknowledgements."""
        body: schemas.AcknowledgementBody = await self.body(request, schemas.AcknowledgementBody)
        said: dict[str, Json] = {"approval": request.path_params["id"], "digest": body.digest}
        return await self.gate(request, "gate.review.acknowledge", said, reason=body.reason)

    async def simulate(self, request: Request) -> Response:
        """POST /v1/policies/simulate."""
        body: schemas.SimulateBody = await self.body(request, schemas.SimulateBody)
        asked = body.model_dump(exclude_none=True, exclude={"digest"})
        return await self.gate(request, "gate.policy.simulate", {"request": asked, "digest": body.digest})

    async def policies(self, request: Request) -> Response:
        """GET /v1/policies."""
        return await self.gate(request, "gate.policy.read", {})

    async def activate(self, request: Request) -> Response:
        """POST /v1/policies/activate."""
        body: schemas.ActivateBody = await self.body(request, schemas.ActivateBody)
        credential = self.credential(request)
        await self._identity.authenticate(credential)  # nothing is looked into, or kept, of whoever took a token
        request.scope[_CREDENTIAL] = replace(credential, proven=True)
        digest, revision = await self._acts.stage(_decoded(body.bundle), body.signature)
        return await self.gate(
            request, "gate.policy.activate", {"digest": digest, "revision": revision}, reason=body.reason
        )

    async def rollback(self, request: Request) -> Response:
        """POST /v1/policies/rollback."""
        body: schemas.RollbackBody = await self.body(request, schemas.RollbackBody)
        return await self.gate(request, "gate.policy.rollback", {"digest": body.digest}, reason=body.reason)

    async def entries(self, request: Request) -> Response:
        """GET /v1/audit/entries."""
        arguments = {
            "what": "entries",
            "after": _number(request, "after", -1),
            "limit": min(_number(request, "limit", 100), _PAGE_MAX),
            "kinds": [kind for kind in request.query_params.get("kinds", "").split(",") if kind],
            "session": request.query_params.get("session", ""),
        }
        return await self.gate(request, "gate.audit.read", arguments)

    async def checkpoint(self, request: Request) -> Response:
        """GET /v1/audit/checkpoint."""
        return await self.gate(request, "gate.audit.read", {"what": "checkpoint"})

    async def proof(self, request: Request) -> Response:
        """GET /v1/audit/proof/{seq}."""
        return await self.gate(
            request, "gate.audit.read", {"what": "proof", "seq": _whole(request.path_params["seq"], "seq")}
        )

    async def export(self, request: Request) -> Response:
        """GET /v1/audit/export."""
        query = request.query_params
        arguments = {
            "format": query.get("format", "jsonl"),
            "after": _number(request, "after", -1),
            "session": query.get("session", ""),
        }
        return await self.gate(request, "gate.audit.export", arguments)

    async def agents(self, request: Request) -> Response:
        """GET /v1/agents: what is stopped; ``what=page`` lists parties, ``agent`` tells everything about one."""
        query = request.query_params
        said: dict[str, Json] = {name: query[name] for name in ("what", "kind", "after", "agent") if name in query}
        return await self.gate(request, "gate.agents.read", said | ({"what": "one"} if said.get("agent") else {}))

    async def usage(self, request: Request) -> Response:
        """GET /v1/usage."""
        return await self.gate(request, "gate.usage.read", {"window": request.query_params.get("window", "day")})

    async def kill(self, request: Request) -> Response:
        """POST /v1/kill: needs a configured role and the log, but no policy answer."""
        body: schemas.KillBody = await self.body(request, schemas.KillBody)
        principal = await self._identity.authenticate(self.credential(request))
        said = {"scope": body.scope, "target": body.target, "reason": body.reason}
        return json_response(await self._acts.kill(principal, **said, key=_key(request)))

    async def resume(self, request: Request) -> Response:
        """POST /v1/kill/resume: an ordinary decided action."""
        body: schemas.KillBody = await self.body(request, schemas.KillBody)
        return await self.gate(
            request, "gate.kill.resume", {"scope": body.scope, "target": body.target}, reason=body.reason
        )

    async def body(self, request: Request, model: type[schemas.Body]) -> Any:
        """The body as ``model``; raises ``BadRequest`` that names the field and the rule, never the value."""
        return schemas.check(model, await schemas.read_object(await request.body(), self._settings.web))

    async def gate(  # noqa: PLR0913 - one keyword a part of the ask
        self,
        request: Request,
        action: str,
        arguments: dict[str, Any],
        *,
        session: str = "",
        reason: str = "",
        status: int = 200,
    ) -> Response:
        """One of the gate's own acts; its result is the body, beside the receipt."""
        ask = Ask(action, _GATE, arguments, session=session, reason=reason, idempotency_key=_key(request))
        answer = await self._pipeline.act(self.credential(request), ask)
        return answered(answer) if answer.status != "done" else json_response(_result(answer), status)

    async def own_act(self, request: Request, action: str, arguments: dict[str, Any]) -> dict[str, Json]:
        """The result of one of the gate's own acts that nobody has to approve."""
        ask = Ask(action, _GATE, arguments, idempotency_key=_key(request))
        return _result(await self._pipeline.act(self.credential(request), ask))

    async def count(self, request: Request, action: str, arguments: dict[str, Any]) -> None:
        """Charge policy's limits for one of the gate's own acts that there is no need to run; raises its refusal."""
        ask = Ask(action, _GATE, arguments, idempotency_key=_key(request))
        await self._pipeline.still(self.credential(request), ask, charged=True)

    @staticmethod
    def whole(text: str, name: str) -> int:
        """A whole number in a path; raises ``BadRequest``."""
        return _whole(text, name)

    @staticmethod
    def number(request: Request, name: str, default: int) -> int:
        """A whole-number query parameter; raises ``BadRequest``."""
        return _number(request, name, default)


def _result(answer: Answer) -> dict[str, Json]:
    """What an act gave, beside its receipt."""
    result = answer.body["result"]["value"]
    return {**(result if isinstance(result, dict) else {"result": result}), "receipt": answer.body["receipt"]}


def own(body: dict[str, Json]) -> Response:
    """One's own action: 202 while it waits or runs."""
    return answered(Answer(str(body["status"]), body))


def answered(answer: Answer) -> Response:
    """Status and headers of an answer: 200 done, 202 with its place while people or the target take their time."""
    if answer.status in ("waiting", "running"):
        return json_response(answer.body, 202, {"Location": f"/v1/actions/{answer.body['action_id']}"})
    return json_response(answer.body)


def _key(request: Request) -> str:
    """The idempotency key: 1 to 128 visible ASCII characters."""
    key = request.headers.get("idempotency-key", "").strip('"')
    if len(key) > 128 or not (key.isascii() and key.isprintable()):
        raise BadRequest(
            "header `Idempotency-Key` must be 1 to 128 visible ASCII characters", code="idempotency.key_form"
        )
    return key


def _decoded(text: str) -> bytes:
    """Base64 to bytes."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise BadRequest("field `bundle` is not base64", code="request.base64") from None


def _number(request: Request, name: str, default: int) -> int:
    """A whole-number query parameter."""
    return _whole(request.query_params.get(name, str(default)), name)


def _whole(text: str, name: str) -> int:
    """``text`` as a whole number of at most 15 digits."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 15):
        raise BadRequest(f"parameter `{name}` must be a whole number", code="request.parameter")
    return int(text)


async def absent(_: Request) -> Response:
    """Any path that is not served."""
    raise NotFound
