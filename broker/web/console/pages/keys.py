"""Security keys: one's own, those of others that wait for a second person, registering, confirming, removing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BadRequest
from broker.model import Json
from broker.strictjson import read_object
from broker.web.console import words
from broker.web.console.desk import Desk

PAGE = "/console/keys"
READ = "gate.authenticators.read"
_LOOKS = {"ready": "good", "waiting": "warn", "removed": "plain"}
_BYTES_MAX = 32_768


@dataclass(frozen=True, slots=True)
class Key:
    """One authenticator; times are seconds since the epoch, 0 for never."""

    id: str
    party: str
    own: bool
    state: str
    look: str
    created_at: int
    confirmed_by: str
    confirmed_at: int
    used_at: int
    removed_by: str
    removed_at: int


@dataclass(frozen=True, slots=True)
class KeysView:
    """What the page shows. ``ask`` and ``until`` are what a new key is registered with; ``off``: why none can be."""

    own: list[Key]
    others: list[Key]
    ask: str
    until: int
    off: str
    receipt: Mapping[str, Any]


class KeysPage:
    """``/console/keys`` and below."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_keys(self, request: Request) -> Response:
        """GET /console/keys."""
        told = await self._desk.ask(request, READ)
        keys = [_key(one) for one in told.value["authenticators"]]
        creation, why_not = told.value["creation"], told.value["why_not"]
        view = KeysView(
            own=[one for one in keys if one.own],
            others=[one for one in keys if not one.own and one.state != "removed"],
            ask=orjson.dumps({"way": "create", **creation["publicKey"]}).decode() if creation else "",
            until=creation["until"] if creation else 0,
            off=words.keys.off.format(**why_not) if why_not else "",
            receipt=told.receipt,
        )
        return await self._desk.render(request, "keys.html", view, title=words.keys.title)

    async def console_keys_register(self, request: Request) -> Response:
        """POST /console/keys: what the browser's authenticator answered."""
        form = await self._desk.form(request)
        until = form.get("until", "")
        said: dict[str, Json] = {
            "until": int(until) if until.isascii() and until.isdigit() and len(until) < 16 else 0,
            "credential": answer_of(form.get("credential", "")),
        }
        return await self._act(request, "register", said, form, words.keys.registered)

    async def console_keys_confirm(self, request: Request) -> Response:
        """POST /console/keys/confirm: somebody else's."""
        form = await self._desk.form(request)
        return await self._act(
            request, "confirm", {"authenticator": form.get("authenticator", "")}, form, words.keys.confirmed
        )

    async def console_keys_remove(self, request: Request) -> Response:
        """POST /console/keys/remove."""
        form = await self._desk.form(request)
        return await self._act(
            request, "remove", {"authenticator": form.get("authenticator", "")}, form, words.keys.removed
        )

    async def _act(
        self, request: Request, verb: str, said: Mapping[str, Json], form: Mapping[str, str], done: str
    ) -> Response:
        action, reason = f"gate.authenticators.{verb}", form.get("reason", "") or words.keys.reasons[verb]
        told = await self._desk.ask(request, action, said, reason=reason, key=form.get("key", ""))
        return self._desk.see_other(PAGE, told=done if told.status == "done" else words.common.waiting)


def answer_of(text: str) -> dict[str, Json]:
    """What the page's script put into its field; raises ``BadRequest`` (``signature.malformed``)."""
    try:
        return read_object(text.encode(), bytes_max=_BYTES_MAX)
    except BadRequest:
        raise BadRequest(words.keys.no_answer, code="signature.malformed", remedy=words.keys.no_answer_remedy) from None


def _key(one: Mapping[str, Any]) -> Key:
    told = {name: one[name] for name in Key.__slots__ if name != "look"}
    return Key(**told, look=_LOOKS[one["state"]])
