"""The one way from raw to ``Redacted``: walk, scan once, find, resolve, replace, store the new pseudonyms, release."""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, Final, TypeVar

from broker.clock import Clock
from broker.errors import RedactionUnavailable
from broker.model import Finding, Redacted
from broker.redaction import embedded, operators, views
from broker.redaction.detect import Detector
from broker.redaction.entities import SECRET, STANDARD, Profile, Span, Tier
from broker.redaction.restore import restored
from broker.redaction.scan import RUN, Hits, ScanFailed, Scanner, scanner
from broker.redaction.streaming import TextStream
from broker.redaction.vault import OpenSession, Scope, Vault
from broker.redaction.walk import BYTES, KEY, WITHHELD, Leaves, collect, rebuild

T = TypeVar("T")


Found = Callable[[Mapping[str, int]], None]
Expired = Callable[[], bool]
"""Whether the time for this pass is over; what was not looked at by then is withheld."""
LARGE: Final = 128 * 1024
"""Characters beyond which the work moves to a thread, so that the event loop stays free."""
DEADLINE_S: Final = 5.0


def _never() -> bool:
    return False


class Pass:
    """One synchronous pass over one value, with the keys of an open session; ``minted`` is what it added."""

    def __init__(
        self, session: OpenSession, profile: Profile, scan: Scanner | None = None, *, expired: Expired | None = None
    ) -> None:
        self._expired = expired or _never
        self._session = session
        self._profile = profile
        self._detector = Detector(scan or scanner(), session.values)
        self.minted: dict[str, str] = {}
        self.withheld = 0
        self.findings: list[Finding] = []
        self.counts: Counter[str] = Counter()

    def value(self, raw: Any, leaves: Leaves | None = None) -> Any:
        """``raw`` with every finding treated; ``raw`` itself when there was none."""
        leaves = leaves or collect(raw)
        found = self._per_leaf(leaves)
        if not found:
            return raw if BYTES not in leaves.sorts else rebuild(raw, {})[0]
        texts = {index: self._treated(leaves.texts[index], spans) for index, spans in sorted(found.items())}
        changed = {index: text for index, (text, _) in texts.items()}
        result, paths = rebuild(raw, changed)
        for index, (_, parts) in texts.items():
            self._report(found[index], parts, paths.get(index, ""))
        return result

    def text(self, raw: str) -> str:
        """One text by itself."""
        return self.treated(raw, self.spans(raw))

    def replaced(self, raw: str, spans: list[Span]) -> tuple[str, list[tuple[int, int, str]]]:
        """As ``treated``, with what was replaced: (start, end, replacement), disjoint and ascending."""
        result, parts = self._treated(raw, spans)
        self._report(spans, parts, "$")
        return result, parts

    def spans(self, raw: str, *, whole: bool = True) -> list[Span]:
        """The findings of one text (or a window of one), untreated."""
        try:
            return self._detector.findings(raw, self._detector.scan(raw), whole=whole)
        except ScanFailed:
            return [views.withheld(0, len(raw), "scanner")]

    def treated(self, raw: str, spans: list[Span], *, whole: bool = True) -> str:
        """``raw`` with ``spans`` (disjoint, ascending) treated."""
        result, parts = self._treated(raw, spans, whole=whole)
        self._report(spans, parts, "$")
        return result

    def must_refresh(self) -> bool:
        """Whether a token passes the session's keyed check but is unknown here: another replica may have minted it."""
        return any(self._session.keys.genuine(token) for token in self._detector.foreign)

    def _per_leaf(self, leaves: Leaves) -> dict[int, list[Span]]:
        texts = leaves.texts
        virtual = ["".join(texts[index] for index in group) for group in leaves.groups]
        try:
            hits = self._detector.scan("\n".join(texts + virtual)) if texts else []
        except ScanFailed:
            return {index: [views.withheld(0, len(text), "scanner")] for index, text in enumerate(texts) if text}
        per_text = _attributed(hits, texts + virtual) if hits else {}
        found: dict[int, list[Span]] = {}
        for index, (text, rule, sort) in enumerate(zip(texts, leaves.rules, leaves.sorts, strict=True)):
            own = per_text.get(index)
            if (
                rule is None
                and own is None
                and sort != WITHHELD
                and (text := texts[index]).isascii()
                and text[:1] not in _JSON_STARTS
            ):
                continue
            spans = self._leaf(leaves, index, own or [])
            if spans:
                found[index] = spans
        for number, group in enumerate(leaves.groups):
            own = per_text.get(len(texts) + number)
            if own and any(owner != -1 - RUN for owner, _ in own):
                self._across(leaves, group, virtual[number], own, found)
        return found

    def _leaf(self, leaves: Leaves, index: int, hits: Hits) -> list[Span]:
        text, rule = leaves.texts[index], leaves.rules[index]
        if leaves.sorts[index] == WITHHELD:
            return [views.withheld(0, len(text), text)]
        if self._expired():
            return [views.withheld(0, len(text), "deadline")]
        spans = self._detector.findings(text, hits)
        if rule is None or leaves.sorts[index] == KEY or not embedded.applies(rule, text):
            return spans
        if self._is_done(text, rule.entity, spans):
            return spans if rule.entity != SECRET else []
        kind = rule.kind if rule.entity == SECRET else ""
        return [Span(rule.entity, 0, len(text), f"key.{kind or rule.entity.lower()}", Tier.KEY, 1.0, kind)]

    def _is_done(self, text: str, entity: str, spans: list[Span]) -> bool:
        """A value under a sensitive key that an earlier redaction, or the same finding in it, already covers whole."""
        if self._detector.only_marks(text):
            return True
        found = [(span.entity, span.start, span.end) for span in spans]
        return entity != SECRET and found == [(entity, 0, len(text))]

    def _across(self, leaves: Leaves, group: list[int], joined: str, hits: Hits, found: dict[int, list[Span]]) -> None:
        """A value cut over sibling strings: a certain finding that runs over a border redacts all its parts."""
        ends = list(accumulate(len(leaves.texts[index]) for index in group))
        for span in self._detector.findings(joined, hits):
            first, last = bisect_right(ends, span.start), bisect_right(ends, span.end - 1)
            parts = group[first : last + 1]
            if (
                len(parts) < 2
                or span.tier < Tier.VALIDATED
                or span.entity == "ENCODED"
                or any(index in found for index in parts)
            ):
                continue
            if not _cut_on_purpose(span, [leaves.texts[index] for index in parts]):
                continue
            for index in parts:
                text = leaves.texts[index]
                found[index] = [Span(span.entity, 0, len(text), f"split.{span.rule}", span.tier, span.score, span.kind)]

    def _treated(self, text: str, spans: list[Span], *, whole: bool = True) -> tuple[str, list[tuple[int, int, str]]]:
        parts = []
        for span in spans:
            chosen = operators.treatment(self._profile, span.entity)
            if chosen.op == "keep":
                continue
            replacement = operators.operate(text, span, chosen, self._session.keys, self._mint)
            if whole:
                replacement = embedded.requoted(text, span.start, span.end, replacement)
            parts.append((span.start, span.end, replacement))
        return operators.splice(text, parts), parts

    def _mint(self, token: str, surface: str) -> None:
        if token not in self._session.values and token not in self.minted:
            self.minted[token] = surface

    def _report(self, spans: list[Span], parts: list[tuple[int, int, str]], path: str) -> None:
        replaced = {start: replacement for start, _, replacement in parts}
        for span in spans:
            if span.start not in replaced or span.entity == "FORGED":
                continue
            self.withheld += span.entity == "UNSCANNED"
            self.counts[span.entity] += 1
            token = replaced[span.start]
            self.findings.append(Finding(span.entity, span.start, span.end, span.rule, span.score, path, token))


