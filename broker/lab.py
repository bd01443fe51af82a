"""The redaction lab: what redaction makes of a text that somebody brings. The act ``gate.redaction.run``.

The text never becomes an argument: it lies on a tray of this process while the act is decided and recorded, and is
forgotten with the answer. What is decided, and what the log keeps, is its size and a keyed digest (whoever has the text
can ask this gate about it, nobody can guess the text from it), the profile, and how much was found. Its pseudonyms come
from a key that is drawn for this one look and kept nowhere, so no vault holds anything of it.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from broker.errors import BadRequest
from broker.model import Json, Principal
from broker.redaction import STANDARD, Looked, Profile, look_at

CHARACTERS_MAX = 100_000
AT_ONCE = 2
"""Texts that one process looks at at the same time."""
T = TypeVar("T")
Arguments = Mapping[str, Json]


@dataclass(slots=True)
class _Brought:
    """A text on the tray, and what was seen in it once the act ran."""

    text: str
    seen: Looked | None = None


class Lab:
    """Looks at texts; keeps none."""

    def __init__(self, *, profiles: Mapping[str, Profile], key: bytes) -> None:
        """``profiles`` of the active bundle by name; ``key`` makes the digests that stand on record."""
        self._profiles = profiles
        self._key = key
        self._tray: dict[str, _Brought] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self.acts: Mapping[str, Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]] = {
            "gate.redaction.run": self._run
        }

    async def look(self, ask: Callable[[Arguments], Awaitable[T]], text: str, profile: str) -> tuple[T, Looked | None]:
        """Let ``ask(arguments)`` take the act down the one path; its answer, and what was seen once it was done.

        An empty text asks for the profiles only. Raises ``BadRequest`` (``redaction.too_long``,
        ``redaction.no_profile``), and what ``ask`` raises.
        """
        self._profile(profile)
        if len(text) > CHARACTERS_MAX:
            raise BadRequest(
                f"the text has {len(text)} characters, and at most {CHARACTERS_MAX} are looked at",
                code="redaction.too_long",
                remedy="bring a part of it; `wicketgate redact FILE` takes files of any size on your own machine",
            )
        handle, brought = "lab_" + secrets.token_hex(16), _Brought(text)
        self._tray[handle] = brought
        try:
            said = {"handle": handle, "digest": self._digest(text), "characters": len(text), "profile": profile}
            return await ask(said), brought.seen
        finally:
            del self._tray[handle]

    async def _run(self, _principal: Principal, said: Mapping[str, Any]) -> Json:
        """What the log may keep of it; the rest stays on the tray."""
        chosen = self._profile(said["profile"])
        brought = self._tray.get(said["handle"], _Brought(""))
        if (len(brought.text), self._digest(brought.text)) != (said["characters"], said["digest"]):
            raise BadRequest(
                "the text is not here",
                code="redaction.no_text",
                remedy="send the text itself: POST /v1/redactions, or the console's redaction lab",
            )
        if brought.text:
            async with self._places:
                brought.seen = await asyncio.to_thread(look_at, brought.text, profile=chosen)
        seen = brought.seen or Looked("", (), (), 0)
        return {
            "profile": chosen.name,
            "characters": said["characters"],
            "findings": dict(Counter(one.entity for one in seen.findings)),
            "withheld": seen.withheld,
            "refused": refused(seen, chosen),
            "profiles": [_shown(one) for one in (*self._profiles.values(), STANDARD)],
        }

    def _profile(self, name: str) -> Profile:
        found = self._profiles.get(name) or (STANDARD if name == STANDARD.name else None)
        if found is None:
            raise BadRequest(
                "there is no such redaction profile",
                code="redaction.no_profile",
                remedy="name a profile of config/redaction/data.yaml, or `standard`",
            )
        return found

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, b"lab " + text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def refused(seen: Looked, profile: Profile) -> bool:
    """Whether the gate would refuse a request that holds this text: more was withheld than the profile allows."""
    return profile.max_unscanned is not None and seen.withheld > profile.max_unscanned


def findings(seen: Looked) -> list[dict[str, Json]]:
    """Each finding, leftmost first; offsets in characters of the text as it was brought, never the value itself."""
    return [
        {
            "entity": seen.findings[part.finding].entity,
            "start": seen.findings[part.finding].start,
            "end": seen.findings[part.finding].end,
            "rule": seen.findings[part.finding].rule,
            "score": seen.findings[part.finding].score,
            "detector": part.detector,
            "operator": part.op,
            "replacement": part.after,
        }
        for part in seen.parts
        if part.finding >= 0
    ]


def _shown(profile: Profile) -> dict[str, Json]:
    treated = {entity: {"op": one.op, "keep": one.keep} for entity, one in profile.entities.items()}
    return {"name": profile.name, "entities": treated, "max_unscanned": profile.max_unscanned}
