"""Incidents and work over HTTP: each handler turns a request into one of the gate's acts.

A claim is looked for before it is asked for: a poll that finds nothing due is decided and charged to policy's limits
like any claim, and leaves no record unless it is refused.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.attempts import Attempts
from broker.config import Settings
from broker.errors import LimitExceeded
from broker.identity import Verifier
from broker.incident_acts import IncidentActs
from broker.incidents import SEVERITY
from broker.web import alertmanager, schemas
from broker.web.api import Api, json_response

PART_MAX = 200
"""Entries of one answer."""


class IncidentApi:
    """Handlers by name; ``web/routes.py`` gives each its path and its action."""

    def __init__(
        self, *, api: Api, acts: IncidentActs, identity: Verifier, polls: Attempts, settings: Settings
    ) -> None:
        """``api`` takes every ask down the one path; ``acts`` says whether anything is due, ``polls`` who asks too often."""
        self._api = api
        self._acts = acts
        self._identity = identity
        self._polls = polls
        self._settings = settings

    async def alertmanager(self, request: Request) -> Response:
        """POST /v1/webhooks/alertmanager: one act an alert, ends and the most severe first.

        One that finds no room keeps none of the others out, and fails the call after them: it is to be sent again.
        """
        body = await schemas.read_object(await request.body(), self._settings.web)
        incidents: list[Any] = []
        refused: LimitExceeded | None = None
        for arguments in sorted(alertmanager.read(body, self._settings.incidents), key=_turn):
            try:
                done = await self._api.own_act(request, "gate.incidents.receive", arguments)
                incidents.append(done["incident"])
            except LimitExceeded as error:
                if error.error_code != "incident.flood":
                    raise
                refused = refused or error
        if refused is not None:
            raise refused
        return json_response({"incidents": list(dict.fromkeys(incidents))})

    async def report(self, request: Request) -> Response:
        """POST /v1/incidents."""
        body: schemas.IncidentBody = await self._api.body(request, schemas.IncidentBody)
        return await self._api.gate(request, "gate.incidents.receive", body.model_dump(), status=201)

    async def incidents(self, request: Request) -> Response:
        """GET /v1/incidents."""
        query = request.query_params
        return await self._read(
            request,
            {
                "what": "page",
                "state": query.get("state", ""),
                "after": query.get("after", ""),
                "limit": min(self._api.number(request, "limit", 50), 200),
            },
        )

    async def incident(self, request: Request) -> Response:
        """GET /v1/incidents/{id}; an agent says in which ``session`` it reads it."""
        return await self._one(request, "whole", **self._span(request))

    async def events_of(self, request: Request) -> Response:
        """GET /v1/incidents/{id}/events: the newest, or those next ``before`` or ``after`` a place."""
        return await self._one(request, "events", only=request.query_params.get("only", ""), **self._span(request))

    async def diagnoses_of(self, request: Request) -> Response:
        """GET /v1/incidents/{id}/diagnoses: the newest, or those next ``before`` a place."""
        return await self._one(request, "diagnoses", **self._span(request))

    async def timeline(self, request: Request) -> Response:
        """GET /v1/incidents/{id}/timeline: the newest, or what is next ``before`` or ``after`` a place."""
        return await self._one(request, "timeline", **self._span(request))

    async def postmortem(self, request: Request) -> Response:
        """GET /v1/incidents/{id}/postmortem."""
        return await self._one(request, "postmortem")

    async def impact(self, request: Request) -> Response:
        """GET /v1/incidents/{id}/impact."""
        return await self._one(request, "impact")

    async def experts(self, request: Request) -> Response:
        """GET /v1/incidents/{id}/experts."""
        return await self._one(request, "experts")

    async def event(self, request: Request) -> Response:
        """POST /v1/incidents/{id}/events: a note is anybody's who may; the rest is for people."""
        body: schemas.EventBody = await self._api.body(request, schemas.EventBody)
        arguments: dict[str, Any] = {"incident": request.path_params["id"], "text": body.text}
        if body.kind == "note":
            return await self._api.gate(request, "gate.incidents.note", arguments, session=body.session, status=201)
        arguments |= {"kind": body.kind, "component": body.component, "fault": body.fault}
        return await self._api.gate(request, "gate.incidents.direct", arguments, session=body.session, status=201)

    async def diagnose(self, request: Request) -> Response:
        """POST /v1/incidents/{id}/diagnoses."""
        body: schemas.DiagnosisBody = await self._api.body(request, schemas.DiagnosisBody)
        arguments = {
            "incident": request.path_params["id"],
            **body.cause.model_dump(),
            "claims": [_said(claim) for claim in body.claims],
            "ruled_out": [rival.model_dump() for rival in body.ruled_out],
        }
        return await self._api.gate(request, "gate.incidents.diagnose", arguments, session=body.session, status=201)

    async def claim(self, request: Request) -> Response:
        """POST /v1/work/claim: 204 where nothing is due."""
        body: schemas.ClaimWorkBody = await self._api.body(request, schemas.ClaimWorkBody)
        # A sender's proof counts once: it is for the act itself.
        principal = await self._identity.recognise(self._api.credential(request))
        if over := self._polls.take(principal.tenant, principal.acting.id):
            raise LimitExceeded(
                "this party looks for work too often",
                code="work.polls",
                remedy="poll again after the seconds in Retry-After; a worker waits two seconds where nothing is due",
                retry_after=over.retry_after,
            )
        if not await self._acts.is_due(principal.tenant, body.kinds):
            await self._api.count(request, "gate.work.claim", body.model_dump())
            return Response(status_code=204)
        claimed = await self._api.own_act(request, "gate.work.claim", body.model_dump())
        return json_response(claimed) if claimed.get("work") else Response(status_code=204)

    async def renew(self, request: Request) -> Response:
        """POST /v1/work/{id}/renew."""
        body: schemas.RenewWorkBody = await self._api.body(request, schemas.RenewWorkBody)
        arguments = {"work": request.path_params["id"], **body.model_dump(exclude={"session"})}
        return await self._api.gate(request, "gate.work.renew", arguments, session=body.session)

    async def finish(self, request: Request) -> Response:
        """POST /v1/work/{id}/finish."""
        body: schemas.FinishWorkBody = await self._api.body(request, schemas.FinishWorkBody)
        arguments = {"work": request.path_params["id"], **body.model_dump(exclude={"session"})}
        return await self._api.gate(request, "gate.work.finish", arguments, session=body.session)

    def _span(self, request: Request) -> dict[str, Any]:
        """Which part of a long list: ``before``, ``after``, ``limit``."""
        edges = {name: request.query_params.get(name, "") for name in ("before", "after")}
        return {**edges, "limit": min(self._api.number(request, "limit", PART_MAX), PART_MAX)}

    async def _one(self, request: Request, what: str, **said: Any) -> Response:
        return await self._read(request, {"incident": request.path_params["id"], "what": what, **said})

    async def _read(self, request: Request, arguments: dict[str, Any]) -> Response:
        session = request.query_params.get("session", "")
        return await self._api.gate(request, "gate.incidents.read", arguments, session=session)


def _turn(alert: Mapping[str, Any]) -> tuple[bool, int]:
    """Ends make room; then the most severe goes first."""
    return alert["status"] != "resolved", -SEVERITY[alert["severity"]]


def _said(claim: schemas.ClaimBody) -> dict[str, Any]:
    """A claim with what was said of it, and nothing else."""
    said = claim.model_dump()
    needless = {"tolerance": "0", "text": "", "component": "", "at": ""}
    return {name: value for name, value in said.items() if name not in needless or value != needless[name]}
