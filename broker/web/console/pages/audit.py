"""The audit explorer: search, one record with what holds of it, and one checkpoint after another."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BadRequest
from broker.web.api import Api
from broker.web.console import words
from broker.web.console.desk import Desk
from broker.web.console.pages.log_lines import KINDS, LineView

PAGE = "/console/audit"
_WORDS = ("principal", "action", "resource", "effect", "code", "session", "incident")
_FILTERS = ("since", "until", "kind", *_WORDS, "tier", "own")
_ROWS = 50


@dataclass(frozen=True, slots=True)
class View:
    """A saved view: its name and where it leads."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class ExplorerView:
    """What the search page shows."""

    lines: list[LineView]
    asked: Mapping[str, str]
    query: str
    kinds: tuple[str, ...]
    older: str
    newer: str
    since: int
    behind: int
    views: list[View]
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Checked:
    """One property, its verdict and how it looks."""

    name: str
    verdict: str
    look: str
    detail: str


@dataclass(frozen=True, slots=True)
class EntryView:
    """What a record's page shows."""

    line: LineView
    leaf: str
    record: str
    links: list[tuple[str, str]]
    checks: list[Checked]
    vkey: str
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ConsistencyView:
    """What the page of two checkpoints shows; ``checks`` is empty before the first was given."""

    older: str
    newer: str
    checks: list[Checked]
    path: list[str]
    sizes: tuple[int, int]
    receipt: Mapping[str, Any] | None


class AuditPages:
    """``/console/audit`` and below."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_audit(self, request: Request) -> Response:
        """GET /console/audit."""
        asked = {name: request.query_params.get(name, "") for name in _FILTERS}
        told = await self._desk.ask(request, "gate.audit.search", _sought(request, asked))
        value, query = told.value, {name: one for name, one in asked.items() if one}
        view = ExplorerView(
            lines=[LineView.of(one) for one in value["lines"]],
            asked=asked,
            query=urlencode(query),
            kinds=KINDS,
            older=_page(query, "before", value["older"]),
            newer=_page(query, "after", value["newer"]),
            since=value["since"],
            behind=value["records"] - value["indexed"],
            views=[View(one["name"], f"{PAGE}?{one['query']}") for one in value["views"]],
            receipt=told.receipt,
        )
        return await self._desk.render(request, "audit.html", view, title=words.audit.title)

    async def console_audit_view(self, request: Request) -> Response:
        """POST /console/audit/views: keep these filters under a name, or forget the name."""
        form = await self._desk.form(request)
        said = {"page": "audit", "name": form.get("name", ""), "query": form.get("query", "")}
        await self._desk.ask(
            request, "gate.views.write", {**said, "forget": form.get("forget") == "1"}, key=form.get("key", "")
        )
        return self._desk.see_other(f"{PAGE}?{said['query']}", told=words.audit.view_done)

    async def console_audit_entry(self, request: Request) -> Response:
        """GET /console/audit/{seq}."""
        value, receipt = await self._entry(request)
        links = [
            (_link(name, one), str(one))
            for name, one in value["line"].items()
            if name in ("session", "incident", "approval") and one
        ]
        view = EntryView(
            line=LineView.of(value["line"]),
            leaf=value["leaf"],
            record=json.dumps(value["record"], indent=2, ensure_ascii=False, sort_keys=True),
            links=links,
            checks=_checked(value["checks"]),
            vkey=value["vkey"],
            receipt=receipt,
        )
        return await self._desk.render(
            request, "audit_entry.html", view, title=words.audit.entry.format(seq=value["seq"])
        )

    async def console_audit_proof(self, request: Request) -> Response:
        """GET /console/audit/{seq}/proof: the C2SP tlog-proof as a file."""
        value, _ = await self._entry(request)
        return _file(value["proof"].encode(), f"{value['seq']}.tlog-proof")

    async def console_audit_leaf(self, request: Request) -> Response:
        """GET /console/audit/{seq}/leaf: the exact bytes as a file."""
        value, _ = await self._entry(request)
        return _file(base64.b64decode(value["encoded"]), f"{value['seq']}.json")

    async def console_audit_consistency(self, request: Request) -> Response:
        """GET /console/audit/consistency."""
        older, newer = (request.query_params.get(name, "").replace("\r\n", "\n") for name in ("older", "newer"))
        view = ConsistencyView(older, newer, [], [], (0, 0), None)
        if older:
            told = await self._desk.ask(
                request, "gate.audit.read", {"what": "consistency", "older": older, "newer": newer}
            )
            value = told.value
            sizes = (value["older"]["size"], value["newer"]["size"])
            view = ConsistencyView(older, newer, _checked(value["checks"]), value["path"], sizes, told.receipt)
        return await self._desk.render(request, "audit_consistency.html", view, title=words.audit.consistency)

    async def _entry(self, request: Request) -> tuple[dict[str, Any], Mapping[str, Any]]:
        seq = Api.whole(request.path_params["seq"], "seq")
        told = await self._desk.ask(request, "gate.audit.read", {"what": "entry", "seq": seq})
        return told.value, told.receipt


def _sought(request: Request, asked: Mapping[str, str]) -> dict[str, Any]:
    """The form's fields as the act's arguments."""
    return {
        **{name: asked[name].strip() for name in _WORDS},
        "since": seconds_of(asked["since"], "since"),
        "until": seconds_of(asked["until"], "until"),
        "kinds": [asked["kind"]] if asked["kind"] else [],
        "tier": Api.whole(asked["tier"] or "-1", "tier"),
        "own": asked["own"] == "1",
        "before": Api.number(request, "before", -1),
        "after": Api.number(request, "after", -1),
        "limit": _ROWS,
        "views": "audit",
    }


def seconds_of(text: str, name: str) -> int:
    """What a browser's field of date and time holds, as UTC; 0 for none."""
    if not text:
        return 0
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except (ValueError, OverflowError):
        raise BadRequest(f"parameter `{name}` is not a date and time", code="request.parameter") from None


def _page(query: Mapping[str, str], cursor: str, at: int) -> str:
    return f"{PAGE}?{urlencode({**query, cursor: at})}" if at >= 0 else ""


def _checked(checks: Sequence[Mapping[str, str]]) -> list[Checked]:
    looks = {"ok": "good", "failed": "bad"}
    return [
        Checked(one["property"], one["verdict"], looks.get(one["verdict"], "warn"), one["detail"]) for one in checks
    ]


def _link(name: str, value: str) -> str:
    pages = {"incident": "/console/incidents/", "approval": "/console/inbox/"}
    return pages[name] + value if name in pages else f"{PAGE}?{urlencode({name: value, 'own': '1'})}"


def _file(content: bytes, name: str) -> Response:
    """A download: never shown, never read as a page."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Security-Policy": "default-src 'none'"}
    return Response(content, headers=headers, media_type="application/octet-stream")
