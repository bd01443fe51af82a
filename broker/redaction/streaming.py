"""Text that arrives in pieces, redacted so that where the pieces were cut makes no difference.

The stream keeps back the last characters until nothing that may still come can change how they read: it releases up
to a blank at least ``HOLD`` characters before the end, never inside a finding, a private key or a run without blanks.
Text that was released stays in view as left context. A text that begins like JSON is held whole (up to 512 KiB).
"""

import re
from collections.abc import Callable
from typing import Final, Protocol

from broker.redaction import embedded, views
from broker.redaction.entities import Span
from broker.redaction.vault import OpenSession, Scope, Vault

HOLD: Final = 320
CONTEXT: Final = 640
MAX_RUN: Final = 64 * 1024
"""A run without blanks that grows beyond this is withheld."""
_BLANK = re.compile(r"\s(?=\S)")
_BEGIN = re.compile(r"-----BEGIN|PuTTY-User-Key-File")
_OPEN_KEY: Final = 16 * 1024


class TextPass(Protocol):
    """What the stream needs of ``redactor.Pass``."""

    minted: dict[str, str]

    def must_refresh(self) -> bool:
        """Whether the vault may hold tokens of this text that are not known here."""

    def spans(self, raw: str, *, whole: bool = True) -> list[Span]:
        """Findings of a text."""

    def treated(self, raw: str, spans: list[Span], *, whole: bool = True) -> str:
        """The text with its findings treated."""


class TextStream:
    """``feed`` pieces, send on what it returns, ``finish`` at the end."""

    def __init__(self, vault: Vault, scope: Scope, make: Callable[[OpenSession], TextPass]) -> None:
        self._vault, self._scope, self._make = vault, scope, make
        self._context = ""
        self._held = ""
        self._whole: bool | None = None
        self._released = False

    async def feed(self, text: str) -> str:
        """Take ``text``; what can be released now, possibly nothing."""
        self._held += text
        if len(self._held) < 2 * HOLD:
            return ""
        if self._whole is None:
            self._whole = embedded.starts_json(self._held)
        if self._whole and len(self._held) <= embedded.MAX_TEXT:
            return ""
        return await self._release(len(self._held) - HOLD)

    async def finish(self) -> str:
        """The rest."""
        return await self._release(len(self._held), last=True)

    async def _release(self, limit: int, *, last: bool = False) -> str:
        session = await self._vault.open(self._scope)
        whole = self._context + self._held
        base = len(self._context)
        entire = last and not self._released
        work = self._make(session)
        spans = work.spans(whole, whole=entire)
        if work.must_refresh() and await self._vault.refresh(session):
            work = self._make(session)
            spans = work.spans(whole, whole=entire)
        cut = len(whole) if last else self._cut(whole, base, base + limit, spans)
        if cut <= base:
            if len(self._held) <= MAX_RUN:
                return ""
            spans, cut = [views.withheld(base, len(whole), "run")], len(whole)
        ours = [_moved(span, -base) for span in spans if base <= span.start and span.end <= cut]
        released = work.treated(whole[base:cut], ours, whole=entire)
        await self._vault.remember(session, work.minted)
        self._context = whole[max(cut - CONTEXT, 0) : cut]
        self._held = whole[cut:]
        self._released = True
        return released

    @staticmethod
    def _cut(whole: str, base: int, limit: int, spans: list[Span]) -> int:
        """The last safe border at or before ``limit``."""
        begin = None
        for begin in _BEGIN.finditer(whole, base, limit + 32):
            covering = next((span for span in spans if span.start <= begin.start() < span.end), None)
            if covering is not None and covering.end >= len(whole) - 64:
                limit = min(limit, covering.start)
                break
        cut = limit
        while cut > base:
            blank = whole.rfind(" ", base, cut), whole.rfind("\n", base, cut), whole.rfind("\t", base, cut)
            cut = max(blank) + 1
            if cut <= base:
                return base
            inside = next((span for span in spans if span.start < cut < span.end or span.end == cut), None)
            if inside is None:
                return cut
            cut = min(inside.start, cut - 1)
        return base


def _moved(span: Span, by: int) -> Span:
    return Span(span.entity, span.start + by, span.end + by, span.rule, span.tier, span.score, span.kind, span.surface)
