"""The inbox: what waits for people, identical requests in one group."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from broker.web.console import words
from broker.web.console.desk import Desk
from broker.web.console.pages.timebox import Ending

PAGE = "/console/inbox"


@dataclass(frozen=True, slots=True)
class Waiting:
    """One waiting request. Times are seconds since the epoch."""

    id: str
    path: str
    action: str
    target: str
    requester: str
    tier: int
    since: int
    ending: Ending
    reason: str
    summary: str


@dataclass(frozen=True, slots=True)
class Group:
    """Requests of one thing, the first of them in front; one in the usual case."""

    first: Waiting
    members: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class InboxView:
    """What the page shows."""

    groups: list[Group]
    here: str
    older: str
    receipt: Mapping[str, Any]


class InboxPage:
    """``/console/inbox``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_inbox(self, request: Request) -> Response:
        """GET /console/inbox; for htmx, its list alone."""
        after = request.query_params.get("after", "")
        told = await self._desk.ask(request, "gate.approvals.read", {"state": "waiting", "after": after})
        following = told.value["after"]
        view = InboxView(
            groups=grouped(told.value["approvals"]),
            here=_page(after),
            older=_page(following) if following else "",
            receipt=told.receipt,
        )
        template = "fragments/inbox_list.html" if "hx-request" in request.headers else "inbox.html"
        return await self._desk.render(request, template, view, title=words.inbox.title)


def grouped(approvals: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Groups in order: highest tier, then oldest, then soonest to expire; what expired meanwhile waits no more."""
    waiting = [one for one in approvals if one["state"] == "waiting"]
    waiting.sort(key=lambda one: (-one["tier"], one["created_at"], Ending.of(one).at, one["id"]))
    groups: dict[str, list[Waiting]] = {}
    for one in waiting:
        groups.setdefault(one["alike"], []).append(_waiting(one))
    return [Group(members[0], tuple(members)) for members in groups.values()]


def target_of(resource: Mapping[str, Any]) -> str:
    """A resource in plain words."""
    return f"{resource['type']}/{resource['id']} ({resource['env']})"


def _waiting(one: Mapping[str, Any]) -> Waiting:
    return Waiting(
        id=one["id"],
        path=f"{PAGE}/{one['id']}",
        action=one["action"],
        target=target_of(one["resource"]),
        requester=one["requester"],
        tier=one["tier"],
        since=one["created_at"],
        ending=Ending.of(one),
        reason=one["reason"],
        summary=one["summary"],
    )


def _page(after: str) -> str:
    return f"{PAGE}?after={quote(after)}" if after else PAGE
