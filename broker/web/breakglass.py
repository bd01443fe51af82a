"""Break-glass over HTTP: five routes, each one of the gate's own acts."""

from starlette.requests import Request
from starlette.responses import Response

from broker.web import schemas
from broker.web.api import Api


class BreakglassApi:
    """``/v1/breakglass``."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def breakglass(self, request: Request) -> Response:
        """GET /v1/breakglass."""
        return await self._api.gate(request, "gate.breakglass.read", {})

    async def breakglass_open(self, request: Request) -> Response:
        """POST /v1/breakglass."""
        body: schemas.BreakglassBody = await self._api.body(request, schemas.BreakglassBody)
        said = body.model_dump(exclude={"reason"})
        return await self._api.gate(request, "gate.breakglass.open", said, reason=body.reason, status=201)

    async def breakglass_confirm(self, request: Request) -> Response:
        """POST /v1/breakglass/{id}/confirm."""
        return await self._step(request, "confirm")

    async def breakglass_end(self, request: Request) -> Response:
        """POST /v1/breakglass/{id}/end."""
        return await self._step(request, "end")

    async def breakglass_review(self, request: Request) -> Response:
        """POST /v1/breakglass/{id}/review: the reason is what was found."""
        body: schemas.ReasonBody = await self._api.body(request, schemas.ReasonBody)
        said = {"breakglass": request.path_params["id"], "text": body.reason}
        return await self._api.gate(request, "gate.breakglass.review", said, reason=body.reason)

    async def _step(self, request: Request, verb: str) -> Response:
        body: schemas.ReasonBody = await self._api.body(request, schemas.ReasonBody)
        said = {"breakglass": request.path_params["id"]}
        return await self._api.gate(request, f"gate.breakglass.{verb}", said, reason=body.reason)
