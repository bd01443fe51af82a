"""The redaction lab: a text as it came and as a model would see it, side by side. Nothing of it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.lab import CHARACTERS_MAX, Arguments, Lab, findings
from broker.redaction import Looked
from broker.web.console import words
from broker.web.console.desk import Desk, Told

ACT = "gate.redaction.run"
USUAL = "default"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text. ``number`` is its finding's, from 1; 0 without one. ``said`` names what was done, or is empty."""

    before: str
    after: str
    number: int
    said: str


@dataclass(frozen=True, slots=True)
class FindingView:
    """One line of the table; ``start`` and ``end`` count characters of the text as it came."""

    number: int
    entity: str
    detector: str
    rule: str
    score: str
    start: int
    end: int
    op: str


@dataclass(frozen=True, slots=True)
class ProfileView:
    """A profile and what it does: (entity, what becomes of it)."""

    name: str
    treated: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class SeenView:
    """What was seen in one text; ``refused``: the gate would let no request with it through."""

    pieces: list[Piece]
    findings: list[FindingView]
    forged: int
    withheld: int
    refused: bool
    characters: int


@dataclass(frozen=True, slots=True)
class RedactionView:
    """What the page shows; ``seen`` is none before a text was looked at."""

    text: str
    profile: str
    profiles: list[ProfileView]
    characters_max: int
    seen: SeenView | None
    receipt: Mapping[str, Any]


class RedactionPage:
    """``/console/redaction``."""

    def __init__(self, desk: Desk, lab: Lab) -> None:
        self._desk = desk
        self._lab = lab

    async def console_redaction(self, request: Request) -> Response:
        """GET /console/redaction: the empty form."""
        return await self._look(request, "", USUAL)

    async def console_redaction_look(self, request: Request) -> Response:
        """POST /console/redaction: the answer is the page itself, for nothing is kept that another page could show."""
        form = await self._desk.form(request)
        return await self._look(request, form.get("text", ""), form.get("profile", "") or USUAL)

    async def _look(self, request: Request, text: str, profile: str) -> Response:
        async def ask(said: Arguments) -> Told:
            return await self._desk.ask(request, ACT, said)

        told, seen = await self._lab.look(ask, text, profile)
        view = RedactionView(
            text=text,
            profile=profile,
            profiles=[_profile(one) for one in told.value["profiles"]],
            characters_max=CHARACTERS_MAX,
            seen=_seen(seen, told.value) if seen is not None else None,
            receipt=told.receipt,
        )
        return await self._desk.render(request, "redaction.html", view, title=words.redaction.title)


def _seen(seen: Looked, told: Mapping[str, Any]) -> SeenView:
    operators = words.redaction.operators
    pieces = [
        Piece(
            one.before,
            one.after,
            one.finding + 1,
            f"{seen.findings[one.finding].entity}, {operators[one.op]}"
            if one.finding >= 0
            else (operators[one.op] if one.op else ""),
        )
        for one in seen.parts
    ]
    found = [
        FindingView(
            number=place + 1,
            entity=one["entity"],
            detector=words.redaction.detectors[one["detector"]],
            rule=one["rule"],
            score=f"{one['score']:.2f}",
            start=one["start"],
            end=one["end"],
            op=operators[one["operator"]],
        )
        for place, one in enumerate(findings(seen))
    ]
    forged = sum(one.op == "escape" for one in seen.parts)
    return SeenView(pieces, found, forged, seen.withheld, told["refused"], told["characters"])


def _profile(one: Mapping[str, Any]) -> ProfileView:
    say = words.redaction
    treated = [
        (entity, say.operators[how["op"]] + (say.keeps.format(part=say.kept[how["keep"]]) if how["keep"] else ""))
        for entity, how in one["entities"].items()
    ]
    return ProfileView(one["name"], treated)
