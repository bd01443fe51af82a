"""One observation: what an action brought back, redacted and whole, as everybody reads it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.web.console import words
from broker.web.console.desk import Desk


@dataclass(frozen=True, slots=True)
class ObservationView:
    """``value`` is JSON with one member a line."""

    id: str
    value: str
    receipt: Mapping[str, Any]


class ObservationPage:
    """``/console/observations/{id}``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_observation(self, request: Request) -> Response:
        """GET /console/observations/{id}."""
        told = await self._desk.ask(request, "gate.observation.read", {"observation": request.path_params["id"]})
        value = json.dumps(told.value["value"], indent=2, ensure_ascii=False, sort_keys=True)
        view = ObservationView(told.value["observation"], value, told.receipt)
        return await self._desk.render(request, "observation.html", view, title=words.observation.title)
