"""The REST of reading the log beyond its pages: search, one record with what holds of it, two checkpoints."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from broker.identity import Verifier
from broker.web import schemas
from broker.web.api import Api

_WORDS = ("principal", "action", "resource", "effect", "code", "session", "incident")
_NUMBERS = {"since": 0, "until": 0, "tier": -1, "before": -1, "after": -1, "limit": 50}


class LogApi:
    """Handlers by name; each is one act."""

    def __init__(self, *, api: Api, identity: Verifier, content: Callable[[str, str], AsyncIterator[bytes]]) -> None:
        """``api`` goes down the one path; ``content`` gives the bytes of an export that was permitted."""
        self._api = api
        self._identity = identity
        self._content = content

    async def exports_create(self, request: Request) -> Response:
        """POST /v1/exports."""
        body: schemas.ExportBody = await self._api.body(request, schemas.ExportBody)
        said = body.model_dump(exclude={"reason"})
        return await self._api.gate(request, "gate.exports.create", said, reason=body.reason, status=201)

    async def exports(self, request: Request) -> Response:
        """GET /v1/exports."""
        return await self._api.gate(request, "gate.exports.read", {"after": request.query_params.get("after", "")})

    async def export_one(self, request: Request) -> Response:
        """GET /v1/exports/{export}."""
        return await self._api.gate(request, "gate.exports.read", {"export": request.path_params["export"]})

    async def export_file(self, request: Request) -> Response:
        """GET /v1/exports/{export}/file."""
        export = request.path_params["export"]
        told = await self._api.own_act(request, "gate.exports.fetch", {"export": export})
        principal = await self._identity.recognise(self._api.credential(request))
        return attachment(self._content(principal.tenant, export), told)

    async def search(self, request: Request) -> Response:
        """GET /v1/audit/search."""
        return await self._api.gate(request, "gate.audit.search", sought(request))

    async def entry(self, request: Request) -> Response:
        """GET /v1/audit/entries/{seq}."""
        arguments = {"what": "entry", "seq": self._api.whole(request.path_params["seq"], "seq")}
        return await self._api.gate(request, "gate.audit.read", arguments)

    async def consistency(self, request: Request) -> Response:
        """GET /v1/audit/consistency: a kept checkpoint ``older`` against ``newer``, or against the log as it stands."""
        query = request.query_params
        arguments = {"what": "consistency", "older": query.get("older", ""), "newer": query.get("newer", "")}
        return await self._api.gate(request, "gate.audit.read", arguments)


def sought(request: Request) -> dict[str, Any]:
    """Query parameters as arguments of the search; raises ``BadRequest``."""
    query = request.query_params
    return {
        **{name: query.get(name, "") for name in _WORDS},
        **{name: Api.number(request, name, default) for name, default in _NUMBERS.items()},
        "kinds": [kind for kind in query.get("kinds", "").split(",") if kind],
        "own": query.get("own", "1") != "0",
    }


def attachment(content: AsyncIterator[bytes], told: Mapping[str, Any]) -> Response:
    """Bytes as a download: never shown, never read as a page."""
    headers = {
        "Content-Disposition": f'attachment; filename="{told["name"]}"',
        "Content-Length": str(told["bytes"]),
        "Content-Security-Policy": "default-src 'none'",
        "Repr-Digest": f"sha-256={told['digest']}",
    }
    return StreamingResponse(content, headers=headers, media_type="application/octet-stream")
