"""The shape of a rule: short anchors for the one fast scan, and an exact finder for the places they point at."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from broker.redaction.entities import SECRET, Span, Tier

Finder = Callable[[str, int, int], Iterable[Span]]
"""``(text, low, high)``: findings that start in ``text[low:high]``; they may end behind ``high``. Linear in its range."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A short expression that vectorscan, RE2 and ``re`` read alike (ASCII classes, no captures, no look-around)."""

    expression: str
    caseless: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """``find`` looks from ``before`` characters ahead of an anchor's end to ``after`` behind it.

    ``source`` says where the format is published: vendor documentation, an RFC, or a scanner's rule set from which
    the expression was re-derived by hand.
    """

    id: str
    anchors: tuple[Anchor, ...]
    find: Finder
    before: int
    after: int
    source: str = ""


_SLACK: Final = 512


def matches(pattern: re.Pattern[str], text: str, low: int, high: int) -> Iterator[re.Match[str]]:
    """Matches that start in ``text[low:high]``; one that runs into the search's border is matched again without it."""
    stop, at = min(high + _SLACK, len(text)), low
    while at < high:
        match = pattern.search(text, at, stop)
        if match is None or match.start() >= high:
            return
        if match.end() == stop < len(text):
            match = pattern.match(text, match.start()) or match
        yield match
        at = max(match.end(), match.start() + 1)


Check = Callable[[re.Match[str]], bool]


def by_pattern(  # noqa: PLR0913 - a table row
    rule: str,
    entity: str,
    pattern: str,
    *,
    tier: Tier = Tier.VALIDATED,
    score: float = 0.9,
    kind: str = "",
    check: Check | None = None,
) -> Finder:
    """A finder that reports group ``v`` (else the whole match) of every match that passes ``check``."""
    compiled = re.compile(pattern)
    named = "v" in compiled.groupindex

    def find(text: str, low: int, high: int) -> Iterator[Span]:
        for match in matches(compiled, text, low, high):
            if check is None or check(match):
                start, end = match.span("v" if named and match["v"] is not None else 0)
                yield Span(entity, start, end, rule, tier, score, kind)

    return find


LEFT: Final = r"(?<![A-Za-z0-9_\-])"
RIGHT: Final = r"(?![A-Za-z0-9_\-])"


def secret(  # noqa: PLR0913 - a table row
    kind: str,
    anchor: str,
    pattern: str,
    source: str,
    *,
    check: Check | None = None,
    tier: Tier = Tier.VALIDATED,
    score: float = 0.95,
    before: int = 64,
    after: int = 256,
    caseless: bool = False,
) -> Rule:
    """A secret of ``kind``: literal ``anchor``, exact ``pattern``."""
    name = f"secret.{kind}"
    find = by_pattern(name, SECRET, pattern, tier=tier, score=score, kind=kind, check=check)
    return Rule(name, (Anchor(anchor, caseless),), find, before, after, source)
