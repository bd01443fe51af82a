"""Exports: ask for one, see how far it is, fetch it until it expires."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.web.console import words
from broker.web.console.desk import Desk
from broker.web.console.pages.audit import seconds_of
from broker.web.console.pages.log_lines import KINDS
from broker.web.logbook import attachment

PAGE = "/console/exports"
_WORDS = ("principal", "action", "session", "incident")
_LOOKS = {"done": "good", "failed": "bad", "due": "warn"}
Content = Callable[[str, str], AsyncIterator[bytes]]
"""Tenant and export -> its bytes, after the act permitted them."""


@dataclass(frozen=True, slots=True)
class ExportView:
    """One row of the list."""

    id: str
    form: str
    state: str
    look: str
    party: str
    query: str
    entries: int
    seen: int
    last: int
    size: int
    digest: str
    created_at: int
    expires_at: int
    error: str


@dataclass(frozen=True, slots=True)
class ExportsView:
    """What the page shows; ``under_way``: one of them is not done yet."""

    exports: list[ExportView]
    kinds: tuple[str, ...]
    under_way: bool
    older: str
    receipt: Mapping[str, Any]


class ExportsPage:
    """``/console/exports``."""

    def __init__(self, desk: Desk, content: Content) -> None:
        self._desk = desk
        self._content = content

    async def console_exports(self, request: Request) -> Response:
        """GET /console/exports."""
        told = await self._desk.ask(request, "gate.exports.read", {"after": request.query_params.get("after", "")})
        found = [_view(one) for one in told.value["exports"]]
        after = told.value["after"]
        under_way = any(one.state == "due" for one in found)
        view = ExportsView(found, KINDS, under_way, f"{PAGE}?after={after}" if after else "", told.receipt)
        return await self._desk.render(request, "exports.html", view, title=words.exports.title)

    async def console_exports_create(self, request: Request) -> Response:
        """POST /console/exports."""
        form = await self._desk.form(request)
        said: dict[str, Any] = {name: form.get(name, "").strip() for name in _WORDS}
        said |= {
            "form": form.get("form", ""),
            "since": seconds_of(form.get("since", ""), "since") or 1,
            "until": seconds_of(form.get("until", ""), "until"),
            "kinds": [form["kind"]] if form.get("kind") else [],
        }
        await self._desk.ask(
            request, "gate.exports.create", said, reason=form.get("reason", ""), key=form.get("key", "")
        )
        return self._desk.see_other(PAGE, told=words.exports.asked)

    async def console_exports_file(self, request: Request) -> Response:
        """GET /console/exports/{export}/file: decided and on record, then its bytes."""
        export = request.path_params["export"]
        told = await self._desk.ask(request, "gate.exports.fetch", {"export": export})
        visit = await self._desk.visit(request)
        return attachment(self._content(visit.principal.tenant, export), told.value)


def _view(one: Mapping[str, Any]) -> ExportView:
    asked = [f"{name}: {value}" for name, value in one["query"].items() if value and name not in ("own", "tier")]
    return ExportView(
        id=one["export"],
        query=", ".join(asked),
        look=_LOOKS.get(one["state"], "plain"),
        size=one["bytes"],
        **{
            name: one[name]
            for name in (
                *("form", "state", "party", "entries", "seen", "last"),
                *("digest", "created_at", "expires_at", "error"),
            )
        },
    )
