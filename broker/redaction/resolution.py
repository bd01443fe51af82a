"""Overlaps: which finding keeps its place. A total order, so neither rule order nor hash seeds change a result.

Higher tier first (key rule, URL credential, validated, pattern), then the longer, the leftmost, entity, rule. What
sticks out of a loser keeps the loser's entity, so half a card number is never left in clear; only an e-mail that
swallowed a URL's host (``user:pw@host``) gives its rest back.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace

from broker.redaction.entities import Span, Tier


def rank(span: Span) -> tuple[int, int, int, str, str, str, str]:
    """Sort key of the order above; equal keys mean equal effect."""
    return (-span.tier, span.start - span.end, span.start, span.entity, span.rule, span.kind, span.surface or "")


def resolve(spans: Iterable[Span]) -> list[Span]:
    """Disjoint findings, leftmost first."""
    waiting = sorted(spans, key=rank)
    if len(waiting) < 2:
        return waiting
    starts: list[int] = []
    kept: list[Span] = []
    for span in waiting:
        for piece in _free(span, starts, kept):
            at = bisect_right(starts, piece.start)
            starts.insert(at, piece.start)
            kept.insert(at, piece)
    return kept


def _free(span: Span, starts: list[int], kept: list[Span]) -> list[Span]:
    """The parts of ``span`` that no kept finding covers; none for a finding that only repeats or yields."""
    at = max(bisect_right(starts, span.start) - 1, 0)
    cursor, pieces, touched = span.start, [], False
    while at < len(kept) and kept[at].start < span.end:
        other = kept[at]
        at += 1
        if other.end <= cursor:
            continue
        touched = True
        if other.tier is Tier.URL and span.entity == "EMAIL":
            return []
        if other.start > cursor:
            pieces.append((cursor, other.start))
        cursor = other.end
    if not touched:
        return [span]
    if cursor < span.end:
        pieces.append((cursor, span.end))
    return [replace(span, start=start, end=end, surface=None) for start, end in pieces]
