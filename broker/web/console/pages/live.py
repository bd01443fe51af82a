"""Live: the log as it grows. The first lines come with the page; scripts only add what follows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from broker.logbook import Line, shown
from broker.web.console import words
from broker.web.console.desk import Desk
from broker.web.console.pages.log_lines import KINDS, LineView
from broker.web.console.render import Renderer
from broker.web.events import ACT, Streaming, last_seen

LINES = 50
BEAT = b"event: beat\ndata:\n\n"
"""An event that the page's script sees, so that it notices a connection that died without a word."""
_TEXTS = ("action", "effect", "session", "incident")


@dataclass(frozen=True, slots=True)
class LiveView:
    """What the page shows. ``stream`` is empty while it is paused."""

    lines: list[LineView]
    wanted: Mapping[str, str]
    kinds: tuple[str, ...]
    stream: str
    silent: float
    """Seconds without a word from a stream that is alive, at most."""
    other: str
    """The same page, paused or not."""
    unseen: str
    """That records are missing between the rows and what follows, or nothing."""
    receipt: Mapping[str, Any]


class LivePage:
    """``/console/live`` and the stream behind it."""

    def __init__(self, desk: Desk, streaming: Streaming, renderer: Renderer) -> None:
        self._desk = desk
        self._streaming = streaming
        self._renderer = renderer

    async def console_live(self, request: Request) -> Response:
        """GET /console/live."""
        paused = request.query_params.get("paused") == "1"
        wanted = _wanted(request)
        told = await self._desk.ask(request, ACT, {**wanted, "lines": LINES})
        query = {name: str(wanted[name]) for name in _TEXTS if wanted[name]}
        query |= {"kind": wanted["kinds"][0]} if wanted["kinds"] else {}
        query |= {"own": "1"} if wanted["own"] else {}
        view = LiveView(
            lines=[LineView.of(one) for one in told.value["lines"]],
            wanted={name: query.get(name, "") for name in (*_TEXTS, "kind", "own")},
            kinds=KINDS,
            stream="" if paused else f"/console/live/stream?{urlencode({**query, 'after': told.value['next'] - 1})}",
            silent=2 * self._streaming.settings.heartbeat_seconds,
            other=f"/console/live?{urlencode(query if paused else {**query, 'paused': '1'})}",
            unseen=words.live.unseen.format(count=told.value["unseen"]) if told.value["unseen"] else "",
            receipt=told.receipt,
        )
        return await self._desk.render(request, "live.html", view, title=words.live.title)

    async def console_live_stream(self, request: Request) -> Response:
        """GET /console/live/stream: rows of the table, newest first, one message a batch."""
        return await self._streaming.open(
            self._desk.credential(request), _wanted(request), last_seen(request), self._rows, BEAT
        )

    def _rows(self, lines: tuple[Line, ...], name_of: Callable[[str], str], seen: int) -> bytes:
        if not lines:
            return b"id: %d\n\n" % seen
        views = [LineView.of(shown(one, name_of)) for one in reversed(lines)]
        markup = self._renderer.fragment("fragments/log_rows.html", {"lines": views, "now": lines[-1].at})
        data = "".join(f"data: {row}\n" for row in markup.splitlines() if row.strip())
        return f"id: {seen}\n{data}\n".encode()


def _wanted(request: Request) -> dict[str, Any]:
    """Arguments of the act; looks at the gate itself stay out unless they are asked for."""
    query = request.query_params
    kind = query.get("kind", "")
    wanted: dict[str, Any] = {name: query.get(name, "") for name in _TEXTS}
    return wanted | {"kinds": [kind] if kind else [], "own": query.get("own") == "1"}