_JSON_STARTS = frozenset("{[ \n\t\r") - {""}


def _cut_on_purpose(span: Span, parts: list[str]) -> bool:
    """Whether the parts read like pieces of one value: digits only, an ``@`` at a border, or a secret's prefix."""
    if span.entity in {"CARD", "SSN", "IBAN", "PHONE", "IP"}:
        return (
            len(parts) >= 3 and sum(map(len, parts)) == span.end - span.start and all(part.isalnum() for part in parts)
        )
    if span.entity == "EMAIL":
        return any(part[0] == "@" or part[-1] == "@" for part in parts)
    return span.entity == SECRET and span.rule != "key.value"


def _attributed(hits: Hits, texts: list[str]) -> dict[int, Hits]:
    """Hits of the joined text, by text and with offsets of that text."""
    starts = list(accumulate((len(text) + 1 for text in texts), initial=0))
    result: dict[int, Hits] = {}
    for owner, end in hits:
        index = bisect_right(starts, end - 1) - 1
        if index < len(texts):
            result.setdefault(index, []).append((owner, end - starts[index]))
    return result


class Redactor:
    """Redacts for a session, restores for a grant, forgets on demand."""

    def __init__(
        self, *, vault: Vault, profiles: Mapping[str, Profile], clock: Clock, found: Found = lambda _: None
    ) -> None:
        """``found`` is told how much was found of each kind. ``profiles`` by name (``entities.profiles_from``), read at each call: it may change with the policy.

        ``standard`` exists in any case.
        """
        self._vault = vault
        self._profiles = profiles
        self._clock = clock
        self._found = found

    async def redact(self, value: T, *, profile: str, scope: Scope) -> Redacted[T]:
        """``value`` (any JSON) without personal data and secrets. New pseudonyms are durable before it is returned.

        Raises ``RedactionUnavailable`` for an unknown profile or region, and when more was withheld than the profile
        allows; nothing of the value is released then.
        """
        chosen = self.profile(profile)
        session = await self._vault.open(scope)
        done, result = await self._passed(session, chosen, value)
        if done.must_refresh() and await self._vault.refresh(session):
            done, result = await self._passed(session, chosen, value)
        if chosen.max_unscanned is not None and done.withheld > chosen.max_unscanned:
            raise RedactionUnavailable(
                f"{done.withheld} part(s) could not be scanned; profile `{profile}` allows {chosen.max_unscanned}",
                code="redaction.unscanned",
                remedy="narrow the request so that the result is smaller and plainer, or allow withheld parts in the profile",
            )
        await self._vault.remember(session, done.minted)
        self._found(done.counts)
        return Redacted(result, profile, dict(done.counts), tuple(done.findings), done.withheld)

    async def _passed(self, session: OpenSession, profile: Profile, value: T) -> tuple[Pass, T]:
        """One pass: in place, or in a thread (with that thread's scanner) where the value is large."""
        until = self._clock.monotonic() + DEADLINE_S
        leaves = collect(value)

        def work() -> tuple[Pass, T]:
            done = Pass(session, profile, expired=lambda: self._clock.monotonic() > until)
            return done, done.value(value, leaves)

        return work() if leaves.characters <= LARGE else await asyncio.to_thread(work)

    async def restore(
        self, arguments: Mapping[str, Any], *, allow: Mapping[str, tuple[str, ...]], scope: Scope
    ) -> dict[str, Any]:
        """``arguments`` with pseudonyms back to values at the paths and for the entities of ``allow``.

        Raises ``ObligationFailed`` for a token at an allowed path that is not of this session or not of an allowed
        entity; a token elsewhere stays a token.
        """
        if not allow:
            return dict(arguments)
        session = await self._vault.open(scope)
        await self._vault.refresh(session)
        return restored(arguments, allow, session)

    def stream(self, *, profile: str, scope: Scope) -> TextStream:
        """A redactor of text that arrives in pieces."""
        chosen = self.profile(profile)

        return TextStream(self._vault, scope, lambda session: Pass(session, chosen))

    async def forget(self, scope: Scope) -> None:
        """Shred the session's data key: its pseudonyms can never be restored again."""
        await self._vault.forget(scope)

    def profile(self, name: str) -> Profile:
        """The profile ``name``."""
        found = self._profiles.get(name) or (STANDARD if name == STANDARD.name else None)
        if found is None:
            raise RedactionUnavailable(
                f"there is no redaction profile `{name}`",
                code="redaction.profile",
                remedy="name a profile of config/redaction/data.yaml",
            )
        return found
