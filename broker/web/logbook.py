"""The REST of reading the log beyond its pages: search, one record with what holds of it, two checkpoints."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.web.api import Api

_WORDS = ("principal", "action", "resource", "effect", "code", "session", "incident")
_NUMBERS = {"since": 0, "until": 0, "tier": -1, "before": -1, "after": -1, "limit": 50}


class LogApi:
    """Handlers by name; each is one act."""

    def __init__(self, *, api: Api) -> None:
        """``api`` goes down the one path."""
        self._api = api

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
