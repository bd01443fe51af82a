"""Break-glass: what is open and what was, asking for it, and the second person's step."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BadRequest
from broker.model import Json
from broker.web.console import words
from broker.web.console.desk import Desk
from broker.web.console.pages.inbox import target_of

PAGE = "/console/agents/breakglass"
_TARGET = re.compile(r"([^/\s]{1,64})/(.{1,256}) \(([^()\s]{1,64})\)\Z")
_LOOKS = {"waiting": "warn", "open": "bad", "over": "warn", "reviewed": "good", "dropped": "plain"}


@dataclass(frozen=True, slots=True)
class BreakglassView:
    """What the page shows: each as ``gate.breakglass.read`` gives it, its targets as text beside it."""

    listed: list[tuple[Mapping[str, Any], str, list[str]]]
    minutes_max: int
    live: bool
    receipt: Mapping[str, Any]


class BreakglassPage:
    """``/console/agents/breakglass`` and below."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_breakglass(self, request: Request) -> Response:
        """GET /console/agents/breakglass."""
        told = await self._desk.ask(request, "gate.breakglass.read")
        found = told.value["breakglass"]
        view = BreakglassView(
            listed=[(one, _LOOKS[one["state"]], [target_of(target) for target in one["targets"]]) for one in found],
            minutes_max=told.value["minutes_max"],
            live=any(one["state"] in ("waiting", "open") for one in found),
            receipt=told.receipt,
        )
        return await self._desk.render(request, "breakglass.html", view, title=words.breakglass.title)

    async def console_breakglass_open(self, request: Request) -> Response:
        """POST /console/agents/breakglass: the first step."""
        form = await self._desk.form(request)
        minutes = form.get("minutes", "")
        said: dict[str, Json] = {
            "actions": _lines(form.get("actions", "")),
            "targets": [_target(line) for line in _lines(form.get("targets", ""))],
            "people": _lines(form.get("people", "")),
            "minutes": int(minutes) if re.fullmatch(r"[0-9]{1,4}", minutes, re.ASCII) else 0,
        }
        return await self._act(request, "open", said, form, words.breakglass.asked)

    async def console_breakglass_confirm(self, request: Request) -> Response:
        """POST /console/agents/breakglass/{id}/confirm: the second person's."""
        form = await self._desk.form(request)
        return await self._act(request, "confirm", _of(request), form, words.breakglass.confirmed)

    async def console_breakglass_end(self, request: Request) -> Response:
        """POST /console/agents/breakglass/{id}/end."""
        form = await self._desk.form(request)
        return await self._act(request, "end", _of(request), form, words.breakglass.ended)

    async def console_breakglass_review(self, request: Request) -> Response:
        """POST /console/agents/breakglass/{id}/review."""
        form = await self._desk.form(request)
        said = {**_of(request), "text": form.get("reason", "").strip()}
        return await self._act(request, "review", said, form, words.breakglass.reviewed)

    async def _act(
        self, request: Request, verb: str, said: Mapping[str, Json], form: Mapping[str, str], done: str
    ) -> Response:
        reason = form.get("reason", "").strip()
        told = await self._desk.ask(request, f"gate.breakglass.{verb}", said, reason=reason, key=form.get("key", ""))
        return self._desk.see_other(PAGE, told=done if told.status == "done" else words.common.waiting)


def _of(request: Request) -> dict[str, Json]:
    return {"breakglass": request.path_params["id"]}


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _target(line: str) -> dict[str, str]:
    found = _TARGET.match(line)
    if found is None:
        raise BadRequest(words.breakglass.form, code="breakglass.target", remedy=words.breakglass.form_remedy)
    return {"type": found[1], "id": found[2], "env": found[3]}
