"""The gate as a policy decision point of others: the OpenID AuthZEN Authorization API 1.0 (January 2026).

A question is an action of the connector ``gate`` (``gate.decision.*``) and takes the one path: who may ask about whom is
policy's word, and asking is on record. A no is an answer (200); 401 and 403 are about the one who asks. Duties of a yes
are told as the Obligations profile, draft 1 (2026-07-03), has them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker.config import Settings
from broker.errors import BadRequest, BrokerError
from broker.evaluating import CUSTOM
from broker.identity import Verifier
from broker.model import Json, Principal
from broker.web import schemas
from broker.web.api import Api, json_response
from broker.web.problem import problem

EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"
SEARCHES = {find: f"/access/v1/search/{find}" for find in ("subject", "resource", "action")}
_PARTS = ("subject", "action", "resource")
_LIMIT_MAX = 100
_MEDIA_TYPE = 415
_REQUEST_ID = "x-request-id"
_REQUEST_ID_MAX = 256


class AuthzenApi:
    """Reads the questions, and gives the answers in the protocol's form."""

    def __init__(
        self,
        *,
        api: Api,
        identity: Verifier,
        settings: Settings,
        act: Callable[[str, Principal, Mapping[str, Any]], str],
    ) -> None:
        """``settings.url`` is the decision point's identifier; ``act`` tells which act answers a question."""
        self._api = api
        self._identity = identity
        self._settings = settings
        self._act = act
        url = settings.url
        self._metadata = orjson.dumps(
            {
                "policy_decision_point": url,
                "access_evaluation_endpoint": url + EVALUATION,
                "access_evaluations_endpoint": url + EVALUATIONS,
                **{f"search_{find}_endpoint": url + path for find, path in SEARCHES.items()},
                "obligations_supported": [CUSTOM],
            }
        )

    async def authzen_metadata(self, request: Request) -> Response:
        """GET /.well-known/authzen-configuration."""
        return echoed(request, Response(self._metadata, media_type="application/json"))

    async def authzen_evaluation(self, request: Request) -> Response:
        """POST /access/v1/evaluation."""
        return await self._single(request, await self._read(request))

    async def authzen_evaluations(self, request: Request) -> Response:
        """POST /access/v1/evaluations; without questions in a list it is one evaluation."""
        said = await self._read(request)
        body: schemas.EvaluationsBody = schemas.check(schemas.EvaluationsBody, said)
        if not body.evaluations:
            return await self._single(request, said)
        questions = [_merged(said, one) for one in body.evaluations]
        asked, properties = zip(*(_question(one) for one in questions), strict=True)
        arguments: dict[str, Any] = {
            "asked": list(asked),
            "properties": list(properties),
            "semantic": body.options.evaluations_semantic,
        }
        able = schemas.check(schemas.ContextBody, body.context or {}).obligations_supported
        found = await self._ask(request, "gate.decision.evaluate", arguments, able)
        return echoed(request, json_response({"evaluations": found["evaluations"], "context": _record(found)}))

    async def authzen_search_subject(self, request: Request) -> Response:
        """POST /access/v1/search/subject."""
        return await self._search(request, "subject", schemas.SubjectSearchBody)

    async def authzen_search_resource(self, request: Request) -> Response:
        """POST /access/v1/search/resource."""
        return await self._search(request, "resource", schemas.ResourceSearchBody)

    async def authzen_search_action(self, request: Request) -> Response:
        """POST /access/v1/search/action."""
        return await self._search(request, "action", schemas.ActionSearchBody)

    async def _single(self, request: Request, said: Mapping[str, Json]) -> Response:
        """One question, one answer."""
        body: schemas.EvaluationBody = schemas.check(schemas.EvaluationBody, said)
        asked, properties = _split(body.model_dump(exclude={"context"}))
        arguments: dict[str, Any] = {"asked": [asked], "properties": [properties]}
        found = await self._ask(request, "gate.decision.evaluate", arguments, body.context.obligations_supported)
        [answer] = found["evaluations"]
        return echoed(request, json_response({**answer, "context": {**answer.get("context", {}), **_record(found)}}))

    async def _search(self, request: Request, find: str, model: type[schemas.OpenBody]) -> Response:
        """One page of what is found."""
        body: Any = schemas.check(model, await self._read(request))
        asked, properties = _split(body.model_dump(exclude={"context", "page"}))
        arguments: dict[str, Any] = {
            "find": find,
            "asked": [asked],
            "properties": [properties],
            "limit": min(body.page.limit, _LIMIT_MAX),
            "after": body.page.token,
        }
        found = await self._ask(request, "gate.decision.search", arguments, body.context.obligations_supported)
        answer = {"results": found["results"], "page": found["page"], "context": _record(found)}
        return echoed(request, json_response(answer))

    async def _ask(
        self, request: Request, action: str, arguments: dict[str, Any], able: list[str] | None
    ) -> Mapping[str, Any]:
        """The act, as the one about oneself where nobody else is meant."""
        if able is not None:
            arguments["obligations"] = [one for one in able if one == CUSTOM]
        principal = await self._identity.recognise(self._api.credential(request))
        return await self._api.own_act(request, self._act(action, principal, arguments), arguments)

    async def _read(self, request: Request) -> dict[str, Json]:
        """The body; numbers with a fraction are exact text from here on, as everywhere behind the doors."""
        found: dict[str, Json] = _exact(
            await schemas.read_object(await request.body(), self._settings.web, floats=True)
        )
        return found


def refusal(error: BrokerError, challenge: str, request: Request) -> Response:
    """A request that was not answered; the protocol's word for whatever is wrong with its form is 400."""
    response = problem(error, challenge)
    if response.status_code == _MEDIA_TYPE:
        response.status_code = 400
    return echoed(request, response)


def echoed(request: Request, response: Response) -> Response:
    """The asker's own name of the request, given back."""
    named = request.headers.get(_REQUEST_ID, "")
    if named and len(named) <= _REQUEST_ID_MAX and named.isascii() and named.isprintable():
        response.headers[_REQUEST_ID] = named
    return response


def _record(found: Mapping[str, Any]) -> dict[str, Json]:
    """Where the question is on record."""
    return {"receipt": found["receipt"]}


def _merged(defaults: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, Any]:
    """A question with what it lacks: a whole member, or the type, id or name of one that it has."""
    merged = {part: one.get(part, defaults.get(part)) for part in _PARTS}
    for part, said in merged.items():
        whole = defaults.get(part)
        if isinstance(said, dict) and isinstance(whole, dict):
            merged[part] = {**{key: whole[key] for key in ("type", "id", "name") if key in whole}, **said}
    return {part: said for part, said in merged.items() if said is not None}


def _question(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One question of a list; what is wrong with one is no fault of the others."""
    try:
        body: schemas.EvaluationBody = schemas.check(schemas.EvaluationBody, dict(said))
    except BadRequest as error:
        return {"problem": error.detail[:300]}, {}
    return _split(body.model_dump(exclude={"context"}))


def _split(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What names somebody or something, and what is said of it."""
    asked = {part: {key: one for key, one in said[part].items() if key != "properties"} for part in said}
    return asked, {part: said[part]["properties"] for part in said}


def _exact(value: Json) -> Any:
    """``value`` with each number that has a fraction as its text."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {name: _exact(one) for name, one in value.items()}
    return [_exact(one) for one in value] if isinstance(value, list) else value
