"""The redaction lab over HTTP."""

from starlette.requests import Request
from starlette.responses import Response

from broker.lab import Arguments, Lab, findings
from broker.model import Json
from broker.web import schemas
from broker.web.api import Api, json_response


class LabApi:
    """Handlers by name; ``web/routes.py`` gives each its path and its action."""

    def __init__(self, *, api: Api, lab: Lab) -> None:
        self._api = api
        self._lab = lab

    async def redact(self, request: Request) -> Response:
        """POST /v1/redactions: the text as a model would see it, and each finding; nothing of it is kept."""
        body: schemas.RedactionBody = await self._api.body(request, schemas.RedactionBody)

        async def ask(said: Arguments) -> dict[str, Json]:
            return await self._api.own_act(request, "gate.redaction.run", dict(said))

        told, seen = await self._lab.look(ask, body.text, body.profile)
        shown = {name: value for name, value in told.items() if name != "profiles"}
        if seen is None:
            return json_response(shown)
        return json_response({**shown, "text": seen.text, "findings": findings(seen)})
