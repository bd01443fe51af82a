"""From one text and its anchor hits to its findings: finders, other readings, tokens already there."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from broker.redaction import embedded, views
from broker.redaction.entities import SECRET, Span, Tier
from broker.redaction.resolution import resolve
from broker.redaction.rules import ALL
from broker.redaction.scan import ESCAPE, PERCENT, RUN, TOKENS, Hits, Scanner
from broker.redaction.tokens import MARK, TOKEN

_SCHEME = re.compile(r"(?i)\b(?:basic|bearer|token|digest|negotiate|apikey)\b|[\s\"'`,;:=\[\]{}()\\]+")


@dataclass(frozen=True, slots=True)
class Present:
    """Tokens and marks that already stand in a text: ``kept`` stay as they are, ``forged`` are to be escaped."""

    kept: Sequence[tuple[int, int]]
    forged: Sequence[tuple[int, int]]

    def overlapping(self, low: int, high: int) -> Sequence[tuple[int, int]]:
        """The kept ones that touch ``[low, high)``; they are disjoint and ascending."""
        first = max(bisect_right(self.kept, (low, 0)) - 1, 0)
        last = bisect_left(self.kept, (high, 0))
        return [(start, end) for start, end in self.kept[first:last] if end > low]


class Detector:
    """Finds everything in one text; holds the scanner of its thread and the budget of one call."""

    def __init__(self, scanner: Scanner, minted: Container[str], budget: views.Budget | None = None) -> None:
        """``minted``: tokens of this session, which stay; every other text of token form is escaped."""
        self.foreign: set[str] = set()
        """Texts of token form that ``minted`` does not hold."""
        self._scanner = scanner
        self._minted = minted
        self._budget = budget or views.Budget()

    def scan(self, text: str) -> Hits:
        """Anchor hits of ``text``."""
        return self._scanner.scan(text)

    def findings(self, text: str, hits: Hits, *, whole: bool = True) -> list[Span]:
        """Disjoint findings of ``text``, leftmost first; forged tokens are spans of the entity ``FORGED``.

        ``whole`` False: ``text`` is a window of a longer one, so how it begins says nothing about its form.
        """
        spans = list(self._all(text, hits, 0, whole=whole))
        if any(owner == -1 - TOKENS for owner, _ in hits):
            present = self._present(text)
            spans = [span for span in spans if not _already_done(text, span, present)]
            spans += [Span("FORGED", start, end, "token.forged", Tier.PATTERN, 1.0) for start, end in present.forged]
        return resolve(spans)

    def only_marks(self, text: str) -> bool:
        """Whether ``text`` is nothing but marks and tokens of an earlier redaction."""
        if "_" not in text and "[" not in text:
            return False
        present = self._present(text)
        return bool(present.kept) and _rest_is_empty(text, 0, len(text), present.kept)

    def _present(self, text: str) -> Present:
        kept = [match.span() for match in MARK.finditer(text)]
        forged = []
        for match in TOKEN.finditer(text):
            if match.group() in self._minted:
                kept.append(match.span())
            else:
                forged.append(match.span())
                self.foreign.add(match.group())
        return Present(sorted(kept), forged)

    def _all(self, text: str, hits: Hits, depth: int, *, whole: bool) -> Iterator[Span]:
        triggers = set()
        by_rule: dict[int, list[int]] = {}
        for owner, end in hits:
            if owner < 0:
                triggers.add(-1 - owner)
            else:
                by_rule.setdefault(owner, []).append(end)
        for owner, ends in by_rule.items():
            rule = ALL[owner]
            for low, high in _windows(ends, rule.before, rule.after, len(text)):
                yield from rule.find(text, low, high)
        yield from self._other_readings(text, triggers, depth, whole=whole)
        if whole:
            yield from embedded.findings(text)

    def _other_readings(self, text: str, triggers: set[int], depth: int, *, whole: bool) -> Iterator[Span]:
        if ESCAPE in triggers or PERCENT in triggers or not text.isascii():
            view = views.folded(text)
            if view is not None:
                yield from self._folded(text, view, depth, whole=whole)
        if RUN in triggers:
            yield from self._encoded(text, depth)

    def _folded(self, text: str, view: views.Folded, depth: int, *, whole: bool) -> Iterator[Span]:
        spent = depth == 0 or self._budget.spend(len(view.text))  # the first folding is no larger than the text
        if depth >= views.MAX_DEPTH or not spent:
            for start, end in views.foldable_runs(text):
                yield views.withheld(start, end, "depth" if spent else "budget")
            return
        for span in self._all(view.text, self.scan(view.text), depth + 1, whole=whole):
            start, end = view.back(span.start, span.end)
            surface = span.surface or view.text[span.start : span.end]
            if span.rule.startswith("encoded.") and text[start:end] == surface:
                continue  # the same segment as in the text itself, where it lies less deep
            if span.entity == "UNSCANNED" and text[start:end] == surface:
                continue
            yield Span(span.entity, start, end, span.rule, span.tier, span.score, span.kind, surface)

    def _encoded(self, text: str, depth: int) -> Iterator[Span]:
        for segment in views.encoded(text, self._budget):
            if isinstance(segment, Span):
                yield segment
                continue
            if depth >= views.MAX_DEPTH:
                yield views.withheld(segment.start, segment.end, "depth")
                continue
            inside = list(self._all(segment.text, self.scan(segment.text), depth + 1, whole=True))
            if inside:
                yield _whole_segment(segment, inside)


def _whole_segment(segment: views.Encoded, inside: Iterable[Span]) -> Span:
    """The segment as one finding: the secret's where it hides one, withheld where part of it was, else ENCODED."""
    worst = min(inside, key=lambda span: (span.entity != SECRET, span.entity != "UNSCANNED", -span.tier, span.rule))
    entity = worst.entity if worst.entity in {SECRET, "UNSCANNED"} else "ENCODED"
    return Span(entity, segment.start, segment.end, f"encoded.{worst.rule}", Tier.VALIDATED, worst.score, worst.kind)


def _windows(ends: list[int], before: int, after: int, size: int) -> Iterator[tuple[int, int]]:
    """Merged ranges around the anchors, so that a finder reads each character once."""
    ends.sort()
    low, high = max(ends[0] - before, 0), min(ends[0] + after, size)
    for end in ends[1:]:
        if end - before <= high:
            high = min(end + after, size)
        else:
            yield low, high
            low, high = max(end - before, 0), min(end + after, size)
    yield low, high


def _already_done(text: str, span: Span, present: Present) -> bool:
    """Whether a finding only sees what an earlier redaction left."""
    overlapping = present.overlapping(span.start, span.end)
    return bool(overlapping) and (span.entity != SECRET or _rest_is_empty(text, span.start, span.end, overlapping))


def _rest_is_empty(text: str, low: int, high: int, kept: Sequence[tuple[int, int]]) -> bool:
    """Whether marks and tokens cover ``text[low:high]`` but for punctuation and a scheme word."""
    rest, at = [], low
    for start, end in kept:
        rest.append(text[at : max(start, at)])
        at = max(at, end)
    return not _SCHEME.sub("", "".join(rest) + text[at:high])
